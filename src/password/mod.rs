//! Passwords: policy, hashing, and the threads that hash.
//!
//! scrypt by RustCrypto, stored as PHC strings; hashes of other services are verified and replaced. This is
//! the only folder that names `scrypt` and the other hash crates.

mod cost;
mod foreign;
mod phc;
mod policy;
mod pool;
mod queue;
mod speed;
mod stored;
mod tally;

use std::fmt;
use std::time::Duration;

use scrypt::password_hash::CustomizedPasswordHasher;
use scrypt::{Params, Scrypt};
use thiserror::Error;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::random::{self, NoRandomness};

pub use cost::{Cost, CostError};
pub use policy::{PasswordError, Policy};
pub use pool::{Fit, HashPool, IMPORTED_MAX, PoolError, PoolStartError};
pub use queue::Requester;
pub use stored::HashError;
use stored::Stored;

/// Bytes of salt, as the PHC string format recommends.
const SALT_BYTES: usize = 16;

/// A password, NFC-normalised (NIST SP 800-63B-4, 3.1.1.2) and never truncated.
///
/// Cannot be printed, compared or cloned; wiped on drop.
pub struct Password {
    normal: Zeroizing<String>,
    /// The original text if it is not NFC: other services hashed that.
    typed: Option<Zeroizing<String>>,
    /// The other normal forms, without duplicates: other services hashed one of them.
    further: Vec<Zeroizing<String>>,
}

impl Password {
    /// A password to be checked: any text. [`Policy`] applies only when a password is set.
    pub fn typed(text: &Zeroizing<String>) -> Self {
        let normal = spelled(text.nfc());
        let typed = (normal != *text).then(|| text.clone());
        let mut further = Vec::new();
        if !text.is_ascii() {
            for form in [spelled(text.nfd()), spelled(text.nfkc())] {
                if form != normal && Some(&form) != typed.as_ref() && !further.contains(&form) {
                    further.push(form);
                }
            }
        }
        Self { normal, typed, further }
    }
}

/// Collects into a buffer of the final size: growing would leave copies in memory.
fn spelled(letters: impl Iterator<Item = char> + Clone) -> Zeroizing<String> {
    let bytes = letters.clone().map(char::len_utf8).sum();
    let mut text = Zeroizing::new(String::with_capacity(bytes));
    text.extend(letters);
    text
}

