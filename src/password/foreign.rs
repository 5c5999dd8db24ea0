//! Hashes as other services write them, put into the form that is stored: PHC's, or bcrypt's own. What there is to compute
//! stays the same.

use std::fmt;

use ct_codecs::{Base64, Base64NoPadding, Decoder, Encoder, Hex};

use super::HashError;

/// The letters of bcrypt's base64, in order.
const BCRYPT_LETTERS: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The length of every hash of bcrypt.
const BCRYPT_BYTES: usize = 60;

/// Where the last letters of bcrypt's salt and hash stand, and which of their bits mean something.
const BCRYPT_LAST: [(usize, usize); 2] = [(28, 0b11_0000), (59, 0b11_1100)];

/// `text` in the form that is stored. What is in no form that is known here stays as it is.
///
/// # Errors
/// [`HashError::Malformed`].
pub(super) fn rewritten(text: String) -> Result<String, HashError> {
    let Some((method, fields)) = text.split_once('$') else {
        return Ok(text);
    };
    let rewritten = match method.split(':').collect::<Vec<_>>()[..] {
        [""] if fields.starts_with('2') && text.len() == BCRYPT_BYTES => without_noise(&text),
        ["scrypt", n, r, p] => werkzeug_scrypt([n, r, p], fields),
        ["pbkdf2", digest @ ("sha256" | "sha512"), iterations] => werkzeug_pbkdf2(digest, iterations, fields),
        ["pbkdf2_sha256"] => django_pbkdf2(fields),
        ["argon2"] => Some(format!("${fields}")), // Django's
        ["bcrypt"] => without_noise(fields),      // likewise
        _ => return Ok(text),
    };
    rewritten.ok_or(HashError::Malformed)
}

/// Some libraries have left noise in the bits that mean nothing, and others, as ours, take no such hash. passlib clears
/// them as well.
fn without_noise(text: &str) -> Option<String> {
    let mut letters = text.as_bytes().to_vec();
    for (at, meant) in BCRYPT_LAST {
        let letter = letters.get_mut(at)?;
        let value = BCRYPT_LETTERS.iter().position(|known| known == letter)?;
        *letter = *BCRYPT_LETTERS.get(value & meant)?;
    }
    String::from_utf8(letters).ok()
}

/// `scrypt:32768:8:1$salt$hash`, with a salt that is text and a hash in hexadecimal, as Flask's `generate_password_hash`
/// writes it.
fn werkzeug_scrypt([n, r, p]: [&str; 3], fields: &str) -> Option<String> {
    let parse = |text: &str| text.parse::<u32>().ok();
    let (n, r, p) = (parse(n)?, parse(r)?, parse(p)?);
    let ln = n.is_power_of_two().then(|| n.ilog2())?;
    werkzeug("scrypt", format_args!("ln={ln},r={r},p={p}"), fields)
}

/// `pbkdf2:sha256:600000$salt$hash`, likewise.
fn werkzeug_pbkdf2(digest: &str, iterations: &str, fields: &str) -> Option<String> {
    werkzeug(&format!("pbkdf2-{digest}"), format_args!("i={iterations}"), fields)
}

fn werkzeug(algorithm: &str, params: fmt::Arguments<'_>, fields: &str) -> Option<String> {
    let (salt, hash) = fields.split_once('$')?;
    phc(algorithm, params, salt, &Hex::decode_to_vec(hash, None).ok()?)
}

/// `pbkdf2_sha256$600000$salt$hash`, with a salt that is text.
fn django_pbkdf2(fields: &str) -> Option<String> {
    let (iterations, fields) = fields.split_once('$')?;
    let (salt, hash) = fields.split_once('$')?;
    let hash = Base64::decode_to_vec(hash, None).ok()?;
    phc("pbkdf2-sha256", format_args!("i={iterations}"), salt, &hash)
}

fn phc(algorithm: &str, params: fmt::Arguments<'_>, salt: &str, hash: &[u8]) -> Option<String> {
    let salt = Base64NoPadding::encode_to_string(salt).ok()?;
    let hash = Base64NoPadding::encode_to_string(hash).ok()?;
    Some(format!("${algorithm}${params}${salt}${hash}"))
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::super::{Checked, Cost, Password, PasswordHash, check};
    use super::*;

    /// Made by Werkzeug 3.1.9, passlib 1.7.4 (Django's) and, with letters put into the place of others, bcrypt 5.0.0: all
    /// of "correct horse".
    const HASHES: [(&str, &str); 9] = [
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
    fn hashes_in_the_words_of_others_know_their_password_and_no_other() {
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
    fn what_is_damaged_or_asks_for_too_much_is_refused_in_any_words() {
        for text in [
            "scrypt:32768:8:1$abc$def",
            "scrypt:32769:8:1$y6tcZsuvQqxUFDpx$1b4ead13a9c9ae5d6d706d1a0eb1a709",
            "scrypt:0:8:1$y6tcZsuvQqxUFDpx$1b4ead13a9c9ae5d6d706d1a0eb1a709",
            "scrypt:256:8:1,ln=30$y6tcZsuvQqxUFDpx$1b4ead13a9c9ae5d6d706d1a0eb1a709",
            "scrypt:256:8:1$y6tcZsuvQqxUFDpx",
            "scrypt:256:8:1$y6tcZsuvQqxUFDpx$1b4ead13a9c9ae5d",
            "pbkdf2:sha256:0$Kns8DAF82ULKqt7E$42d4105fa622b0711901fc298907a042",
            "pbkdf2:sha256:x$Kns8DAF82ULKqt7E$42d4105fa622b0711901fc298907a042",
            "pbkdf2_sha256$29000$x$y",
            "pbkdf2_sha256$29000",
            "bcrypt$$2b$04$x",
            "$2b$04$EnFywPkpMPXnP/37iDRH!utCB83bVp/DtG93EeWBEUgitiCqkwAMu",
            "$2b$04$EnFywPkpMPXnP/37iDRHp!tCB83bVp/DtG93EeWBEUgitiCqkwAMu",
        ] {
            assert_eq!(PasswordHash::import(text.to_owned()), Err(HashError::Malformed), "{text}");
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
        fn no_text_is_too_much_for_the_rewriter(
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
