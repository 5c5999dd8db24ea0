//! Tokens whose text differs from the issued one.

use std::fs;
use std::sync::Arc;

use crate::mint::flip_bit;
use crate::refusal::Refusal;
use crate::support::{Client, Reply, TestServer, Tokens};

/// A server with a user who is logged in.
pub(crate) fn with_login() -> (TestServer, Tokens) {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    (server, tokens)
}

pub(crate) fn show(client: &mut Client, token: &str) -> Reply {
    client.call("GET", "/user/me", Some(token), None)
}

pub(crate) fn refresh(client: &mut Client, token: &str) -> Reply {
    client.call("POST", "/refresh", Some(token), None)
}

pub(crate) fn log_out(client: &mut Client, token: &str) -> Reply {
    client.call("POST", "/logout", Some(token), None)
}

/// Uses each token at an endpoint for its kind, and at `/logout`, which takes both.
#[track_caller]
pub(crate) fn expect_invalid(client: &mut Client, token: &str, case: &str) {
    Refusal::Invalid.expect(&show(client, token), case);
    Refusal::Invalid.expect(&refresh(client, token), case);
    Refusal::Invalid.expect(&log_out(client, token), case);
}

#[test]
fn a_token_with_any_bit_flipped_is_refused() {
    let (server, tokens) = with_login();
    let mut client = server.client();
    for (token, ask) in [(&tokens.access, show as fn(&mut Client, &str) -> Reply), (&tokens.refresh, refresh)]
    {
        assert_eq!(ask(&mut client, token).status, 200, "as it is");
        let header = 1 + token.match_indices('.').nth(1).unwrap().0;
        let mut flipped = 0;
        for position in header..token.len() {
            for bit in 0..6 {
                let Some(other) = flip_bit(token, position, bit) else {
                    continue; // the dot before the footer
                };
                Refusal::Invalid
                    .expect(&ask(&mut client, &other), &format!("bit {bit} of character {position}"));
                flipped += 1;
            }
        }
        assert_eq!(flipped, 6 * (token.len() - header - 1));
        assert_eq!(ask(&mut client, token).status, 200, "still as it is");
    }
    assert_eq!(log_out(&mut client, &tokens.access).status, 200);
}

#[test]
fn a_token_with_another_header_is_refused() {
    let (server, tokens) = with_login();
    let mut client = server.client();
    for token in [&tokens.access, &tokens.refresh] {
        let rest = token.splitn(3, '.').nth(2).unwrap();
        for header in
            ["v4.public.", "v4.local.", "v3.public.", "v2.local.", "V4.PUBLIC.", "v4.", "v4.publi.", "", "."]
        {
            let forged = format!("{header}{rest}");
            if forged != *token {
                expect_invalid(&mut client, &forged, &forged);
            }
        }
    }
}

#[test]
fn a_token_with_parts_missing_swapped_or_added_is_refused() {
    let (server, tokens) = with_login();
    let mut client = server.client();
    let parts = |token: &str| -> Vec<String> { token.split('.').map(ToOwned::to_owned).collect() };
    let (access, refresh) = (parts(&tokens.access), parts(&tokens.refresh));
    for (own, other) in [(&access, &refresh), (&refresh, &access)] {
        let [version, purpose, payload, footer] = own.as_slice() else { panic!("four parts") };
        for forged in [
            format!("{version}.{purpose}.{payload}"),
            format!("{version}.{purpose}.{payload}."),
            format!("{version}.{purpose}..{footer}"),
            format!("{version}.{purpose}.{footer}.{payload}"),
            format!("{version}.{purpose}.{payload}.{}", other[3]),
            format!("{version}.{purpose}.{}.{footer}", other[2]),
            format!("{version}.{purpose}.{payload}.{footer}.{footer}"),
            format!("{version}.{purpose}.{payload}.{footer}{footer}"),
            format!("{version}.{purpose}.{payload}{payload}.{footer}"),
            format!("{version}.{purpose}.{payload}=.{footer}"),
            format!("{version}.{purpose}.{payload}.{footer}="),
            format!("{version}.{purpose}.{}.{footer}", &payload[..payload.len() - 1]),
            format!("{version}.{purpose}.{}.{footer}", &payload[1..]),
            format!("{version}.{purpose}.{payload}A.{footer}"),
            format!("{version}.{purpose}.{payload}.{}", &footer[..footer.len() - 1]),
            format!("{version}.{purpose}.{payload}.{footer}A"),
            format!(".{version}.{purpose}.{payload}.{footer}"),
            format!("\"{version}.{purpose}.{payload}.{footer}\""),
            format!("{purpose}.{payload}.{footer}"),
            payload.clone(),
            footer.clone(),
            "....".to_owned(),
            ".".to_owned(),
            "x".repeat(8000),
        ] {
            expect_invalid(&mut client, &forged, &forged);
        }
    }
}

