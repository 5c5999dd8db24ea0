//! `POST /refresh` with `--refresh-rotation on`

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Duration;

use gatelet::domain::clock::Timestamp;
use gatelet::domain::session::SessionId;
use serde_json::json;

use crate::mint::{Mint, read_unverified};
use crate::refusal::Refusal;
use crate::support::{
    Client, Process, Random, Reply, TestServer, Tokens, credentials, request, start, temporary,
};

const ON: [&str; 2] = ["--refresh-rotation", "on"];
const PASSWORD: &str = "correct horse";

/// For how long a replaced token answers its successor.
const GRACE: Duration = Duration::from_secs(30);
const INSTANT: Duration = Duration::from_millis(1);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A server with rotation and a user, with the clock between two full seconds.
fn with_anna(args: &[&str]) -> TestServer {
    let server = TestServer::start_with(&[&ON[..], args].concat());
    server.advance(Duration::from_millis(537));
    server.register("anna", PASSWORD);
    server
}

fn refresh(client: &mut Client, token: &str) -> Reply {
    client.call("POST", "/refresh", Some(token), None)
}

#[track_caller]
fn rotate(server: &TestServer, token: &str) -> Tokens {
    Tokens::from_reply(&refresh(&mut server.client(), token))
}

#[track_caller]
fn expect_live(server: &TestServer, access: &str, case: &str) {
    let reply = server.call("GET", "/user/me", Some(access), None);
    assert_eq!(reply.status, 200, "{case}: {reply:?}");
}

/// Asserts that all these tokens are refused as revoked, at every endpoint for their kind.
#[track_caller]
fn expect_revoked(server: &TestServer, tokens: &[Tokens], case: &str) {
    let mut client = server.client();
    for Tokens { access, refresh: token } in tokens {
        Refusal::Revoked.expect(&client.call("GET", "/user/me", Some(access), None), case);
        Refusal::Revoked.expect(&refresh(&mut client, token), case);
        for token in [access, token] {
            Refusal::Revoked.expect(&client.call("POST", "/logout", Some(token), None), case);
        }
    }
}

