//! The keys that make and check tokens: one file a key, named by the key's PASERK id, holding its PASERK.
//!
//! The name is a hash of the key, so a damaged file gives itself away. Which keys must be there is the
//! store's to remember (a list of ids, the first of each kind makes new tokens, the others still check old
//! ones); a key of that list that is missing or damaged stops the start, because a new one in its place would
//! silently end every session and break every service that checks tokens offline.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ct_codecs::{Base64UrlSafeNoPadding, Encoder};
use pasetors::keys::{AsymmetricKeyPair, AsymmetricPublicKey, AsymmetricSecretKey, Generate, SymmetricKey};
use pasetors::paserk::{FormatAsPaserk, Id};
use pasetors::version4::V4;
use zeroize::Zeroizing;

use crate::durable_file;

/// Characters of a PASERK id: `k4.pid.` or `k4.lid.` and 33 bytes of base64url.
const ID_LENGTH: usize = 51;

/// Key files are larger than any PASERK by far when they exceed this.
const KEY_FILE_MAX: u64 = 1024;

/// A key's id and the footer that tokens under it carry.
pub(super) struct KeyId {
    id: String,
    footer: Vec<u8>,
    footer_text: String,
}

impl KeyId {
    fn new(id: &Id) -> Result<Self, MalformedKey> {
        let id = paserk(id)?;
        let footer = format!("{{\"kid\":\"{}\"}}", *id).into_bytes();
        Self::with_footer(id.to_string(), footer)
    }

    fn with_footer(id: String, footer: Vec<u8>) -> Result<Self, MalformedKey> {
        let footer_text = Base64UrlSafeNoPadding::encode_to_string(&footer).map_err(|_| MalformedKey)?;
        Ok(Self { id, footer, footer_text })
    }

    pub(super) fn footer(&self) -> &[u8] {
        &self.footer
    }
}

/// Key material that is no key.
#[derive(Debug)]
pub(super) struct MalformedKey;

/// Signs and verifies access tokens.
pub(super) struct SigningKey {
    id: KeyId,
    secret: AsymmetricSecretKey<V4>,
    public: AsymmetricPublicKey<V4>,
}

impl SigningKey {
    const ID_PREFIX: &'static str = "k4.pid.";

    fn generate() -> Result<Self, MalformedKey> {
        let pair = AsymmetricKeyPair::<V4>::generate().map_err(|_| MalformedKey)?;
        Self::from_secret(pair.secret)
    }

    fn from_paserk(text: &str) -> Result<Self, MalformedKey> {
        // Deriving the public key from a seed of zeros panics further down: look at the bytes first.
        let bytes = text.strip_prefix("k4.secret.").ok_or(MalformedKey)?;
        if bytes.starts_with("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA") {
            return Err(MalformedKey);
        }
        Self::from_secret(AsymmetricSecretKey::try_from(text).map_err(|_| MalformedKey)?)
    }

    fn from_secret(secret: AsymmetricSecretKey<V4>) -> Result<Self, MalformedKey> {
        let public = AsymmetricPublicKey::try_from(&secret).map_err(|_| MalformedKey)?;
        let id = KeyId::new(&Id::from(&public))?;
        Ok(Self { id, secret, public })
    }

    pub(super) fn id(&self) -> &KeyId {
        &self.id
    }

    pub(super) fn secret(&self) -> &AsymmetricSecretKey<V4> {
        &self.secret
    }

    pub(super) fn public(&self) -> &AsymmetricPublicKey<V4> {
        &self.public
    }
}

/// Encrypts and decrypts refresh tokens.
pub(super) struct EncryptingKey {
    id: KeyId,
    secret: SymmetricKey<V4>,
}

impl EncryptingKey {
    const ID_PREFIX: &'static str = "k4.lid.";

    fn generate() -> Result<Self, MalformedKey> {
        Self::from_secret(SymmetricKey::generate().map_err(|_| MalformedKey)?)
    }

    fn from_paserk(text: &str) -> Result<Self, MalformedKey> {
        Self::from_secret(SymmetricKey::try_from(text).map_err(|_| MalformedKey)?)
    }

    fn from_secret(secret: SymmetricKey<V4>) -> Result<Self, MalformedKey> {
        let id = KeyId::new(&Id::from(&secret))?;
        Ok(Self { id, secret })
    }

    pub(super) fn id(&self) -> &KeyId {
        &self.id
    }

    pub(super) fn secret(&self) -> &SymmetricKey<V4> {
        &self.secret
    }
}

/// A key as PASERK, wiped when dropped: it may be a secret one.
fn paserk(key: &impl FormatAsPaserk) -> Result<Zeroizing<String>, MalformedKey> {
    let mut text = Zeroizing::new(String::with_capacity(128));
    key.fmt(&mut *text).map_err(|_| MalformedKey)?;
    Ok(text)
}

