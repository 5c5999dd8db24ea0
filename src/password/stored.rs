//! Stored hashes, parsed: our own, and those of other services.
//!
//! Imported hashes (`gatelet import`) are checked by their own algorithm until the next login replaces them
//! with ours. They name their own cost, which must respect the limits of our settings before anything is
//! computed.

use std::fmt;

use argon2::Argon2;
use pbkdf2::pbkdf2_hmac;
use pbkdf2::sha2::{Sha256, Sha512};
use thiserror::Error;
use zeroize::Zeroizing;

use super::phc::Phc;
use super::{Cost, CostError, Password, key};

/// The longest text of a hash: room for salt and hash of 128 bytes each. A user's record has room for 4 KiB.
const MAX_BYTES: usize = 512;

/// Work of one step of each algorithm in units of [`Cost::work`], measured in release mode on a machine where
/// such a unit takes 0.31 µs. A block of 1 KiB of Argon2: 0.48 to 0.89 µs.
const ARGON2_BLOCK: u64 = 2;
/// One of bcrypt's `2^cost` key expansions: 49 µs.
const BCRYPT_EXPANSION: u64 = 160;
/// An iteration of PBKDF2 for one digest of output: 0.09 µs, with instructions that not every machine has.
const PBKDF2_SHA256_ITERATION: u64 = 1;
/// An iteration: 0.28 µs there, 0.77 µs on another machine.
const PBKDF2_SHA512_ITERATION: u64 = 2;

/// The range of bcrypt's cost: it is not defined below; [`Cost::MAX_WORK`] allows up to 16.
const BCRYPT_MIN: u32 = 4;
const BCRYPT_MAX: u32 = 31;

/// The bytes of a password that bcrypt uses, with a NUL appended if there is room.
const BCRYPT_TAKES: usize = 72;

/// Prefixes of other services' hashes that do not start with `$`.
const FOREIGN_NAMES: [&str; 6] = ["argon2", "bcrypt", "md5", "pbkdf2", "scrypt", "sha"];

/// Why passwords cannot be checked against a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HashError {
    /// It is not a hash, and may be a plain password.
    #[error("this is no hash; passwords as they are cannot be taken over")]
    NotAHash,
    /// Its algorithm or format is not supported.
    #[error("the hash is in no known form of PBKDF2 with SHA-256 or SHA-512, scrypt, Argon2 or bcrypt")]
    UnknownAlgorithm,
    /// The algorithm is known; the rest is malformed.
    #[error("the hash is damaged or cut off")]
    Malformed,
    /// Parameters are missing or invalid for the algorithm.
    #[error("the hash's parameters are missing, or its algorithm is not defined for them")]
    Parameters,
    /// It was made with a secret key as well.
    #[error("the hash was made with a secret key besides the password")]
    Keyed,
    /// It has too few bytes to compare with.
    #[error("the hash has fewer than 16 bytes: cut off, or too weak")]
    TooShort,
    /// It is longer than any such hash.
    #[error("the hash is longer than {MAX_BYTES} characters", MAX_BYTES = MAX_BYTES)]
    TooLong,
    /// It exceeds the limits of [`Cost`].
    #[error("the hash costs too much: {0}")]
    TooCostly(#[source] CostError),
}

