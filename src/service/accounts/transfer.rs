//! Users imported from other services and exported to them, with their password hashes.

use std::sync::Arc;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use crate::audit::{Event, Origin};
use crate::domain::clock::Timestamp;
use crate::domain::user::{Role, User, UserId, Username};
use crate::logging;
use crate::password::{Fit, PasswordHash};
use crate::store::NewUser;

use super::super::{Operator, Refusal};
use super::{Accounts, Warrant, run};

/// A user of another service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newcomer {
    /// The name there.
    pub name: Username,
    /// The hash of the password there.
    pub hash: PasswordHash,
    /// The role here.
    pub role: Role,
    /// May not log in.
    pub disabled: bool,
}

/// What an import does with a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// Adds the user.
    Added,
    /// Leaves a user of the same name, hash, role and state: an earlier import added them.
    Present,
    /// Leaves a user of the same name and hash, whose role or state has changed here or there since an earlier import.
    Altered,
    /// Leaves a user of the same name and another hash: another person, or one who has logged in since an earlier import.
    Taken,
    /// Refuses: there is not enough memory to check a password against the hash.
    TooLarge,
    /// Refuses: checking a password against the hash takes this machine too long for a login.
    TooSlow,
    /// Refuses: no new user can have this name.
    NoName,
    /// Refuses: no user has the name, but it is not free. A user of that name was deleted recently, or several users have
    /// names of its fold.
    Kept,
}

/// Whether users are added, and when.
#[derive(Clone, Copy)]
enum Moment {
    Apply(Timestamp),
    Rehearse(Timestamp),
}

impl Accounts {
    /// Adds the users whose names are free, in this order; without `apply`, only answers what it would do. If some fail,
    /// the others stay added.
    ///
    /// # Errors
    /// [`Refusal`], the first.
    pub async fn import(
        &self,
        origin: &Arc<Origin>,
        operator: Operator,
        users: Vec<Newcomer>,
        apply: bool,
    ) -> Result<Vec<Arrival>, Refusal> {
        let moment =
            if apply { Moment::Apply(self.clock.now()?) } else { Moment::Rehearse(self.clock.now_or_mark()) };
        // An import makes more audit lines than the log's buffer holds, and none may be dropped.
        logging::room_for(users.len()).await;
        let mut fits = Vec::with_capacity(users.len());
        for user in &users {
            fits.push(self.passwords.fit(&user.hash).await);
        }
        run(&self.changes, self, origin, async move |accounts, origin| {
            // All at once, so that they share a sync; all to their end, so that each has its audit line.
            let arrivals = users.iter().zip(fits).map(async |(user, fits)| match fits {
                Fit::Fits => accounts.arrive(&origin, operator.warrant(), user, moment).await,
                Fit::TooLarge => Ok(Arrival::TooLarge),
                Fit::TooSlow => Ok(Arrival::TooSlow),
            });
            join_all(arrivals).await.into_iter().collect()
        })
        .await
    }

    /// Up to `limit` users in order of creation, after the user `after`, with their hashes.
    pub async fn export(
        &self,
        origin: &Origin,
        operator: Operator,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<(User, PasswordHash)>, Refusal> {
        if after.is_none() {
            self.changes.record(origin, Event::Exported(operator.warrant().by));
        }
        Ok(self.store.users_with_hashes_after(after, limit).await?)
    }

    /// Adds a user unless this is a rehearsal, and answers what became of them, or would.
    async fn arrive(
        &self,
        origin: &Origin,
        Warrant { by, authority }: Warrant,
        user: &Newcomer,
        moment: Moment,
    ) -> Result<Arrival, Refusal> {
        let rule = self.rules.usernames;
        let name = rule.new_name(user.name.as_str()).ok();
        if let (Moment::Apply(now), Some(name)) = (moment, &name) {
            let new = NewUser::new(name.clone(), user.role, user.hash.clone(), now)?;
            if let Some(added) = self.store.create_user(authority, new.disabled(user.disabled)).await? {
                self.changes.record(origin, Event::Registered(by, &added));
                return Ok(Arrival::Added);
            }
        }
        let is_there = self.store.user_named(&user.name, rule).await?;
        Ok(match (is_there, name, moment) {
            (Some((_, hash)), ..) if hash != user.hash => Arrival::Taken,
            (Some((found, _)), ..) if (found.role, found.disabled) == (user.role, user.disabled) => {
                Arrival::Present
            }
            (Some(_), ..) => Arrival::Altered,
            (None, None, _) => Arrival::NoName,
            (None, Some(name), Moment::Rehearse(now)) if !self.store.is_taken(&name, now).await? => {
                Arrival::Added
            }
            (None, Some(_), _) => Arrival::Kept,
        })
    }
}