/// The input for scrypt. HMAC pads short keys with NUL (RFC 2104), so that a password and the same one with
/// NULs appended would share hashes: those that end in NUL get one more byte, which no UTF-8 text contains.
fn key(spelling: &str) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(spelling.len() + 1));
    key.extend_from_slice(spelling.as_bytes());
    if key.last() == Some(&0) {
        key.push(0xff);
    }
    key
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// A stored hash: a PHC string, or another service's hash. Cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// A hash from the store. Verifying it shows whether it is valid.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// A hash made elsewhere, rewritten to our form if possible.
    ///
    /// # Errors
    /// [`HashError`] if passwords cannot be checked against it.
    pub fn import(text: String) -> Result<Self, HashError> {
        let text = foreign::rewritten(text)?;
        Stored::parse(&text)?;
        Ok(Self(text))
    }

    /// Whether passwords can be checked against it.
    pub fn is_readable(&self) -> bool {
        Stored::parse(&self.0).is_ok()
    }

    /// The text, for the store and for exports.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The algorithm and its parameters: `scrypt ln=15,r=8,p=3`, never salt or hash.
    pub fn scheme(&self) -> String {
        Stored::parse(&self.0).map_or_else(|_| "unknown".to_owned(), |stored| stored.scheme())
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// Why a hash could not be made or checked.
#[derive(Debug, Error)]
pub enum HashFailure {
    /// The system gave no random salt.
    #[error(transparent)]
    Random(NoRandomness),
    /// scrypt refused its input.
    #[error("a password could not be hashed")]
    Scrypt,
    /// The stored hash cannot be checked.
    #[error("a stored password hash is refused: {0}")]
    Stored(#[from] HashError),
}

/// The result of a check.
#[derive(Debug)]
pub enum Checked {
    /// The password is wrong.
    Wrong,
    /// The password is right, and its hash is current.
    Right,
    /// The password is right; this hash should replace the stored one, which has another cost or algorithm.
    RightRenewed(PasswordHash),
}

/// Hashes `password` with a random salt: [`Cost::work`] of computing in [`Cost::memory`] bytes.
pub(crate) fn hash(password: &Password, cost: Cost) -> Result<PasswordHash, HashFailure> {
    let salt = random::bytes::<SALT_BYTES>().map_err(HashFailure::Random)?;
    Scrypt::new()
        .hash_password_customized(&key(&password.normal), &salt, None, None, cost.params())
        .map(|hash| PasswordHash(hash.to_string()))
        .map_err(|_| HashFailure::Scrypt)
}

/// Checks `password` against `hash`, by the algorithm that it names. If that is not today's, or the matching
/// spelling is not NFC, the password is hashed again.
pub(crate) fn check(password: &Password, hash: &PasswordHash, today: Cost) -> Result<Checked, HashFailure> {
    let stored = Stored::parse(&hash.0)?;
    let Some(spelling) = stored.right_spelling(password, today)? else {
        return Ok(Checked::Wrong);
    };
    let is_todays = stored.is_of(today) && spelling == password.normal.as_str();
    // bcrypt ignores a tail beyond 72 bytes. It may be mistyped here, and a new hash would require it from
    // then on.
    if is_todays || !stored.covers(spelling) {
        return Ok(Checked::Right);
    }
    self::hash(password, today).map(Checked::RightRenewed)
}

/// The work of checking `password`, in units of [`Cost::work`], renewal excluded.
pub(crate) fn work_of(password: &Password, hash: &PasswordHash, today: Cost) -> Result<u64, HashFailure> {
    Ok(Stored::parse(&hash.0)?.work(password, today))
}

/// The time of checking one spelling against `hash`, renewal excluded.
fn time_of(hash: &PasswordHash, speed: speed::Speed) -> Result<Duration, HashFailure> {
    Ok(speed.time(Stored::parse(&hash.0)?.steps()))
}

/// The memory of checking against `hash` in bytes, renewal excluded.
pub(crate) fn memory_of(hash: &PasswordHash) -> Result<u64, HashFailure> {
    Ok(Stored::parse(&hash.0)?.memory())
}

/// A hash at `cost` that no password matches: random bytes in place of the hash, as hashing a random password
/// would give, without the work.
pub(crate) fn decoy(cost: Cost) -> Result<PasswordHash, HashFailure> {
    let salt = random::bytes::<SALT_BYTES>().map_err(HashFailure::Random)?;
    let hash = random::bytes::<{ Params::RECOMMENDED_LEN }>().map_err(HashFailure::Random)?;
    match (scrypt::phc::Salt::new(&salt), scrypt::phc::Output::new(&hash)) {
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
        assert_eq!(work_of(&typed(""), &new, cheap(2)).unwrap(), cheap(2).work());
        assert!(matches!(check(&typed("correct horse"), &new, cheap(2)), Ok(Checked::Right)));
        assert!(matches!(check(&typed("wrong horse"), &old, cheap(2)), Ok(Checked::Wrong)));
    }

    /// Of "Zoë's password", decomposed, by passlib 1.7.4.
    const AS_TYPED: &str =
        "$scrypt$ln=4,r=8,p=1$4nxPqbXW+l8rZewdAyDE2A$ErVD+iXYnogQsp0aGX+mORzz8FOo3VyI1Njmeiy/ujU";

    #[test]
    fn a_hash_of_what_was_typed_is_renewed_so_that_every_spelling_will_do() {
        let (composed, decomposed) = (typed("Zo\u{eb}'s password"), typed("Zoe\u{308}'s password"));
        let old = PasswordHash::import(AS_TYPED.into()).unwrap();
        let its_own = Cost::new(4, 8, 1).unwrap();
        assert!(matches!(check(&composed, &old, its_own), Ok(Checked::Wrong)));
        let Ok(Checked::RightRenewed(new)) = check(&decomposed, &old, its_own) else {
            unreachable!("renewed");
        };
        for password in [&composed, &decomposed] {
            assert!(matches!(check(password, &new, its_own), Ok(Checked::Right)));
        }
        for (password, spellings) in [(&composed, 1), (&decomposed, 2)] {
            assert_eq!(work_of(password, &old, its_own).unwrap(), spellings * its_own.work());
        }
    }

    /// Of this many letters x, by bcrypt 5.0.0.
    const OF_72: &str = "$2b$04$nHZqvlNkMGaQllgv9w09DOsvzio.c/E08J50VjFGPqaRMAKR2r4aW";
    const OF_71: &str = "$2b$04$KxFJ0IX8lm5MfSLb4xWcQeERwCO9V9qAU3w5kwG6ii9063S/1g.E.";

    #[test]
    fn a_tail_that_bcrypt_ignores_does_not_become_part_of_the_password() {
        let hash = |text: &str| PasswordHash::import(text.to_owned()).unwrap();
        let xs = |count: usize, tail: &str| typed(&("x".repeat(count) + tail));
        // The owner's password may have a tail that another user of these 72 letters does not know.
        for right in [xs(72, ""), xs(72, " mistyped"), xs(72, " as always")] {
            assert!(matches!(check(&right, &hash(OF_72), cheap(1)), Ok(Checked::Right)));
        }
        assert!(matches!(check(&xs(71, ""), &hash(OF_72), cheap(1)), Ok(Checked::Wrong)));
        assert!(matches!(check(&xs(71, ""), &hash(OF_71), cheap(1)), Ok(Checked::RightRenewed(_))));
        assert!(matches!(check(&xs(72, ""), &hash(OF_71), cheap(1)), Ok(Checked::Wrong)));
    }

    #[test]
    fn stored_hashes_that_no_machine_should_compute_are_refused_before_computing() {
        for params in ["ln=30,r=8,p=1", "ln=15,r=8,p=49", "ln=1,r=1073741823,p=1"] {
            let hash = PasswordHash(format!(
                "$scrypt${params}$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E"
            ));
            assert!(matches!(
                check(&typed("x"), &hash, cheap(1)),
                Err(HashFailure::Stored(HashError::TooCostly(_) | HashError::Parameters))
            ));
        }
        for text in ["", "$5$rounds=5000$usesomesillystri$x", "$scrypt$ln=1,r=8,p=1"] {
            assert!(check(&typed("x"), &PasswordHash(text.into()), cheap(1)).is_err());
        }
    }

    #[test]
    fn a_decoy_looks_like_a_hash_and_matches_no_password() {
        let (decoy, real) = (decoy(cheap(3)).unwrap(), hash(&typed("correct horse"), cheap(3)).unwrap());
        let shape = |hash: &PasswordHash| hash.0.split('$').map(str::len).collect::<Vec<_>>();
        assert_eq!(shape(&decoy), shape(&real));
        assert_eq!(work_of(&typed(""), &decoy, cheap(3)).unwrap(), cheap(3).work());
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