fn session_of(tokens: &Tokens) -> SessionId {
    read_unverified(&tokens.access)["sid"].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_refresh_answers_an_access_token_and_a_new_refresh_token() {
    let server = with_anna(&[]);
    let mut tokens = server.log_in("anna", PASSWORD);
    let mut seen = vec![tokens.refresh.clone()];
    for _ in 0..5 {
        let reply = refresh(&mut server.client(), &tokens.refresh);
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        let body = reply.json();
        let next = Tokens::from_reply(&reply);
        assert_eq!(body, json!({"access_token": next.access, "refresh_token": next.refresh}));
        assert!(next.refresh.starts_with("v4.local.") && !seen.contains(&next.refresh));
        let (old, new) = (read_unverified(&tokens.access), read_unverified(&next.access));
        assert_eq!((&new["sid"], &new["auth_time"]), (&old["sid"], &old["auth_time"]));
        assert_eq!(new["fresh"], false);
        expect_live(&server, &next.access, "the new one");
        expect_live(&server, &tokens.access, "those before go on");
        seen.push(next.refresh.clone());
        tokens = next;
        server.advance(GRACE + INSTANT);
    }
}

#[test]
fn a_new_refresh_token_differs_from_the_last_in_jti_iat_and_nbf_only() {
    let server = with_anna(&[]);
    let mint = Mint::of(&server);
    let mut token = server.log_in("anna", PASSWORD).refresh;
    for _ in 0..3 {
        server.advance(secs(100));
        let next = rotate(&server, &token).refresh;
        let (mut old, mut new) = (mint.open_refresh(&token), mint.open_refresh(&next));
        assert_ne!(old["jti"], new["jti"]);
        let now = json!(server.clock.reading().to_string());
        assert_eq!((&new["iat"], &new["nbf"]), (&now, &now));
        for claims in [&mut old, &mut new] {
            claims
                .as_object_mut()
                .unwrap()
                .retain(|claim, _| !["jti", "iat", "nbf"].contains(&claim.as_str()));
        }
        assert_eq!(old, new);
        token = next;
    }
}

#[test]
fn a_replaced_token_answers_the_same_successor_for_exactly_thirty_seconds() {
    let server = with_anna(&["--access-ttl", "2h"]);
    let first = server.log_in("anna", PASSWORD);
    server.advance(secs(3600));
    let replaced_at = server.clock.reading();
    let second = rotate(&server, &first.refresh);
    for after in [Duration::ZERO, INSTANT, secs(1), secs(29), GRACE - INSTANT, GRACE] {
        server.clock.set(replaced_at.after(after));
        let again = rotate(&server, &first.refresh);
        assert_eq!(again.refresh, second.refresh, "{after:?}");
        expect_live(&server, &again.access, "a retry");
    }
    // The retries have not extended the thirty seconds.
    server.clock.set(replaced_at.after(GRACE + INSTANT));
    Refusal::Revoked.expect(&refresh(&mut server.client(), &first.refresh), "a millisecond late");
    expect_revoked(&server, &[first, second], "afterwards");
}

#[test]
fn the_current_token_stays_valid_while_unused() {
    let server = with_anna(&[]);
    let mut token = server.log_in("anna", PASSWORD).refresh;
    for rest in [0, 29, 30, 31, 60, 3600, 20 * 24 * 3600] {
        server.advance(secs(rest));
        token = rotate(&server, &token).refresh;
    }
}

#[test]
fn reuse_after_thirty_seconds_ends_that_session_and_no_other() {
    let server = with_anna(&[]);
    server.register("bert", PASSWORD);
    let mut stolen = vec![server.log_in("anna", PASSWORD)];
    let (other, berts) = (server.log_in("anna", PASSWORD), server.log_in("bert", PASSWORD));
    let others = rotate(&server, &other.refresh);
    for _ in 0..3 {
        server.advance(secs(20));
        stolen.push(rotate(&server, &stolen.last().unwrap().refresh));
    }
    expect_live(&server, &stolen[0].access, "before");
    Refusal::Revoked.expect(&refresh(&mut server.client(), &stolen[0].refresh), "40 seconds late");
    let mut server = server;
    let (mut others, mut berts) = (others.refresh, berts.refresh);
    for case in ["at once", "after a restart"] {
        expect_revoked(&server, &stolen, case);
        for token in [&mut others, &mut berts] {
            let next = rotate(&server, token);
            expect_live(&server, &next.access, case);
            *token = next.refresh;
        }
        server.log_in("anna", PASSWORD);
        server = server.restart();
    }
}

#[test]
fn only_a_refresh_with_a_replaced_token_counts_as_reuse() {
    let server = with_anna(&["--access-ttl", "2h"]);
    let first = server.log_in("anna", PASSWORD);
    let second = rotate(&server, &first.refresh);
    server.advance(secs(3600));
    let reply = server.call("GET", "/user/me", Some(&first.refresh), None);
    Refusal::Invalid.expect(&reply, "a replaced refresh token for an access token");
    let third = rotate(&server, &second.refresh);
    // Any token of the session may end it.
    assert_eq!(server.call("POST", "/logout", Some(&first.refresh), None).status, 200);
    expect_revoked(&server, &[first, second, third], "logged out");
}

/// Reads the audit log of the executable, whose clock the test cannot advance. So it replaces nine tokens within thirty
/// seconds: the server remembers eight, and the return of the first counts as reuse.
#[test]
fn reuse_is_in_the_audit_log_and_a_retry_is_not() {
    let dir = temporary();
    let server = Process::start(dir.path(), &ON);
    let mut client = server.client();
    let reply = client.post("/register", &credentials("anna", PASSWORD));
    let id = reply.header("location").unwrap().strip_prefix("/user/").unwrap().to_owned();
    let first = Tokens::from_reply(&client.post("/login", &credentials("anna", PASSWORD)));
    let (session, mut token) = (session_of(&first), first.refresh.clone());
    for _ in 0..9 {
        let next = Tokens::from_reply(&refresh(&mut client, &token));
        assert_eq!(Tokens::from_reply(&refresh(&mut client, &token)).refresh, next.refresh);
        token = next.refresh;
    }
    let reuse = refresh(&mut client, &first.refresh);
    Refusal::Revoked.expect(&reuse, "reuse");
    let log = server.stop().log;
    let lines: Vec<_> = log.lines().filter(|line| line.contains("refresh_token_reused")).collect();
    let [line] = lines[..] else { panic!("{log}") };
    assert!(line.contains(" gatelet::audit] refresh_token_reused "), "{line}");
    let request = reuse.header("x-request-id").unwrap();
    for part in [
        format!(" user={id} "),
        format!(" session={session}: the session was ended "),
        " client=127.0.0.1 ".to_owned(),
    ] {
        assert!(line.contains(&part), "{part}: {line}");
    }
    assert!(line.ends_with(&format!(" request={request}")), "{line}");
}

/// A session as its owner or a thief knows it.
struct Session {
    /// All tokens so far; the last one is current.
    tokens: Vec<Tokens>,
    /// When each token but the last was replaced.
    replaced: Vec<Timestamp>,
    random: Random,
}

const THREADS: usize = 8;

/// Runs `act` for all sessions, on several connections so that changes share their syncs.
fn with_all(server: &TestServer, sessions: &mut [Session], act: impl Fn(&mut Client, &mut Session) + Sync) {
    let share = sessions.len().div_ceil(THREADS);
    thread::scope(|scope| {
        for sessions in sessions.chunks_mut(share) {
            scope.spawn(|| {
                let mut client = server.client();
                sessions.iter_mut().for_each(|session| act(&mut client, session));
            });
        }
    });
}

#[test]
fn each_of_a_thousand_late_replays_ends_its_session() {
    let mut random = Random::begin("replays");
    let server = with_anna(&["--access-ttl", "1h"]);
    let spared = server.log_in("anna", PASSWORD);
    let mut sessions: Vec<_> = (0..1000)
        .map(|_| Session { tokens: Vec::new(), replaced: Vec::new(), random: random.branch() })
        .collect();
    with_all(&server, &mut sessions, |client, session| {
        let login = client.post("/login", &credentials("anna", PASSWORD));
        session.tokens.push(Tokens::from_reply(&login));
    });
    for round in 0..5 {
        let now = server.clock.reading();
        with_all(&server, &mut sessions, |client, session| {
            if round == 0 || session.random.once_in(2) {
                let next = Tokens::from_reply(&refresh(client, &session.tokens.last().unwrap().refresh));
                session.tokens.push(next);
                session.replaced.push(now);
            }
        });
        server.advance(Duration::from_millis(random.number() % 25_000));
    }
    // Skip tokens replaced less than thirty seconds ago.
    let last = sessions.iter().filter_map(|session| session.replaced.last()).max().unwrap();
    let beyond = [INSTANT, secs(1), secs(600)][random.below(3)];
    server.clock.set(last.after(GRACE + beyond));

    let ended = AtomicUsize::new(0);
    with_all(&server, &mut sessions, |client, session| {
        let Session { tokens, replaced, random } = session;
        let good = tokens.last().unwrap();
        assert_eq!(
            client.call("GET", "/user/me", Some(&good.access), None).status,
            200,
            "goes on until then"
        );
        let replayed = random.below(replaced.len());
        Refusal::Revoked.expect(&refresh(client, &tokens[replayed].refresh), "the replay");
        Refusal::Revoked.expect(&refresh(client, &good.refresh), "the good token");
        for Tokens { access, .. } in tokens {
            Refusal::Revoked.expect(&client.call("GET", "/user/me", Some(access), None), "access tokens");
        }
        ended.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(ended.into_inner(), 1000);
    rotate(&server, &spared.refresh);
    let server = server.restart();
    with_all(&server, &mut sessions, |client, session| {
        let good = &session.tokens.last().unwrap().refresh;
        Refusal::Revoked.expect(&refresh(client, good), "after a restart");
    });
}

/// Refreshes and loses the answer. Returns the lost successor if the test can know it.
fn lose(server: &TestServer, token: &str, random: &mut Random) -> Option<String> {
    let mut client = server.client();
    if random.once_in(2) {
        return Some(Tokens::from_reply(&refresh(&mut client, token)).refresh);
    }
    // The client disconnects before, during or after the change.
    let authorization = format!("Bearer {token}");
    client.send_raw(&request("POST", "/refresh", &[("Authorization", &authorization)], None)).unwrap();
    for _ in 0..random.below(2000) {
        std::hint::spin_loop();
    }
    client.socket().shutdown(Shutdown::Write).unwrap();
    let answer = client.receive(false).ok();
    drop(client);
    // The change goes on without its client. Wait for it before the clock advances.
    server.settle();
    answer.map(|reply| Tokens::from_reply(&reply).refresh)
}

#[test]
fn each_of_a_thousand_lost_answers_is_given_again() {
    let mut random = Random::begin("lost answers");
    let mut server = with_anna(&[]);
    let mut chains: Vec<_> = (0..20).map(|_| server.log_in("anna", PASSWORD).refresh).collect();
    let (mut lost, mut known, mut restarts) = (0, 0, 0);
    while lost < 1000 {
        let chain = random.below(chains.len());
        let token = chains[chain].clone();
        let mut left = 30_000; // milliseconds of grace
        let mut expected: Option<String> = None;
        for _ in 0..random.below(4) {
            let answer = lose(&server, &token, &mut random);
            lost += 1;
            if let (Some(answer), Some(expected)) = (&answer, &expected) {
                assert_eq!(answer, expected, "another successor");
            }
            expected = expected.or(answer);
            // The last millisecond still counts.
            let pause = if random.once_in(4) { left } else { random.number() % (left + 1) };
            left -= pause;
            server.advance(Duration::from_millis(pause));
            if restarts < 10 && random.once_in(60) {
                server = server.restart();
                expected = None; // the same token in another text
                restarts += 1;
            }
        }
        let next = rotate(&server, &token);
        expect_live(&server, &next.access, "after retries");
        if let Some(expected) = expected {
            assert_eq!(next.refresh, expected, "another successor");
            known += 1;
        }
        chains[chain] = next.refresh;
        server.advance(Duration::from_millis(random.number() % 60_000));
    }
    println!("{lost} lost, {known} compared, {restarts} restarts");
    assert!(known > 0);
    for token in &chains {
        rotate(&server, token);
    }
}

#[test]
fn a_successor_after_a_restart_is_the_same_token() {
    let server = with_anna(&[]);
    let first = server.log_in("anna", PASSWORD).refresh;
    let second = rotate(&server, &first).refresh;
    server.advance(secs(10));
    let server = server.restart();
    let again = rotate(&server, &first).refresh;
    let mint = Mint::of(&server);
    assert_eq!(mint.open_refresh(&again), mint.open_refresh(&second));
    let third = rotate(&server, &again).refresh;
    assert_eq!(rotate(&server, &second).refresh, third);
    assert_eq!(rotate(&server, &first).refresh, third, "a token replaced twice answers the current one");
    server.advance(secs(20));
    let server = server.restart();
    let again = rotate(&server, &first).refresh;
    assert_eq!(mint.open_refresh(&again), mint.open_refresh(&third));
    server.advance(INSTANT);
    let server = server.restart();
    Refusal::Revoked.expect(&refresh(&mut server.client(), &first), "late, after a restart");
    Refusal::Revoked.expect(&refresh(&mut server.client(), &third), "the whole session");
}

#[test]
fn sixteen_racing_refreshes_with_one_token_get_one_successor() {
    let server = with_anna(&[]);
    let mut token = server.log_in("anna", PASSWORD).refresh;
    let mut before: Option<String> = None;
    for round in 0..30 {
        let barrier = Arc::new(Barrier::new(16));
        let answers: Mutex<Vec<(bool, Tokens)>> = Mutex::default();
        thread::scope(|scope| {
            for n in 0..16 {
                // In every other round some refresh with the previous token.
                let late = before.as_ref().filter(|_| round % 2 == 1 && n % 4 == 0);
                let (barrier, answers, server) = (Arc::clone(&barrier), &answers, &server);
                let sent = late.unwrap_or(&token);
                let is_late = late.is_some();
                scope.spawn(move || {
                    let mut client = server.client();
                    assert_eq!(client.call("GET", "/healthz", None, None).status, 200);
                    barrier.wait();
                    let tokens = Tokens::from_reply(&refresh(&mut client, sent));
                    expect_live(server, &tokens.access, "a racer");
                    answers.lock().unwrap().push((is_late, tokens));
                });
            }
        });
        let answers = answers.into_inner().unwrap();
        let next = answers.iter().find(|(late, _)| !late).unwrap().1.refresh.clone();
        assert_ne!(next, token);
        for (late, tokens) in &answers {
            let same = tokens.refresh == next;
            assert!(same || (*late && tokens.refresh == token), "round {round}: another successor");
        }
        before = Some(token);
        token = next;
        server.advance(secs(7));
    }
}

#[test]
fn each_of_the_last_eight_tokens_answers_the_current_one_for_thirty_seconds() {
    let mut random = Random::begin("stragglers");
    let server = with_anna(&[]);
    let mut tokens = vec![server.log_in("anna", PASSWORD).refresh];
    let mut replaced = Vec::new();
    for _ in 0..8 {
        replaced.push(server.clock.reading());
        tokens.push(rotate(&server, tokens.last().unwrap()).refresh);
        server.advance(secs(3));
    }
    for _ in 0..3 {
        for _ in 0..20 {
            let straggler = random.below(8);
            assert_eq!(rotate(&server, &tokens[straggler]).refresh, tokens[8], "{straggler}");
        }
        server.advance(secs(2));
    }
    // Each token has its own thirty seconds.
    for straggler in 0..8 {
        server.clock.set(replaced[straggler].after(GRACE));
        for known in &tokens[straggler..8] {
            assert_eq!(rotate(&server, known).refresh, tokens[8], "{straggler}");
        }
    }
    server.advance(INSTANT);
    Refusal::Revoked.expect(&refresh(&mut server.client(), &tokens[7]), "the last of them");
    Refusal::Revoked.expect(&refresh(&mut server.client(), &tokens[8]), "and with it the session");
}

#[test]
fn one_token_replaced_too_long_ago_ends_the_session() {
    let server = with_anna(&[]);
    let mut tokens = vec![server.log_in("anna", PASSWORD).refresh];
    for _ in 0..3 {
        tokens.push(rotate(&server, tokens.last().unwrap()).refresh);
        server.advance(secs(15));
    }
    // Replaced 45, 30 and 15 seconds ago.
    assert_eq!(rotate(&server, &tokens[1]).refresh, tokens[3]);
    assert_eq!(rotate(&server, &tokens[2]).refresh, tokens[3]);
    Refusal::Revoked.expect(&refresh(&mut server.client(), &tokens[0]), "late");
    for token in &tokens {
        Refusal::Revoked.expect(&refresh(&mut server.client(), token), "all of them");
    }
}

#[test]
fn rotation_does_not_prolong_a_session() {
    let server = with_anna(&["--refresh-ttl", "1h"]);
    let login = server.clock.reading().whole_seconds();
    let mut token = server.log_in("anna", PASSWORD).refresh;
    let expires = Mint::of(&server).open_refresh(&token)["exp"].clone();
    assert_eq!(expires, login.after(secs(3600)).to_string());
    for minutes in 1..60 {
        server.clock.set(login.after(secs(60 * minutes)));
        let tokens = rotate(&server, &token);
        token = tokens.refresh;
        assert_eq!(Mint::of(&server).open_refresh(&token)["exp"], expires);
        let access = read_unverified(&tokens.access)["exp"].as_str().unwrap().to_owned();
        assert!(access.as_str() <= expires.as_str().unwrap(), "{access}");
    }
    server.clock.set(login.after(secs(3604)));
    let last = rotate(&server, &token); // within the leeway
    server.advance(secs(1));
    Refusal::Expired.expect(&refresh(&mut server.client(), &last.refresh), "after an hour");
    Refusal::Expired.expect(&refresh(&mut server.client(), &token), "a retry of the last");
    Refusal::Expired.expect(&server.call("GET", "/user/me", Some(&last.access), None), "its access token");
}

#[test]
fn rotation_is_off_by_default_and_one_token_lasts_the_session() {
    let server = TestServer::in_memory_with(&["--refresh-ttl", "10d"]);
    server.register("anna", PASSWORD);
    let tokens = server.log_in("anna", PASSWORD);
    for hours in 1..240 {
        server.clock.set(start().after(secs(3600 * hours)));
        for _ in 0..2 {
            let reply = refresh(&mut server.client(), &tokens.refresh);
            assert_eq!(reply.status, 200, "{reply:?}");
            assert_eq!(reply.json().as_object().unwrap().keys().collect::<Vec<_>>(), ["access_token"]);
        }
    }
}

#[test]
fn a_session_that_has_rotated_keeps_rotating_after_switching_off() {
    let server = with_anna(&[]);
    let (rotated, untouched) = (server.log_in("anna", PASSWORD), server.log_in("anna", PASSWORD));
    let second = rotate(&server, &rotated.refresh);
    let clock = Arc::clone(&server.clock);
    let server = server.restart_with(&[], clock).unwrap();
    let again = rotate(&server, &rotated.refresh);
    let mint = Mint::of(&server);
    assert_eq!(mint.open_refresh(&again.refresh), mint.open_refresh(&second.refresh));
    let third = rotate(&server, &second.refresh);
    assert_ne!(third.refresh, second.refresh);

    server.advance(GRACE + INSTANT);
    for _ in 0..2 {
        let reply = refresh(&mut server.client(), &untouched.refresh);
        assert_eq!(reply.json().as_object().unwrap().len(), 1, "never rotated");
        server.advance(secs(60));
    }
    Refusal::Revoked.expect(&refresh(&mut server.client(), &second.refresh), "still reuse");
    expect_revoked(&server, &[rotated, second, third], "the whole session");
}

#[test]
fn an_earlier_session_rotates_once_rotation_is_switched_on() {
    let server = TestServer::start();
    server.register("anna", PASSWORD);
    let first = server.log_in("anna", PASSWORD);
    for _ in 0..3 {
        server.refresh(&first);
        server.advance(secs(60));
    }
    let clock = Arc::clone(&server.clock);
    let server = server.restart_with(&ON, clock).unwrap();
    let second = rotate(&server, &first.refresh);
    server.advance(GRACE);
    assert_eq!(rotate(&server, &first.refresh).refresh, second.refresh);
    server.advance(INSTANT);
    Refusal::Revoked.expect(&refresh(&mut server.client(), &first.refresh), "reuse");
    Refusal::Revoked.expect(&refresh(&mut server.client(), &second.refresh), "reuse");
}

#[test]
fn the_rotation_record_is_pruned_with_its_session_and_not_before() {
    let server = with_anna(&["--refresh-ttl", "1h"]);
    let begun = server.clock.reading();
    let early = server.log_in("anna", PASSWORD);
    let (left, robbed) = (server.log_in("anna", PASSWORD), server.log_in("anna", PASSWORD));
    server.advance(secs(2));
    let late = server.log_in("anna", PASSWORD);
    let sessions = [&early, &late, &left, &robbed].map(session_of);
    for tokens in [&early, &left, &robbed] {
        rotate(&server, &tokens.refresh);
    }
    let mut lates = rotate(&server, &late.refresh);
    assert_eq!(server.call("POST", "/logout", Some(&left.refresh), None).status, 200);
    server.advance(GRACE + INSTANT);
    Refusal::Revoked.expect(&refresh(&mut server.client(), &robbed.refresh), "reuse");
    let [early_id, late_id, left, robbed] = sessions;
    let server = server.restart_after(async |store| {
        for (session, kept) in [(early_id, true), (late_id, true), (left, false), (robbed, false)] {
            assert_eq!(store.has_rotated(&session).await, Ok(kept), "one record or none");
        }
    });
    lates = rotate(&server, &lates.refresh);

    server.clock.set(begun.after(secs(3600 + 6)));
    let now = server.clock.reading();
    let server = server.restart_after(async |store| {
        // Prunes as the background task does, in case it has not run yet.
        store.prune_sessions(now.before(secs(5))).await.unwrap();
        assert_eq!(store.has_rotated(&early_id).await, Ok(false), "over");
        assert_eq!(store.has_rotated(&late_id).await, Ok(true), "within the leeway");
    });
    Refusal::Expired.expect(&refresh(&mut server.client(), &early.refresh), "over");
    let next = rotate(&server, &lates.refresh);
    assert_eq!(rotate(&server, &lates.refresh).refresh, next.refresh);
    Refusal::Revoked.expect(&refresh(&mut server.client(), &late.refresh), "reuse until the end");
}

#[test]
fn a_session_that_has_rotated_ends_like_any_other() {
    let server = with_anna(&["--access-ttl", "1h"]);
    server.add_admin("root", PASSWORD);
    let patch = |id: &str, disabled: bool| {
        let fresh = server.log_in("root", PASSWORD).access;
        let body = json!({"disabled": disabled});
        let reply = server.call("PATCH", &format!("/user/{id}"), Some(&fresh), Some(&body));
        assert_eq!(reply.status, 200, "{reply:?}");
    };
    for case in ["logout", "logout by a replaced token", "all sessions", "deletion", "disabling"] {
        let id = server.register(case, PASSWORD);
        let mut tokens = vec![server.log_in(case, PASSWORD)];
        for _ in 0..2 {
            tokens.push(rotate(&server, &tokens.last().unwrap().refresh));
        }
        let fresh = tokens[0].access.clone();
        let call = |method: &str, path: &str, token: &str| {
            let reply = server.call(method, path, Some(token), None);
            assert_eq!(reply.status, 200, "{case}: {reply:?}");
        };
        match case {
            "logout" => call("POST", "/logout", &tokens[2].refresh),
            "logout by a replaced token" => call("POST", "/logout", &tokens[0].refresh),
            "all sessions" => call("DELETE", "/user/me/sessions", &fresh),
            "deletion" => call("DELETE", "/user/me", &fresh),
            _ => patch(&id, true),
        }
        expect_revoked(&server, &tokens, case);
        if case == "disabling" {
            patch(&id, false);
            expect_revoked(&server, &tokens, "enabled again");
        }
        server.advance(GRACE + INSTANT);
        expect_revoked(&server, &tokens, case);
    }
}

#[test]
fn after_a_password_change_the_spared_session_goes_on_rotating() {
    let server = with_anna(&[]);
    let (mine, others) = (server.log_in("anna", PASSWORD), server.log_in("anna", PASSWORD));
    let (second, other) = (rotate(&server, &mine.refresh), rotate(&server, &others.refresh));
    let body = json!({"current_password": PASSWORD, "new_password": "another horse"});
    let reply = server.call("POST", "/user/me/password", Some(&second.access), Some(&body));
    assert_eq!(reply.status, 200, "{reply:?}");
    expect_revoked(&server, &[others, other], "the other session");
    assert_eq!(rotate(&server, &mine.refresh).refresh, second.refresh);
    let third = rotate(&server, &second.refresh);
    server.advance(GRACE + INSTANT);
    let fourth = rotate(&server, &third.refresh);
    Refusal::Revoked.expect(&refresh(&mut server.client(), &second.refresh), "reuse");
    expect_revoked(&server, &[mine, second, third, fourth], "the whole session");
}