/// A valid hash within the limits.
pub(super) enum Stored<'a> {
    /// `$2a$`, `$2b$` and `$2y$`, which differ only in old bugs that do not affect UTF-8. `$2x$` does, and is
    /// refused. With its number of key expansions.
    Bcrypt(&'a str, u64),
    /// A function of password and salt, and its output.
    Salted(Phc<'a>, Function),
}

/// The function of a salted hash, with its parameters.
pub(super) enum Function {
    /// Ours, and other services'.
    Scrypt(Cost),
    Argon2(argon2::Algorithm, Box<Argon2<'static>>),
    /// In passlib's format and in PHC's.
    Pbkdf2(Digest, u32),
}

#[derive(Clone, Copy)]
pub(super) enum Digest {
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

/// The work for one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Steps {
    /// Block mixes.
    Scrypt(u64),
    /// Blocks of 1 KiB.
    Argon2(u64),
    /// Key expansions.
    Bcrypt(u64),
    /// Iterations.
    Pbkdf2Sha256(u64),
    /// Iterations.
    Pbkdf2Sha512(u64),
}

impl Steps {
    /// In units of [`Cost::work`]: for limits and the order of jobs, not for durations.
    fn work(self) -> u64 {
        match self {
            Self::Scrypt(mixes) => mixes,
            Self::Argon2(blocks) => blocks.saturating_mul(ARGON2_BLOCK),
            Self::Bcrypt(expansions) => expansions.saturating_mul(BCRYPT_EXPANSION),
            Self::Pbkdf2Sha256(iterations) => iterations.saturating_mul(PBKDF2_SHA256_ITERATION),
            Self::Pbkdf2Sha512(iterations) => iterations.saturating_mul(PBKDF2_SHA512_ITERATION),
        }
    }
}

impl<'a> Stored<'a> {
    /// Parses `text`; computes nothing.
    pub(super) fn parse(text: &'a str) -> Result<Self, HashError> {
        let (algorithm, fields) = match text.strip_prefix('$').and_then(|rest| rest.split_once('$')) {
            Some(parts) => parts,
            None if text.contains('$') && FOREIGN_NAMES.iter().any(|name| text.starts_with(name)) => {
                return Err(HashError::UnknownAlgorithm);
            }
            None => return Err(HashError::NotAHash),
        };
        if text.len() > MAX_BYTES {
            return Err(HashError::TooLong);
        }
        match algorithm {
            "scrypt" => scrypt(fields),
            "argon2id" | "argon2i" | "argon2d" => argon2(algorithm, fields),
            "2a" | "2b" | "2y" => bcrypt(text),
            "pbkdf2-sha256" => pbkdf2(Digest::Sha256, fields),
            "pbkdf2-sha512" => pbkdf2(Digest::Sha512, fields),
            _ => Err(HashError::UnknownAlgorithm),
        }
    }

    /// Algorithm and parameters for display: never salt or hash.
    pub(super) fn scheme(&self) -> String {
        match self {
            Self::Bcrypt(text, _) => format!("bcrypt cost={}", text.split('$').nth(2).unwrap_or_default()),
            Self::Salted(_, Function::Scrypt(cost)) => format!("scrypt {cost}"),
            Self::Salted(Phc { params, .. }, Function::Argon2(algorithm, _)) => {
                format!("{algorithm} {params}")
            }
            Self::Salted(_, Function::Pbkdf2(digest, iterations)) => format!("{digest} i={iterations}"),
        }
    }

    /// Whether it is a hash of ours at the cost `today`.
    pub(super) fn is_of(&self, today: Cost) -> bool {
        matches!(self, Self::Salted(_, Function::Scrypt(cost)) if *cost == today)
    }

    /// The work for one text.
    pub(super) fn steps(&self) -> Steps {
        match self {
            Self::Bcrypt(_, expansions) => Steps::Bcrypt(*expansions),
            Self::Salted(phc, function) => function.steps(phc.hash.len()),
        }
    }

    fn work_of_one(&self) -> u64 {
        self.steps().work()
    }

    /// The work of checking `password`, in units of [`Cost::work`].
    pub(super) fn work(&self, password: &Password, today: Cost) -> u64 {
        self.work_of_one() * self.spellings(password, today).count() as u64
    }

    /// The memory of a check in bytes; spellings are tried one at a time.
    pub(super) fn memory(&self) -> u64 {
        match self {
            Self::Salted(_, Function::Scrypt(cost)) => cost.memory(),
            Self::Salted(_, Function::Argon2(_, argon2)) => u64::from(argon2.params().m_cost()) << 10,
            Self::Salted(_, Function::Pbkdf2(..)) | Self::Bcrypt(..) => 0, // some KiB
        }
    }

    /// The spellings to try. Ours are of the NFC form; an imported scrypt hash at our cost may be of the
    /// original text. Others may be of any normal form, tried beyond the first two only as far as a hash may
    /// cost.
    fn spellings<'p>(&self, password: &'p Password, today: Cost) -> impl Iterator<Item = &'p str> {
        let affordable = usize::try_from(Cost::MAX_WORK / self.work_of_one().max(1)).unwrap_or(usize::MAX);
        let further = if self.is_of(today) { &[] } else { password.further.as_slice() };
        let all = [Some(&password.normal), password.typed.as_ref()].into_iter().flatten().chain(further);
        all.map(|text| text.as_str()).take(affordable.max(2))
    }

    /// The spelling of `password` that matches, if any.
    pub(super) fn right_spelling<'p>(
        &self,
        password: &'p Password,
        today: Cost,
    ) -> Result<Option<&'p str>, HashError> {
        for spelling in self.spellings(password, today) {
            if self.is_of_text(spelling)? {
                return Ok(Some(spelling));
            }
        }
        Ok(None)
    }

    fn is_of_text(&self, text: &str) -> Result<bool, HashError> {
        match self {
            // bcrypt truncates at 72 bytes, as it did when the hash was made. It repeats shorter passwords
            // with a NUL between, so that passwords that contain NULs would match others' hashes.
            Self::Bcrypt(hash, _) => {
                let matches = bcrypt::verify(text, hash).map_err(|_| HashError::Malformed)?;
                Ok(matches && !text.contains('\0'))
            }
            Self::Salted(phc, function) => {
                let computed = function.compute(text, &phc.salt, phc.hash.len())?;
                // HMAC pads with NULs: see `key`.
                let is_padded = matches!(function, Function::Pbkdf2(..)) && text.ends_with('\0');
                Ok(ct_codecs::verify(&computed, &phc.hash) && !is_padded)
            }
        }
    }

    /// Whether the hash covers the whole password. bcrypt ignores everything after 72 bytes, so the owner's
    /// password may be longer than the one typed here.
    pub(super) fn covers(&self, spelling: &str) -> bool {
        !matches!(self, Self::Bcrypt(..)) || spelling.len() < BCRYPT_TAKES
    }
}

