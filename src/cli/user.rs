//! `gatelet user …`

use std::convert::Infallible;
use std::fmt;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::str::FromStr;

use anstyle::Style;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use http::{Method, StatusCode};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::console::{Console, not_understood};
use super::output::{OutputArgs, Table};
use super::prompt::unseen;
use super::{Access, CommandError, finish, print, say, with_console};
use crate::config::{DataDirArgs, Settings};
use crate::domain::user::{Role, UnknownRole, UserId, UsernameError, Usernames};
use crate::exit::Exit;
use crate::http::wire;
use crate::password::Password;
use crate::store::Store;
use crate::text;
use crate::visible::{self, Visible, quoted};

/// The longest line that is read as a password; what is too long to be one is refused further on.
const LINE_MAX: usize = 8 * 1024;

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
        /// Whom.
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
        /// Whom.
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

/// A user as the console shows them; as JSON in this order.
#[derive(Deserialize, Serialize)]
struct Found {
    created_at: Visible,
    disabled: bool,
    id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_scheme: Option<Visible>,
    role: Role,
    username: Visible,
}

/// Whom a command is about.
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

/// A user, as somebody names them on the command line.
#[derive(Clone, Debug)]
enum Who {
    Id(UserId),
    Name(String),
}

impl FromStr for Who {
    type Err = Infallible;

    /// An id wherever it has the form of one: anybody may register a name that is somebody's id, or was.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Id))
    }
}

fn role() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(["user", "admin"])
        .try_map(|text| text.parse().map_err(|UnknownRole| "neither user nor admin"))
}

/// Does what `command` says.
pub fn run(command: UserCommand) -> Exit {
    finish(match command {
        UserCommand::Add { name, admin, data, output } => add(name, admin, &data, output),
        UserCommand::List { role, disabled, data, output } => list(role, disabled, &data, output),
        UserCommand::Show(user) => user.with(|_, found| Ok(describe(found))),
        UserCommand::SetRole { user, role } => user.update(&json!({ "role": role }), &role.to_string()),
        UserCommand::Disable(user) => user.update(&json!({ "disabled": true }), "disabled"),
        UserCommand::Enable(user) => user.update(&json!({ "disabled": false }), "enabled"),
        UserCommand::SetPassword(user) => set_password(&user),
        UserCommand::Delete { user, yes } => delete(&user, yes),
        UserCommand::EndSessions(user) => user.with(|console, found| {
            console.ask::<IgnoredAny>(Method::DELETE, &path(found, "/sessions"), None)?;
            Ok(format!("all sessions of {} have ended", described(found)))
        }),
        UserCommand::Free { name, data, output } => free(&name, &data, output),
    })
}

fn add(name: String, admin: bool, data: &DataDirArgs, output: OutputArgs) -> Result<(), CommandError> {
    let settings = Settings::from_environment(data)?;
    let password = read_password()?;
    if !Store::is_in(settings.data_dir()) {
        check(&settings, &name, &password)?;
    }
    let role = if admin { Role::Admin } else { Role::User };
    let body = json!({ "username": name, "password": *password, "role": role });
    let user = with_console(&settings, Access::Make, |console| {
        match console.ask::<IgnoredAny>(Method::POST, "/user", Some(&body)) {
            Ok(IgnoredAny) => Who::Name(name).find(console),
            Err(error) => Err(explain(error, name, console)),
        }
    })?;
    output.print(&user, |user| format!("{} added", described(user)))
}

/// Says to the operator what the answer for clients leaves out.
fn explain(error: CommandError, name: String, console: &mut Console<'_>) -> CommandError {
    match error {
        CommandError::Refused(status @ StatusCode::UNPROCESSABLE_ENTITY, said) => {
            let why = Usernames::Folded.new_name(&name).err().map(refused_name);
            CommandError::Refused(status, why.filter(|why| why.starts_with(&*said)).unwrap_or(said))
        }
        CommandError::Refused(status @ StatusCode::CONFLICT, said) => match Who::Name(name).find(console) {
            Err(CommandError::Refused(StatusCode::NOT_FOUND, _)) => {
                let why = "They were deleted in the last 30 days (`gatelet user free` frees the name), or several users \
                           have names like it (`gatelet verify` lists them).";
                CommandError::Refused(status, format!("{said} {why}"))
            }
            _ => CommandError::Refused(status, said),
        },
        other => other,
    }
}

/// Names that new users may have from now on.
#[derive(Deserialize, Serialize)]
struct Freed {
    freed: Vec<Visible>,
}

