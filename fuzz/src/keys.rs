//! Keys that are the same in each run, so that an input means the same again. They protect nothing.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gatelet::domain::clock::Timestamp;
use gatelet::domain::key::{KeyId, KeyRecord};
use gatelet::token::{KeyRing, Lifetimes, LostKeys};
use pasetors::keys::{AsymmetricPublicKey, AsymmetricSecretKey, SymmetricKey};
use pasetors::paserk::{FormatAsPaserk, Id};
use pasetors::version4::V4;

/// When all that targets make is made.
pub const NOW: Timestamp = Timestamp::from_unix_secs(1_764_000_000);

pub const LIFETIMES: Lifetimes =
    Lifetimes { access: Duration::from_secs(900), refresh: Duration::from_secs(3600) };

/// A signing and an encrypting key each.
const PAIRS: [[&str; 2]; 3] = [
    [
        "k4.secret.5ZkUSbcxgmJ_oaFakKBYr_rlq9yIyhNjFf4-q7yIx5eDt3GITN0uduWtUziPGAzmiKouhF6oZud8lPgk2rQdwg",
        "k4.local.jBvaLQzaA_7dPr-WznlnPIn42PAhqqgQ8_6_QicOavQ",
    ],
    [
        "k4.secret.Vi2eogDE9_580rrQkyRe2RABtvYF7hzbvjSFZmdTBFedn9f73-Wrh7SfrXIhGjyIOTQEqnD5aZkLH6-lSodmfQ",
        "k4.local.V2LmjeflBwTQ_Bv8C6RgI-juNIA4ktVbCBTiVTegbVs",
    ],
    [
        "k4.secret.nbxy0eVsoRf23TdJk2JdIRJabO3sz0GdfDLi2EL1UKXiBngdfZk1CRkuxcP_6k4CTWa8pcVAOBKTlBnC0HfXxg",
        "k4.local.hQUNCzC56kEzfHBbwRNN7-2UnG97zz-cXoYMuH6_btk",
    ],
];

pub fn signing(pair: usize) -> AsymmetricSecretKey<V4> {
    PAIRS[pair][0].try_into().expect("a secret key")
}

pub fn verifying(pair: usize) -> AsymmetricPublicKey<V4> {
    AsymmetricPublicKey::try_from(&signing(pair)).expect("a public key")
}

pub fn encrypting(pair: usize) -> SymmetricKey<V4> {
    PAIRS[pair][1].try_into().expect("a key")
}

pub fn id_of(key: impl Into<Id>) -> KeyId {
    let mut text = String::new();
    key.into().fmt(&mut text).expect("text");
    text.parse().expect("the id of a key")
}

/// A ring in which the first of these pairs makes tokens and the others only check them.
pub fn ring(pairs: &[usize]) -> Arc<KeyRing> {
    let dir = tempfile::tempdir().expect("a directory");
    let mut records = Vec::new();
    for (place, pair) in pairs.iter().enumerate() {
        let ids = [id_of(&verifying(*pair)), id_of(&encrypting(*pair))];
        for (id, text) in ids.into_iter().zip(PAIRS[*pair]) {
            write(&dir.path().join(id.as_str()), text);
            let not_after = (place > 0).then(|| NOW.after(LIFETIMES.refresh));
            records.push(KeyRecord { id, longest: LIFETIMES.refresh, not_after });
        }
    }
    Arc::new(KeyRing::open(dir.path(), &records, LostKeys::Refuse, LIFETIMES, NOW).expect("a ring"))
}

fn write(path: &Path, text: &str) {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).expect("a key's file");
}