/// All keys that tokens may be made or checked with: of each kind one that makes new tokens, and any number
/// that still check old ones.
pub struct KeyRing {
    signing: SigningKey,
    once_signing: Vec<SigningKey>,
    encrypting: EncryptingKey,
    once_encrypting: Vec<EncryptingKey>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

/// What to do about keys that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostKeys {
    /// Refuse: somebody's sessions depend on them.
    Refuse,
    /// Make new ones: there are no users yet, or the operator has said so.
    Replace,
}

/// Why the keys cannot be used. The text tells the operator what to do.
#[derive(Debug)]
pub enum KeyError {
    /// A key that must be there is not.
    Missing(PathBuf),
    /// The file is there but does not hold the key of its name.
    Damaged(PathBuf),
    /// Everybody on the machine can read it.
    Exposed(PathBuf),
    /// The file or folder cannot be read or written.
    Io(PathBuf, io::Error),
    /// No new key could be made.
    NotGenerated,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const RESTORE: &str = "restore it from a backup; if it is lost for good, start once with \
                               `gatelet serve --replace-keys`, which makes a new key; tokens made with the old one are refused";
        match self {
            Self::Missing(path) => write!(f, "the key file {} is missing: {RESTORE}", path.display()),
            Self::Damaged(path) => write!(f, "the key file {} is damaged: {RESTORE}", path.display()),
            Self::Exposed(path) => write!(
                f,
                "the key file {path} can be read by every user of this machine: run `chmod 600 {path}`, and if \
                 somebody may have read it, remove the file and start once with `gatelet serve --replace-keys`",
                path = path.display()
            ),
            Self::Io(path, error) => write!(f, "the keys at {} cannot be used: {error}", path.display()),
            Self::NotGenerated => {
                f.write_str("no key could be made: the operating system gave no random bytes")
            }
        }
    }
}

impl std::error::Error for KeyError {}

impl KeyRing {
    /// Reads the keys in `dir` that `remembered` names. What is missing is made anew where `lost` allows it;
    /// then [`KeyRing::ids`] differs from `remembered` and must be remembered before a token is issued.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`KeyError`]: the server must not start.
    pub fn open(dir: &Path, remembered: &[String], lost: LostKeys) -> Result<Self, KeyError> {
        durable_file::create_dir(dir).map_err(|error| KeyError::Io(dir.into(), error))?;
        // A first start that was cut short has made keys, but nobody remembers them yet.
        let found;
        let ids = if remembered.is_empty() && lost == LostKeys::Replace {
            found = file_names(dir)?;
            &found
        } else {
            remembered
        };

        let mut signing = Vec::new();
        let mut encrypting = Vec::new();
        for id in ids {
            let path = dir.join(id);
            if id.starts_with(SigningKey::ID_PREFIX) {
                signing.extend(read(&path, id, lost, SigningKey::from_paserk, SigningKey::id)?);
            } else if id.starts_with(EncryptingKey::ID_PREFIX) {
                encrypting.extend(read(&path, id, lost, EncryptingKey::from_paserk, EncryptingKey::id)?);
            }
        }
        let mut signing = signing.into_iter();
        let mut encrypting = encrypting.into_iter();
        Ok(Self {
            signing: match signing.next() {
                Some(key) => key,
                None if lost == LostKeys::Refuse => {
                    return Err(KeyError::Missing(dir.join(format!("{}*", SigningKey::ID_PREFIX))));
                }
                None => {
                    let key = SigningKey::generate().map_err(|_| KeyError::NotGenerated)?;
                    write(dir, &key.id, &key.secret)?;
                    key
                }
            },
            once_signing: signing.collect(),
            encrypting: match encrypting.next() {
                Some(key) => key,
                None if lost == LostKeys::Refuse => {
                    return Err(KeyError::Missing(dir.join(format!("{}*", EncryptingKey::ID_PREFIX))));
                }
                None => {
                    let key = EncryptingKey::generate().map_err(|_| KeyError::NotGenerated)?;
                    write(dir, &key.id, &key.secret)?;
                    key
                }
            },
            once_encrypting: encrypting.collect(),
        })
    }

    /// The ids of all keys; the first of each kind makes new tokens.
    pub fn ids(&self) -> Vec<String> {
        let signing = std::iter::once(&self.signing).chain(&self.once_signing);
        let encrypting = std::iter::once(&self.encrypting).chain(&self.once_encrypting);
        signing.map(|key| &key.id).chain(encrypting.map(|key| &key.id)).map(|id| id.id.clone()).collect()
    }

    pub(super) fn signing(&self) -> &SigningKey {
        &self.signing
    }

    pub(super) fn encrypting(&self) -> &EncryptingKey {
        &self.encrypting
    }

    /// The key whose tokens carry `footer`, as it stands in them.
    pub(super) fn verifying(&self, footer: &str) -> Option<&SigningKey> {
        std::iter::once(&self.signing).chain(&self.once_signing).find(|key| key.id.footer_text == footer)
    }

