//! Tokens with a good signature and claims that the server never issues.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::forgery::{expect_invalid, log_out, refresh, show, with_login};
use crate::mint::Mint;
use crate::refusal::Refusal;
use crate::support::{TestServer, start};

/// A server and its keys. Tokens made with these are accepted like the server's own.
struct Forge {
    server: TestServer,
    mint: Mint,
    access: Value,
    refresh: Value,
}

impl Forge {
    fn new() -> Self {
        let (server, tokens) = with_login();
        let mint = Mint::of(&server);
        let (access, refresh) = (mint.open_access(&tokens.access), mint.open_refresh(&tokens.refresh));
        let forge = Self { server, mint, access, refresh };
        forge.check(|_| {}, None, "as the server makes them");
        forge
    }

    /// Changes the claims of both kinds of tokens and uses them. Without a `refusal` they must be accepted.
    #[track_caller]
    fn check(&self, change: impl Fn(&mut Value), refusal: Option<Refusal>, case: &str) {
        let (mut access, mut refresh_claims) = (self.access.clone(), self.refresh.clone());
        change(&mut access);
        change(&mut refresh_claims);
        let mut client = self.server.client();
        let by_access = show(&mut client, &self.mint.sign(&access));
        let by_refresh = refresh(&mut client, &self.mint.encrypt(&refresh_claims));
        match refusal {
            None => assert_eq!((by_access.status, by_refresh.status), (200, 200), "{case}"),
            Some(refusal) => {
                refusal.expect(&by_access, &format!("access: {case}"));
                refusal.expect(&by_refresh, &format!("refresh: {case}"));
                for token in [self.mint.sign(&access), self.mint.encrypt(&refresh_claims)] {
                    refusal.expect(&log_out(&mut client, &token), case);
                }
            }
        }
    }
}

#[test]
fn a_token_without_any_one_claim_is_refused() {
    let forge = Forge::new();
    let mut client = forge.server.client();
    for claim in forge.access.as_object().unwrap().keys() {
        let mut claims = forge.access.clone();
        claims.as_object_mut().unwrap().remove(claim);
        expect_invalid(&mut client, &forge.mint.sign(&claims), claim);
    }
    for claim in forge.refresh.as_object().unwrap().keys() {
        let mut claims = forge.refresh.clone();
        claims.as_object_mut().unwrap().remove(claim);
        expect_invalid(&mut client, &forge.mint.encrypt(&claims), claim);
    }
}

#[test]
fn a_token_with_any_claim_of_another_type_is_refused() {
    let forge = Forge::new();
    let mut client = forge.server.client();
    let others =
        [json!(null), json!(true), json!("true"), json!(1_767_225_600), json!(-0.5), json!([]), json!({})];
    let same_type = |a: &Value, b: &Value| a.is_string() && b.is_string() || a.is_boolean() && b.is_boolean();
    for other in &others {
        for (claim, value) in forge.access.as_object().unwrap() {
            if !same_type(value, other) {
                let mut claims = forge.access.clone();
                claims[claim] = other.clone();
                expect_invalid(&mut client, &forge.mint.sign(&claims), &format!("{claim}: {other}"));
            }
        }
        for (claim, value) in forge.refresh.as_object().unwrap() {
            if !same_type(value, other) {
                let mut claims = forge.refresh.clone();
                claims[claim] = other.clone();
                expect_invalid(&mut client, &forge.mint.encrypt(&claims), &format!("{claim}: {other}"));
            }
        }
    }
}

#[test]
fn a_claim_with_a_nonsense_value_is_refused() {
    let forge = Forge::new();
    for (claim, values) in [
        ("iss", &["", "Gatelet", "gatelet ", "other"][..]),
        ("sub", &["", "me", "anna", "01890a5d"]),
        ("sid", &["", "AAAA", "????????????????????????????????"]),
        ("typ", &["", "Access", "REFRESH", "id"]),
        (
            "iat",
            &["", "yesterday", "2026-01-01", "1767225600", "1969-12-31T23:59:59Z", "2026-13-01T00:00:00Z"],
        ),
        ("nbf", &["", "now", "2026-01-01T00:00:00"]),
        ("exp", &["", "never", "2026-01-01T00:00:00"]),
        ("auth_time", &["", "once"]),
    ] {
        for value in values {
            let case = format!("{claim}: {value:?}");
            forge.check(|claims| claims[claim] = json!(value), Some(Refusal::Invalid), &case);
        }
    }
    let mut claims = forge.access.clone();
    for role in ["", "root", "Admin"] {
        claims["role"] = json!(role);
        expect_invalid(&mut forge.server.client(), &forge.mint.sign(&claims), role);
    }
}

