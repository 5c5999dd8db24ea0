//! The commands that change a user.

use super::{UserArgs, described};
use crate::cli::admin_socket::AdminSocket;
use crate::cli::prompt::{confirm, new_password};
use crate::cli::{Access, CommandError, with_socket};
use crate::config::Settings;
use crate::domain::user::Role;
use crate::http::admin::messages::{DeleteUser, EndSessions, SetPassword, Typed, UpdateUser, UserShown};

impl UserArgs {
    pub(super) fn set_role(&self, role: Role) -> Result<(), CommandError> {
        self.update(Some(role), None, &role.to_string(), "")
    }

    pub(super) fn set_disabled(&self, disabled: bool) -> Result<(), CommandError> {
        match disabled {
            true => self.update(None, Some(true), "disabled", ""),
            false => self.update(None, Some(false), "enabled", "; wrong guesses are forgotten"),
        }
    }

    pub(super) fn set_password(&self) -> Result<(), CommandError> {
        self.change_after(new_password, |socket, found, password| {
            let now = socket.ask(SetPassword { id: found.id, password: Typed(password) })?;
            Ok((format!("password of {} changed; all their sessions have ended", described(&found)), now))
        })
    }

    pub(super) fn delete(&self, yes: bool) -> Result<(), CommandError> {
        let question = format!("Delete the user {} for good?", self.user);
        let answer = || if yes { Ok(()) } else { confirm(&question) };
        self.change_after(answer, |socket, found, ()| {
            socket.ask(DeleteUser { id: found.id })?;
            Ok((format!("{} deleted", described(&found)), found))
        })
    }

    pub(super) fn end_sessions(&self) -> Result<(), CommandError> {
        self.change(|socket, found| {
            let now = socket.ask(EndSessions { id: found.id })?;
            Ok((format!("all sessions of {} have ended", described(&found)), now))
        })
    }

    /// Makes a change after which the user is `state`; where they were so before, says `unchanged` as well.
    fn update(
        &self,
        role: Option<Role>,
        disabled: Option<bool>,
        state: &str,
        unchanged: &str,
    ) -> Result<(), CommandError> {
        self.change(|socket, found| {
            let now = socket.ask(UpdateUser { id: found.id, role, disabled })?;
            let is_same = (now.role, now.disabled) == (found.role, found.disabled);
            let (since, more) = if is_same { ("already", unchanged) } else { ("now", "") };
            Ok((format!("{} is {since} {state}{more}", described(&found)), now))
        })
    }

    /// Finds the user and lets `act` change them. Prints what it says, or as JSON the user whom it answers.
    fn change(
        &self,
        act: impl FnOnce(&mut AdminSocket<'_>, UserShown) -> Result<(String, UserShown), CommandError>,
    ) -> Result<(), CommandError> {
        self.with_socket(|socket| {
            let found = self.user.find(socket)?;
            act(socket, found)
        })
    }

    /// Like `change`, with what `ask` asks the operator first. Other commands can use the store meanwhile, so only a
    /// running server can tell before that there is no such user.
    fn change_after<T>(
        &self,
        ask: impl FnOnce() -> Result<T, CommandError>,
        act: impl FnOnce(&mut AdminSocket<'_>, UserShown, T) -> Result<(String, UserShown), CommandError>,
    ) -> Result<(), CommandError> {
        self.with_socket(|socket| {
            if socket.is_served() {
                self.user.find(socket)?;
            }
            let answer = ask()?;
            let found = self.user.find(socket)?;
            act(socket, found, answer)
        })
    }

    fn with_socket(
        &self,
        act: impl FnOnce(&mut AdminSocket<'_>) -> Result<(String, UserShown), CommandError>,
    ) -> Result<(), CommandError> {
        let settings = Settings::from_environment(&self.data)?;
        let (said, user) =
            with_socket(&settings, Access::Change, act).map_err(|error| self.user.missing(error))?;
        self.output.print(&user, |_| said)
    }
}
