//! `gatelet user add`

use zeroize::Zeroizing;

use super::described;
use crate::cli::output::OutputArgs;
use crate::cli::prompt::new_password;
use crate::cli::{Access, CommandError, with_socket};
use crate::config::{DataDirArgs, Settings};
use crate::domain::user::Role;
use crate::http::admin::messages::{AddUser, Refused, Typed};
use crate::http::wire;
use crate::password::Password;
use crate::store::Store;

pub(super) fn run(
    username: String,
    admin: bool,
    data: &DataDirArgs,
    output: OutputArgs,
) -> Result<(), CommandError> {
    let settings = Settings::from_environment(data)?;
    let password = new_password()?;
    if !Store::is_in(settings.data_dir()) {
        check(&settings, &username, &password)?;
    }
    let role = if admin { Role::Admin } else { Role::User };
    let call = AddUser { username, password: Typed(password), role };
    let user = with_socket(&settings, Access::Make, |socket| socket.ask(call))?;
    output.print(&user, |user| format!("{} added", described(user)))
}

/// Refuses what a new store would refuse, so that a user who is refused leaves none behind.
fn check(settings: &Settings, name: &str, password: &Zeroizing<String>) -> Result<(), CommandError> {
    let name = settings.usernames.new_name(name).map_err(Refused::username)?;
    let checked = settings.password_policy().check(&Password::typed(password), Some(&name));
    checked.map_err(|error| CommandError::Input(format!("password: {}", wire::password_refused(error))))
}