fn free(name: &str, data: &DataDirArgs, output: OutputArgs) -> Result<(), CommandError> {
    let settings = Settings::from_environment(data)?;
    let freed: Freed = with_console(&settings, Access::Change, |console| {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("username", name).finish();
        console.ask(Method::DELETE, &format!("/names?{query}"), None)
    })?;
    if freed.freed.is_empty() {
        let why = format!("no user was deleted in the last 30 days who was called {}", quoted(name));
        return Err(CommandError::Refused(StatusCode::NOT_FOUND, why));
    }
    let names = freed.freed.iter().map(Visible::quoted).collect::<Vec<_>>().join(", ");
    output.print(&freed, |_| format!("new users may be called {names} again"))
}

/// What a server says of a name, and what is wrong with it where that says little.
fn refused_name(error: UsernameError) -> String {
    match error {
        UsernameError::Empty | UsernameError::TooLong | UsernameError::ControlCharacter => {
            format!("username: {}", wire::name_refused(error))
        }
        UsernameError::OuterSpace
        | UsernameError::Invisible
        | UsernameError::Unassigned
        | UsernameError::MixedScripts
        | UsernameError::Dots => format!("username: {} The name {error}.", wire::name_refused(error)),
    }
}

/// What a new store would say of a new user: one who is refused leaves none behind.
fn check(settings: &Settings, name: &str, password: &Zeroizing<String>) -> Result<(), CommandError> {
    let name = settings.usernames.new_name(name);
    let name = name.map_err(|error| CommandError::Input(refused_name(error)))?;
    let checked = settings.password_policy().check(&Password::typed(password), Some(&name));
    checked.map_err(|error| CommandError::Input(format!("password: {}", wire::password_refused(error))))
}

