//! Stored hashes, parsed: our own, and those of other services.
//!
//! Imported hashes (`gatelet import`) are checked by their own algorithm until the next login replaces them
//! with ours. They name their own cost, which must respect the limits of our settings before anything is
//! computed.

mod function;

use argon2::Argon2;
use thiserror::Error;

use super::phc::Phc;
use super::{Cost, CostError, Password};
pub(super) use function::Steps;
use function::{Digest, Function};

/// The longest text of a hash: room for salt and hash of 128 bytes each. A user's record has room for 4 KiB.
const MAX_BYTES: usize = 512;

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

fn salted(phc: Phc<'_>, function: Function) -> Result<Stored<'_>, HashError> {
    function.steps(phc.hash.len()).demand_affordable()?;
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
    // The library has defaults for what is missing, which were another's when the hash was made.
    let is_named = |name: &str| phc.params.split(',').any(|pair| pair.starts_with(name));
    if !["m=", "t=", "p="].into_iter().all(is_named) {
        return Err(HashError::Parameters);
    }
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
    Steps::Bcrypt(expansions).demand_affordable()?;
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

#[cfg(test)]
mod tests;
