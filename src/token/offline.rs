//! Tokens checked without the server: with its public keys, as any other service can, or with none.
//!
//! Nothing here is secret or trusted. A token is decoded as far as possible, and all its flaws are collected.
//! The checks are those of [`super::Tokens::verify_access`]; only the server knows which sessions are
//! revoked.

mod public_keys;

use std::fmt;
use std::time::Duration;

use ct_codecs::{Base64UrlSafeNoPadding, Decoder};
use pasetors::token::{Public, UntrustedToken};
use pasetors::version4::{PublicToken, V4};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use super::claims::{self, AccessPayload};
use super::verified::{TokenRefusal, check_times};
use crate::domain::clock::Timestamp;
use crate::domain::key::KeyId;
use crate::domain::session::{SessionId, TokenId};
use crate::domain::user::{Role, UserId};

pub use public_keys::{MalformedKeys, PublicKeys};

/// Why a text is none of our tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoToken {
    /// It does not begin with `v4.public.` or `v4.local.`, or has too few or too many parts.
    #[error(
        "this is not one of Gatelet's tokens, which read v4.public.… or v4.local.…, in three or four parts"
    )]
    Kind,
    /// Payload or footer is not base64url without padding.
    #[error("this is no whole token: payload or footer are not base64url")]
    Base64,
    /// The payload is too short.
    #[error("this is no whole token: the payload is too short")]
    Short,
}

/// A token's purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Signed: anyone can read it.
    Public,
    /// Encrypted: only the server can read it.
    Local,
}

/// The state of a token's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Signature {
    /// It cannot be checked here: the token is encrypted.
    NotOurs,
    /// No keys were given.
    NotChecked,
    /// The keys given do not include the one that the token names.
    UnknownKey,
    /// It is not by the key that the token names, or the token was changed.
    Wrong,
    /// It is by the key that the token names.
    Good,
}

/// A reason to distrust a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The footer names no key of ours.
    NoKeyId,
    /// The keys given do not include the named one.
    UnknownKey,
    /// The key expired at this moment.
    KeyOver(Timestamp),
    /// See [`Signature::Wrong`].
    Signature,
    /// The payload is not a JSON object.
    Claims,
    /// The claim is missing.
    Missing(&'static str),
    /// The claim, and the value that it must have.
    Malformed(&'static str, &'static str),
    /// The server cannot read the claims: one occurs twice, for example.
    Unreadable,
    /// The issuer is not this one.
    Issuer(String),
    /// It is not valid before this moment.
    NotYet(Timestamp),
    /// It expired at this moment.
    Expired(Timestamp),
    /// It is encrypted and cannot be checked.
    Encrypted,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKeyId => f.write_str("its footer names no key ({\"kid\":\"k4.pid.…\"})"),
            Self::UnknownKey => f.write_str("the key that it names is not among the public keys given"),
            Self::KeyOver(moment) => write!(f, "the key that it names was retired for good at {moment}"),
            Self::Signature => {
                f.write_str("the signature does not fit: it was changed, or made by somebody else")
            }
            Self::Claims => f.write_str("what it says is no JSON object"),
            Self::Missing(claim) => write!(f, "the claim `{claim}` is missing"),
            Self::Malformed(claim, wanted) => write!(f, "the claim `{claim}` is not {wanted}"),
            Self::Unreadable => f.write_str("its claims are not those of an access token"),
            Self::Issuer(wanted) => write!(f, "the issuer is not {wanted:?}"),
            Self::NotYet(moment) => write!(f, "it is not valid before {moment}"),
            Self::Expired(moment) => write!(f, "it expired at {moment}"),
            Self::Encrypted => f.write_str(
                "it is encrypted (a refresh token, say): only the server can read it, and only access tokens \
                 are for others",
            ),
        }
    }
}

