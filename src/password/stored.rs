//! Stored hashes, taken apart: our own, and those that other services made.
//!
//! What people bring along (`gatelet import`) is checked as it was made, until the next login puts one of ours in its
//! place. All of them name their own cost, so what they ask for is held against the same limits as our own settings
//! before anything is computed.

use std::fmt;

use argon2::Argon2;
use ct_codecs::{Base64NoPadding, Decoder};
use pbkdf2::pbkdf2_hmac;
use pbkdf2::sha2::{Sha256, Sha512};
use scrypt::password_hash::{Error as Refused, PasswordVerifier};
use scrypt::phc::{self, Output};
use scrypt::{Params, Scrypt};

use super::{Cost, CostError, Password, key};

/// The longest text of a hash. The longest that any of these algorithms is used with have some 200 bytes; a user's
/// record has room for 4 KiB.
const MAX_BYTES: usize = 512;

/// The fewest bytes that a hash is compared by: of one that was cut off on its way, less would let others in.
const MIN_OUTPUT: usize = 16;

/// What one step of each algorithm takes in units of [`Cost::work`], measured in release on the machine where that is
/// 0.31 µs. A block of 1 KiB of Argon2: 0.48 to 0.89 µs.
const ARGON2_BLOCK: u64 = 2;
/// One of bcrypt's `2^cost` key expansions: 49 µs.
const BCRYPT_EXPANSION: u64 = 160;
/// An iteration of PBKDF2: 0.28 µs for SHA-512; 0.09 µs for SHA-256, with instructions that not every machine has.
const PBKDF2_ITERATION: u64 = 1;

/// The range of bcrypt's cost: below, the algorithm is not defined; [`Cost::MAX_WORK`] allows 16.
const BCRYPT_MIN: u32 = 4;
const BCRYPT_MAX: u32 = 31;

/// How many bytes of a password bcrypt takes, with a NUL behind it if there is room for one.
const BCRYPT_TAKES: usize = 72;

/// How hashes of others begin in forms that do not begin with `$`.
const FOREIGN_NAMES: [&str; 6] = ["argon2", "bcrypt", "md5", "pbkdf2", "scrypt", "sha"];

/// Why a text is no hash that passwords could be checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashError {
    /// No hash of any kind. Somebody may have put a password there.
    NotAHash,
    /// Of an algorithm that is not among ours.
    UnknownAlgorithm,
    /// The algorithm is known; the rest is not of its form.
    Malformed,
    /// It asks for more than we are willing to compute.
    TooCostly(CostError),
}

impl fmt::Display for HashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAHash => f.write_str("this is no hash; passwords as they are cannot be taken over"),
            Self::UnknownAlgorithm => {
                f.write_str("the hash is neither PBKDF2 with SHA-256 or SHA-512, scrypt, Argon2 nor bcrypt")
            }
            Self::Malformed => f.write_str("the hash is damaged or cut off"),
            Self::TooCostly(cause) => write!(f, "the hash costs too much: {cause}"),
        }
    }
}

impl std::error::Error for HashError {}

/// A hash that can be checked, at a price that we are willing to pay.
pub(super) enum Stored<'a> {
    /// Ours, and those of others in the same form.
    Scrypt(phc::PasswordHash, Cost),
    /// Argon2id, i or d: with its KiB, and the work.
    Argon2(phc::PasswordHash, u64, u64),
    /// `$2a$`, `$2b$` and `$2y$`, which differ in bugs of long ago that did not touch UTF-8. `$2x$` did, and is refused.
    Bcrypt(&'a str, u64),
    /// PBKDF2, in passlib's form and in PHC's.
    Pbkdf2(Pbkdf2),
}

pub(super) struct Pbkdf2 {
    digest: Digest,
    iterations: u32,
    salt: Vec<u8>,
    hash: Output,
}

#[derive(Clone, Copy)]
enum Digest {
    Sha256,
    Sha512,
}

impl Digest {
    fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "pbkdf2-sha256",
            Self::Sha512 => "pbkdf2-sha512",
        })
    }
}