impl Function {
    /// The work for this many bytes of output.
    fn steps(&self, output: usize) -> Steps {
        match self {
            Self::Scrypt(cost) => Steps::Scrypt(cost.work()),
            Self::Argon2(_, argon2) => {
                let params = argon2.params();
                Steps::Argon2(u64::from(params.m_cost()) * u64::from(params.t_cost()))
            }
            // All iterations run again for each digest-sized block of output.
            Self::Pbkdf2(digest, iterations) => {
                let iterations = u64::from(*iterations) * output.div_ceil(digest.bytes()) as u64;
                match digest {
                    Digest::Sha256 => Steps::Pbkdf2Sha256(iterations),
                    Digest::Sha512 => Steps::Pbkdf2Sha512(iterations),
                }
            }
        }
    }

    fn compute(&self, text: &str, salt: &[u8], output: usize) -> Result<Zeroizing<Vec<u8>>, HashError> {
        let mut computed = Zeroizing::new(vec![0; output]);
        let (typed, out) = (text.as_bytes(), computed.as_mut_slice());
        match self {
            Self::Scrypt(cost) => scrypt::scrypt(&key(text), salt, &cost.params(), out).map_err(drop),
            Self::Argon2(_, argon2) => argon2.hash_password_into(typed, salt, out).map_err(drop),
            Self::Pbkdf2(Digest::Sha256, rounds) => {
                pbkdf2_hmac::<Sha256>(typed, salt, *rounds, out);
                Ok(())
            }
            Self::Pbkdf2(Digest::Sha512, rounds) => {
                pbkdf2_hmac::<Sha512>(typed, salt, *rounds, out);
                Ok(())
            }
        }
        .map_err(|()| HashError::Malformed)?; // cannot fail: the parameters were checked
        Ok(computed)
    }
}

