//! The PASETO v4 layer: bytes in, token out, and back.

use pasetors::token::{Local, Public, TrustedToken, UntrustedToken};
use pasetors::version4::{LocalToken, PublicToken, V4};

use super::IssueError;
use super::key_ring::KeyRing;
use super::keys::{EncryptingKey, Key, SigningKey};

/// A payload whose signature or tag has been verified.
pub(super) struct VerifiedPayload(TrustedToken);

impl VerifiedPayload {
    pub(super) fn text(&self) -> &str {
        self.0.payload()
    }
}

pub(super) fn sign(key: &SigningKey, payload: &[u8]) -> Result<String, IssueError> {
    PublicToken::sign(key.secret(), payload, Some(key.footer().bytes()), None)
        .map_err(|_| IssueError::Encode("signature"))
}

pub(super) fn encrypt(key: &EncryptingKey, payload: &[u8]) -> Result<String, IssueError> {
    LocalToken::encrypt(key.secret(), payload, Some(key.footer().bytes()), None)
        .map_err(|_| IssueError::Encode("encryption"))
}

pub(super) fn is_local(text: &str) -> bool {
    text.starts_with(LocalToken::HEADER)
}

/// The payload of a `v4.public` token that a key of the ring has signed.
pub(super) fn verify(keys: &KeyRing, text: &str) -> Option<VerifiedPayload> {
    let key = keys.verifying(footer_text(text))?;
    let token = UntrustedToken::<Public, V4>::try_from(text).ok()?;
    PublicToken::verify(key.public(), &token, FOOTER_COMPARED, None).ok().map(VerifiedPayload)
}

/// The payload of a `v4.local` token that a key of the ring has encrypted.
pub(super) fn decrypt(keys: &KeyRing, text: &str) -> Option<VerifiedPayload> {
    let key = keys.decrypting(footer_text(text))?;
    let token = UntrustedToken::<Local, V4>::try_from(text).ok()?;
    LocalToken::decrypt(key.secret(), &token, FOOTER_COMPARED, None).ok().map(VerifiedPayload)
}

/// The key was found by comparing the footer, so it need not be compared again. Signature and tag cover it in
/// any case.
const FOOTER_COMPARED: Option<&[u8]> = None;

/// The encoded footer of a token: `v4.purpose.payload.FOOTER`, empty if there is none. Keys are found by
/// comparing this text, so that nothing unverified is decoded or parsed.
fn footer_text(text: &str) -> &str {
    text.splitn(4, '.').nth(3).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    //! The official test vectors of the PASETO v4 specification, shipped with `pasetors`.
    //!
    //! Our tokens have no implicit assertion, so vectors with one must be refused.

    use std::path::PathBuf;
    use std::process::Command;

    use ct_codecs::{Decoder, Hex};
    use serde_json::Value;

    use super::*;

    fn vectors() -> Vec<Value> {
        // Dependencies of other platforms are not downloaded.
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--offline", "--locked", "--filter-platform", &platform])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        let pasetors = metadata["packages"]
            .as_array()
            .unwrap()
            .iter()
            .find(|package| package["name"] == "pasetors")
            .unwrap();
        let manifest = PathBuf::from(pasetors["manifest_path"].as_str().unwrap());
        let file = manifest.with_file_name("test_vectors").join("v4.json");
        let all: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        all["tests"].as_array().unwrap().clone()
    }

    fn bytes(vector: &Value, field: &str) -> Option<Vec<u8>> {
        let text = vector[field].as_str()?;
        let mut buffer = vec![0; text.len() / 2];
        Hex::decode(&mut buffer, text, None).unwrap();
        Some(buffer)
    }

    /// Opens the vector's token with its own key and footer, the way our tokens are opened.
    fn open(vector: &Value) -> Option<String> {
        let token = vector["token"].as_str().unwrap();
        let footer = vector["footer"].as_str().unwrap_or_default().as_bytes();
        let mut ring = KeyRing::for_tests();
        if let Some(key) = bytes(vector, "secret-key") {
            let key = SigningKey::from_bytes(&key).ok()?.with_footer(footer);
            ring.add_signing(key);
        }
        if let Some(key) = bytes(vector, "key") {
            let key = EncryptingKey::from_bytes(&key).ok()?.with_footer(footer);
            ring.add_encrypting(key);
        }
        let opened = if is_local(token) { decrypt(&ring, token) } else { verify(&ring, token) };
        opened.map(|payload| payload.text().to_owned())
    }

    #[test]
    fn the_official_v4_vectors_open_or_are_refused_as_the_specification_says() {
        let (mut opened, mut refused) = (0, 0);
        for vector in vectors() {
            let name = vector["name"].as_str().unwrap();
            let ours = vector["implicit-assertion"] == "";
            if ours && vector["expect-fail"] == false {
                assert_eq!(open(&vector).as_deref(), vector["payload"].as_str(), "{name}");
                opened += 1;
            } else {
                assert_eq!(open(&vector), None, "{name}");
                refused += 1;
            }
        }
        println!("{opened} vectors opened, {refused} refused");
        assert!(opened >= 9 && refused >= 9, "{opened} opened, {refused} refused");
    }

    #[test]
    fn signing_the_official_public_vector_gives_its_very_token() {
        for vector in vectors() {
            if vector["name"] != "4-S-2" {
                continue;
            }
            let footer = vector["footer"].as_str().unwrap().as_bytes();
            let key =
                SigningKey::from_bytes(&bytes(&vector, "secret-key").unwrap()).unwrap().with_footer(footer);
            let token = sign(&key, vector["payload"].as_str().unwrap().as_bytes()).unwrap();
            assert_eq!(token, vector["token"].as_str().unwrap());
            return;
        }
        panic!("vector 4-S-2 is missing");
    }
}