impl<'a> Stored<'a> {
    /// Takes `text` apart; computes nothing.
    pub(super) fn parse(text: &'a str) -> Result<Self, HashError> {
        let (algorithm, fields) = match text.strip_prefix('$').and_then(|rest| rest.split_once('$')) {
            Some(parts) => parts,
            None if text.contains('$') && FOREIGN_NAMES.iter().any(|name| text.starts_with(name)) => {
                return Err(HashError::UnknownAlgorithm);
            }
            None => return Err(HashError::NotAHash),
        };
        if text.len() > MAX_BYTES {
            return Err(HashError::Malformed);
        }
        match algorithm {
            "scrypt" => scrypt(text),
            "argon2id" | "argon2i" | "argon2d" => argon2(text),
            "2a" | "2b" | "2y" => bcrypt(text),
            "pbkdf2-sha256" => pbkdf2(Digest::Sha256, fields),
            "pbkdf2-sha512" => pbkdf2(Digest::Sha512, fields),
            _ => Err(HashError::UnknownAlgorithm),
        }
    }

    /// What it was made with, for people: never salt or hash.
    pub(super) fn scheme(&self) -> String {
        match self {
            Self::Scrypt(_, cost) => format!("scrypt {cost}"),
            Self::Argon2(hash, ..) => format!("{} {}", hash.algorithm, hash.params),
            Self::Bcrypt(text, _) => format!("bcrypt cost={}", text.split('$').nth(2).unwrap_or_default()),
            Self::Pbkdf2(Pbkdf2 { digest, iterations, .. }) => format!("{digest} i={iterations}"),
        }
    }

    /// Whether it is one that we would make today, at that cost.
    pub(super) fn is_of(&self, today: Cost) -> bool {
        matches!(self, Self::Scrypt(_, cost) if *cost == today)
    }

    /// How much there is to compute for a check of `password`, in the units of [`Cost::work`].
    pub(super) fn work(&self, password: &Password) -> u64 {
        let spellings = password.spellings().count() as u64;
        match self {
            Self::Scrypt(_, cost) => cost.work() * spellings,
            Self::Argon2(_, _, work) | Self::Bcrypt(_, work) => work * spellings,
            Self::Pbkdf2(pbkdf2) => pbkdf2.work() * spellings,
        }
    }

    /// Bytes of memory that a check takes; spellings are tried one after the other.
    pub(super) fn memory(&self) -> u64 {
        match self {
            Self::Scrypt(_, cost) => cost.memory(),
            Self::Argon2(_, kib, _) => kib << 10,
            Self::Bcrypt(..) | Self::Pbkdf2(_) => 0, // some KiB
        }
    }

    /// The spelling of `password` that it is the hash of, if it is of one. Others hashed what was typed; ours are made of
    /// what that is in NFC.
    pub(super) fn right_spelling<'p>(&self, password: &'p Password) -> Result<Option<&'p str>, HashError> {
        for spelling in password.spellings() {
            if self.is_of_text(spelling)? {
                return Ok(Some(spelling));
            }
        }
        Ok(None)
    }

    fn is_of_text(&self, text: &str) -> Result<bool, HashError> {
        match self {
            Self::Scrypt(hash, _) => verdict(Scrypt::new().verify_password(&key(text), hash)),
            Self::Argon2(hash, ..) => verdict(Argon2::default().verify_password(text.as_bytes(), hash)),
            // It takes 72 bytes and no more, as when the hash was made, and repeats them with a NUL behind, so that with
            // NULs of their own other passwords would do as well.
            Self::Bcrypt(hash, _) => {
                let matches = bcrypt::verify(text, hash).map_err(|_| HashError::Malformed)?;
                Ok(matches && !text.contains('\0'))
            }
            // HMAC pads with NULs: see `key`.
            Self::Pbkdf2(pbkdf2) => Ok(pbkdf2.is_of(text) && !text.ends_with('\0')),
        }
    }

    /// Whether it is of all of the spelling that was right. Where that fills all that bcrypt takes, what else was typed has
    /// not been looked at, and the owner's own may go on.
    pub(super) fn covers(&self, spelling: &str) -> bool {
        !matches!(self, Self::Bcrypt(..)) || spelling.len() < BCRYPT_TAKES
    }
}

fn verdict(checked: Result<(), Refused>) -> Result<bool, HashError> {
    match checked {
        Ok(()) => Ok(true),
        Err(Refused::PasswordInvalid) => Ok(false),
        Err(_) => Err(HashError::Malformed),
    }
}

fn phc_string(text: &str) -> Result<phc::PasswordHash, HashError> {
    let parsed = phc::PasswordHash::new(text).map_err(|_| HashError::Malformed)?;
    let is_whole = parsed.salt.is_some() && parsed.hash.as_ref().is_some_and(|hash| hash.len() >= MIN_OUTPUT);
    if is_whole { Ok(parsed) } else { Err(HashError::Malformed) }
}

