//! Passwords hashed and checked for clients, and guesses throttled.

use std::sync::Arc;

use crate::audit::{Event, Origin};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::session::SessionId;
use crate::domain::user::{User, UserId, Usernames};
use crate::password::{Checked, Fit, HashPool, Password, PasswordHash, Requester};
use crate::throttle::Throttle;

use super::Refusal;
use super::changes::Changes;

#[derive(Clone)]
pub(super) struct Passwords {
    pub(super) hashes: Arc<HashPool>,
    pub(super) throttle: Arc<Throttle>,
    pub(super) usernames: Usernames,
    pub(super) changes: Changes,
    pub(super) clock: Arc<Clock>,
}

impl Passwords {
    /// Hashes a new password on behalf of `account`, which the client has proven to hold.
    pub(super) async fn hash(
        &self,
        origin: &Origin,
        account: Option<UserId>,
        password: Password,
    ) -> Result<PasswordHash, Refusal> {
        Ok(self.hashes.hash(requester(origin, account, account.is_some()), password).await?)
    }

    pub(super) async fn fit(&self, hash: &PasswordHash) -> Fit {
        self.hashes.fit(hash).await
    }

    /// Checks one guess at the password of `name`, which stands for all its spellings, at a login or within a `session`.
    /// Throttling decides before anything is hashed.
    ///
    /// # Errors
    /// [`Refusal::Throttled`]; or the hash cannot be computed, which costs no guess.
    pub(super) async fn check(
        &self,
        origin: &Origin,
        name: &str,
        account: Option<UserId>,
        session: Option<SessionId>,
        password: Password,
        hash: Option<PasswordHash>,
    ) -> Result<Checked, Refusal> {
        let now = self.clock.now()?;
        let attempt = match session {
            None => self.throttle.login(origin.address(), name, now),
            Some(session) => self.throttle.password_change(origin.address(), name, session, now),
        };
        let attempt = attempt.map_err(|throttled| {
            self.changes.record(origin, Event::LoginThrottled(throttled.by));
            Refusal::Throttled(throttled)
        })?;
        let requester = requester(origin, account, attempt.is_by_a_known_client());
        match self.hashes.check(requester, password, hash).await {
            Ok(Checked::Wrong) => {
                attempt.failed();
                Ok(Checked::Wrong)
            }
            Ok(right) => {
                attempt.succeeded(now);
                Ok(right)
            }
            Err(error) => {
                attempt.withdrawn();
                Err(error.into())
            }
        }
    }

    /// Makes the client's network known to the user's account.
    pub(super) fn seen(&self, origin: &Origin, user: &User, now: Timestamp) {
        self.throttle.seen(origin.address(), &self.usernames.guessed_name(&user.name), now);
    }

    /// Forgives the user's failed logins. Answers whether there were any.
    pub(super) fn forgive(&self, user: &User) -> bool {
        self.throttle.forgive(&self.usernames.guessed_name(&user.name), self.clock.now_or_mark())
    }
}

/// Who asks for a hash on behalf of `account`. `known`: the client has logged in to it before.
fn requester(origin: &Origin, account: Option<UserId>, known: bool) -> Requester {
    origin.network().map_or(Requester::Local, |network| Requester::Client { network, account, known })
}
