//! The keys in use: of each kind one that makes new tokens, and any number that still check old ones.
//!
//! The store records which keys are required. A recorded key that is missing or damaged stops the start: a
//! new key in its place would silently invalidate every session and break every service that checks tokens
//! offline.
//!
//! A ring is immutable. Rotation and pruning make a new ring that shares the keys.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Lifetimes;
use super::key_files::{self, KeyError};
use super::keys::{EncryptingKey, Key, SigningKey};
use super::verified::LEEWAY;
use crate::domain::clock::Timestamp;
use crate::domain::key::{KeyId, KeyKind, KeyRecord, KeyState};
use crate::durable_file;

/// How long a retired key is kept after its last token has expired: the verifiers' leeway, and a minute for
/// requests that took the old ring just before the switch.
const MARGIN: Duration = LEEWAY.saturating_add(Duration::from_secs(60));

/// The policy for missing keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostKeys {
    /// Refuse: sessions depend on them.
    Refuse,
    /// Generate new ones: there are no users yet, or the operator asked for it.
    Replace,
}

/// A published public key, with which others check tokens offline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedKey {
    /// The id that tokens carry in their footer.
    pub id: KeyId,
    /// When the last token made with it has expired.
    pub not_after: Option<Timestamp>,
    /// The key: `k4.public.…`.
    pub paserk: String,
    /// The key's stage.
    pub state: KeyState,
}

/// All keys that make or check tokens.
pub struct KeyRing {
    signing: KindKeys<SigningKey>,
    encrypting: KindKeys<EncryptingKey>,
    lifetimes: Lifetimes,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.records()).finish()
    }
}

impl KeyRing {
    /// Reads the recorded keys from `dir`. If `lost` allows it, missing keys are generated; the active keys'
    /// longest lifetimes grow to `lifetimes`. If [`KeyRing::records`] differs from `remembered` after that,
    /// it must be recorded before a token is issued, followed by [`key_files::settle`].
    ///
    /// A key that expired by `now` may be missing. Unknown files stay, with a warning each. Blocks on the
    /// disk.
    ///
    /// # Errors
    /// [`KeyError`]: the server must not start.
    pub fn open(
        dir: &Path,
        remembered: &[KeyRecord],
        lost: LostKeys,
        lifetimes: Lifetimes,
        now: Timestamp,
    ) -> Result<Self, KeyError> {
        durable_file::create_dir(dir).map_err(|error| KeyError::Io(dir.into(), error))?;
        let names = key_files::names(dir)?;
        for name in key_files::strange(&names, remembered).filter(|name| !key_files::is_unsettled(name)) {
            log::warn!("{} is no key in use; it is left alone", dir.join(name).display());
        }
        Ok(Self {
            signing: KindKeys::open(dir, remembered, lost, lifetimes.access, now)?,
            encrypting: KindKeys::open(dir, remembered, lost, lifetimes.refresh, now)?,
            lifetimes,
        })
    }

    /// Checks the files in `dir` against the recorded keys: returns the problems, and the names of unknown
    /// files. Blocks on the disk.
    ///
    /// # Errors
    /// [`KeyError`]: the folder cannot be read.
    pub fn check_files(
        dir: &Path,
        remembered: &[KeyRecord],
        now: Timestamp,
    ) -> Result<(Vec<KeyError>, Vec<String>), KeyError> {
        let names = key_files::names(dir)?;
        let strange = key_files::strange(&names, remembered).map(|name| name.to_string_lossy().into_owned());
        let needed = remembered.iter().filter(|record| record.not_after.is_none_or(|moment| now < moment));
        let wrong = needed.filter_map(|KeyRecord { id, .. }| match id.kind() {
            KeyKind::Signing => key_files::read::<SigningKey>(dir, id).err(),
            KeyKind::Encrypting => key_files::read::<EncryptingKey>(dir, id).err(),
        });
        Ok((wrong.collect(), strange.collect()))
    }

    /// The records of all keys: of each kind the active one first, then the retiring ones, latest first.
    pub fn records(&self) -> Vec<KeyRecord> {
        self.signing.all().map(HeldKey::record).chain(self.encrypting.all().map(HeldKey::record)).collect()
    }

