//! The PHC string format, as far as stored hashes use it: `argon2id`, then `v=19$m=64,t=2,p=1$salt$hash`.
//!
//! Salt and hash may have any length and padded base64: services write hashes that the library's own PHC type
//! cannot hold.

use ct_codecs::{Base64NoPadding, Decoder};

use super::HashError;

/// The shortest hash to compare with: a truncated hash must not let other passwords in.
const MIN_OUTPUT: usize = 16;

/// The fields after the algorithm's name.
pub(super) struct Phc<'a> {
    pub(super) version: Option<u32>,
    pub(super) params: &'a str,
    pub(super) salt: Vec<u8>,
    pub(super) hash: Vec<u8>,
}

impl<'a> Phc<'a> {
    pub(super) fn read(fields: &'a str) -> Result<Self, HashError> {
        let mut fields = fields.split('$').peekable();
        let version = match fields.peek().and_then(|field| field.strip_prefix("v=")) {
            Some(version) => {
                fields.next();
                Some(version.parse().map_err(|_| HashError::Parameters)?)
            }
            None => None,
        };
        let (Some(params), Some(salt), Some(hash), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(HashError::Malformed);
        };
        let (salt, hash) = (bytes(salt)?, bytes(hash)?);
        if hash.len() < MIN_OUTPUT {
            return Err(HashError::TooShort);
        }
        Ok(Self { version, params, salt, hash })
    }
}

/// Base64, padded or not. passlib writes `.` for `+` and reads both.
fn bytes(text: &str) -> Result<Vec<u8>, HashError> {
    let unpadded = match text.trim_end_matches('=') {
        unpadded if unpadded.len() == text.len() => unpadded,
        unpadded if text.len() == unpadded.len().next_multiple_of(4) => unpadded,
        _ => return Err(HashError::Malformed),
    };
    Base64NoPadding::decode_to_vec(unpadded.replace('.', "+"), None).map_err(|_| HashError::Malformed)
}
