//! `gatelet user …`

mod add;
mod change;
mod list;

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use super::admin_socket::AdminSocket;
use super::output::OutputArgs;
use super::{Access, CommandError, finish, with_socket};
use crate::config::{DataDirArgs, Settings};
use crate::domain::user::{Role, UnknownRole, UserId};
use crate::exit::Exit;
use crate::http::admin::messages::{FindUser, FreeName, Refused, UserShown};
use crate::visible::{Visible, quoted};

const EXAMPLES: &str = "\
Examples:
  gatelet user add --admin root
  gatelet user list --role admin
  gatelet user list --json | jq -r .username
  gatelet user set-password anna < FILE";

/// Manage users.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
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
        /// How to print.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// List users in order of creation
    ///
    /// Names that could fool the eye are quoted and escaped. With --json, each user is a line of its own.
    List {
        /// Only users of this role
        #[arg(long, value_name = "ROLE", value_parser = role())]
        role: Option<Role>,
        /// Only users who are disabled
        #[arg(long)]
        disabled: bool,
        /// Where the store is.
        #[command(flatten)]
        data: DataDirArgs,
        /// How to print.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show a user
    Show(UserArgs),
    /// Make a user an administrator, or an administrator a user
    SetRole {
        /// Which user.
        #[command(flatten)]
        user: UserArgs,
        /// What the user is to be
        #[arg(value_name = "ROLE", value_parser = role())]
        role: Role,
    },
    /// Keep a user from logging in and end all their sessions
    Disable(UserArgs),
    /// Let a user log in again who was disabled, or locked out by wrong guesses
    Enable(UserArgs),
    /// Give a user another password, asked for or read from standard input, and end all their sessions
    SetPassword(UserArgs),
    /// Delete a user for good
    Delete {
        /// Which user.
        #[command(flatten)]
        user: UserArgs,
        /// Do not ask; needed where there is no terminal
        #[arg(long)]
        yes: bool,
    },
    /// End all sessions of a user: log them out everywhere
    EndSessions(UserArgs),
    /// Let new users have the name of a deleted one, before 30 days are over
    Free {
        /// Name that the deleted user had
        name: String,
        /// Where the store is.
        #[command(flatten)]
        data: DataDirArgs,
        /// How to print.
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// The user of a command.
#[derive(Clone, Debug, Args)]
pub struct UserArgs {
    /// Name or id of the user; what has the form of an id is never taken for a name
    #[arg(value_name = "USER")]
    user: Who,
    /// Where the store is.
    #[command(flatten)]
    data: DataDirArgs,
    /// How to print.
    #[command(flatten)]
    output: OutputArgs,
}

/// A user, as the command line names them.
#[derive(Clone, Debug)]
enum Who {
    Id(UserId),
    Name(String),
}

impl FromStr for Who {
    type Err = Infallible;

    /// An id wherever it has the form of one: a user may have registered another's id as a name.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Id))
    }
}

fn role() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(["user", "admin"])
        .try_map(|text| text.parse().map_err(|UnknownRole| "neither user nor admin"))
}

/// Runs `command`.
pub fn run(command: UserCommand) -> Exit {
    finish(match command {
        UserCommand::Add { name, admin, data, output } => add::run(name, admin, &data, output),
        UserCommand::List { role, disabled, data, output } => list::run(role, disabled, &data, output),
        UserCommand::Show(user) => show(&user),
        UserCommand::SetRole { user, role } => user.set_role(role),
        UserCommand::Disable(user) => user.set_disabled(true),
        UserCommand::Enable(user) => user.set_disabled(false),
        UserCommand::SetPassword(user) => user.set_password(),
        UserCommand::Delete { user, yes } => user.delete(yes),
        UserCommand::EndSessions(user) => user.end_sessions(),
        UserCommand::Free { name, data, output } => free(&name, &data, output),
    })
}

fn show(UserArgs { user, data, output }: &UserArgs) -> Result<(), CommandError> {
    let settings = Settings::from_environment(data)?;
    let found = with_socket(&settings, Access::Change, |socket| user.find(socket))?;
    output.print(&found, describe)
}

fn free(name: &str, data: &DataDirArgs, output: OutputArgs) -> Result<(), CommandError> {
    let settings = Settings::from_environment(data)?;
    let freed =
        with_socket(&settings, Access::Change, |socket| socket.ask(FreeName { username: name.to_owned() }))?;
    if freed.freed.is_empty() {
        let why = format!("no user was deleted in the last 30 days who was called {}", quoted(name));
        return Err(CommandError::NotFound(why));
    }
    let names = freed.freed.iter().map(Visible::quoted).collect::<Vec<_>>().join(", ");
    output.print(&freed, |_| format!("new users may be called {names} again"))
}

impl Who {
    fn find(&self, socket: &mut AdminSocket<'_>) -> Result<UserShown, CommandError> {
        let call = match self {
            Self::Id(id) => FindUser::Id(*id),
            Self::Name(name) => FindUser::Name(name.clone()),
        };
        socket.ask(call).map_err(|error| self.missing(error))
    }

    /// The error, with the user named whom the server does not find.
    fn missing(&self, error: CommandError) -> CommandError {
        match error {
            CommandError::Refused(Refused::NotFound) => {
                CommandError::NotFound(format!("there is no user {self}"))
            }
            error => error,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "with the id {id}"),
            Self::Name(name) => f.write_str(&quoted(name)),
        }
    }
}

fn state(user: &UserShown) -> &'static str {
    if user.disabled { "disabled" } else { "enabled" }
}

/// A user within a sentence: `admin "root"`.
fn described(user: &UserShown) -> String {
    format!("{} {}", user.role, user.username.quoted())
}

fn describe(user: &UserShown) -> String {
    let lines = [
        ("name", user.username.cell()),
        ("id", user.id.to_string()),
        ("role", user.role.to_string()),
        ("state", state(user).to_owned()),
        ("created", user.created_at.to_string()),
        ("password", user.password_scheme.as_ref().map_or_else(|| "-".to_owned(), Visible::cell)),
    ];
    lines.map(|(label, value)| format!("{label:<8}  {value}")).join("\n")
}
