//! How fast this machine computes each kind of hash: measured in a few milliseconds at the first import.

use std::hint::black_box;
use std::time::{Duration, Instant};

use argon2::Argon2;
use pbkdf2::pbkdf2_hmac;
use pbkdf2::sha2::{Sha256, Sha512};

use super::stored::Steps;

/// Rounds of each measurement; the fastest counts, because other load only adds time.
const ROUNDS: usize = 5;

/// The sizes measured: a millisecond or two each on a small server.
const SCRYPT_LN: u8 = 12;
const ARGON2_KIB: u32 = 2048;
const BCRYPT_COST: u32 = 5;
const PBKDF2_ITERATIONS: u32 = 5000;

/// Nanoseconds per step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speed {
    /// A block mix, as in [`super::Cost::work`].
    pub(super) scrypt: f64,
    /// A block of 1 KiB.
    pub(super) argon2: f64,
    /// One of `2^cost` key expansions.
    pub(super) bcrypt: f64,
    /// An iteration.
    pub(super) pbkdf2_sha256: f64,
    pub(super) pbkdf2_sha512: f64,
}

impl Speed {
    /// Of a small server, used if measuring fails.
    pub(super) const TYPICAL: Self =
        Self { scrypt: 400.0, argon2: 900.0, bcrypt: 50_000.0, pbkdf2_sha256: 400.0, pbkdf2_sha512: 800.0 };

    /// Measures all kinds. Blocks.
    pub(super) fn measure() -> Self {
        let (text, salt) = (b"password", [7; 16]);
        let mut out = [0; 32];
        let scrypt = scrypt::Params::new(SCRYPT_LN, 8, 1);
        let argon2 = argon2::Params::new(ARGON2_KIB, 1, 1, None)
            .map(|params| Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params));
        Self {
            scrypt: per_step(8 << SCRYPT_LN, || {
                let _ = scrypt.map(|params| scrypt::scrypt(text, &salt, &params, &mut out));
            }),
            argon2: per_step(ARGON2_KIB.into(), || {
                let _ = argon2.as_ref().map(|argon2| argon2.hash_password_into(text, &salt, &mut out));
            }),
            bcrypt: per_step(1 << BCRYPT_COST, || {
                black_box(bcrypt::bcrypt(BCRYPT_COST, salt, text));
            }),
            pbkdf2_sha256: per_step(PBKDF2_ITERATIONS.into(), || {
                pbkdf2_hmac::<Sha256>(text, &salt, PBKDF2_ITERATIONS, black_box(&mut out));
            }),
            pbkdf2_sha512: per_step(PBKDF2_ITERATIONS.into(), || {
                pbkdf2_hmac::<Sha512>(text, &salt, PBKDF2_ITERATIONS, black_box(&mut out));
            }),
        }
    }

    /// The time of these steps.
    #[allow(clippy::cast_precision_loss)] // an estimate
    pub(super) fn time(self, steps: Steps) -> Duration {
        let (count, nanos) = match steps {
            Steps::Scrypt(count) => (count, self.scrypt),
            Steps::Argon2(count) => (count, self.argon2),
            Steps::Bcrypt(count) => (count, self.bcrypt),
            Steps::Pbkdf2Sha256(count) => (count, self.pbkdf2_sha256),
            Steps::Pbkdf2Sha512(count) => (count, self.pbkdf2_sha512),
        };
        Duration::try_from_secs_f64(count as f64 * nanos / 1e9).unwrap_or(Duration::MAX)
    }
}

fn per_step(steps: u64, mut compute: impl FnMut()) -> f64 {
    let took = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        compute();
        began.elapsed()
    });
    #[allow(clippy::cast_precision_loss)] // an estimate
    let nanos = took.min().unwrap_or_default().as_nanos() as f64 / steps as f64;
    nanos
}

#[cfg(test)]
mod tests {
    use super::super::stored::Stored;
    use super::*;

    const TAIL: &str = "AOC8lxLivNfa27sXYowxRg$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM";

    #[test]
    fn each_kind_takes_its_own_time() {
        let speed = Speed { scrypt: 1.0, argon2: 2.0, bcrypt: 3.0, pbkdf2_sha256: 4.0, pbkdf2_sha512: 5.0 };
        for (hash, nanos) in [
            (format!("$scrypt$ln=10,r=8,p=2${TAIL}"), 1024 * 8 * 2),
            (format!("$argon2id$v=19$m=64,t=3,p=1${TAIL}"), 64 * 3 * 2),
            ("$2b$04$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu".to_owned(), 16 * 3),
            (format!("$pbkdf2-sha256$1000${TAIL}"), 1000 * 4),
            (format!("$pbkdf2-sha512$1000${TAIL}"), 1000 * 5),
        ] {
            let steps = Stored::parse(&hash).unwrap().steps();
            assert_eq!(speed.time(steps), Duration::from_nanos(nanos), "{hash}");
        }
    }

    #[test]
    fn all_kinds_are_measured() {
        let Speed { scrypt, argon2, bcrypt, pbkdf2_sha256, pbkdf2_sha512 } = Speed::measure();
        for nanos in [scrypt, argon2, bcrypt, pbkdf2_sha256, pbkdf2_sha512] {
            assert!(nanos > 0.0 && nanos.is_finite());
        }
    }
}
