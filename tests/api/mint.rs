//! Opens and makes tokens with the server's own keys, to compare claims and to test tokens whose signature is good but
//! whose content is not.

use std::fs;

use ct_codecs::{Base64UrlSafeNoPadding, Decoder};
use pasetors::keys::{AsymmetricPublicKey, AsymmetricSecretKey, SymmetricKey};
use pasetors::token::UntrustedToken;
use pasetors::version4::{LocalToken, PublicToken, V4};
use serde_json::{Value, json};

use crate::support::TestServer;

pub(crate) struct Mint {
    signing: AsymmetricSecretKey<V4>,
    signing_footer: Vec<u8>,
    encrypting: SymmetricKey<V4>,
    encrypting_footer: Vec<u8>,
}

impl Mint {
    /// Uses the keys of `server`, one of each kind.
    pub(crate) fn of(server: &TestServer) -> Self {
        let (signing_footer, signing) = key_file(server, "k4.pid.");
        let (encrypting_footer, encrypting) = key_file(server, "k4.lid.");
        Self {
            signing: signing.as_str().try_into().unwrap(),
            signing_footer,
            encrypting: encrypting.as_str().try_into().unwrap(),
            encrypting_footer,
        }
    }

    /// A `v4.public` token.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_text(&claims.to_string())
    }

    /// The same from any payload, JSON or not.
    pub(crate) fn sign_text(&self, payload: &str) -> String {
        self.sign_with(payload, Some(&self.signing_footer), None)
    }

    /// The same with another footer or an implicit assertion.
    pub(crate) fn sign_with(
        &self,
        payload: &str,
        footer: Option<&[u8]>,
        implicit_assertion: Option<&[u8]>,
    ) -> String {
        PublicToken::sign(&self.signing, payload.as_bytes(), footer, implicit_assertion).unwrap()
    }

    /// A `v4.local` token.
    pub(crate) fn encrypt(&self, claims: &Value) -> String {
        self.encrypt_with(claims, Some(&self.encrypting_footer), None)
    }

    /// The same with another footer or an implicit assertion.
    pub(crate) fn encrypt_with(
        &self,
        claims: &Value,
        footer: Option<&[u8]>,
        implicit_assertion: Option<&[u8]>,
    ) -> String {
        let payload = claims.to_string();
        LocalToken::encrypt(&self.encrypting, payload.as_bytes(), footer, implicit_assertion).unwrap()
    }

    /// The claims of an access token, verified with the public key alone.
    pub(crate) fn open_access(&self, token: &str) -> Value {
        let public = AsymmetricPublicKey::try_from(&self.signing).unwrap();
        let token = UntrustedToken::try_from(token).unwrap();
        let token = PublicToken::verify(&public, &token, Some(&self.signing_footer), None).unwrap();
        serde_json::from_str(token.payload()).unwrap()
    }

    /// The claims of a refresh token, decrypted with the server's key.
    pub(crate) fn open_refresh(&self, token: &str) -> Value {
        let token = UntrustedToken::try_from(token).unwrap();
        let footer = Some(self.encrypting_footer.as_slice());
        let token = LocalToken::decrypt(&self.encrypting, &token, footer, None).unwrap();
        serde_json::from_str(token.payload()).unwrap()
    }
}

/// The footer that names the only key of this kind, and its PASERK.
fn key_file(server: &TestServer, kind: &str) -> (Vec<u8>, String) {
    let mut files = fs::read_dir(server.data_dir().join("keys"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(kind));
    let file = files.next().unwrap();
    assert!(files.next().is_none(), "one key of a kind");
    let footer = json!({"kid": file.file_name().to_str().unwrap()}).to_string().into_bytes();
    (footer, fs::read_to_string(file.path()).unwrap())
}

/// The claims of an access token, with its signature unchecked.
pub(crate) fn read_unverified(token: &str) -> Value {
    const SIGNATURE: usize = 64;
    let payload = token.split('.').nth(2).unwrap();
    let bytes = Base64UrlSafeNoPadding::decode_to_vec(payload, None).unwrap();
    serde_json::from_slice(&bytes[..bytes.len() - SIGNATURE]).unwrap()
}

/// The token with one of the six bits of the character at `position` flipped; `None` if it is not a base64url character.
pub(crate) fn flip_bit(token: &str, position: usize, bit: u32) -> Option<String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = ALPHABET.iter().position(|&character| character == token.as_bytes()[position])?;
    let other = char::from(ALPHABET[value ^ (1 << bit)]);
    let mut text = token.to_owned();
    text.replace_range(position..=position, other.encode_utf8(&mut [0; 4]));
    Some(text)
}
