//! Who acts, and what they may do.

use crate::audit::By;
use crate::token::{Access, TokenRefusal};
use crate::user::{Role, User, UserId};

use super::Refusal;

/// Whoever asks for something that not everybody may have.
#[derive(Debug)]
pub enum Actor {
    /// Somebody with a good access token.
    Caller(Caller),
    /// Whoever can reach the data directory: may do everything.
    Console,
    /// Whoever knocks under `--dev`.
    Anyone,
}

/// Somebody with a good access token.
#[derive(Debug)]
pub struct Caller {
    /// As the store knows them now.
    pub user: User,
    /// What the token says.
    pub access: Access,
}

impl Caller {
    /// Refuses whoever is no administrator, by the store's word, not by the token's.
    pub(super) fn admin(&self) -> Result<(), Refusal> {
        match self.user.role {
            Role::Admin => Ok(()),
            Role::User => Err(Refusal::Forbidden),
        }
    }

    /// Refuses a token that was not made straight after a password check.
    pub(super) fn fresh(&self) -> Result<(), TokenRefusal> {
        if self.access.fresh { Ok(()) } else { Err(TokenRefusal::NotFresh) }
    }
}

/// Proof that whoever acts may change others.
#[derive(Clone, Copy, Debug)]
pub struct FreshAdmin<'a>(pub(super) &'a Actor);

impl FreshAdmin<'_> {
    /// For the audit log.
    pub(super) fn by(self) -> By {
        self.0.by()
    }
}

impl Actor {
    /// The user who acts, if it is one.
    pub fn user(&self) -> Option<&User> {
        match self {
            Self::Caller(caller) => Some(&caller.user),
            Self::Console | Self::Anyone => None,
        }
    }

    /// Whether this is the very user.
    pub fn is(&self, id: UserId) -> bool {
        self.user().is_some_and(|user| user.id == id)
    }

    /// The user that is meant: `id`, or the actor's own where it is `None`.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] for an actor that is no user.
    pub fn target(&self, id: Option<UserId>) -> Result<UserId, Refusal> {
        id.or_else(|| self.user().map(|user| user.id)).ok_or(Refusal::NotFound)
    }

    /// Refuses whoever is neither that user nor an administrator.
    pub(super) fn own_or_admin(&self, id: UserId) -> Result<(), Refusal> {
        if self.is(id) { Ok(()) } else { self.admin() }
    }

    /// Refuses whoever is no administrator.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`].
    pub fn admin(&self) -> Result<(), Refusal> {
        match self {
            Self::Caller(caller) => caller.admin(),
            Self::Console | Self::Anyone => Ok(()),
        }
    }

    /// Refuses a token that was not made straight after a password check.
    pub(super) fn fresh(&self) -> Result<(), TokenRefusal> {
        match self {
            Self::Caller(caller) => caller.fresh(),
            Self::Console | Self::Anyone => Ok(()),
        }
    }

    /// For the audit log.
    pub(super) fn by(&self) -> By {
        match self {
            Self::Caller(caller) => By::User(caller.user.id),
            Self::Console => By::Console,
            Self::Anyone => By::Anyone,
        }
    }
}