fn salted(phc: Phc<'_>, function: Function) -> Result<Stored<'_>, HashError> {
    within_limit(function.steps(phc.hash.len()))?;
    Ok(Stored::Salted(phc, function))
}

fn scrypt(fields: &str) -> Result<Stored<'_>, HashError> {
    let phc = Phc::read(fields)?;
    if phc.version.is_some() {
        return Err(HashError::Parameters); // scrypt has no versions
    }
    let cost = phc.params.parse().map_err(|error| match error {
        CostError::Malformed | CostError::OutOfRange => HashError::Parameters,
        CostError::TooMuchMemory | CostError::TooMuchWork => HashError::TooCostly(error),
    })?;
    salted(phc, Function::Scrypt(cost))
}

fn argon2<'a>(algorithm: &str, fields: &'a str) -> Result<Stored<'a>, HashError> {
    let phc = Phc::read(fields)?;
    // Hashes from before version 0x13 do not name their version.
    let version = phc.version.unwrap_or(argon2::Version::V0x10.into());
    let version = argon2::Version::try_from(version).map_err(|_| HashError::Parameters)?;
    let algorithm: argon2::Algorithm = algorithm.parse().map_err(|_| HashError::UnknownAlgorithm)?;
    let params: argon2::Params = phc.params.parse().map_err(|_| HashError::Parameters)?;
    if !params.keyid().is_empty() {
        return Err(HashError::Keyed);
    }
    if phc.salt.len() < argon2::MIN_SALT_LEN {
        return Err(HashError::Parameters);
    }
    if u64::from(params.m_cost()) > Cost::MAX_MEMORY >> 10 {
        return Err(HashError::TooCostly(CostError::TooMuchMemory));
    }
    let argon2 = Argon2::new(algorithm, version, params);
    salted(phc, Function::Argon2(algorithm, Box::new(argon2)))
}

fn bcrypt(text: &str) -> Result<Stored<'_>, HashError> {
    let cost = text.split('$').nth(2).and_then(|cost| cost.parse().ok()).ok_or(HashError::Malformed)?;
    if !(BCRYPT_MIN..=BCRYPT_MAX).contains(&cost) {
        return Err(HashError::Parameters);
    }
    let _: bcrypt::HashParts = text.parse().map_err(|_| HashError::Malformed)?;
    let expansions = 1 << cost;
    within_limit(Steps::Bcrypt(expansions))?;
    Ok(Stored::Bcrypt(text, expansions))
}

/// passlib's `29000$salt$hash` and PHC's `i=29000,l=32$salt$hash`.
fn pbkdf2(digest: Digest, fields: &str) -> Result<Stored<'_>, HashError> {
    let phc = Phc::read(fields)?;
    let iterations = match phc.params.strip_prefix("i=") {
        None => phc.params,
        Some(params) => match params.split_once(",l=") {
            None => params,
            Some((iterations, length)) if length == phc.hash.len().to_string() => iterations,
            Some(_) => return Err(HashError::Malformed),
        },
    };
    match iterations.parse() {
        Ok(1..) if phc.version.is_some() => Err(HashError::Parameters),
        Ok(iterations @ 1..) => salted(phc, Function::Pbkdf2(digest, iterations)),
        Ok(0) | Err(_) => Err(HashError::Parameters),
    }
}

