//! `gatelet user list`

use anstyle::Style;

use super::state;
use crate::cli::output::{OutputArgs, Table};
use crate::cli::{Access, CommandError, print, say, with_socket};
use crate::config::{DataDirArgs, Settings};
use crate::domain::user::Role;
use crate::http::admin::AdminError;
use crate::http::admin::messages::{ListUsers, UserShown};
use crate::visible;

/// Page by page, so that any number of users takes as much memory as one page.
pub(super) fn run(
    role: Option<Role>,
    disabled: bool,
    data: &DataDirArgs,
    output: OutputArgs,
) -> Result<(), CommandError> {
    let settings = Settings::from_environment(data)?;
    let is_wanted =
        |user: &&UserShown| role.is_none_or(|role| user.role == role) && (!disabled || user.disabled);
    with_socket(&settings, Access::Look, |socket| {
        let mut table = Table::new(["NAME", "ID", "ROLE", "STATE", "CREATED"]);
        let (mut after, mut is_empty) = (None, true);
        loop {
            let users = socket.ask(ListUsers { after })?;
            let Some(last) = users.last() else {
                break;
            };
            // Ids are in order: a list that does not go on would never end.
            if after.replace(last.id).is_some_and(|before| before >= last.id) {
                return Err(AdminError::NotUnderstood.into());
            }
            let wanted: Vec<_> = users.iter().filter(is_wanted).collect();
            if wanted.is_empty() {
                continue;
            }
            is_empty = false;
            if output.json {
                let lines: Result<Vec<_>, _> = wanted.iter().map(serde_json::to_string).collect();
                print(visible::json(&lines?.join("\n")))?;
            } else {
                wanted.into_iter().for_each(|user| add_row(&mut table, user));
                print(table.part())?;
            }
        }
        if is_empty && !output.json {
            say("no users");
        }
        Ok(())
    })
}

fn add_row(table: &mut Table, user: &UserShown) {
    let style = if user.disabled { Style::new().dimmed() } else { Style::new() };
    let (name, created) = (user.username.cell(), user.created_at.to_string());
    table.styled_row(
        style,
        [name, user.id.to_string(), user.role.to_string(), state(user).to_owned(), created],
    );
}
