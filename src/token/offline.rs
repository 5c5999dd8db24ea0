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

#[derive(Debug)]
struct PublicKey {
    id: KeyId,
    key: AsymmetricPublicKey<V4>,
    not_after: Option<Timestamp>,
}

/// Why a text is no set of public keys.
#[derive(Debug)]
pub enum MalformedKeys {
    /// It is neither such JSON nor such lines.
    Format,
    /// This entry, counted from one, is no `k4.public.…`.
    Key(usize),
    /// This entry, counted from one, holds another key than its `kid` says.
    Id(usize),
    /// There is no key.
    Empty,
}

impl fmt::Display for MalformedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format => f.write_str(
                "neither {\"keys\":[{\"kid\":…,\"public_key\":\"k4.public.…\"}]} nor a k4.public.… on each line",
            ),
            Self::Key(place) => write!(f, "key {place} is no k4.public.…"),
            Self::Id(place) => write!(f, "key {place} is not the one that its kid names"),
            Self::Empty => f.write_str("there is no key in it"),
        }
    }
}

/// A key set as published. Further members, such as `state`, are for people.
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<KeyEntry>,
}

#[derive(Deserialize)]
struct KeyEntry {
    kid: Option<String>,
    public_key: String,
    not_after: Option<Timestamp>,
}

impl FromStr for PublicKeys {
    type Err = MalformedKeys;

    fn from_str(text: &str) -> Result<Self, MalformedKeys> {
        let text = text.trim();
        let entries = if text.starts_with('{') {
            serde_json::from_str::<KeySet>(text).map_err(|_| MalformedKeys::Format)?.keys
        } else {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            lines.map(|line| KeyEntry { kid: None, public_key: line.to_owned(), not_after: None }).collect()
        };
        if entries.is_empty() {
            return Err(MalformedKeys::Empty);
        }
        let keys = (1..).zip(entries).map(|(place, entry)| PublicKey::read(place, entry));
        keys.collect::<Result<_, _>>().map(Self)
    }
}

impl PublicKeys {
    pub(super) fn named(&self, id: &KeyId) -> Option<&AsymmetricPublicKey<V4>> {
        self.0.iter().find(|key| key.id == *id).map(|key| &key.key)
    }
}

impl PublicKey {
    fn read(place: usize, entry: KeyEntry) -> Result<Self, MalformedKeys> {
        let key = AsymmetricPublicKey::try_from(entry.public_key.as_str());
        let key = key.map_err(|_| MalformedKeys::Key(place))?;
        let id = public_id(&key).map_err(|_| MalformedKeys::Key(place))?;
        match entry.kid {
            Some(kid) if kid != id.as_str() => Err(MalformedKeys::Id(place)),
            _ => Ok(Self { id, key, not_after: entry.not_after }),
        }
    }
}

/// A text that is none of our tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoToken {
    /// It does not begin with `v4.public.` or `v4.local.`, or has too few or too many parts.
    Kind,
    /// Payload or footer are not base64url without padding.
    Base64,
    /// The payload is too short.
    #[error("this is no whole PASETO: the payload is too short")]
    Short,
}

impl fmt::Display for NoToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kind => {
                "this is not one of Gatelet's tokens, which read v4.public.… or v4.local.…, in three or four parts"
            }
            Self::Base64 => "this is no whole token: payload or footer are not base64url",
            Self::Short => "this is no whole token: the payload is too short",
        })
    }
}