    /// The public keys that check tokens, the active one first.
    pub fn published(&self) -> Vec<PublishedKey> {
        self.signing.all().map(HeldKey::published).collect()
    }

    /// The public half of the signing key.
    pub fn signer(&self) -> PublishedKey {
        self.signing.active.published()
    }

    /// A ring with a new key of each kind, synced to `dir`; the active keys retire at `now`. Its records must
    /// be recorded before it is used. Blocks on the disk.
    ///
    /// # Errors
    /// [`KeyError`]; this ring stays valid. [`key_files::settle`] with its records removes the new files.
    pub fn rotated(&self, dir: &Path, now: Timestamp) -> Result<Self, KeyError> {
        Ok(Self {
            signing: self.signing.rotated(key_files::generate(dir)?, self.lifetimes.access, now),
            encrypting: self.encrypting.rotated(key_files::generate(dir)?, self.lifetimes.refresh, now),
            lifetimes: self.lifetimes,
        })
    }

    /// A ring without the keys whose last token expired by `now`, and the ids of those. Before the new
    /// records are written, their files are set aside; after that, they are removed:
    /// [`key_files::set_aside`], [`key_files::settle`].
    pub fn pruned(&self, now: Timestamp) -> (Self, Vec<KeyId>) {
        self.keeping(|not_after| not_after.is_none_or(|moment| now < moment))
    }

    /// A ring without retiring keys, for stolen keys: all tokens made with those are refused.
    pub fn only_active(&self) -> (Self, Vec<KeyId>) {
        self.keeping(|_| false)
    }

    fn keeping(&self, keep: impl Fn(Option<Timestamp>) -> bool) -> (Self, Vec<KeyId>) {
        let mut gone = Vec::new();
        let ring = Self {
            signing: self.signing.keeping(&keep, &mut gone),
            encrypting: self.encrypting.keeping(&keep, &mut gone),
            lifetimes: self.lifetimes,
        };
        (ring, gone)
    }

    pub(super) fn lacks_any_of(&self, other: &Self) -> bool {
        let ids = |ring: &Self| ring.records().into_iter().map(|record| record.id).collect::<HashSet<_>>();
        !ids(other).is_subset(&ids(self))
    }

    pub(super) fn signing(&self) -> &SigningKey {
        &self.signing.active.key
    }

    pub(super) fn encrypting(&self) -> &EncryptingKey {
        &self.encrypting.active.key
    }

    /// The key whose tokens carry the encoded `footer`.
    pub(super) fn verifying(&self, footer: &str) -> Option<&SigningKey> {
        self.signing.under(footer)
    }

    /// The key whose tokens carry the encoded `footer`.
    pub(super) fn decrypting(&self, footer: &str) -> Option<&EncryptingKey> {
        self.encrypting.under(footer)
    }
}

/// A key with the contents of its record.
struct HeldKey<K> {
    key: Arc<K>,
    longest: Duration,
    not_after: Option<Timestamp>,
}

impl<K> Clone for HeldKey<K> {
    fn clone(&self) -> Self {
        Self { key: Arc::clone(&self.key), ..*self }
    }
}

impl<K: Key> HeldKey<K> {
    fn record(&self) -> KeyRecord {
        KeyRecord { id: self.key.id().clone(), longest: self.longest, not_after: self.not_after }
    }

    /// The key as it retires at `now`. A key that is retired already is unchanged.
    fn retired(&self, now: Timestamp) -> Self {
        let over = || now.after(self.longest).after(MARGIN).whole_seconds();
        Self { not_after: Some(self.not_after.unwrap_or_else(over)), ..self.clone() }
    }
}

impl HeldKey<SigningKey> {
    fn published(&self) -> PublishedKey {
        let record = self.record();
        PublishedKey {
            paserk: self.key.public_paserk().to_owned(),
            state: record.state(),
            not_after: record.not_after,
            id: record.id,
        }
    }
}

/// The keys of one kind.
struct KindKeys<K> {
    active: HeldKey<K>,
    retiring: Vec<HeldKey<K>>,
}

