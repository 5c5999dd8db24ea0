//! What commands ask on the admin socket, and what they are answered: the same types at both ends.
//!
//! Commands do not trust the socket, whose directory may belong to another user: an answer has the type that its request
//! names, its texts are [`Visible`], and anything else is not understood. Fields of a later version are ignored: an answer
//! must not hide that a change was made.

use std::net::SocketAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::domain::clock::Timestamp;
use crate::domain::key::{KeyId, KeyState};
use crate::domain::user::{Role, UserId, Usernames};
use crate::service::{Arrival, Verdict};
use crate::visible::{Visible, uncontrolled};

/// How many users one import or one page of an export holds: as many as share a sync of the store.
pub(crate) const MOVED_AT_ONCE: usize = 512;

/// The most bytes of an import: [`MOVED_AT_ONCE`] of the longest names and hashes are 0.9 MB.
pub(super) const IMPORT_MAX: usize = 1 << 20;

/// The most bytes of any other request: a line of 8 KiB from the terminal fits, with each character escaped.
pub(super) const REQUEST_MAX: usize = 64 * 1024;

/// The most bytes of an answer: a page of users with names and hashes at their longest has one and a half million.
pub(super) const ANSWER_MAX: usize = 4 << 20;

/// A request with the answer that belongs to it.
pub(crate) trait Call: Into<Request> {
    /// What a server answers that does not refuse.
    type Answer: Serialize + DeserializeOwned;
}

/// Declares [`Request`], and each of its variants as a [`Call`].
macro_rules! calls {
    ($($call:ident -> $answer:ty;)*) => {
        /// All that can be asked.
        #[derive(Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub(crate) enum Request {
            $($call($call),)*
        }

        $(
            impl Call for $call {
                type Answer = $answer;
            }

            impl From<$call> for Request {
                fn from(call: $call) -> Self {
                    Self::$call(call)
                }
            }
        )*
    };
}

calls! {
    AddUser -> UserShown;
    FindUser -> UserShown;
    ListUsers -> Vec<UserShown>;
    UpdateUser -> UserShown;
    SetPassword -> UserShown;
    EndSessions -> UserShown;
    DeleteUser -> ();
    FreeName -> Freed;
    ListKeys -> Keys;
    RotateKeys -> Keys;
    PruneKeys -> Removed;
    PublishedKeys -> PublicKeys;
    ImportRule -> Usernames;
    Import -> Vec<Arrival>;
    Export -> Exported;
    Backup -> ();
    Verify -> Checks;
    Address -> Option<SocketAddr>;
}

impl Request {
    /// The most bytes that such a request may have.
    pub(super) fn max(&self) -> usize {
        if matches!(self, Self::Import(_)) { IMPORT_MAX } else { REQUEST_MAX }
    }
}

/// Add a user. The answer shows the new user.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddUser {
    pub(crate) username: String,
    pub(crate) password: Typed,
    pub(crate) role: Role,
}

/// Show a user.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FindUser {
    Id(UserId),
    Name(String),
}

/// Show users in order of creation, from the one created next after `after`. The list ends with an empty page.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListUsers {
    pub(crate) after: Option<UserId>,
}

/// Change role, state or both. The answer shows the user after the change.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateUser {
    pub(crate) id: UserId,
    pub(crate) role: Option<Role>,
    pub(crate) disabled: Option<bool>,
}

/// Set a user's password, which ends all their sessions.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetPassword {
    pub(crate) id: UserId,
    pub(crate) password: Typed,
}

/// End all sessions of a user.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndSessions {
    pub(crate) id: UserId,
}

/// Delete a user.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteUser {
    pub(crate) id: UserId,
}

/// Let new users have a name that a deleted user had.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FreeName {
    pub(crate) username: String,
}

/// List all keys of tokens.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListKeys {}

/// Make new keys; with `revoke`, refuse all tokens of the old ones from now on.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateKeys {
    pub(crate) revoke: bool,
}

/// Remove keys whose last token has expired.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PruneKeys {}

/// List the public keys, as the API publishes them.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublishedKeys {}

/// Tell by which rule an import compares names.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportRule {}

/// Add users of another service, or without `apply` say what would become of them. The answers are in the order of the
/// users.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Import {
    pub(crate) apply: bool,
    pub(crate) users: Vec<MovedUser>,
}