/// What a token is for.
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
    /// It has none that could be checked here: it is encrypted.
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
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;
    use serde_json::json;

    use super::super::tests::user;
    use super::super::{KeyRing, LEEWAY, Lifetimes, Tokens, paseto};
    use super::*;
    use crate::domain::session::Era;

    const NOW: Timestamp = Timestamp::from_unix_secs(1_764_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    struct Desk {
        tokens: Tokens,
        keys: PublicKeys,
        access: String,
        refresh: String,
    }

    fn desk() -> Desk {
        let ring = KeyRing::for_tests();
        let keys = json!({ "keys": ring.published() }).to_string().parse().unwrap();
        let tokens = Tokens::new(ring, "gatelet".into(), Lifetimes { access: MINUTE, refresh: 10 * MINUTE });
        let session = tokens.begin_session(&user(NOW), NOW, Era::default()).unwrap();
        Desk { tokens, keys, access: session.access.0, refresh: session.refresh.0 }
    }

    impl Desk {
        fn flaws(&self, token: &str, now: Timestamp) -> Vec<Flaw> {
            verify(token, &self.keys, None, now).unwrap().flaws
        }

        /// The access token with claims changed, under a good signature.
        fn signed(&self, change: impl Fn(&mut Map<String, Value>)) -> String {
            let mut claims = explain(&self.access, None, NOW).unwrap().claims.unwrap();
            change(&mut claims);
            paseto::sign(self.tokens.ring().signing(), &serde_json::to_vec(&claims).unwrap()).unwrap()
        }
    }

    #[test]
    fn a_good_token_has_no_flaw_and_tells_when_it_expires() {
        let desk = desk();
        let good = verify(&desk.access, &desk.keys, Some("gatelet"), NOW).unwrap();
        assert_eq!((&good.flaws[..], good.signature), (&[][..], Signature::Good));
        assert_eq!(good.time("exp"), Some(NOW.after(MINUTE)));
        assert_eq!(good.key.as_ref(), Some(&desk.tokens.ring().records()[0].id));
    }

    #[test]
    fn a_token_is_good_here_just_as_long_as_for_the_server() {
        let desk = desk();
        let second = Duration::from_secs(1);
        let expires = NOW.after(MINUTE);
        for (now, flaw) in [
            (NOW.before(LEEWAY).before(second), Some(Flaw::NotYet(NOW))),
            (NOW.before(LEEWAY), None),
            (expires.after(LEEWAY).before(second), None),
            (expires.after(LEEWAY), Some(Flaw::Expired(expires))),
        ] {
            assert_eq!(desk.tokens.verify_access(&desk.access, now).is_ok(), flaw.is_none(), "{now}");
            assert_eq!(desk.flaws(&desk.access, now), flaw.into_iter().collect::<Vec<_>>(), "{now}");
        }
    }

    #[test]
    fn another_issuer_matters_only_where_one_is_asked_for() {
        let desk = desk();
        let asked = verify(&desk.access, &desk.keys, Some("other"), NOW).unwrap();
        assert_eq!(asked.flaws, [Flaw::Issuer("other".into())]);
    }

    #[test]
    fn a_changed_token_and_a_strangers_token_are_told_apart() {
        let (own, other) = (desk(), desk());
        let changed = own.access.replacen("v4.public.eyJ", "v4.public.eyK", 1);
        assert!(own.flaws(&changed, NOW).contains(&Flaw::Signature));
        let strange = verify(&other.access, &own.keys, None, NOW).unwrap();
        assert_eq!((&strange.flaws[..], strange.signature), (&[Flaw::UnknownKey][..], Signature::UnknownKey));
    }

    #[test]
    fn a_key_that_is_over_vouches_for_nothing() {
        let desk = desk();
        let mut listed = json!({ "keys": desk.tokens.ring().published() });
        listed["keys"][0]["not_after"] = json!(NOW);
        let keys: PublicKeys = listed.to_string().parse().unwrap();
        assert_eq!(verify(&desk.access, &keys, None, NOW).unwrap().flaws, [Flaw::KeyOver(NOW)]);
        assert_eq!(verify(&desk.access, &keys, None, NOW.before(LEEWAY)).unwrap().flaws, []);
    }

    #[test]
    fn an_encrypted_token_shows_its_key_and_nothing_else() {
        let desk = desk();
        let explained = explain(&desk.refresh, Some(&desk.keys), NOW).unwrap();
        assert_eq!((explained.purpose, explained.signature), (Purpose::Local, Signature::NotOurs));
        assert!(explained.key.unwrap().as_str().starts_with("k4.lid."));
        assert!(explained.claims.is_none() && explained.flaws.is_empty());
        assert_eq!(desk.flaws(&desk.refresh, NOW), [Flaw::Encrypted]);
    }

    #[test]
    fn every_claim_that_is_missing_or_malformed_is_named() {
        let desk = desk();
        assert_eq!(desk.flaws(&desk.signed(|_| {}), NOW), []);
        for (claim, ..) in CLAIMS {
            let missing = desk.signed(|claims| drop(claims.remove(*claim)));
            assert_eq!(desk.flaws(&missing, NOW), [Flaw::Missing(claim)]);
            let malformed = desk.signed(|claims| drop(claims.insert((*claim).into(), json!(7))));
            assert!(
                matches!(desk.flaws(&malformed, NOW)[..], [Flaw::Malformed(named, _)] if named == *claim),
                "{claim}"
            );
        }
        let kind = desk.signed(|claims| drop(claims.insert("typ".into(), json!("refresh"))));
        assert!(matches!(desk.flaws(&kind, NOW)[..], [Flaw::Malformed("typ", _)]));
    }

    #[test]
    fn a_claim_that_stands_there_twice_is_no_better_here_than_at_the_server() {
        let desk = desk();
        let claims = serde_json::to_string(&explain(&desk.access, None, NOW).unwrap().claims).unwrap();
        let twice = claims.replacen('{', "{\"role\":\"admin\",", 1);
        let token = paseto::sign(desk.tokens.ring().signing(), twice.as_bytes()).unwrap();
        assert!(desk.tokens.verify_access(&token, NOW).is_err());
        assert_eq!(desk.flaws(&token, NOW), [Flaw::Unreadable]);
    }

    #[test]
    fn what_is_no_paseto_is_said_to_be_none() {
        let form =
            ["", ".", "v4", "v4.public", "v5.public.AAAA", "v4.secret.AAAA", "a.b.c.d.e", "v4.public.a.b.c"];
        for text in form {
            assert_eq!(explain(text, None, NOW).unwrap_err(), NoToken::Kind, "{text}");
        }
        assert_eq!(explain("v4.public.A=", None, NOW).unwrap_err(), NoToken::Base64);
        assert_eq!(explain("v4.public.AAAA", None, NOW).unwrap_err(), NoToken::Short);
    }

    #[test]
    fn tokens_of_other_versions_are_none_of_ours() {
        let desk = desk();
        for version in ["v1", "v2", "v3", "v5"] {
            for token in [&desk.access, &desk.refresh] {
                let other = token.replacen("v4", version, 1);
                assert_eq!(explain(&other, Some(&desk.keys), NOW).unwrap_err(), NoToken::Kind, "{other}");
                assert_eq!(verify(&other, &desk.keys, None, NOW).unwrap_err(), NoToken::Kind, "{other}");
            }
        }
    }

    #[test]
    fn keys_are_read_from_lines_as_well_and_refused_by_their_place() {
        let desk = desk();
        let published = desk.tokens.ring().published();
        let lines: PublicKeys = format!("\n{}\r\n\n", published[0].paserk).parse().unwrap();
        assert_eq!(verify(&desk.access, &lines, None, NOW).unwrap().flaws, []);

        let of = |text: &str| text.parse::<PublicKeys>().unwrap_err();
        assert!(matches!(of(""), MalformedKeys::Empty));
        assert!(matches!(of("{\"keys\":[]}"), MalformedKeys::Empty));
        assert!(matches!(of("{\"keys\":7}"), MalformedKeys::Format));
        let secret = format!("{}\nk4.secret.AAAA", published[0].paserk);
        assert!(matches!(of(&secret), MalformedKeys::Key(2)));
        let other = json!({"keys": [{"kid": "k4.pid.other", "public_key": published[0].paserk}]});
        assert!(matches!(of(&other.to_string()), MalformedKeys::Id(1)));
    }

    #[test]
    fn distances_are_told_from_both_sides() {
        assert_eq!(distance(NOW.after(Duration::from_secs(843)), NOW), "in 14m 3s");
        assert_eq!(distance(NOW.before(MINUTE), NOW), "1m ago");
        assert_eq!(distance(NOW, NOW), "now");
    }

    proptest! {
        #[test]
        fn no_text_whatever_makes_it_panic_or_believe(text in "(v[1-5]\\.(public|local)\\.)?[A-Za-z0-9_.=-]{0,300}|\\PC{0,80}") {
            let desk = desk();
            let _ = explain(&text, None, NOW);
            if let Ok(explained) = verify(&text, &desk.keys, None, NOW) {
                prop_assert!(!explained.flaws.is_empty());
            }
            let _ = text.parse::<PublicKeys>();
        }

        #[test]
        fn no_change_to_a_good_token_makes_it_panic_or_believe(place: Index, with: char, keep: bool) {
            let desk = desk();
            for token in [&desk.access, &desk.refresh] {
                let place = place.index(token.len());
                let rest = if keep { &token[place + 1..] } else { "" };
                let changed = format!("{}{with}{rest}", &token[..place]);
                if changed == *token {
                    continue;
                }
                let _ = explain(&changed, Some(&desk.keys), NOW);
                if let Ok(explained) = verify(&changed, &desk.keys, None, NOW) {
                    prop_assert!(!explained.flaws.is_empty());
                }
            }
        }

        #[test]
        fn no_signed_payload_makes_it_panic_or_more_trusting_than_the_server(payload in "\\PC{1,200}|\\{\"(exp|iat|nbf)\":\"[0-9TZ:+-]{0,30}\"\\}|\\[{0,300}") {
            let desk = desk();
            if payload.is_empty() {
                return Ok(());
            }
            let token = paseto::sign(desk.tokens.ring().signing(), payload.as_bytes()).unwrap();
            prop_assert!(!desk.flaws(&token, NOW).is_empty());
        }
    }
}
