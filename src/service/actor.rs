//! Actors, and proofs of what they may do, which only this file makes.
//!
//! A proof holds for the moment when the request came in, and carries the [`Authority`] by which the store decides again
//! when it writes. `--dev` opens the functions that take a [`Visitor`], and no function that takes an [`Actor`].

use crate::audit::By;
use crate::domain::user::{Role, User, UserId};
use crate::store::Authority;
use crate::token::{Access, TokenRefusal};

use super::Refusal;

/// An identified actor.
#[derive(Debug)]
pub enum Actor {
    /// A user with a valid access token.
    Caller(Caller),
    /// The owner of the data directory: may do everything.
    Operator,
}

/// An actor, or anyone under `--dev`.
#[derive(Debug)]
pub enum Visitor {
    /// An actor who does not need `--dev`.
    Known(Actor),
    /// Anyone, under `--dev`.
    Anyone,
}

/// The owner of the data directory, for what only they may do.
#[derive(Clone, Copy, Debug)]
pub struct Operator;

/// A user with a valid access token.
#[derive(Debug)]
pub struct Caller {
    /// The user when the request came in.
    pub user: User,
    /// The content of the token.
    pub access: Access,
}

/// Who makes a change: for the audit log, and for the store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Warrant {
    pub(super) by: By,
    pub(super) authority: Authority,
}

/// Proof that the actor may change other users: an administrator with a fresh token, or the operator.
#[derive(Clone, Copy, Debug)]
pub struct FreshAdmin {
    warrant: Warrant,
    /// The user who acts, if it is one.
    user: Option<UserId>,
}

/// Proof that the actor may delete this user and revoke their sessions: the user or an administrator, with a fresh
/// token; or the operator.
#[derive(Clone, Copy, Debug)]
pub(super) struct FreshTarget {
    pub(super) id: UserId,
    pub(super) warrant: Warrant,
}

/// Proof that the actor may see all users.
#[derive(Clone, Copy, Debug)]
pub struct Overview(());

impl Warrant {
    /// For a registration: it is open by the settings, and no change of the store closes it.
    pub(super) fn registration() -> Self {
        Self::standing(By::Themselves)
    }

    /// For the first administrator.
    pub(super) fn settings() -> Self {
        Self::standing(By::Settings)
    }

    #[allow(clippy::disallowed_methods)] // the one place that may
    fn standing(by: By) -> Self {
        Self { by, authority: Authority::standing() }
    }
}

impl Operator {
    pub(super) fn warrant(self) -> Warrant {
        Warrant::standing(By::Operator)
    }
}

impl Caller {
    pub(super) fn warrant(&self) -> Warrant {
        let authority = Authority::of_session(self.user.id, self.access.session);
        Warrant { by: By::User(self.user.id), authority }
    }

    /// Refuses all but administrators, by the store's record and not by the token's claim.
    pub(super) fn admin(&self) -> Result<(), Refusal> {
        match self.user.role {
            Role::Admin => Ok(()),
            Role::User => Err(Refusal::Forbidden),
        }
    }

    /// Refuses a token that was not made straight after a password check.
    pub(super) fn fresh(&self) -> Result<(), Refusal> {
        if self.access.fresh { Ok(()) } else { Err(TokenRefusal::NotFresh.into()) }
    }
}

impl FreshAdmin {
    pub(super) fn warrant(self) -> Warrant {
        self.warrant
    }

    /// The user `id`, or the administrator if it is `None`.
    pub(super) fn target(self, id: Option<UserId>) -> Result<UserId, Refusal> {
        id.or(self.user).ok_or(Refusal::NotFound)
    }
}

impl Actor {
    fn warrant(&self) -> Warrant {
        match self {
            Self::Caller(caller) => caller.warrant(),
            Self::Operator => Operator.warrant(),
        }
    }

    /// The user who acts, if it is one.
    pub(super) fn user(&self) -> Option<&User> {
        match self {
            Self::Caller(caller) => Some(&caller.user),
            Self::Operator => None,
        }
    }

    fn own_or_admin(&self, id: UserId) -> Result<(), Refusal> {
        match self {
            Self::Caller(caller) if caller.user.id == id => Ok(()),
            Self::Caller(caller) => caller.admin(),
            Self::Operator => Ok(()),
        }
    }

    fn fresh(&self) -> Result<(), Refusal> {
        match self {
            Self::Caller(caller) => caller.fresh(),
            Self::Operator => Ok(()),
        }
    }

    /// The user `id`, or the actor if it is `None`; only if the actor may see them.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] for an actor that is no user.
    pub(super) fn sees(&self, id: Option<UserId>) -> Result<UserId, Refusal> {
        let id = id.or_else(|| self.user().map(|user| user.id)).ok_or(Refusal::NotFound)?;
        self.own_or_admin(id)?;
        Ok(id)
    }

    /// Checks the role first: a fresh login would not help.
    pub(super) fn fresh_admin(&self) -> Result<FreshAdmin, Refusal> {
        if let Self::Caller(caller) = self {
            caller.admin()?;
        }
        self.fresh()?;
        Ok(FreshAdmin { warrant: self.warrant(), user: self.user().map(|user| user.id) })
    }

    /// The user `id`, or the actor if it is `None`.
    pub(super) fn fresh_target(&self, id: Option<UserId>) -> Result<FreshTarget, Refusal> {
        let id = self.sees(id)?;
        self.fresh()?;
        Ok(FreshTarget { id, warrant: self.warrant() })
    }
}

impl From<Actor> for Visitor {
    fn from(actor: Actor) -> Self {
        Self::Known(actor)
    }
}

impl Visitor {
    /// The user who visits, if it is one.
    pub(super) fn user(&self) -> Option<&User> {
        match self {
            Self::Known(actor) => actor.user(),
            Self::Anyone => None,
        }
    }

    pub(super) fn sees(&self, id: Option<UserId>) -> Result<UserId, Refusal> {
        match self {
            Self::Known(actor) => actor.sees(id),
            Self::Anyone => id.ok_or(Refusal::NotFound),
        }
    }

    /// `--dev` is a setting: no change of the store takes its rights away.
    pub(super) fn fresh_target(&self, id: Option<UserId>) -> Result<FreshTarget, Refusal> {
        match self {
            Self::Known(actor) => actor.fresh_target(id),
            Self::Anyone => Ok(FreshTarget { id: self.sees(id)?, warrant: Warrant::standing(By::Anyone) }),
        }
    }

    /// Whether the visitor may see all users.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`].
    pub fn overview(&self) -> Result<Overview, Refusal> {
        match self {
            Self::Known(Actor::Caller(caller)) => caller.admin()?,
            Self::Known(Actor::Operator) | Self::Anyone => {}
        }
        Ok(Overview(()))
    }
}