/// Page by page, so that any number of users takes as much memory as one page.
fn list(
    role: Option<Role>,
    disabled: bool,
    data: &DataDirArgs,
    output: OutputArgs,
) -> Result<(), CommandError> {
    let settings = Settings::from_environment(data)?;
    let is_wanted = |user: &&Found| role.is_none_or(|role| user.role == role) && (!disabled || user.disabled);
    with_console(&settings, Access::Look, |console| {
        let mut table = Table::new(["NAME", "ID", "ROLE", "STATE", "CREATED"]);
        let (mut next, mut is_empty) = ("/user".to_owned(), true);
        let mut last = None;
        loop {
            let users: Vec<Found> = console.ask(Method::GET, &next, None)?;
            let Some(end) = users.last() else {
                break;
            };
            // Ids are in order: a list that does not go on would never end.
            if last.replace(end.id).is_some_and(|last| last >= end.id) {
                return Err(not_understood());
            }
            next = format!("/user?after={}", end.id);
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

fn set_password(user: &UserArgs) -> Result<(), CommandError> {
    user.with_answer(read_password, |console, found, password| {
        let body = json!({ "new_password": *password });
        console.ask::<IgnoredAny>(Method::POST, &path(found, "/password"), Some(&body))?;
        Ok(format!("password of {} changed; all their sessions have ended", described(found)))
    })
}

fn delete(user: &UserArgs, yes: bool) -> Result<(), CommandError> {
    let question = format!("Delete the user {} for good?", user.user);
    let answer = || if yes { Ok(()) } else { confirm(&question) };
    user.with_answer(answer, |console, found, ()| {
        console.ask::<IgnoredAny>(Method::DELETE, &path(found, ""), None)?;
        Ok(format!("{} deleted", described(found)))
    })
}

impl UserArgs {
    /// Finds the user, lets `act` do something to them and prints what it says, or the user as JSON.
    fn with(
        &self,
        act: impl FnOnce(&mut Console<'_>, &Found) -> Result<String, CommandError>,
    ) -> Result<(), CommandError> {
        self.with_console(|console| {
            let found = self.user.find(console)?;
            act(console, &found).map(|said| (said, found))
        })
    }

    /// The same with the answer of somebody who is asked first. Nobody is kept from the store while they think, so only
    /// a running server can tell before that there is no such user.
    fn with_answer<T>(
        &self,
        ask: impl FnOnce() -> Result<T, CommandError>,
        act: impl FnOnce(&mut Console<'_>, &Found, T) -> Result<String, CommandError>,
    ) -> Result<(), CommandError> {
        self.with_console(|console| {
            if console.is_served() {
                self.user.find(console)?;
            }
            let answer = ask()?;
            let found = self.user.find(console)?;
            act(console, &found, answer).map(|said| (said, found))
        })
    }

    /// Prints what `act` says, or as JSON the user whom it found.
    fn with_console(
        &self,
        act: impl FnOnce(&mut Console<'_>) -> Result<(String, Found), CommandError>,
    ) -> Result<(), CommandError> {
        let settings = Settings::from_environment(&self.data)?;
        let (said, user) = with_console(&settings, Access::Change, |console| {
            let (said, found) = act(console)?;
            if !self.output.json {
                return Ok((said, found));
            }
            match console.ask(Method::GET, &path(&found, ""), None) {
                Err(CommandError::Refused(StatusCode::NOT_FOUND, _)) => Ok((said, found)), // as they were
                user => user.map(|user| (said, user)),
            }
        })
        .map_err(|error| match error {
            CommandError::Refused(StatusCode::NOT_FOUND, _) => self.user.missing(),
            other => other,
        })?;
        self.output.print(&user, |_| said)
    }

    /// Makes a change after which the user is `state`.
    fn update(&self, change: &Value, state: &str) -> Result<(), CommandError> {
        self.with(|console, found| {
            let now: Found = console.ask(Method::PATCH, &path(found, ""), Some(change))?;
            let is_same = now.role == found.role && now.disabled == found.disabled;
            let since = if is_same { "already" } else { "now" };
            let more = if is_same && state == "enabled" { "; wrong guesses are forgotten" } else { "" };
            Ok(format!("{} is {since} {state}{more}", described(found)))
        })
    }
}

impl Who {
    fn find(&self, console: &mut Console<'_>) -> Result<Found, CommandError> {
        match self {
            Self::Id(id) => console.ask(Method::GET, &format!("/user/{id}"), None),
            Self::Name(name) => {
                let query =
                    form_urlencoded::Serializer::new(String::new()).append_pair("username", name).finish();
                let found: Vec<Found> = console.ask(Method::GET, &format!("/user?{query}"), None)?;
                found.into_iter().next().ok_or_else(|| self.missing())
            }
        }
    }

    fn missing(&self) -> CommandError {
        CommandError::Refused(StatusCode::NOT_FOUND, format!("there is no user {self}"))
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

/// Where the console has this user, or something of theirs.
fn path(user: &Found, below: &str) -> String {
    format!("/user/{}{below}", user.id)
}

fn state(user: &Found) -> &'static str {
    if user.disabled { "disabled" } else { "enabled" }
}

/// A user within a sentence: `admin "root"`.
fn described(user: &Found) -> String {
    format!("{} {}", user.role, user.username.quoted())
}

fn add_row(table: &mut Table, user: &Found) {
    let style = if user.disabled { Style::new().dimmed() } else { Style::new() };
    let (name, created) = (user.username.cell(), user.created_at.cell());
    table.styled_row(
        style,
        [name, user.id.to_string(), user.role.to_string(), state(user).to_owned(), created],
    );
}

fn describe(user: &Found) -> String {
    let lines = [
        ("name", user.username.cell()),
        ("id", user.id.to_string()),
        ("role", user.role.to_string()),
        ("state", state(user).to_owned()),
        ("created", user.created_at.cell()),
        ("password", user.password_scheme.as_ref().map_or_else(|| "-".to_owned(), Visible::cell)),
    ];
    lines.map(|(label, value)| format!("{label:<8}  {value}")).join("\n")
}

/// Asks whoever sits at the terminal.
fn confirm(question: &str) -> Result<(), CommandError> {
    if !io::stdin().is_terminal() {
        return Err(CommandError::Input("there is no terminal to ask at: give --yes if you mean it".into()));
    }
    let mut prompt = anstream::stderr();
    write!(prompt, "{question} [y/N] ").and_then(|()| prompt.flush())?;
    match read_line()?.to_ascii_lowercase().trim_ascii() {
        b"y" | b"yes" => Ok(()),
        _ => Err(CommandError::NotConfirmed),
    }
}

/// From the terminal without echo, twice; otherwise the first line of standard input.
fn read_password() -> Result<Zeroizing<String>, CommandError> {
    let input = |text: &str| CommandError::Input(text.to_owned());
    let line = if io::stdin().is_terminal() {
        let line = unseen("Password: ")?;
        if line != unseen("Again: ")? {
            return Err(input("the passwords differ"));
        }
        line
    } else {
        read_line()?
    };
    match text::of(&line).map(text::without_line_end) {
        Ok("") => Err(input("no password on standard input")),
        Ok(line) => Ok(Zeroizing::new(line.to_owned())),
        Err(error) => Err(CommandError::Input(format!("the password on standard input is {error}"))),
    }
}

/// The next line of standard input, with its end.
fn read_line() -> Result<Zeroizing<Vec<u8>>, CommandError> {
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_MAX));
    io::stdin().lock().take(LINE_MAX as u64).read_until(b'\n', &mut line)?;
    Ok(line)
}