/// A decoded token. `signature` and `flaws` say whether to trust it.
#[derive(Debug)]
pub struct Explained {
    /// Signed or encrypted.
    pub purpose: Purpose,
    /// The key that the footer names.
    pub key: Option<KeyId>,
    /// Whether it can be believed.
    pub signature: Signature,
    /// Its claims, if they can be read.
    pub claims: Option<Map<String, Value>>,
    /// The reasons to distrust it.
    pub flaws: Vec<Flaw>,
}

impl Explained {
    /// A time claim: `iat`, `nbf`, `exp`, `auth_time`.
    pub fn time(&self, claim: &str) -> Option<Timestamp> {
        Timestamp::deserialize(self.claims.as_ref()?.get(claim)?).ok()
    }
}

/// Decodes a token, and checks it with `keys` if they are given.
///
/// # Errors
/// [`NoToken`].
pub fn explain(text: &str, keys: Option<&PublicKeys>, now: Timestamp) -> Result<Explained, NoToken> {
    let Parts { purpose, payload, footer } = Parts::of(text)?;
    let key = kid(&footer);
    let flaws = if key.is_none() { vec![Flaw::NoKeyId] } else { Vec::new() };
    let mut explained = Explained { purpose, key, signature: Signature::NotOurs, claims: None, flaws };
    if purpose == Purpose::Public {
        explained.check_signature(text, keys, now);
        explained.check_claims(&payload, now);
    }
    Ok(explained)
}

/// Checks an access token as the server would, and its issuer if `issuer` is given. Without
/// [`Explained::flaws`] it is valid, signature included.
///
/// # Errors
/// [`NoToken`].
pub fn verify(
    text: &str,
    keys: &PublicKeys,
    issuer: Option<&str>,
    now: Timestamp,
) -> Result<Explained, NoToken> {
    let mut explained = explain(text, Some(keys), now)?;
    match (&explained.claims, issuer) {
        _ if explained.purpose == Purpose::Local => explained.flaws.push(Flaw::Encrypted),
        (Some(claims), Some(wanted)) if claims.get("iss").is_some_and(|iss| iss != wanted) => {
            explained.flaws.push(Flaw::Issuer(wanted.to_owned()));
        }
        _ => {}
    }
    Ok(explained)
}

impl Explained {
    fn check_signature(&mut self, text: &str, keys: Option<&PublicKeys>, now: Timestamp) {
        let Some(PublicKeys(keys)) = keys else {
            self.signature = Signature::NotChecked;
            return;
        };
        let Some(key) = keys.iter().find(|key| self.key.as_ref() == Some(&key.id)) else {
            self.signature = Signature::UnknownKey;
            if self.key.is_some() {
                self.flaws.push(Flaw::UnknownKey);
            }
            return;
        };
        let good = UntrustedToken::<Public, V4>::try_from(text)
            .is_ok_and(|token| PublicToken::verify(&key.key, &token, None, None).is_ok());
        if good {
            self.signature = Signature::Good;
        } else {
            self.signature = Signature::Wrong;
            self.flaws.push(Flaw::Signature);
        }
        if let Some(moment) = key.not_after.filter(|&moment| now >= moment) {
            self.flaws.push(Flaw::KeyOver(moment));
        }
    }

    fn check_claims(&mut self, payload: &[u8], now: Timestamp) {
        let Ok(Value::Object(claims)) = serde_json::from_slice(payload) else {
            self.flaws.push(Flaw::Claims);
            return;
        };
        let before = self.flaws.len();
        for &(claim, wanted, fits) in CLAIMS {
            match claims.get(claim) {
                None => self.flaws.push(Flaw::Missing(claim)),
                Some(value) if !fits(value) => self.flaws.push(Flaw::Malformed(claim, wanted)),
                Some(_) => {}
            }
        }
        self.claims = Some(claims);
        // The server's own parser decides.
        if self.flaws.len() == before && serde_json::from_slice::<AccessPayload<'_>>(payload).is_err() {
            self.flaws.push(Flaw::Unreadable);
        }
        let begins = self.time("nbf").max(self.time("iat")).unwrap_or_default();
        let expires = self.time("exp");
        match check_times(begins, expires.unwrap_or(now), now) {
            Err(TokenRefusal::Expired) => self.flaws.extend(expires.map(Flaw::Expired)),
            Err(_) => self.flaws.push(Flaw::NotYet(begins)),
            Ok(()) => {}
        }
    }
}

