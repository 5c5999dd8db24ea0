//! Records as they lie on disk, for `fuzz/`.

use super::error::StoreError;
use super::record::{self, RotationRecord};
use crate::domain::key::{KeyId, KeyRecord};
use crate::domain::user::{User, UserId};
use crate::password::PasswordHash;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Under the user's id.
    User(User, PasswordHash),
    /// Under the key's id.
    Key(KeyRecord),
    /// Under a session's id.
    Rotation {
        /// The refresh token that is good.
        current: [u8; 16],
        /// When it was made.
        issued_at_millis: u64,
        /// Those before it, and when each was replaced.
        retired: Vec<([u8; 16], u64)>,
    },
}

impl Record {
    /// Reads a user.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn user(id: UserId, bytes: &[u8]) -> Result<Self, StoreError> {
        let (user, hash) = record::decode_user_with_hash(id, bytes)?;
        Ok(Self::User(user, hash))
    }

    /// Reads a key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn key(id: &KeyId, bytes: &[u8]) -> Result<Self, StoreError> {
        record::decode_key(id.as_str().as_bytes(), bytes).map(Self::Key)
    }

    /// Reads a rotation.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rotation(bytes: &[u8]) -> Result<Self, StoreError> {
        let RotationRecord { current, issued_at_millis, retired } = record::decode_rotation(bytes)?;
        Ok(Self::Rotation { current, issued_at_millis, retired })
    }

    /// The bytes that are stored.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn encode(&self) -> Result<Vec<u8>, StoreError> {
        match self {
            Self::User(user, hash) => record::encode_user(user, hash),
            Self::Key(key) => record::encode_key(key),
            Self::Rotation { current, issued_at_millis, retired } => {
                record::encode_rotation(&RotationRecord {
                    current: *current,
                    issued_at_millis: *issued_at_millis,
                    retired: retired.clone(),
                })
            }
        }
    }
}
