//! Hashes in the formats of other services, rewritten to the stored form (PHC, or bcrypt's own) without
//! changing the computation.

use ct_codecs::{Base64, Base64NoPadding, Decoder, Encoder, Hex};

use super::HashError;

/// The letters of bcrypt's base64, in order.
const BCRYPT_LETTERS: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The length of a bcrypt hash.
const BCRYPT_BYTES: usize = 60;

/// The last letters of bcrypt's salt and hash: their positions and significant bits.
const BCRYPT_LAST: [(usize, usize); 2] = [(28, 0b11_0000), (59, 0b11_1100)];

/// Rewrites `text` to the stored form. Unknown formats are left as they are.
///
/// # Errors
/// [`HashError`] if the format is known and the rest is invalid.
pub(super) fn rewritten(text: String) -> Result<String, HashError> {
    let Some((method, fields)) = text.split_once('$') else {
        return Ok(text);
    };
    match method.split(':').collect::<Vec<_>>()[..] {
        [""] if fields.starts_with('2') && text.len() == BCRYPT_BYTES => without_noise(&text),
        ["scrypt", n, r, p] => werkzeug("scrypt", &scrypt_params([n, r, p])?, fields),
        ["pbkdf2", "sha256", iterations] => werkzeug("pbkdf2-sha256", &format!("i={iterations}"), fields),
        ["pbkdf2", "sha512", iterations] => werkzeug("pbkdf2-sha512", &format!("i={iterations}"), fields),
        ["pbkdf2", "sha256" | "sha512"] => Err(HashError::Parameters), // a version of Werkzeug chooses the rounds
        ["pbkdf2_sha256"] => django_pbkdf2(fields),
        ["scrypt"] => django_scrypt(fields),
        ["argon2"] => Ok(format!("${fields}")), // Django's
        ["bcrypt"] => without_noise(fields),    // Django's
        _ => Ok(text),
    }
}

/// Clears insignificant bits, as passlib does: some libraries set them, and others, ours among them, refuse
/// such hashes.
fn without_noise(text: &str) -> Result<String, HashError> {
    let cleared = || {
        let mut letters = text.as_bytes().to_vec();
        for (at, meant) in BCRYPT_LAST {
            let letter = letters.get_mut(at)?;
            let value = BCRYPT_LETTERS.iter().position(|known| known == letter)?;
            *letter = *BCRYPT_LETTERS.get(value & meant)?;
        }
        String::from_utf8(letters).ok()
    };
    cleared().ok_or(HashError::Malformed)
}

/// PHC names the logarithm of N.
fn scrypt_params([n, r, p]: [&str; 3]) -> Result<String, HashError> {
    let ln = n.parse::<u32>().ok().filter(|n| n.is_power_of_two()).map(u32::ilog2);
    Ok(format!("ln={},r={r},p={p}", ln.ok_or(HashError::Parameters)?))
}

/// Flask's `generate_password_hash`: `scrypt:32768:8:1$salt$hash` and `pbkdf2:sha256:600000$salt$hash`, with
/// the salt as text and the hash in hexadecimal.
fn werkzeug(algorithm: &str, params: &str, fields: &str) -> Result<String, HashError> {
    let (salt, hash) = fields.split_once('$').ok_or(HashError::Malformed)?;
    phc(algorithm, params, salt, &Hex::decode_to_vec(hash, None).map_err(|_| HashError::Malformed)?)
}

/// `pbkdf2_sha256$600000$salt$hash`, with the salt as text.
fn django_pbkdf2(fields: &str) -> Result<String, HashError> {
    let [iterations, salt, hash] = fields.split('$').collect::<Vec<_>>()[..] else {
        return Err(HashError::Malformed);
    };
    django("pbkdf2-sha256", &format!("i={iterations}"), salt, hash)
}

