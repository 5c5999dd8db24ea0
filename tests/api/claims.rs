//! The claims of tokens.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::mint::Mint;
use crate::support::{TestServer, start};

fn text<'a>(claims: &'a Value, claim: &str) -> &'a str {
    claims[claim].as_str().unwrap_or_else(|| panic!("{claim}: {claims}"))
}

fn at(secs: u64) -> String {
    start().after(Duration::from_secs(secs)).to_string()
}

#[test]
fn an_access_token_has_exactly_the_claims_of_the_contract() {
    let server = TestServer::in_memory_with(&["--access-ttl", "10m", "--refresh-ttl", "1h"]);
    let mint = Mint::of(&server);
    let id = server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    let claims = mint.open_access(&tokens.access);
    assert_eq!(
        claims,
        json!({
            "iss": "gatelet",
            "sub": id,
            "sid": text(&claims, "sid"),
            "jti": text(&claims, "jti"),
            "typ": "access",
            "fresh": true,
            "role": "user",
            "iat": "2026-01-01T00:00:00Z",
            "nbf": "2026-01-01T00:00:00Z",
            "exp": "2026-01-01T00:10:00Z",
            "auth_time": "2026-01-01T00:00:00Z",
        })
    );
}

#[test]
fn a_refresh_token_has_exactly_the_claims_of_the_contract() {
    let server = TestServer::in_memory_with(&["--access-ttl", "10m", "--refresh-ttl", "1h"]);
    let mint = Mint::of(&server);
    let id = server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    let claims = mint.open_refresh(&tokens.refresh);
    assert_eq!(
        claims,
        json!({
            "iss": "gatelet",
            "sub": id,
            "sid": text(&mint.open_access(&tokens.access), "sid"),
            "jti": text(&claims, "jti"),
            "typ": "refresh",
            "iat": "2026-01-01T00:00:00Z",
            "nbf": "2026-01-01T00:00:00Z",
            "exp": "2026-01-01T01:00:00Z",
            "auth_time": "2026-01-01T00:00:00Z",
        })
    );
}

#[test]
fn a_refreshed_token_keeps_session_and_login_time_and_is_not_fresh() {
    let server = TestServer::in_memory();
    let mint = Mint::of(&server);
    server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    let mut expected = mint.open_access(&tokens.access);
    server.advance(Duration::from_millis(100_700));
    let claims = mint.open_access(&server.refresh(&tokens));
    assert_ne!(claims["jti"], expected["jti"]);
    expected["jti"] = claims["jti"].clone();
    expected["fresh"] = false.into();
    expected["iat"] = at(100).into();
    expected["nbf"] = at(100).into();
    expected["exp"] = at(100 + 15 * 60).into();
    assert_eq!(claims, expected);
}

#[test]
fn the_settings_give_the_lifetimes_of_tokens() {
    for (args, access, refresh) in [
        (&[][..], 15 * 60, 30 * 24 * 3600),
        (&["--access-ttl", "1s", "--refresh-ttl", "1s"], 1, 1),
        (&["--access-ttl", "90s", "--refresh-ttl", "12h"], 90, 12 * 3600),
        (&["--access-ttl", "2h", "--refresh-ttl", "1h"], 2 * 3600, 3600),
    ] {
        let server = TestServer::in_memory_with(args);
        let mint = Mint::of(&server);
        server.register("anna", "correct horse");
        let tokens = server.log_in("anna", "correct horse");
        assert_eq!(mint.open_access(&tokens.access)["exp"], at(access), "{args:?}");
        assert_eq!(mint.open_refresh(&tokens.refresh)["exp"], at(refresh), "{args:?}");
    }
}

#[test]
fn the_setting_gives_the_issuer() {
    let server = TestServer::in_memory_with(&["--issuer", "https://auth.example/ä"]);
    let mint = Mint::of(&server);
    server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    assert_eq!(mint.open_access(&tokens.access)["iss"], "https://auth.example/ä");
    assert_eq!(mint.open_refresh(&tokens.refresh)["iss"], "https://auth.example/ä");
    assert_eq!(server.call("GET", "/user/me", Some(&server.refresh(&tokens)), None).status, 200);
}

#[test]
fn ids_are_never_reused_and_have_128_bits_or_more() {
    let server = TestServer::in_memory();
    let mint = Mint::of(&server);
    server.register("anna", "correct horse");
    let (mut tokens, mut sessions) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..10 {
        let login = server.log_in("anna", "correct horse");
        let refreshed = server.refresh(&login);
        let refresh = mint.open_refresh(&login.refresh);
        let claims = [mint.open_access(&login.access), mint.open_access(&refreshed), refresh];
        for claims in &claims {
            let jti = text(claims, "jti");
            assert!(jti.len() == 32 && jti.bytes().all(|byte| byte.is_ascii_hexdigit()), "{jti}");
            assert!(tokens.insert(jti.to_owned()), "{jti} twice");
        }
        assert!(claims.iter().all(|other| other["sid"] == claims[0]["sid"]), "one login, one session");
        assert!(sessions.insert(text(&claims[0], "sid").to_owned()), "a session twice");
    }
}

#[test]
fn a_token_holds_neither_name_nor_password() {
    let server = TestServer::in_memory();
    let mint = Mint::of(&server);
    server.register("anna-the-name", "correct horse");
    let tokens = server.log_in("anna-the-name", "correct horse");
    for claims in [mint.open_access(&tokens.access), mint.open_refresh(&tokens.refresh)] {
        let text = claims.to_string();
        assert!(!text.contains("anna-the-name") && !text.contains("horse"), "{text}");
    }
}
