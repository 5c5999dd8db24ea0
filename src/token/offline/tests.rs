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

/// The ring's public keys, as the server publishes them.
fn published(ring: &KeyRing) -> Value {
    let keys = ring.published().into_iter().map(|key| {
        json!({ "kid": key.id, "public_key": key.paserk, "state": key.state, "not_after": key.not_after })
    });
    json!({ "keys": keys.collect::<Vec<_>>() })
}

fn desk() -> Desk {
    let ring = KeyRing::for_tests();
    let keys = published(&ring).to_string().parse().unwrap();
    let tokens = Tokens::new(ring, "gatelet".into(), Lifetimes { access: MINUTE, refresh: 10 * MINUTE });
    let session = tokens.begin_session(&user(NOW), NOW, Era::default()).unwrap();
    Desk { tokens, keys, access: session.access.0, refresh: session.refresh.0 }
}

impl Desk {
    fn flaws(&self, token: &str, now: Timestamp) -> Vec<Flaw> {
        verify(token, &self.keys, None, now).unwrap().flaws
    }

    /// The access token with changed claims, correctly signed.
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
fn an_expired_key_proves_nothing() {
    let desk = desk();
    let mut listed = published(&desk.tokens.ring());
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
fn a_text_that_is_not_a_paseto_is_refused() {
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
    fn no_text_makes_it_panic_or_accept(text in "(v[1-5]\\.(public|local)\\.)?[A-Za-z0-9_.=-]{0,300}|\\PC{0,80}") {
        let desk = desk();
        let _ = explain(&text, None, NOW);
        if let Ok(explained) = verify(&text, &desk.keys, None, NOW) {
            prop_assert!(!explained.flaws.is_empty());
        }
        let _ = text.parse::<PublicKeys>();
    }

    #[test]
    fn no_change_to_a_good_token_makes_it_panic_or_accept(place: Index, with: char, keep: bool) {
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