/// Whether a claim can be read as a `T`.
fn is<T: DeserializeOwned>(value: &Value) -> bool {
    T::deserialize(value).is_ok()
}

type Fits = fn(&Value) -> bool;

/// The claims of an access token, each with its required value and a check.
const CLAIMS: &[(&str, &str, Fits)] = &[
    ("iss", "a text", is::<String>),
    ("sub", "the id of a user", is::<UserId>),
    ("sid", "the id of a session", is::<SessionId>),
    ("jti", "the id of a token", is::<TokenId>),
    ("typ", "\"access\": this is no access token", is::<claims::Access>),
    ("fresh", "true or false", is::<bool>),
    ("role", "\"user\" or \"admin\"", is::<Role>),
    ("iat", TIME, is::<Timestamp>),
    ("nbf", TIME, is::<Timestamp>),
    ("exp", TIME, is::<Timestamp>),
    ("auth_time", TIME, is::<Timestamp>),
];

const TIME: &str = "a time as in RFC 3339";

/// A token's parts, decoded.
struct Parts {
    purpose: Purpose,
    /// Without signature, nonce and tag; ciphertext if the token is encrypted.
    payload: Vec<u8>,
    footer: Vec<u8>,
}

/// How many bytes of a signed payload are the signature.
/// <https://github.com/paseto-standard/paseto-spec/blob/master/docs/01-Protocol-Versions/Version4.md>
const SIGNATURE: usize = 64;

/// How many bytes of an encrypted payload are the nonce and the tag.
const NONCE_AND_TAG: usize = 32 + 32;

impl Parts {
    fn of(text: &str) -> Result<Self, NoToken> {
        let parts: Vec<&str> = text.splitn(5, '.').collect();
        let (purpose, overhead, payload, footer) = match parts[..] {
            ["v4", "public", payload] => (Purpose::Public, SIGNATURE, payload, ""),
            ["v4", "public", payload, footer] => (Purpose::Public, SIGNATURE, payload, footer),
            ["v4", "local", payload] => (Purpose::Local, NONCE_AND_TAG, payload, ""),
            ["v4", "local", payload, footer] => (Purpose::Local, NONCE_AND_TAG, payload, footer),
            _ => return Err(NoToken::Kind),
        };
        let decode = |part| Base64UrlSafeNoPadding::decode_to_vec(part, None).map_err(|_| NoToken::Base64);
        let mut payload = decode(payload)?;
        match payload.len().checked_sub(overhead) {
            None | Some(0) => return Err(NoToken::Short),
            Some(length) => payload.truncate(length),
        }
        Ok(Self { purpose, payload, footer: decode(footer)? })
    }
}

/// The key that a footer names.
fn kid(footer: &[u8]) -> Option<KeyId> {
    #[derive(Deserialize)]
    struct Footer {
        kid: KeyId,
    }
    serde_json::from_slice::<Footer>(footer).ok().map(|footer| footer.kid)
}

/// The key that a token or statement names in its footer.
pub(super) fn key_of(text: &str) -> Option<KeyId> {
    Parts::of(text).ok().and_then(|parts| kid(&parts.footer))
}

/// A moment relative to `now`: `in 14m 3s`, `3m 2s ago`.
pub fn distance(moment: Timestamp, now: Timestamp) -> String {
    let (moment, now) = (moment.unix_secs(), now.unix_secs());
    let span = humantime::format_duration(Duration::from_secs(moment.abs_diff(now)));
    match moment.cmp(&now) {
        std::cmp::Ordering::Less => format!("{span} ago"),
        std::cmp::Ordering::Equal => "now".to_owned(),
        std::cmp::Ordering::Greater => format!("in {span}"),
    }
}

#[cfg(test)]
mod tests;