fn within_limit(steps: Steps) -> Result<(), HashError> {
    if steps.work() <= Cost::MAX_WORK { Ok(()) } else { Err(HashError::TooCostly(CostError::TooMuchWork)) }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    /// Of "correct horse", by passlib 1.7.4 (PBKDF2, scrypt, Argon2), argon2-cffi 25.1.0 (version 16), bcrypt
    /// 5.0.0, and by hand (PBKDF2 in PHC's format); long salts, long hashes and padding by Python's hashlib
    /// and argon2-cffi.
    const HASHES: [&str; 27] = [
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
        "$pbkdf2-sha256$1000$AAECAwQFBgcICQoLDA0ODw==$yRTMTwbMbo9G0VfjobWqerzuuxe7BETNTErBbKKumGQVykgYqFUkGDPSqmamlmDo91gX1JZ69LgWiJuFkmT+UQ==",
        "$pbkdf2-sha256$1000$AAECAwQFBgcICQoLDA0ODw$yRTMTwbMbo9G0VfjobWqerzuuxe7BETNTErBbKKumGQVykgYqFUkGDPSqmamlmDo91gX1JZ69LgWiJuFkmT+UQ",
        "$pbkdf2-sha512$2$AAECAwQFBgcICQoLDA0ODw==$VvixzmwQWelT4xbX/ij8CrKLArt3lEglmmDvVm543T5n1+XVwxPoErBOvBmA5E5cAmt49TFU1K8pISfPZzLQGA==",
        "$pbkdf2-sha512$i=2,l=128$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw$Ii+xZ1RZ7wBUrFqPwGRkkGFouFavYZmAeoukfuMAi6dInbhP6yinYztusJJ6NE2XrYkWIzj46kFNHgx/wx47mbOtQaM6IXU+NKJajZQzJSZlxSy1KnkM/VdU1W3xjchUITmuAUIDb9Ja0CgFWaYyeO46yQIFZ/ThFWyP68X8eYU",
        "$scrypt$ln=4,r=8,p=1$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw$MhNFjv7ZHLwjkq+7BMVJsKBTrn5AFxlWNjQ/dgn5LTc",
        "$scrypt$ln=4,r=8,p=1$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==$MhNFjv7ZHLwjkq+7BMVJsKBTrn5AFxlWNjQ/dgn5LTfFOrJJURYqCjBjB1T4HfcP6oqC5Cu/nYi+TYG6jo3bfw==",
        "$scrypt$ln=4,r=8,p=2$c2FsdA$ZEZDdma1I9R4roXGh6VspZ/SpnfIZUbUPPTgE3NNwYqIsxkKleqY7hVBDwTVYWUKPsQ+v4hXkANusWk8x7+b83BpRMHGmDhoKC8gVmpf4nETrpK7y0zo1EWHzUmeR5RU",
        "$argon2id$v=19$m=64,t=2,p=1$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw$4fG3lsk6Z2DOu06c6tEPSdvl5g1FhQJt/m5f1bMRKPY",
        "$argon2id$v=19$m=64,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$D3bOQzziitddrqPOzG0JU/dNrSaqeJM6CwopehEslRBynoU/3oxNxgqT6GPcwMwYet/n/7lhSaxxVTm+N/l7UaD8UO9f8UXk53tdjyRxw7toUbVNl0imt86T3ZiOGBORd1Zx+1QMu31gsqTYQz/zMJHaiBcagPQJzencODe3PSU",
        "$argon2i$v=19$m=64,t=1,p=2$c2FsdHNhbHQ=$HS3OgVWM2xa0UnFPCtIria0GfHB1oxe2JiRjXTD5rMOId4+beHfROMF18q7J/aRGFrsxny698lMMQBJ7TCvSFA==",
        "$pbkdf2-sha256$i=1000,l=64$AAECAwQFBgcICQoLDA0ODw$yRTMTwbMbo9G0VfjobWqerzuuxe7BETNTErBbKKumGQVykgYqFUkGDPSqmamlmDo91gX1JZ69LgWiJuFkmT+UQ",
    ];

    const TODAY: Cost = Cost::DEFAULT;

    fn typed(text: &str) -> Password {
        Password::typed(&Zeroizing::new(text.to_owned()))
    }

    fn is_of(hash: &str, password: &str) -> bool {
        Stored::parse(hash).unwrap().right_spelling(&typed(password), TODAY).unwrap().is_some()
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
                hash.starts_with("$scrypt$ln=4,r=8,p=1"),
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
    fn a_password_is_recognised_composed_and_decomposed() {
        let (composed, decomposed) = ("Zo\u{eb}'s password", "Zoe\u{308}'s password");
        for of_decomposed in [
            "$pbkdf2-sha256$1$zdm7914L4fwfw5hTai2FcA$OFheu44XcIKx5WZ8VO26/BAzC76owr1JjukIlDfy6xk",
            "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$9MDyrvtwjf0v+/uvaENkSaRsxjmXUyxT9vXQIuCRKog",
            "$2b$04$MrYI2wgervdBLTi/n73wUu61mygc50M8nje5kQMXlszTjFVce//8u",
            "$scrypt$ln=4,r=8,p=1$4nxPqbXW+l8rZewdAyDE2A$ErVD+iXYnogQsp0aGX+mORzz8FOo3VyI1Njmeiy/ujU",
        ] {
            assert!(is_of(of_decomposed, decomposed) && is_of(of_decomposed, composed), "{of_decomposed}");
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
    fn too_costly_hashes_are_refused_before_computing() {
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
    fn invalid_hashes_are_refused_with_the_reason() {
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
        use HashError::{Keyed, Malformed, Parameters, TooLong, TooShort};
        for (text, expected) in [
            ("$2b$03$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu", Parameters),
            ("$2b$32$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu", Parameters),
            ("$2b$04$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAM", Malformed),
            (
                "$argon2id$v=18$m=64,t=2,p=1$AOC8lxLivNfa27sXYowxRg$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM",
                Parameters,
            ),
            (
                "$argon2id$v=19$m=64,t=2,p=1,keyid=Hj5+dsK0$AOC8lxLivNfa27sXYowxRg$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM",
                Keyed,
            ),
            (
                "$argon2id$v=19$m=7,t=2,p=1$AOC8lxLivNfa27sXYowxRg$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM",
                Parameters,
            ),
            ("$argon2id$v=19$m=64,t=2,p=1$c2FsdA$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM", Parameters),
            ("$scrypt$ln=4,r=8,p=1$AYAQIkQoxVirNUZorVXKWQ", Malformed),
            ("$scrypt$ln=4,r=8,p=1$AYAQIkQoxVirNUZorVXKWQ$nSe7pDQPABHeyZ/NhA", TooShort),
            (
                "$scrypt$ln=4,r=8$AYAQIkQoxVirNUZorVXKWQ$nSe7pDQPABHeyZ/Nh5hi4lwQjl3cVQqGPRnsdGG7vNI",
                Parameters,
            ),
            (
                "$scrypt$v=1$ln=4,r=8,p=1$AYAQIkQoxVirNUZorVXKWQ$nSe7pDQPABHeyZ/Nh5hi4lwQjl3cVQqGPRnsdGG7vNI",
                Parameters,
            ),
            (
                "$pbkdf2-sha256$0$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o",
                Parameters,
            ),
            ("$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA$", TooShort),
            ("$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ", TooShort),
            (
                "$pbkdf2-sha256$i=1,l=33$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o",
                Malformed,
            ),
            (
                "$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o$",
                Malformed,
            ),
            (
                "$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA=$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o",
                Malformed,
            ),
            (
                "$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA===$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o",
                Malformed,
            ),
            (
                "$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ=oEBtFLG5JAT8r1k5AWFCbUhN5o",
                Malformed,
            ),
            ("$pbkdf2-sha256$1$*$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o", Malformed),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
        let salt = "A".repeat(MAX_BYTES);
        assert_eq!(
            error(&format!("$pbkdf2-sha256$1${salt}$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o")),
            TooLong
        );
    }

    #[test]
    fn all_of_a_long_hash_is_compared() {
        for hash in HASHES.iter().filter(|hash| hash.len() > 120) {
            let (head, last) = hash.trim_end_matches('=').split_at(hash.trim_end_matches('=').len() - 4);
            let other = if last.starts_with('A') { "B" } else { "A" };
            let padding = &hash[head.len() + 4..];
            let altered = format!("{head}{other}{}{padding}", &last[1..]);
            assert!(!is_of(&altered, "correct horse"), "{altered}");
        }
    }

    #[test]
    fn a_hash_that_takes_several_digests_costs_as_many_times_the_rounds() {
        let work = |hash| Stored::parse(hash).unwrap().work(&typed("x"), TODAY);
        let (of_64, of_32) = (HASHES[17], HASHES[1].replace("$1$", "$1000$"));
        assert_eq!(work(of_64), 2 * work(&of_32));
        let beyond = of_64.replace("$1000$", "$6291457$"); // half of the limit for 32 bytes
        assert_eq!(error(&beyond), HashError::TooCostly(CostError::TooMuchWork));
    }

    /// "Zoë ﬁne Å passé" with a precomposed é, a ligature and the Ångström sign: every normal form is a
    /// different text.
    const TYPED: &str = "Zo\u{eb} \u{fb01}ne \u{212b} pass\u{e9}";

    #[test]
    fn a_hash_of_the_password_in_another_normal_form_knows_it() {
        for (form, hash) in [
            ("typed", "$pbkdf2-sha256$1$AAECAwQFBgcICQoLDA0ODw$N45x5ZyOjykw2kik6g4ooVLRMLEqD6qcoXHBGgn+Wb0"),
            ("NFC", "$pbkdf2-sha256$1$AAECAwQFBgcICQoLDA0ODw$aMk4maD4uj9BzwMduhPB/OFyVKDkg+ahUAVmntZdMzc"),
            ("NFD", "$pbkdf2-sha256$1$AAECAwQFBgcICQoLDA0ODw$dSKvxOAkuiVPYx09fp4IP4aP9IMEOdusjjErPuktb9g"),
            ("NFKC", "$pbkdf2-sha256$1$AAECAwQFBgcICQoLDA0ODw$d/pGLP9E/2II6RWgM2TpOmBxY0q3oEaZ8lg9VWsNshk"),
            (
                "NFKC",
                "$scrypt$ln=4,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$DKJU7GUOUl9yKIH4KJ0knC9NPPSmBbyZ5EDrU5F1YQg",
            ),
        ] {
            assert!(is_of(hash, TYPED), "{form}");
            assert!(!is_of(hash, &TYPED.replace('\u{e9}', "e")), "{form}");
        }
    }

    #[test]
    fn how_many_forms_are_tried_is_bounded_and_paid_for() {
        let hash = "$scrypt$ln=4,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$DKJU7GUOUl9yKIH4KJ0knC9NPPSmBbyZ5EDrU5F1YQg";
        let (stored, its_own) = (Stored::parse(hash).unwrap(), Cost::new(4, 8, 1).unwrap());
        for (text, today, forms) in [
            ("correct horse", TODAY, 1),
            ("Zo\u{eb}'s password", TODAY, 2), // NFD is another text
            (TYPED, TODAY, 4),
            (TYPED, its_own, 2), // an imported scrypt hash may be of the original text
        ] {
            assert_eq!(stored.work(&typed(text), today), forms * its_own.work(), "{text}");
        }
        assert!(stored.right_spelling(&typed(TYPED), its_own).unwrap().is_none());
        // At the largest cost, not all four spellings are tried.
        let costly = Stored::parse(
            "$scrypt$ln=17,r=8,p=8$AAECAwQFBgcICQoLDA0ODw$DKJU7GUOUl9yKIH4KJ0knC9NPPSmBbyZ5EDrU5F1YQg",
        )
        .unwrap();
        assert!(costly.work(&typed(TYPED), TODAY) <= 2 * Cost::MAX_WORK);
    }

    proptest::proptest! {
        #[test]
        fn no_text_and_no_truncated_hash_makes_the_parser_panic(
            which in 0..HASHES.len(), at in 0_usize..200, put in ".{0,8}", noise in "\\PC{0,100}",
        ) {
            let _ = Stored::parse(&noise);
            let _ = Stored::parse(&format!("${noise}"));
            let hash = HASHES[which];
            let _ = Stored::parse(&format!("{}{put}{}", &hash[..at.min(hash.len())], &hash[at.min(hash.len())..]));
            // A truncated hash matches nothing, or is as good as the whole.
            let cut = &hash[..at.min(hash.len())];
            if let Ok(stored) = Stored::parse(cut) {
                assert!(stored.right_spelling(&typed("correct hors"), TODAY).unwrap().is_none());
            }
        }
    }
}