/// Users with their hashes in order of creation, from the one created next after `after`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Export {
    pub(crate) after: Option<UserId>,
}

/// Make a backup. Its lines follow the answer in messages of their own, up to an empty one.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Backup {}

/// Check store and keys.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verify {}

/// Tell where the server listens; nothing if it does not listen yet.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Address {}

/// A password as it was typed. It cannot be printed, and is wiped.
pub(crate) struct Typed(pub(crate) Zeroizing<String>);

impl Serialize for Typed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Typed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Zeroizing::new(String::deserialize(deserializer)?)))
    }
}

/// A user, for the owner of the data directory; as JSON in this order.
#[derive(Serialize, Deserialize)]
pub(crate) struct UserShown {
    pub(crate) created_at: Timestamp,
    pub(crate) disabled: bool,
    pub(crate) id: UserId,
    /// How the password is hashed; lists leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) password_scheme: Option<Visible>,
    pub(crate) role: Role,
    pub(crate) username: Visible,
}

/// Names that new users may have from now on.
#[derive(Serialize, Deserialize)]
pub(crate) struct Freed {
    pub(crate) freed: Vec<Visible>,
}

/// All keys.
#[derive(Serialize, Deserialize)]
pub(crate) struct Keys {
    pub(crate) keys: Vec<Key>,
}

/// A key; as JSON in this order.
#[derive(Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) kid: KeyId,
    pub(crate) not_after: Option<Timestamp>,
    pub(crate) state: KeyState,
    pub(crate) r#use: KeyUse,
}

/// Which tokens a key makes.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum KeyUse {
    #[serde(rename = "access tokens")]
    Access,
    #[serde(rename = "refresh tokens")]
    Refresh,
}

/// Keys that were removed.
#[derive(Serialize, Deserialize)]
pub(crate) struct Removed {
    pub(crate) removed: Vec<KeyId>,
}

/// The keys that check access tokens.
#[derive(Serialize, Deserialize)]
pub(crate) struct PublicKeys {
    pub(crate) keys: Vec<PublicKey>,
}

/// A key as it is published; as JSON in this order.
#[derive(Serialize, Deserialize)]
pub(crate) struct PublicKey {
    pub(crate) kid: KeyId,
    pub(crate) not_after: Option<Timestamp>,
    pub(crate) public_key: Visible,
    pub(crate) state: KeyState,
}

/// A user on the way from or to another service; as JSON in this order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MovedUser {
    pub(crate) disabled: bool,
    #[serde(deserialize_with = "uncontrolled")]
    pub(crate) password_hash: String,
    pub(crate) role: Role,
    #[serde(deserialize_with = "uncontrolled")]
    pub(crate) username: String,
}

/// A page of users.
#[derive(Serialize, Deserialize)]
pub(crate) struct Exported {
    /// `after` for the next page, where there is one.
    pub(crate) next: Option<UserId>,
    /// How many users there are.
    pub(crate) total: u64,
    pub(crate) users: Vec<MovedUser>,
}

/// All that was checked.
#[derive(Serialize, Deserialize)]
pub(crate) struct Checks {
    pub(crate) checks: Vec<Checked>,
}

/// One check; as JSON in this order.
#[derive(Serialize, Deserialize)]
pub(crate) struct Checked {
    pub(crate) check: Visible,
    pub(crate) found: Visible,
    pub(crate) verdict: Verdict,
}

/// Why a request is not granted, for the operator.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Refused {
    #[error("there is no such user")]
    NotFound,
    #[error("A user with that username already exists.")]
    NameTaken,
    /// No user has the name, and it is not free.
    #[error(
        "A user with that username already exists. They were deleted in the last 30 days (`gatelet user free` frees the \
         name), or several users have names like it (`gatelet verify` lists them)."
    )]
    NameKept,
    #[error("The last administrator cannot be demoted, disabled or deleted.")]
    LastAdmin,
    /// The input cannot be used, and why.
    #[error("{0}")]
    Input(Visible),
    #[error("the server does not allow that")]
    Forbidden,
    /// Not now, and why; another try may succeed.
    #[error("{0}")]
    Unavailable(Visible),
    #[error("the server failed: its log says why")]
    Failed,
    /// The server is of another version.
    #[error("the server does not understand the request")]
    NotUnderstood,
}

impl Refused {
    pub(super) fn input(why: impl ToString) -> Self {
        Self::Input(why.to_string().into())
    }
}
