//! Users who move from another service or to one.

use super::answers::{Context, Serve};
use super::messages::{Export, Exported, Import, ImportRule, MOVED_AT_ONCE, MovedUser, Refused};
use crate::domain::user::{Role, Usernames};
use crate::http::wire;
use crate::password::PasswordHash;
use crate::service::{Arrival, Newcomer, Operator};

impl MovedUser {
    pub(crate) fn new(name: &str, hash: &PasswordHash, role: Role, disabled: bool) -> Self {
        Self { disabled, password_hash: hash.as_str().to_owned(), role, username: name.to_owned() }
    }

    fn newcomer(self) -> Result<Newcomer, Refused> {
        let name = self.username.parse();
        Ok(Newcomer {
            name: name
                .map_err(|error| Refused::input(format!("users: username: {}", wire::name_refused(error))))?,
            hash: PasswordHash::import(self.password_hash)
                .map_err(|error| Refused::input(format!("users: {error}")))?,
            role: self.role,
            disabled: self.disabled,
        })
    }
}

impl Serve for ImportRule {
    async fn serve(self, Context { app, .. }: &Context) -> Result<Usernames, Refused> {
        Ok(app.service.accounts.usernames())
    }
}

impl Serve for Import {
    /// Refuses all users where one is malformed: the command has looked at each already.
    async fn serve(self, Context { origin, app }: &Context) -> Result<Vec<Arrival>, Refused> {
        let users = self.users.into_iter().map(MovedUser::newcomer).collect::<Result<_, _>>()?;
        Ok(app.service.accounts.import(origin, Operator, users, self.apply).await?)
    }
}

impl Serve for Export {
    async fn serve(self, Context { origin, app }: &Context) -> Result<Exported, Refused> {
        let users = app.service.accounts.export(origin, Operator, self.after, MOVED_AT_ONCE).await?;
        // A full page may be followed by an empty one.
        let next = users.last().filter(|_| users.len() == MOVED_AT_ONCE).map(|(user, _)| user.id);
        let moved = users
            .iter()
            .map(|(user, hash)| MovedUser::new(user.name.as_str(), hash, user.role, user.disabled));
        Ok(Exported { next, total: app.service.accounts.count(), users: moved.collect() })
    }
}