fn scrypt(text: &str) -> Result<Stored<'_>, HashError> {
    let parsed = phc_string(text)?;
    let params = Params::try_from(&parsed).map_err(|_| HashError::Malformed)?;
    let cost = Cost::new(params.log_n(), params.r(), params.p()).map_err(HashError::TooCostly)?;
    Ok(Stored::Scrypt(parsed, cost))
}

fn argon2(text: &str) -> Result<Stored<'_>, HashError> {
    let mut parsed = phc_string(text)?;
    // The version is left out of hashes from before there was a second one.
    let version = *parsed.version.get_or_insert(argon2::Version::V0x10.into());
    let params = argon2::Params::try_from(&parsed).map_err(|_| HashError::Malformed)?;
    if argon2::Version::try_from(version).is_err() || !params.keyid().is_empty() {
        return Err(HashError::Malformed); // a key is what we do not have
    }
    let kib = u64::from(params.m_cost());
    if kib > Cost::MAX_MEMORY >> 10 {
        return Err(HashError::TooCostly(CostError::TooMuchMemory));
    }
    let work = within_limit(kib * u64::from(params.t_cost()) * ARGON2_BLOCK)?;
    Ok(Stored::Argon2(parsed, kib, work))
}

fn bcrypt(text: &str) -> Result<Stored<'_>, HashError> {
    let parts: bcrypt::HashParts = text.parse().map_err(|_| HashError::Malformed)?;
    if !(BCRYPT_MIN..=BCRYPT_MAX).contains(&parts.get_cost()) {
        return Err(HashError::Malformed);
    }
    let work = within_limit((1 << u64::from(parts.get_cost())) * BCRYPT_EXPANSION)?;
    Ok(Stored::Bcrypt(text, work))
}

/// passlib's `29000$salt$hash` and PHC's `i=29000,l=32$salt$hash`. passlib writes base64 with `.` for `+` and reads both.
fn pbkdf2(digest: Digest, fields: &str) -> Result<Stored<'_>, HashError> {
    let parse = || {
        let mut fields = fields.split('$');
        let (params, salt, hash) = (fields.next()?, fields.next()?, fields.next()?);
        if fields.next().is_some() {
            return None;
        }
        let decode = |text: &str| Base64NoPadding::decode_to_vec(text.replace('.', "+"), None).ok();
        let (salt, hash) = (decode(salt)?, decode(hash)?);
        let iterations = match params.strip_prefix("i=") {
            None => params,
            Some(params) => match params.split_once(",l=") {
                None => params,
                Some((iterations, length)) if length == hash.len().to_string() => iterations,
                Some(_) => return None,
            },
        };
        let iterations = iterations.parse().ok().filter(|&iterations| iterations > 0)?;
        // More than the digest's length would be a multiple of the work, and nobody asks for it.
        let is_whole = (MIN_OUTPUT..=digest.bytes()).contains(&hash.len());
        Some(Pbkdf2 { digest, iterations, salt, hash: Output::new(&hash).ok().filter(|_| is_whole)? })
    };
    let parsed = parse().ok_or(HashError::Malformed)?;
    within_limit(parsed.work())?;
    Ok(Stored::Pbkdf2(parsed))
}

impl Pbkdf2 {
    fn work(&self) -> u64 {
        u64::from(self.iterations) * PBKDF2_ITERATION
    }

    fn is_of(&self, password: &str) -> bool {
        let hash = Output::init_with(self.hash.len(), |hash| {
            match self.digest {
                Digest::Sha256 => {
                    pbkdf2_hmac::<Sha256>(password.as_bytes(), &self.salt, self.iterations, hash);
                }
                Digest::Sha512 => {
                    pbkdf2_hmac::<Sha512>(password.as_bytes(), &self.salt, self.iterations, hash);
                }
            }
            Ok(())
        });
        hash.is_ok_and(|hash| hash == self.hash) // in constant time
    }
}