    /// The key whose tokens carry `footer`, as it stands in them.
    pub(super) fn decrypting(&self, footer: &str) -> Option<&EncryptingKey> {
        std::iter::once(&self.encrypting)
            .chain(&self.once_encrypting)
            .find(|key| key.id.footer_text == footer)
    }
}

fn file_names(dir: &Path) -> Result<Vec<String>, KeyError> {
    let io = |error| KeyError::Io(dir.into(), error);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        // Longer names are files that were being written when the power went.
        match entry.map_err(io)?.file_name().into_string() {
            Ok(name) if name.len() == ID_LENGTH => names.push(name),
            _ => {}
        }
    }
    names.sort();
    Ok(names)
}

/// The key of one file, or `None` where it is lost and may be replaced.
fn read<K>(
    path: &Path,
    id: &str,
    lost: LostKeys,
    parse: impl Fn(&str) -> Result<K, MalformedKey>,
    id_of: impl Fn(&K) -> &KeyId,
) -> Result<Option<K>, KeyError> {
    let key = read_paserk(path).and_then(|text| {
        let key = parse(text.trim_end()).map_err(|_| KeyError::Damaged(path.into()))?;
        if id_of(&key).id == id { Ok(key) } else { Err(KeyError::Damaged(path.into())) }
    });
    match key {
        Ok(key) => Ok(Some(key)),
        Err(KeyError::Missing(_) | KeyError::Damaged(_)) if lost == LostKeys::Replace => {
            log::warn!("the key file {} is lost and will be replaced", path.display());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn read_paserk(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    let io = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => KeyError::Missing(path.into()),
        io::ErrorKind::InvalidData => KeyError::Damaged(path.into()), // not UTF-8
        _ => KeyError::Io(path.into(), error),
    };
    let file = fs::File::open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(KeyError::Exposed(path.into()));
    }
    if mode & 0o070 != 0 {
        log::warn!("the key file {} can be read by its group", path.display());
    }
    let mut text = Zeroizing::new(String::with_capacity(256));
    file.take(KEY_FILE_MAX).read_to_string(&mut text).map_err(io)?;
    Ok(text)
}

fn write(dir: &Path, id: &KeyId, key: &impl FormatAsPaserk) -> Result<(), KeyError> {
    let path = dir.join(&id.id);
    let text = paserk(key).map_err(|_| KeyError::NotGenerated)?;
    durable_file::write(&path, text.as_bytes()).map_err(|error| KeyError::Io(path, error))?;
    log::info!("made the key {}", id.id);
    Ok(())
}

#[cfg(test)]
impl KeyRing {
    pub(super) fn for_tests() -> Self {
        Self {
            signing: SigningKey::generate().unwrap(),
            once_signing: Vec::new(),
            encrypting: EncryptingKey::generate().unwrap(),
            once_encrypting: Vec::new(),
        }
    }

    pub(super) fn add_signing(&mut self, key: SigningKey) {
        self.once_signing.push(key);
    }

    pub(super) fn add_encrypting(&mut self, key: EncryptingKey) {
        self.once_encrypting.push(key);
    }
}

#[cfg(test)]
impl SigningKey {
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedKey> {
        Self::from_secret(AsymmetricSecretKey::from(bytes).map_err(|_| MalformedKey)?)
    }

    pub(super) fn with_footer(mut self, footer: &[u8]) -> Self {
        self.id = KeyId::with_footer(self.id.id, footer.to_vec()).unwrap();
        self
    }
}

#[cfg(test)]
impl EncryptingKey {
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedKey> {
        Self::from_secret(SymmetricKey::from(bytes).map_err(|_| MalformedKey)?)
    }

    pub(super) fn with_footer(mut self, footer: &[u8]) -> Self {
        self.id = KeyId::with_footer(self.id.id, footer.to_vec()).unwrap();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_zeros_is_refused_instead_of_panicking() {
        let zeros = format!("k4.secret.{}", "A".repeat(86));
        assert!(SigningKey::from_paserk(&zeros).is_err());
    }

    #[test]
    fn a_file_under_another_keys_name_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let ids = KeyRing::open(dir.path(), &[], LostKeys::Replace).unwrap().ids();
        let other = EncryptingKey::generate().unwrap();
        let path = dir.path().join(&ids[1]);
        fs::write(&path, paserk(&other.secret).unwrap().as_bytes()).unwrap();
        assert!(matches!(
            KeyRing::open(dir.path(), &ids, LostKeys::Refuse),
            Err(KeyError::Damaged(damaged)) if damaged == path
        ));
        let healed = KeyRing::open(dir.path(), &ids, LostKeys::Replace).unwrap().ids();
        assert_eq!(healed[0], ids[0]);
        assert_ne!(healed[1], ids[1]);
    }

    #[test]
    fn keys_never_show_in_debug_output() {
        let ring = KeyRing::for_tests();
        let secret = paserk(&ring.encrypting.secret).unwrap();
        assert!(!format!("{ring:?}").contains(secret.trim_start_matches("k4.local.")));
        assert!(format!("{ring:?}").contains("k4.lid."));
    }
}
