//! The claims of tokens, as JSON. Every claim is required; unknown ones are ignored, so that an older server
//! reads a newer one's tokens.

use std::borrow::Cow;

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::IssueError;
use crate::domain::clock::Timestamp;
use crate::domain::session::{SessionId, TokenId};
use crate::domain::user::{Role, UserId};

/// The claims of an access token.
#[derive(Serialize, Deserialize)]
pub(super) struct AccessPayload<'a> {
    #[serde(borrow)]
    pub(super) iss: Cow<'a, str>,
    pub(super) sub: UserId,
    pub(super) sid: SessionId,
    pub(super) jti: TokenId,
    pub(super) typ: Access,
    pub(super) fresh: bool,
    pub(super) role: Role,
    pub(super) iat: Timestamp,
    pub(super) nbf: Timestamp,
    pub(super) exp: Timestamp,
    pub(super) auth_time: Timestamp,
}

/// The claims of a refresh token.
#[derive(Serialize, Deserialize)]
pub(super) struct RefreshPayload<'a> {
    #[serde(borrow)]
    pub(super) iss: Cow<'a, str>,
    pub(super) sub: UserId,
    pub(super) sid: SessionId,
    pub(super) jti: TokenId,
    pub(super) typ: Refresh,
    pub(super) iat: Timestamp,
    pub(super) nbf: Timestamp,
    pub(super) exp: Timestamp,
    pub(super) auth_time: Timestamp,
}

pub(super) fn to_json<T: Serialize>(payload: &T) -> Result<Vec<u8>, IssueError> {
    serde_json::to_vec(payload).map_err(|_| IssueError::Encode("claims"))
}

/// A type with a single value, so that the claim `typ` accepts only one text.
macro_rules! kind {
    ($name:ident, $text:literal) => {
        pub(super) struct $name;

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                match &*<Cow<'de, str>>::deserialize(deserializer)? {
                    $text => Ok(Self),
                    other => Err(D::Error::invalid_value(Unexpected::Str(other), &$text)),
                }
            }
        }
    };
}

kind!(Access, "access");
kind!(Refresh, "refresh");
