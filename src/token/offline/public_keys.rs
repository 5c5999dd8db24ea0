//! Public keys as others read them.

use std::str::FromStr;

use pasetors::keys::AsymmetricPublicKey;
use pasetors::version4::V4;
use serde::Deserialize;
use thiserror::Error;

use crate::domain::clock::Timestamp;
use crate::domain::key::KeyId;
use crate::token::keys::public_id;

/// Public keys, read from the published key set or from lines of `k4.public.…`.
#[derive(Debug)]
pub struct PublicKeys(pub(super) Vec<PublicKey>);

#[derive(Debug)]
pub(super) struct PublicKey {
    pub(super) id: KeyId,
    pub(super) key: AsymmetricPublicKey<V4>,
    pub(super) not_after: Option<Timestamp>,
}

/// Why a text is not a set of public keys.
#[derive(Debug, Error)]
pub enum MalformedKeys {
    /// It is neither a key set nor lines of keys.
    #[error(
        "neither {{\"keys\":[{{\"kid\":…,\"public_key\":\"k4.public.…\"}}]}} nor a k4.public.… on each line"
    )]
    Format,
    /// This entry, counted from one, is not a `k4.public.…`.
    #[error("key {0} is no k4.public.…")]
    Key(usize),
    /// This entry, counted from one, holds another key than its `kid` names.
    #[error("key {0} is not the one that its kid names")]
    Id(usize),
    /// It has no keys.
    #[error("there is no key in it")]
    Empty,
}

/// A published key set. Further members, such as `state`, are ignored.
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<KeyEntry>,
}

#[derive(Deserialize)]
struct KeyEntry {
    kid: Option<String>,
    public_key: String,
    not_after: Option<Timestamp>,
}

impl FromStr for PublicKeys {
    type Err = MalformedKeys;

    fn from_str(text: &str) -> Result<Self, MalformedKeys> {
        let text = text.trim();
        let entries = if text.starts_with('{') {
            serde_json::from_str::<KeySet>(text).map_err(|_| MalformedKeys::Format)?.keys
        } else {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            lines.map(|line| KeyEntry { kid: None, public_key: line.to_owned(), not_after: None }).collect()
        };
        if entries.is_empty() {
            return Err(MalformedKeys::Empty);
        }
        let keys = (1..).zip(entries).map(|(place, entry)| PublicKey::read(place, entry));
        keys.collect::<Result<_, _>>().map(Self)
    }
}

impl PublicKeys {
    pub(in crate::token) fn named(&self, id: &KeyId) -> Option<&AsymmetricPublicKey<V4>> {
        self.0.iter().find(|key| key.id == *id).map(|key| &key.key)
    }
}

impl PublicKey {
    fn read(place: usize, entry: KeyEntry) -> Result<Self, MalformedKeys> {
        let key = AsymmetricPublicKey::try_from(entry.public_key.as_str());
        let key = key.map_err(|_| MalformedKeys::Key(place))?;
        let id = public_id(&key).map_err(|_| MalformedKeys::Key(place))?;
        match entry.kid {
            Some(kid) if kid != id.as_str() => Err(MalformedKeys::Id(place)),
            _ => Ok(Self { id, key, not_after: entry.not_after }),
        }
    }
}
