//! The functions of salted hashes, and their work.

use std::fmt;

use argon2::Argon2;
use pbkdf2::pbkdf2_hmac;
use pbkdf2::sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

use super::HashError;
use crate::password::{Cost, CostError, key};

/// Work of one step of each algorithm in units of [`Cost::work`], measured in release mode on a machine where
/// such a unit takes 0.31 µs. A block of 1 KiB of Argon2: 0.48 to 0.89 µs.
const ARGON2_BLOCK: u64 = 2;
/// One of bcrypt's `2^cost` key expansions: 49 µs.
const BCRYPT_EXPANSION: u64 = 160;
/// An iteration of PBKDF2 for one digest of output: 0.09 µs, with instructions that not every machine has.
const PBKDF2_SHA256_ITERATION: u64 = 1;
/// An iteration: 0.28 µs there, 0.77 µs on another machine.
const PBKDF2_SHA512_ITERATION: u64 = 2;

/// The function of a salted hash, with its parameters.
pub(in crate::password) enum Function {
    /// Ours, and other services'.
    Scrypt(Cost),
    Argon2(argon2::Algorithm, Box<Argon2<'static>>),
    /// In passlib's format and in PHC's.
    Pbkdf2(Digest, u32),
}

#[derive(Clone, Copy)]
pub(in crate::password) enum Digest {
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
pub(in crate::password) enum Steps {
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
    pub(super) fn work(self) -> u64 {
        match self {
            Self::Scrypt(mixes) => mixes,
            Self::Argon2(blocks) => blocks.saturating_mul(ARGON2_BLOCK),
            Self::Bcrypt(expansions) => expansions.saturating_mul(BCRYPT_EXPANSION),
            Self::Pbkdf2Sha256(iterations) => iterations.saturating_mul(PBKDF2_SHA256_ITERATION),
            Self::Pbkdf2Sha512(iterations) => iterations.saturating_mul(PBKDF2_SHA512_ITERATION),
        }
    }

    /// Refuses work beyond [`Cost::MAX_WORK`].
    pub(super) fn demand_affordable(self) -> Result<(), HashError> {
        if self.work() <= Cost::MAX_WORK { Ok(()) } else { Err(HashError::TooCostly(CostError::TooMuchWork)) }
    }
}

impl Function {
    /// The work for this many bytes of output.
    pub(super) fn steps(&self, output: usize) -> Steps {
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

    pub(super) fn compute(
        &self,
        text: &str,
        salt: &[u8],
        output: usize,
    ) -> Result<Zeroizing<Vec<u8>>, HashError> {
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