/// `scrypt$16384$salt$8$1$hash`, with the salt as text.
fn django_scrypt(fields: &str) -> Result<String, HashError> {
    let [n, salt, r, p, hash] = fields.split('$').collect::<Vec<_>>()[..] else {
        return Err(HashError::Malformed);
    };
    django("scrypt", &scrypt_params([n, r, p])?, salt, hash)
}

fn django(algorithm: &str, params: &str, salt: &str, hash: &str) -> Result<String, HashError> {
    phc(algorithm, params, salt, &Base64::decode_to_vec(hash, None).map_err(|_| HashError::Malformed)?)
}

fn phc(algorithm: &str, params: &str, salt: &str, hash: &[u8]) -> Result<String, HashError> {
    let encode = |bytes| Base64NoPadding::encode_to_string(bytes).map_err(|_| HashError::Malformed);
    Ok(format!("${algorithm}${params}${}${}", encode(salt.as_bytes())?, encode(hash)?))
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::super::{Checked, Cost, Password, PasswordHash, check};
    use super::*;

    /// Of "correct horse", by Werkzeug 3.1.9, passlib 1.7.4 (Django's), Python's hashlib (Django's scrypt)
    /// and bcrypt 5.0.0, the last with insignificant bits set.
    const HASHES: [(&str, &str); 10] = [
        (
            "scrypt:256:8:1$y6tcZsuvQqxUFDpx$1b4ead13a9c9ae5d6d706d1a0eb1a709645448ef1087759541fbafff66ba5fffe4b2e9a64d35731e655e88c8559887d583fa10ec98647ab8e7e3d3c62fd4e19c",
            "scrypt ln=8,r=8,p=1",
        ),
        (
            "scrypt:256:8:1$gWHfyiwa$c925abb1cff4d0e20228377ff2f09f066eeff37a795b440a15824403c81f05f0f360d80ea00c6b505e9494587bfeba3328b0bc15159fcb37835aaf9b1ef3530d",
            "scrypt ln=8,r=8,p=1",
        ),
        (
            "pbkdf2:sha256:2$Kns8DAF82ULKqt7E$42d4105fa622b0711901fc298907a042061f0777e5ea754a4c1df481750b4254",
            "pbkdf2-sha256 i=2",
        ),
        (
            "pbkdf2:sha512:2$bJxRq6ihGj7BJqL0$f33dd480f0d7aaa9fa2a7f880949b3d4d9604f5e4503d8cbf59606e055cc0ba1739ce50c0aff63a5172cb9205922f1e13e2106644e79bb589169700c2ce6201b",
            "pbkdf2-sha512 i=2",
        ),
        (
            "scrypt$16$seasalt$8$1$Qxil8nWcIy12YNMYpeV1hXKvwFi5h+x4wHI8WQTJ3/j1NecrriM2mkKB8IaqWjz6RUXfHzR5O5kG1jYWwbPuBA==",
            "scrypt ln=4,r=8,p=1",
        ),
        ("pbkdf2_sha256$2$KcudPU6OTzdG$RS9R7Yq0IRYMEjnu6HXaM8WL9NHLRvDvPvDnoIdtJY8=", "pbkdf2-sha256 i=2"),
        (
            "argon2$argon2id$v=19$m=64,t=2,p=1$AOC8lxLivNfa27sXYowxRg$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM",
            "argon2id m=64,t=2,p=1",
        ),
        ("bcrypt$$2b$04$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu", "bcrypt cost=04"),
        ("$2b$04$EnFywPkpMPXnP/37iDRHp3tCB83bVp/DtG93EeWBEUgitiCqkwAMv", "bcrypt cost=04"),
        ("bcrypt$$2b$04$EnFywPkpMPXnP/37iDRHp3tCB83bVp/DtG93EeWBEUgitiCqkwAMv", "bcrypt cost=04"),
    ];

    fn is_of(hash: &PasswordHash, password: &str) -> bool {
        let password = Password::typed(&Zeroizing::new(password.to_owned()));
        let checked = check(&password, hash, Cost::new(1, 8, 1).unwrap()).unwrap();
        !matches!(checked, Checked::Wrong)
    }

    #[test]
    fn hashes_of_other_services_match_their_password_and_no_other() {
        for (text, scheme) in HASHES {
            let hash = PasswordHash::import(text.to_owned()).expect(text);
            assert_eq!(hash.scheme(), scheme);
            assert!(hash.as_str() != text && hash.as_str().starts_with('$'), "{text}");
            assert!(is_of(&hash, "correct horse"), "{text}");
            for wrong in ["", "correct hors", "correct horse ", "Correct horse", "correct horse\0"] {
                assert!(!is_of(&hash, wrong), "{text} is of {wrong:?}");
            }
            assert!(
                PasswordHash::import(hash.as_str().to_owned()) == Ok(hash),
                "the same when it comes again"
            );
        }
    }

    #[test]
    fn damaged_and_too_costly_hashes_are_refused_in_every_format() {
        use HashError::{Malformed, Parameters, TooShort};
        for (text, error) in [
            ("scrypt:32768:8:1$abc$def", Malformed),
            ("scrypt:32769:8:1$y6tcZsuvQqxUFDpx$1b4ead13a9c9ae5d6d706d1a0eb1a709", Parameters),
            ("scrypt:0:8:1$y6tcZsuvQqxUFDpx$1b4ead13a9c9ae5d6d706d1a0eb1a709", Parameters),
            ("scrypt:256:8:1,ln=30$y6tcZsuvQqxUFDpx$1b4ead13a9c9ae5d6d706d1a0eb1a709", Parameters),
            ("scrypt:256:8:1$y6tcZsuvQqxUFDpx", Malformed),
            ("scrypt:256:8:1$y6tcZsuvQqxUFDpx$1b4ead13a9c9ae5d", TooShort),
            ("scrypt$15$seasalt$8$1$Qxil8nWcIy12YNMYpeV1hQ==", Parameters),
            ("scrypt$16$seasalt$8$1", Malformed),
            ("pbkdf2:sha256$Kns8DAF82ULKqt7E$42d4105fa622b0711901fc298907a042", Parameters),
            ("pbkdf2:sha256:0$Kns8DAF82ULKqt7E$42d4105fa622b0711901fc298907a042", Parameters),
            ("pbkdf2:sha256:x$Kns8DAF82ULKqt7E$42d4105fa622b0711901fc298907a042", Parameters),
            ("pbkdf2_sha256$29000$x$y", Malformed),
            ("pbkdf2_sha256$29000", Malformed),
            ("bcrypt$$2b$04$x", Malformed),
            ("$2b$04$EnFywPkpMPXnP/37iDRH!utCB83bVp/DtG93EeWBEUgitiCqkwAMu", Malformed),
            ("$2b$04$EnFywPkpMPXnP/37iDRHp!tCB83bVp/DtG93EeWBEUgitiCqkwAMu", Malformed),
        ] {
            assert_eq!(PasswordHash::import(text.to_owned()), Err(error), "{text}");
        }
        for text in [
            "scrypt:262144:8:1$y6tcZsuvQqxUFDpx$1b4ead13a9c9ae5d6d706d1a0eb1a709",
            "pbkdf2:sha256:12582913$Kns8DAF82ULKqt7E$42d4105fa622b0711901fc298907a042",
        ] {
            let refused = PasswordHash::import(text.to_owned());
            assert!(matches!(refused, Err(HashError::TooCostly(_))), "{text}: {refused:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_rewriter_panic(
            which in 0..HASHES.len(), at in 0_usize..200, put in ".{0,8}", noise in "\\PC{0,100}",
        ) {
            let (hash, _) = HASHES[which];
            let (head, tail) = hash.split_at(at.min(hash.len()));
            for text in [format!("{head}{put}{tail}"), format!("{head}{put}"), noise] {
                let _ = PasswordHash::import(text);
            }
        }
    }
}