fn within_limit(work: u64) -> Result<u64, HashError> {
    if work <= Cost::MAX_WORK { Ok(work) } else { Err(HashError::TooCostly(CostError::TooMuchWork)) }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    /// Made by passlib 1.7.4 (PBKDF2, scrypt, Argon2), argon2-cffi 25.1.0 (version 16) and bcrypt 5.0.0, and PBKDF2 in
    /// PHC's form by hand: all of "correct horse".
    const HASHES: [&str; 16] = [
        "$pbkdf2-sha256$29000$UwrBmBMCwNgbgzAmJCRE6A$KVts2BHUGiwHdcOzetLbGuPAHUeLtElrmf.nygnfsdU",
        "$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o",
        "$pbkdf2-sha256$1$$ZMA1N448/D1ij7XRKSAknopAy.7TubfJpGo0A/RBrGM",
        "$pbkdf2-sha256$1$LeX8/38vJQTgPEcoJaTU2tvbGyMkJCREKKU0ZkzJWevde./9H2PMuZeydq61Nqb0PkfIeS9F6H0vxbhXao1RCg$8V4ZxZH7KtdUjMTDc6HdJuDmzU.zMmYOASMetvXpP6M",
        "$pbkdf2-sha256$i=1,l=32$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ+oEBtFLG5JAT8r1k5AWFCbUhN5o",
        "$pbkdf2-sha256$i=1$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ+oEBtFLG5JAT8r1k5AWFCbUhN5o",
        "$pbkdf2-sha512$1000$PofQOgeAkBJCiFGKMea8lw$fHgYr.KglUhkzYQ1KjrHqEHePFYHe4H7r2bI/hPj2Dtbqf57hqU6r3n1.Uiw6vOGWfEcH/EO9n41bnYWaWSylA",
        "$scrypt$ln=4,r=8,p=1$AYAQIkQoxVirNUZorVXKWQ$nSe7pDQPABHeyZ/Nh5hi4lwQjl3cVQqGPRnsdGG7vNI",
        "$argon2id$v=19$m=64,t=2,p=1$AOC8lxLivNfa27sXYowxRg$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM",
        "$argon2i$v=19$m=64,t=2,p=2$0hoDoFTK2du7d855b825tw$Cy3rm6XgF7K/QTiZDqxEgYoOnMyAephA0ctoTMbR2b0",
        "$argon2id$v=16$m=64,t=1,p=1$c2FsdHNhbHQ$fcsR7NILJ8YrRSnGTFDhs02ROu/zZkH+iB4TE2Ji7gA",
        "$argon2id$m=64,t=1,p=1$c2FsdHNhbHQ$fcsR7NILJ8YrRSnGTFDhs02ROu/zZkH+iB4TE2Ji7gA",
        "$argon2d$v=19$m=64,t=1,p=1$ce49R6i1VkqJ8Z4TAqC0Fg$bOTEXjOPujHzDFcRK14Hb4Ba20ji9NXUJt9bbh7n+YU",
        "$2a$04$VH1DwKZILL4pxUJ/FEyaSO9TwjD9It/ChkmgAKcXwYe7LtkJOiUk6",
        "$2b$04$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu",
        "$2y$04$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu",
    ];

    fn typed(text: &str) -> Password {
        Password::typed(&Zeroizing::new(text.to_owned()))
    }

    fn is_of(hash: &str, password: &str) -> bool {
        Stored::parse(hash).unwrap().right_spelling(&typed(password)).unwrap().is_some()
    }

    fn error(hash: &str) -> HashError {
        Stored::parse(hash).map(drop).expect_err(hash)
    }

    #[test]
    fn hashes_of_every_algorithm_know_their_password_and_no_other() {
        for hash in HASHES {
            assert!(is_of(hash, "correct horse"), "{hash}");
            for wrong in ["", "correct hors", "correct horse ", "Correct horse", "correct horse\0"] {
                assert!(!is_of(hash, wrong), "{hash} is of {wrong:?}");
            }
        }
    }

    #[test]
    fn how_a_hash_was_made_is_told_without_the_hash() {
        for (hash, scheme) in [
            (HASHES[0], "pbkdf2-sha256 i=29000"),
            (HASHES[6], "pbkdf2-sha512 i=1000"),
            (HASHES[7], "scrypt ln=4,r=8,p=1"),
            (HASHES[8], "argon2id m=64,t=2,p=1"),
            (HASHES[14], "bcrypt cost=04"),
        ] {
            assert_eq!(Stored::parse(hash).unwrap().scheme(), scheme);
        }
    }

    #[test]
    fn how_much_memory_a_hash_takes_is_known_before_computing() {
        for (hash, bytes) in [
            (HASHES[0], 0),
            (HASHES[7], Cost::new(4, 8, 1).unwrap().memory()),
            (HASHES[8], 64 << 10),
            (HASHES[14], 0),
        ] {
            assert_eq!(Stored::parse(hash).unwrap().memory(), bytes, "{hash}");
        }
    }

    #[test]
    fn a_hash_of_another_algorithm_is_renewed_at_the_right_password() {
        let today = Cost::new(4, 8, 1).unwrap();
        for hash in HASHES {
            assert_eq!(
                Stored::parse(hash).unwrap().is_of(today),
                hash.starts_with("$scrypt$ln=4,"),
                "{hash}"
            );
        }
        let hash = super::super::PasswordHash::import(HASHES[0].to_owned()).unwrap();
        let checked = super::super::check(&typed("correct horse"), &hash, today).unwrap();
        let super::super::Checked::RightRenewed(renewed) = checked else {
            unreachable!("renewed");
        };
        assert!(
            renewed.as_str().starts_with("$scrypt$ln=4,r=8,p=1$") && is_of(renewed.as_str(), "correct horse")
        );
    }

    #[test]
    fn a_password_is_recognised_as_it_was_typed_elsewhere_and_in_nfc() {
        let (composed, decomposed) = ("Zo\u{eb}'s password", "Zoe\u{308}'s password");
        for of_decomposed in [
            "$pbkdf2-sha256$1$zdm7914L4fwfw5hTai2FcA$OFheu44XcIKx5WZ8VO26/BAzC76owr1JjukIlDfy6xk",
            "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$9MDyrvtwjf0v+/uvaENkSaRsxjmXUyxT9vXQIuCRKog",
            "$2b$04$MrYI2wgervdBLTi/n73wUu61mygc50M8nje5kQMXlszTjFVce//8u",
            "$scrypt$ln=4,r=8,p=1$4nxPqbXW+l8rZewdAyDE2A$ErVD+iXYnogQsp0aGX+mORzz8FOo3VyI1Njmeiy/ujU",
        ] {
            assert!(is_of(of_decomposed, decomposed) && !is_of(of_decomposed, composed), "{of_decomposed}");
        }
        let of_composed = "$2b$04$QvE/D8p3fA2xS0gF1V9Ph./Dk53avoakTqnTqzi00Jrl3slxzvQqq";
        assert!(is_of(of_composed, composed) && is_of(of_composed, decomposed));
    }

    #[test]
    fn bcrypt_takes_72_bytes_as_it_did_when_the_hash_was_made() {
        for (hash, letter) in [
            ("$2b$04$P3y2Go2Z3VRAiOQB9kfooOOog5JeWMaMN.RFJMHrZfIkGBccoh.zm", "x"),
            ("$2b$04$.U8MnQeqZFKDC.FBzaHGv.QfxuThI5L2U/0pHbtQjSmxdbxLqqAou", "\u{fc}"),
        ] {
            let letters = |bytes: usize| letter.repeat(bytes / letter.len());
            assert!(is_of(hash, &letters(72)) && is_of(hash, &letters(100)) && !is_of(hash, &letters(70)));
        }
    }

    #[test]
    fn nuls_make_no_second_password() {
        let bcrypt = "$2b$04$tuwjidf.15noi6C0ZM/z7.dD0oZKSf4e6JMqyrlhUYI.YbS6Kilre";
        let pbkdf2 = "$pbkdf2-sha256$1$iPGe857TulcqhdC6l1IKoQ$xwbCOihFE2awngW.sDDT88nEvedW9QuEGQrpQNtb4Sc";
        for hash in [bcrypt, pbkdf2] {
            assert!(is_of(hash, "a"));
            for wrong in ["a\0", "a\0a", "a\0\0"] {
                assert!(!is_of(hash, wrong), "{hash} is of {wrong:?}");
            }
        }
        let inside = "$pbkdf2-sha256$1$tFbKmbPW2nuvda61ltLaGw$ddUGi/2v5W2WVp71sjzYBR2cnHAaYGJKg.iMss.AfYc";
        assert!(is_of(inside, "nul\0 inside"));
    }

    #[test]
    fn what_no_machine_should_compute_is_refused_before_computing() {
        const MEMORY: HashError = HashError::TooCostly(CostError::TooMuchMemory);
        const WORK: HashError = HashError::TooCostly(CostError::TooMuchWork);
        let rest = "AOC8lxLivNfa27sXYowxRg$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM";
        for (params, expected) in [
            ("scrypt$ln=18,r=8,p=1", MEMORY),
            ("scrypt$ln=15,r=8,p=49", WORK),
            ("argon2id$v=19$m=262145,t=1,p=1", MEMORY),
            ("argon2id$v=19$m=4294967295,t=4294967295,p=1", MEMORY),
            ("argon2id$v=19$m=262144,t=25,p=1", WORK),
            ("argon2id$v=19$m=64,t=4294967295,p=1", WORK),
            ("pbkdf2-sha256$12582913", WORK),
            ("pbkdf2-sha512$i=4294967295,l=32", WORK),
        ] {
            assert_eq!(error(&format!("${params}${rest}")), expected, "{params}");
        }
        let bcrypt = "$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu";
        for cost in [17, 31] {
            assert_eq!(error(&format!("$2b${cost}{bcrypt}")), WORK);
        }
        for within in ["argon2id$v=19$m=262144,t=24,p=1", "pbkdf2-sha256$12582912", "scrypt$ln=17,r=8,p=8"] {
            assert!(Stored::parse(&format!("${within}${rest}")).is_ok(), "{within}");
        }
        assert!(Stored::parse(&format!("$2b$16{bcrypt}")).is_ok());
    }

    #[test]
    fn what_is_no_hash_is_refused_with_the_reason() {
        for text in [
            "",
            "correct horse",
            "correct$horse$battery",
            "$",
            "$$",
            "$x",
            "5f4dcc3b5aa765d61d8327deb882cf99",
        ] {
            let expected = if text == "$$" { HashError::UnknownAlgorithm } else { HashError::NotAHash };
            assert_eq!(error(text), expected, "{text:?}");
        }
        for text in [
            "$1$salt$x",
            "$2$04$x",
            "$2x$04$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu",
            "$SCRYPT$x",
            "$md5$x",
            "$pbkdf2$1$x$y",
            "pbkdf2:sha1:2$p27MwmtSha2yR9Ow$eb21cf0975912791e8ce0261033565e51378a791",
            "pbkdf2:sha256$salt$eb21cf09",
            "bcrypt_sha256$$2b$04$x",
            "sha1$salt$x",
        ] {
            assert_eq!(error(text), HashError::UnknownAlgorithm, "{text}");
        }
        for text in [
            "$2b$03$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu",
            "$2b$32$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu",
            "$argon2id$v=18$m=64,t=2,p=1$AOC8lxLivNfa27sXYowxRg$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM",
            "$argon2id$v=19$m=64,t=2,p=1,keyid=Hj5+dsK0$AOC8lxLivNfa27sXYowxRg$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM",
            "$argon2id$v=19$m=7,t=2,p=1$AOC8lxLivNfa27sXYowxRg$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM",
            "$scrypt$ln=4,r=8,p=1$AYAQIkQoxVirNUZorVXKWQ",
            "$scrypt$ln=4,r=8,p=1$AYAQIkQoxVirNUZorVXKWQ$nSe7pDQPABHeyZ/NhA",
            "$pbkdf2-sha256$0$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o",
            "$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA$",
            "$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ",
            "$pbkdf2-sha256$i=1,l=33$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o",
            "$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o$",
            "$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA$fHgYr.KglUhkzYQ1KjrHqEHePFYHe4H7r2bI/hPj2Dtbqf57hqU6r3n1.Uiw6vOGWfEcH/EO9n41bnYWaWSylA",
            "$pbkdf2-sha256$1$*$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o",
        ] {
            assert_eq!(error(text), HashError::Malformed, "{text}");
        }
        let salt = "A".repeat(MAX_BYTES);
        assert_eq!(
            error(&format!("$pbkdf2-sha256$1${salt}$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o")),
            HashError::Malformed
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_and_no_cut_off_hash_is_too_much_for_the_reader(
            which in 0..HASHES.len(), at in 0_usize..200, put in ".{0,8}", noise in "\\PC{0,100}",
        ) {
            let _ = Stored::parse(&noise);
            let _ = Stored::parse(&format!("${noise}"));
            let hash = HASHES[which];
            let _ = Stored::parse(&format!("{}{put}{}", &hash[..at.min(hash.len())], &hash[at.min(hash.len())..]));
            // One that was cut off lets nobody in, or is as good as the whole.
            let cut = &hash[..at.min(hash.len())];
            if let Ok(stored) = Stored::parse(cut) {
                assert!(stored.right_spelling(&typed("correct hors")).unwrap().is_none());
            }
        }
    }
}
