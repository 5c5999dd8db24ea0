//! Passwords: what they may be, how they are hashed, and where the hashing runs.
//!
//! scrypt by RustCrypto, stored as PHC strings; hashes that others made are checked and replaced. This is the only folder
//! that names `scrypt` and its like.

mod cost;
mod foreign;
mod policy;
mod pool;
mod stored;

use std::fmt;

use scrypt::password_hash::CustomizedPasswordHasher;
use scrypt::phc;
use scrypt::{Params, Scrypt};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::random::{self, NoRandomness};

pub use cost::{Cost, CostError};
pub use policy::{PasswordError, Policy};
pub use pool::{HashPool, PoolError, PoolStartError};
pub use stored::HashError;
use stored::Stored;

/// Bytes of salt: what the PHC string format's specification recommends.
const SALT_BYTES: usize = 16;

/// A password as somebody typed it, NFC-normalised (NIST SP 800-63B-4, 3.1.1.2), never cut short.
///
/// Cannot be printed, compared or cloned; wiped when dropped.
pub struct Password {
    normal: Zeroizing<String>,
    /// As it was typed, where that is not normal: other services hashed that.
    typed: Option<Zeroizing<String>>,
}

impl Password {
    /// A password to be checked: any text will do, for a [`Policy`] holds only when a password is set.
    pub fn typed(text: &Zeroizing<String>) -> Self {
        // Room for the longest that NFC can make of it: growing would leave copies behind.
        let mut normal = Zeroizing::new(String::with_capacity(3 * text.len()));
        normal.extend(text.nfc());
        let typed = (normal != *text).then(|| text.clone());
        Self { normal, typed }
    }

    /// What other services may have hashed: first the text in NFC, which is what most people type.
    fn spellings(&self) -> impl Iterator<Item = &str> {
        [Some(&self.normal), self.typed.as_ref()].into_iter().flatten().map(|text| text.as_str())
    }

    /// What is hashed. HMAC, and with it scrypt, pads short keys with NUL, so that a password and the same one
    /// with NULs behind it would share their hashes (RFC 2104): those that end in NUL get a byte more, one that
    /// no UTF-8 text holds.
    fn key(&self) -> Zeroizing<Vec<u8>> {
        let mut key = Zeroizing::new(Vec::with_capacity(self.normal.len() + 1));
        key.extend_from_slice(self.normal.as_bytes());
        if key.last() == Some(&0) {
            key.push(0xff);
        }
        key
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// A stored hash: a PHC string, or what another service stored. Cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// A hash as it was stored; whether it can be verified shows when it is.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// A hash that was made elsewhere, if passwords can be checked against it. Where others write it in a way of their own,
    /// it is put into the form of ours.
    ///
    /// # Errors
    /// [`HashError`].
    pub fn import(text: String) -> Result<Self, HashError> {
        let text = foreign::rewritten(text)?;
        Stored::parse(&text)?;
        Ok(Self(text))
    }

    /// Whether passwords can be checked against it.
    pub fn is_readable(&self) -> bool {
        Stored::parse(&self.0).is_ok()
    }

    /// The text, for storing and for taking it elsewhere.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it was made with, for people: `scrypt ln=15,r=8,p=3`, never salt or hash.
    pub fn scheme(&self) -> String {
        Stored::parse(&self.0).map_or_else(|_| "unknown".to_owned(), |stored| stored.scheme())
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// A hash that could not be made or checked.
#[derive(Debug)]
pub enum HashFailure {
    /// No random salt.
    Random(NoRandomness),
    /// scrypt did not take what it was given.
    Scrypt,
    /// The stored hash cannot be checked.
    Stored(HashError),
}

impl fmt::Display for HashFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random(cause) => cause.fmt(f),
            Self::Scrypt => f.write_str("a password could not be hashed"),
            Self::Stored(cause) => write!(f, "a stored password hash is refused: {cause}"),
        }
    }
}

impl From<HashError> for HashFailure {
    fn from(cause: HashError) -> Self {
        Self::Stored(cause)
    }
}

/// What a check has shown.
#[derive(Debug)]
pub enum Checked {
    /// Not the password.
    Wrong,
    /// The password, and its hash is as today's are.
    Right,
    /// The password; its hash was made at another cost or by another algorithm, and this one should take its place.
    RightRenewed(PasswordHash),
}

/// Hashes `password` with a random salt. Takes [`Cost::work`] of time and [`Cost::memory`] of space.
pub(crate) fn hash(password: &Password, cost: Cost) -> Result<PasswordHash, HashFailure> {
    let salt = random::bytes::<SALT_BYTES>().map_err(HashFailure::Random)?;
    Scrypt::new()
        .hash_password_customized(&password.key(), &salt, None, None, cost.params())
        .map(|hash| PasswordHash(hash.to_string()))
        .map_err(|_| HashFailure::Scrypt)
}