#[test]
fn a_token_whose_typ_names_the_other_kind_is_refused() {
    let forge = Forge::new();
    let mut client = forge.server.client();
    let (mut access, mut refresh) = (forge.access.clone(), forge.refresh.clone());
    access["typ"] = json!("refresh");
    refresh["typ"] = json!("access");
    for (case, token) in [
        ("access claims, called refresh, signed", forge.mint.sign(&access)),
        ("refresh claims, called access, signed", forge.mint.sign(&refresh)),
        ("refresh claims, called access, encrypted", forge.mint.encrypt(&refresh)),
        ("refresh claims, signed", forge.mint.sign(&forge.refresh)),
        ("access claims, encrypted", forge.mint.encrypt(&forge.access)),
    ] {
        expect_invalid(&mut client, &token, case);
    }
}

#[test]
fn a_token_from_the_future_beyond_the_leeway_is_refused() {
    let forge = Forge::new();
    for claim in ["iat", "nbf"] {
        for (ahead, refusal) in
            [(0, None), (5, None), (6, Some(Refusal::Invalid)), (3600, Some(Refusal::Invalid))]
        {
            let moment = start().after(Duration::from_secs(ahead)).to_string();
            let case = format!("{claim} {ahead} s ahead");
            forge.check(|claims| claims[claim] = json!(moment), refusal, &case);
        }
    }
}

#[test]
fn a_token_is_expired_once_the_leeway_is_over() {
    let forge = Forge::new();
    for (ago, refusal) in [(0, None), (4, None), (5, Some(Refusal::Expired)), (3600, Some(Refusal::Expired))]
    {
        let moment = start().before(Duration::from_secs(ago)).to_string();
        let change = |claims: &mut Value| claims["exp"] = json!(moment);
        forge.check(change, refusal, &format!("exp {ago} s ago"));
    }
}

#[test]
fn times_are_read_with_any_offset() {
    let forge = Forge::new();
    for (exp, refusal) in [
        ("2026-01-01T01:00:00+01:00", None),
        ("2025-12-31T23:00:01-01:00", None),
        // Last, because a logout ends the session even with an expired token.
        ("2026-01-01T00:59:00+01:00", Some(Refusal::Expired)),
    ] {
        forge.check(|claims| claims["exp"] = json!(exp), refusal, exp);
    }
}

#[test]
fn a_token_of_a_user_who_never_existed_counts_as_revoked() {
    let forge = Forge::new();
    let unknown = json!("01890a5d-ac96-774b-bcce-b302099a8057");
    forge.check(|claims| claims["sub"] = unknown.clone(), Some(Refusal::Revoked), "sub");
}

#[test]
fn a_payload_other_than_an_object_of_claims_is_refused() {
    let forge = Forge::new();
    let mut client = forge.server.client();
    let claims = forge.access.to_string();
    let twice = claims.replacen('{', "{\"sub\":\"01890a5d-ac96-774b-bcce-b302099a8057\",", 1);
    let trailing = format!("{claims}x");
    for payload in ["{}", "[]", "null", "x", "\"x\"", &claims[1..], &trailing, &twice] {
        expect_invalid(&mut client, &forge.mint.sign_text(payload), payload);
    }
}

#[test]
fn a_token_with_another_footer_or_assertion_is_refused() {
    let forge = Forge::new();
    let mut client = forge.server.client();
    let (claims, server) = (&forge.access, &forge.server);
    let kid = |kind: &str| {
        let files = fs::read_dir(server.data_dir().join("keys")).unwrap();
        let mut names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.find(|name| name.starts_with(kind)).unwrap()
    };
    let (pid, lid) = (kid("k4.pid."), kid("k4.lid."));
    let footer = |kid: &str| json!({"kid": kid}).to_string().into_bytes();
    let footers = [
        None,
        Some(Vec::new()),
        Some(b"{}".to_vec()),
        Some(footer("")),
        Some(footer(&pid.replace("k4.pid.", "k4.lid."))),
        Some(footer(&format!("{pid}A"))),
        Some(pid.clone().into_bytes()),
        Some(format!("{{\"kid\": \"{pid}\"}}").into_bytes()),
    ];
    for other in footers.iter().chain([&Some(footer(&lid))]) {
        let token = forge.mint.sign_with(&claims.to_string(), other.as_deref(), None);
        expect_invalid(&mut client, &token, &format!("{other:?}"));
    }
    for other in footers.iter().chain([&Some(footer(&pid))]) {
        let token = forge.mint.encrypt_with(&forge.refresh, other.as_deref(), None);
        expect_invalid(&mut client, &token, &format!("{other:?}"));
    }
    let asserted = [
        forge.mint.sign_with(&claims.to_string(), Some(&footer(&pid)), Some(b"x")),
        forge.mint.encrypt_with(&forge.refresh, Some(&footer(&lid)), Some(b"x")),
    ];
    for token in &asserted {
        expect_invalid(&mut client, token, "an implicit assertion");
    }
}
