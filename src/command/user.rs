//! `gatelet user …`

use std::io::{self, BufRead, IsTerminal, Read};

use clap::Subcommand;
use http::Method;
use serde_json::json;
use zeroize::Zeroizing;

use super::{CommandError, WhereNone, call, finish, print};
use crate::exit::Exit;
use crate::settings::{DataDirArgs, Settings};

/// The longest line that is read as a password; what is too long to be one is refused further on.
const LINE_MAX: usize = 8 * 1024;

/// Manage users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add a user; the password is asked for, or read from standard input
    Add {
        /// Name of the new user
        name: String,
        /// Make the user an administrator
        #[arg(long)]
        admin: bool,
        /// Where the store is.
        #[command(flatten)]
        data: DataDirArgs,
    },
}

/// Does what `command` says.
pub fn run(command: UserCommand) -> Exit {
    match command {
        UserCommand::Add { name, admin, data } => finish(add(&name, admin, &data)),
    }
}

fn add(name: &str, admin: bool, data: &DataDirArgs) -> Result<(), CommandError> {
    let settings =
        Settings::from_environment(data).map_err(|error| CommandError::Input(error.to_string()))?;
    let password = read_password()?;
    let role = if admin { "admin" } else { "user" };
    let body = json!({ "username": name, "password": *password, "role": role });
    call(&settings, WhereNone::Make, Method::POST, "/user", Some(&body))?;
    print(format!("{role} {name:?} added"));
    Ok(())
}

/// From the terminal without echo, twice; otherwise the first line of standard input.
fn read_password() -> Result<Zeroizing<String>, CommandError> {
    let input = |text: &str| CommandError::Input(text.to_owned());
    if io::stdin().is_terminal() {
        let password = Zeroizing::new(rpassword::prompt_password("Password: ")?);
        let again = Zeroizing::new(rpassword::prompt_password("Again: ")?);
        return if password == again { Ok(password) } else { Err(input("the passwords differ")) };
    }
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_MAX));
    io::stdin().lock().take(LINE_MAX as u64).read_until(b'\n', &mut line)?;
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok("") => Err(input("no password on standard input")),
        Ok(line) => Ok(Zeroizing::new(line.to_owned())),
        Err(_) => Err(input("the password on standard input is not UTF-8")),
    }
}