/// Checks `password` against `hash` in the way that the hash names, and hashes it again at `today` where that is
/// another.
pub(crate) fn check(password: &Password, hash: &PasswordHash, today: Cost) -> Result<Checked, HashFailure> {
    let stored = Stored::parse(&hash.0)?;
    if !stored.is_of_password(password)? {
        Ok(Checked::Wrong)
    } else if stored.is_of(today) {
        Ok(Checked::Right)
    } else {
        self::hash(password, today).map(Checked::RightRenewed)
    }
}

/// How much there is to compute for a check of `password`, in the units of [`Cost::work`], a renewal not counted.
pub(crate) fn work_of(password: &Password, hash: &PasswordHash) -> Result<u64, HashFailure> {
    Ok(Stored::parse(&hash.0)?.work(password))
}

/// How many bytes a check against `hash` takes, a renewal not counted.
pub(crate) fn memory_of(hash: &PasswordHash) -> Result<u64, HashFailure> {
    Ok(Stored::parse(&hash.0)?.memory())
}

/// A hash at `cost` that belongs to no password anybody will find: random where the hash would be, which is what
/// hashing a random password would give as well, without the work.
pub(crate) fn decoy(cost: Cost) -> Result<PasswordHash, HashFailure> {
    let salt = random::bytes::<SALT_BYTES>().map_err(HashFailure::Random)?;
    let hash = random::bytes::<{ Params::RECOMMENDED_LEN }>().map_err(HashFailure::Random)?;
    match (phc::Salt::new(&salt), phc::Output::new(&hash)) {
        (Ok(salt), Ok(hash)) => Ok(PasswordHash(format!("$scrypt${cost}${salt}${hash}"))),
        _ => Err(HashFailure::Scrypt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Password {
        Password::typed(&Zeroizing::new(text.to_owned()))
    }

    fn cheap(p: u32) -> Cost {
        Cost::new(1, 8, p).unwrap()
    }

    #[test]
    fn a_password_is_recognised_in_either_normalisation_and_no_other_way() {
        let hash = hash(&typed("pass\0wo\u{308}rd"), cheap(1)).unwrap();
        assert!(matches!(check(&typed("pass\0w\u{f6}rd"), &hash, cheap(1)), Ok(Checked::Right)));
        for wrong in ["pass", "pass\0word", "pass\0w\u{f6}rd ", ""] {
            assert!(matches!(check(&typed(wrong), &hash, cheap(1)), Ok(Checked::Wrong)));
        }
    }

    #[test]
    fn a_hash_of_another_cost_is_renewed_only_for_the_right_password() {
        let old = hash(&typed("correct horse"), cheap(1)).unwrap();
        let Ok(Checked::RightRenewed(new)) = check(&typed("correct horse"), &old, cheap(2)) else {
            unreachable!("renewed");
        };
        assert_eq!(work_of(&typed(""), &new).unwrap(), cheap(2).work());
        assert!(matches!(check(&typed("correct horse"), &new, cheap(2)), Ok(Checked::Right)));
        assert!(matches!(check(&typed("wrong horse"), &old, cheap(2)), Ok(Checked::Wrong)));
    }

    #[test]
    fn stored_hashes_that_no_machine_should_compute_are_refused_before_computing() {
        for params in ["ln=30,r=8,p=1", "ln=15,r=8,p=49", "ln=1,r=1073741823,p=1"] {
            let hash = PasswordHash(format!(
                "$scrypt${params}$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E"
            ));
            assert!(matches!(
                check(&typed("x"), &hash, cheap(1)),
                Err(HashFailure::Stored(HashError::TooCostly(_) | HashError::Malformed))
            ));
        }
        for text in ["", "$5$rounds=5000$usesomesillystri$x", "$scrypt$ln=1,r=8,p=1"] {
            assert!(check(&typed("x"), &PasswordHash(text.into()), cheap(1)).is_err());
        }
    }

    #[test]
    fn a_decoy_looks_like_a_hash_and_is_nobodys() {
        let (decoy, real) = (decoy(cheap(3)).unwrap(), hash(&typed("correct horse"), cheap(3)).unwrap());
        let shape = |hash: &PasswordHash| hash.0.split('$').map(str::len).collect::<Vec<_>>();
        assert_eq!(shape(&decoy), shape(&real));
        assert_eq!(work_of(&typed(""), &decoy).unwrap(), cheap(3).work());
        assert_ne!(decoy, super::decoy(cheap(3)).unwrap());
        for password in ["", "correct horse"] {
            assert!(matches!(check(&typed(password), &decoy, cheap(3)), Ok(Checked::Wrong)));
        }
    }

    #[test]
    fn passwords_and_hashes_never_show_in_debug_output() {
        let password = typed("correct horse");
        let hash = hash(&password, cheap(1)).unwrap();
        assert_eq!(hash.scheme(), "scrypt ln=1,r=8,p=1");
        assert_eq!(PasswordHash("$scrypt$aM15713r3Xsvxbi31lqr1Q".into()).scheme(), "unknown");
        let shown = format!("{password:?} {hash:?} {:?}", Checked::RightRenewed(hash.clone()));
        assert!(!shown.contains("horse") && !shown.contains("scrypt"), "{shown}");
    }
}
