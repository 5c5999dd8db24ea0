//! Users who come from elsewhere, and who go elsewhere: with the hashes of their passwords.

use std::sync::Arc;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use crate::audit::{Event, Origin};
use crate::domain::clock::Timestamp;
use crate::domain::user::{Role, User, UserId, Username};
use crate::logging;
use crate::password::{Fit, PasswordHash};
use crate::store::NewUser;

use super::actor::Warrant;
use super::{Console, Refusal, Service};

/// A user of another service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newcomer {
    /// Their name there.
    pub name: Username,
    /// Of the password that they have there.
    pub hash: PasswordHash,
    /// What they may do here.
    pub role: Role,
    /// Kept, but may not log in.
    pub disabled: bool,
}

/// What became of a newcomer, or would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// Added.
    Added,
    /// Somebody of that name is there, with the same hash, role and state: added before.
    Present,
    /// Somebody of that name is there, with the same hash and another role or state, and was left alone: changed here or
    /// there since they were added.
    Altered,
    /// Somebody of that name is there, with another hash, and was left alone: somebody else, or somebody who has logged
    /// in since they were added.
    Taken,
    /// There is not the memory to check a password against the hash.
    TooLarge,
    /// A check of a password against the hash would take this machine too long for a login.
    TooSlow,
    /// Nobody has this name, and no new user can have one like it.
    NoName,
    /// Nobody has this name, and it is not free: a deleted user had it not long ago, or several users have names of its
    /// fold.
    Kept,
}

/// When users arrive, and whether they are added.
#[derive(Clone, Copy)]
enum Moment {
    Apply(Timestamp),
    Rehearse(Timestamp),
}

impl Service {
    /// Adds those whose names are free, in this order; without `apply`, answers what would become of them. Those that were
    /// added stay so if others fail.
    ///
    /// # Errors
    /// [`Refusal`], the first.
    pub async fn import_users(
        &self,
        origin: &Arc<Origin>,
        console: Console,
        users: Vec<Newcomer>,
        apply: bool,
    ) -> Result<Vec<Arrival>, Refusal> {
        let moment =
            if apply { Moment::Apply(self.clock.now()?) } else { Moment::Rehearse(self.clock.now_or_mark()) };
        // A million lines in a minute are more than logs are made for; none of them may get lost.
        logging::room_for(users.len()).await;
        let mut fits = Vec::with_capacity(users.len());
        for user in &users {
            fits.push(self.hashes.fit(&user.hash).await);
        }
        self.see_through(origin, async move |service, origin| {
            // At once, so that they share a sync; all to their end, so that each has its line in the audit log.
            let arrivals = users.iter().zip(fits).map(async |(user, fits)| match fits {
                Fit::Fits => service.arrive(&origin, console.warrant(), user, moment).await,
                Fit::TooLarge => Ok(Arrival::TooLarge),
                Fit::TooSlow => Ok(Arrival::TooSlow),
            });
            join_all(arrivals).await.into_iter().collect()
        })
        .await
    }

    /// Up to `limit` users in order of creation, from the one created next after `after`, with their hashes.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn export_users(
        &self,
        origin: &Origin,
        console: Console,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<(User, PasswordHash)>, Refusal> {
        if after.is_none() {
            self.audit.record(origin, Event::Exported(console.warrant().by));
        }
        Ok(self.store.users_with_hashes_after(after, limit).await?)
    }

    /// Adds a user unless it is a rehearsal, and answers what became of them, or would.
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
                self.audit.record(origin, Event::Registered(by, &added));
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

    /// How many users there are.
    pub fn user_count(&self) -> u64 {
        self.store.user_count()
    }
}