#[test]
fn a_token_with_a_dot_added_is_refused_or_means_the_same_token() {
    for choose in [|tokens: &Tokens| tokens.access.clone(), |tokens: &Tokens| tokens.refresh.clone()] {
        let (server, tokens) = with_login();
        let mut client = server.client();
        let dotted = format!("{}.", choose(&tokens));
        assert_eq!(log_out(&mut client, &choose(&tokens)).status, 200);
        let reply = log_out(&mut client, &dotted);
        let refusal =
            if reply.json()["error"] == "invalid_token" { Refusal::Invalid } else { Refusal::Revoked };
        refusal.expect(&reply, "logged out under its own text");
    }
}

#[test]
fn space_inside_a_token_is_refused_and_space_around_it_is_ignored() {
    let (server, tokens) = with_login();
    let mut client = server.client();
    for token in [&tokens.access, &tokens.refresh] {
        let (head, tail) = token.split_at(token.len() / 2);
        for forged in [
            format!("{head} {tail}"),
            format!("{head}\t{tail}"),
            format!("{token} {token}"),
            format!("{token},{token}"),
            format!("Bearer {token}"),
            format!("{token}\u{a0}"),
            format!("{token}%20"),
        ] {
            expect_invalid(&mut client, &forged, &forged);
        }
    }
    for spaced in
        [format!("  {}", tokens.access), format!("{}  ", tokens.access), format!("\t{}", tokens.access)]
    {
        let reply = show(&mut client, &spaced);
        if reply.status != 200 {
            Refusal::Invalid.expect(&reply, "space around it");
        }
    }
    assert_eq!(log_out(&mut client, &tokens.access).status, 200);
    for spaced in [format!("  {}", tokens.access), format!("{}  ", tokens.access)] {
        let reply = show(&mut client, &spaced);
        assert_eq!(reply.status, 401, "logged out with any of these texts: {reply:?}");
    }
}

#[test]
fn a_token_of_bytes_that_are_not_text_is_refused() {
    let (server, tokens) = with_login();
    let mut client = server.client();
    let mut bytes =
        format!("GET /user/me HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}", tokens.access)
            .into_bytes();
    bytes.extend(b"\xff\xfe\r\n\r\n");
    client.send_raw(&bytes).unwrap();
    Refusal::Invalid.expect(&client.receive(false).unwrap(), "not UTF-8");
}

#[test]
fn keys_that_replace_lost_ones_refuse_the_old_tokens() {
    let server = TestServer::start();
    server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    let clock = Arc::clone(&server.clock);
    for file in fs::read_dir(server.data_dir().join("keys")).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    let server = server.restart_with(&["--replace-keys"], clock).unwrap();
    let mut client = server.client();
    for token in [&tokens.access, &tokens.refresh] {
        expect_invalid(&mut client, token, "same user, same session, other key");
    }
    let tokens = server.log_in("anna", "correct horse");
    assert_eq!(show(&mut client, &tokens.access).status, 200);
}