impl<K: Key> KindKeys<K> {
    fn open(
        dir: &Path,
        records: &[KeyRecord],
        lost: LostKeys,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Self, KeyError> {
        let mut all = Vec::new();
        for record in records.iter().filter(|record| record.id.kind() == K::KIND) {
            let over = record.not_after.is_some_and(|moment| moment <= now);
            let key = match key_files::read(dir, &record.id) {
                Ok(key) => Arc::new(key),
                Err(KeyError::Missing(_) | KeyError::Damaged(_)) if over => continue,
                Err(KeyError::Missing(path) | KeyError::Damaged(path)) if lost == LostKeys::Replace => {
                    let path = path.display();
                    match record.not_after {
                        None => log::warn!("the key file {path} is lost and will be replaced"),
                        Some(_) => log::warn!("the key file {path} is lost: tokens made with it are refused"),
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            all.push(HeldKey { key, longest: record.longest, not_after: record.not_after });
        }
        let mut active = match all.iter().position(|held| held.not_after.is_none()) {
            Some(place) => all.remove(place),
            None if lost == LostKeys::Replace => HeldKey::new(key_files::generate(dir)?, lifetime),
            None => return Err(KeyError::Missing(dir.join(format!("{}*", K::KIND.prefix())))),
        };
        active.longest = active.longest.max(lifetime);
        // An interrupted start can leave further active keys; they retire now.
        let retired = |held: HeldKey<K>| HeldKey { longest: held.longest.max(lifetime), ..held }.retired(now);
        Ok(Self { active, retiring: latest_first(all.into_iter().map(retired).collect()) })
    }

    fn all(&self) -> impl Iterator<Item = &HeldKey<K>> {
        std::iter::once(&self.active).chain(&self.retiring)
    }

    fn rotated(&self, new: K, lifetime: Duration, now: Timestamp) -> Self {
        Self {
            active: HeldKey::new(new, lifetime),
            retiring: latest_first(self.all().map(|held| held.retired(now)).collect()),
        }
    }

    /// Without the retiring keys that `keep` rejects; their ids go to `gone`.
    fn keeping(&self, keep: impl Fn(Option<Timestamp>) -> bool, gone: &mut Vec<KeyId>) -> Self {
        let (kept, dropped): (Vec<_>, Vec<_>) =
            self.retiring.iter().cloned().partition(|held| keep(held.not_after));
        gone.extend(dropped.iter().map(|held| held.key.id().clone()));
        Self { active: self.active.clone(), retiring: kept }
    }

    /// Searches from the latest on: nearly all tokens use the first keys, and even a hundred comparisons cost
    /// little beside a signature check.
    fn under(&self, footer: &str) -> Option<&K> {
        self.all().map(|held| &*held.key).find(|key| key.footer().text() == footer)
    }
}

/// A fixed order: the published keys must not look changed after a restart.
fn latest_first<K: Key>(mut retiring: Vec<HeldKey<K>>) -> Vec<HeldKey<K>> {
    retiring.sort_by(|a, b| b.not_after.cmp(&a.not_after).then_with(|| a.key.id().cmp(b.key.id())));
    retiring
}

impl<K> HeldKey<K> {
    fn new(key: K, longest: Duration) -> Self {
        Self { key: Arc::new(key), longest, not_after: None }
    }
}

#[cfg(test)]
impl KeyRing {
    pub(super) fn for_tests() -> Self {
        let lifetimes =
            Lifetimes { access: Duration::from_secs(900), refresh: Duration::from_secs(30 * 24 * 3600) };
        Self {
            signing: KindKeys {
                active: HeldKey::new(SigningKey::generate().unwrap(), lifetimes.access),
                retiring: Vec::new(),
            },
            encrypting: KindKeys {
                active: HeldKey::new(EncryptingKey::generate().unwrap(), lifetimes.refresh),
                retiring: Vec::new(),
            },
            lifetimes,
        }
    }

    pub(super) fn add_signing(&mut self, key: SigningKey) {
        self.signing.retiring.push(HeldKey::new(key, Duration::ZERO));
    }

    pub(super) fn add_encrypting(&mut self, key: EncryptingKey) {
        self.encrypting.retiring.push(HeldKey::new(key, Duration::ZERO));
    }
}

#[cfg(test)]
mod tests;
