//! Many clients that want the same thing at the same moment, against the real executable.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use gatelet::clock::Clock;
use gatelet::store::{Store, StoreOptions};
use serde_json::json;

use support::{Client, Process, Reply, Tokens, credentials, temporary};

/// No line for every request.
const QUIET: [&str; 2] = ["--log", "info,gatelet::access=warn,gatelet::audit=warn"];

#[test]
fn of_sixteen_racing_registrations_of_a_name_exactly_one_wins() {
    const NAMES: usize = 200;
    const RACERS: usize = 16;
    let dir = temporary();
    let process = Process::start(dir.path(), &QUIET);
    let password = |racer: usize| format!("password of racer {racer}");

    let rounds = race(&process, RACERS, NAMES, |racer, name, client| {
        client.post("/register", &credentials(&format!("name {name}"), &password(racer)))
    });

    let mut client = process.client();
    for (name, replies) in rounds.iter().enumerate() {
        let won: Vec<_> = (0..RACERS).filter(|&racer| replies[racer].status == 201).collect();
        let taken = replies.iter().filter(|reply| reply.status == 409).count();
        assert_eq!((won.len(), taken), (1, RACERS - 1), "name {name}: {replies:?}");
        let winner = won[0];
        let tokens = log_in(&mut client, &format!("name {name}"), &password(winner));
        let id = replies[winner].header("location").unwrap().strip_prefix("/user/").unwrap();
        let me = client.call("GET", "/user/me", Some(&tokens.access), None);
        assert_eq!(me.json(), json!({ "id": id, "username": format!("name {name}") }));
        let loser = (winner + 1) % RACERS;
        let reply = client.post("/login", &credentials(&format!("name {name}"), &password(loser)));
        assert_eq!(reply.status, 401);
    }
    println!("{NAMES} names, {RACERS} racers each: one 201 and {} times 409 for every name", RACERS - 1);
    process.stop();
    assert_eq!(names_in(dir.path()).len(), NAMES);
}

#[test]
fn racing_logouts_of_a_session_all_end_in_a_session_that_is_over() {
    const SESSIONS: usize = 60;
    const RACERS: usize = 8;
    let dir = temporary();
    let process = Process::start(dir.path(), &QUIET);
    let mut client = process.client();
    register(&mut client, "anna", "correct horse");
    let other = log_in(&mut client, "anna", "correct horse");
    let sessions: Vec<_> = (0..SESSIONS).map(|_| log_in(&mut client, "anna", "correct horse")).collect();

    let rounds = race(&process, RACERS, SESSIONS, |racer, session, client| {
        let Tokens { access, refresh } = &sessions[session];
        let token = if racer % 2 == 0 { access } else { refresh };
        client.call("POST", "/logout", Some(token), None)
    });

    for (session, replies) in sessions.iter().zip(&rounds) {
        assert!(replies.iter().all(|reply| reply.status == 200 || is_revoked(reply)), "{replies:?}");
        assert!(replies.iter().any(|reply| reply.status == 200), "{replies:?}");
        assert_refused(&mut client, session);
    }
    assert_eq!(client.call("GET", "/user/me", Some(&other.access), None).status, 200);
}

#[test]
fn of_racing_deletions_of_a_user_one_succeeds_and_racing_logouts_change_nothing_about_it() {
    const USERS: usize = 60;
    const RACERS: usize = 9;
    let dir = temporary();
    let process = Process::start(dir.path(), &QUIET);
    let mut client = process.client();
    // Every third racer logs out of a session of its own, so that it cannot stop the deletions.
    let users: Vec<Vec<Tokens>> = (0..USERS)
        .map(|user| {
            let name = format!("user {user}");
            register(&mut client, &name, "correct horse");
            (0..RACERS).map(|_| log_in(&mut client, &name, "correct horse")).collect()
        })
        .collect();

    let rounds = race(&process, RACERS, USERS, |racer, user, client| {
        let token = &users[user][racer].access;
        match racer % 3 {
            0 => client.call("POST", "/logout", Some(token), None),
            _ => client.call("DELETE", "/user/me", Some(token), None),
        }
    });

    for (user, replies) in rounds.iter().enumerate() {
        assert!(replies.iter().all(|reply| reply.status == 200 || is_revoked(reply)), "{replies:?}");
        let deletions = (0..RACERS).filter(|&racer| racer % 3 != 0 && replies[racer].status == 200);
        assert_eq!(deletions.count(), 1, "{replies:?}");
        let body = credentials(&format!("user {user}"), "correct horse");
        assert_eq!(client.post("/login", &body).status, 401);
        for session in &users[user] {
            assert_refused(&mut client, session);
        }
        // Whoever bears the name next has nothing to do with the one before.
        assert_eq!(client.post("/register", &body).status, 201);
        assert_refused(&mut client, &users[user][0]);
    }
}

#[test]
fn no_token_from_a_racing_refresh_outlives_the_logout() {
    const SESSIONS: usize = 60;
    const REFRESHERS: usize = 5;
    let dir = temporary();
    let process = Process::start(dir.path(), &QUIET);
    let mut client = process.client();
    register(&mut client, "anna", "correct horse");
    let mut refreshed = 0;
    for _ in 0..SESSIONS {
        let tokens = log_in(&mut client, "anna", "correct horse");
        let over = AtomicBool::new(false);
        let ready = Barrier::new(REFRESHERS + 1);
        let gained = thread::scope(|scope| {
            let refreshers: Vec<_> = (0..REFRESHERS)
                .map(|_| scope.spawn(|| refresh_until_refused(&process, &tokens.refresh, &ready, &over)))
                .collect();
            ready.wait();
            let reply = client.call("POST", "/logout", Some(&tokens.access), None);
            over.store(true, Ordering::SeqCst);
            assert_eq!(reply.status, 200, "{reply:?}");
            refreshers.into_iter().flat_map(|refresher| refresher.join().unwrap()).collect::<Vec<_>>()
        });
        refreshed += gained.len();
        for access in gained {
            let reply = client.call("GET", "/user/me", Some(&access), None);
            assert!(is_revoked(&reply), "{reply:?}");
        }
        assert_refused(&mut client, &tokens);
    }
    println!("{refreshed} tokens from racing refreshes, none accepted after the logout");
    assert!(refreshed > 0, "no refresh came before its logout: the race shows nothing");
}

/// Answers the access tokens that it was given.
fn refresh_until_refused(process: &Process, token: &str, ready: &Barrier, over: &AtomicBool) -> Vec<String> {
    let mut client = process.client();
    let mut gained = Vec::new();
    ready.wait();
    loop {
        let was_over = over.load(Ordering::SeqCst);
        let reply = client.call("POST", "/refresh", Some(token), None);
        if is_revoked(&reply) {
            return gained;
        }
        assert!(!was_over, "refreshed after the logout was acknowledged: {reply:?}");
        assert_eq!(reply.status, 200, "{reply:?}");
        gained.push(reply.json()["access_token"].as_str().unwrap().to_owned());
    }
}

#[test]
fn names_and_users_agree_after_many_have_come_and_gone_under_the_same_names() {
    const NAMES: usize = 3;
    const RACERS: usize = 8;
    const CYCLES: usize = 150;
    let dir = temporary();
    let process = Process::start(dir.path(), &QUIET);
    let lives = AtomicUsize::new(0);

    thread::scope(|scope| {
        for racer in 0..RACERS {
            let (process, lives) = (&process, &lives);
            scope.spawn(move || {
                let mut client = process.client();
                for cycle in 0..CYCLES {
                    let name = format!("name {}", cycle % NAMES);
                    let lived = live_and_die(&mut client, &name, &format!("password of racer {racer}"));
                    lives.fetch_add(lived.into(), Ordering::Relaxed);
                }
            });
        }
    });

    let lives = lives.into_inner();
    println!(
        "{lives} users came and went under {NAMES} names, {} found theirs taken",
        RACERS * CYCLES - lives
    );
    let mut client = process.client();
    for name in 0..NAMES {
        register(&mut client, &format!("name {name}"), "here to stay");
        log_in(&mut client, &format!("name {name}"), "here to stay");
    }
    assert_eq!(process.stop().code(), 0);
    assert_eq!(names_in(dir.path()).len(), NAMES);
}

/// Registers, logs in and deletes; nobody else can come between. Answers whether the name was free.
fn live_and_die(client: &mut Client, name: &str, password: &str) -> bool {
    let body = credentials(name, password);
    let registered = client.post("/register", &body);
    if registered.status == 409 {
        return false;
    }
    assert_eq!(registered.status, 201, "{registered:?}");
    let tokens = log_in(client, name, password);
    let me = client.call("GET", "/user/me", Some(&tokens.access), None);
    let id = registered.header("location").unwrap().strip_prefix("/user/").unwrap();
    assert_eq!(me.json(), json!({ "id": id, "username": name }));
    assert_eq!(client.call("DELETE", "/user/me", Some(&tokens.access), None).status, 200);
    assert_eq!(client.post("/login", &body).status, 401);
    assert_refused(client, &tokens);
    true
}

/// `rounds` times all racers run `act` at once, each on a connection of its own. Answers what each was told,
/// round by round.
fn race(
    process: &Process,
    racers: usize,
    rounds: usize,
    act: impl Fn(usize, usize, &mut Client) -> Reply + Sync,
) -> Vec<Vec<Reply>> {
    let mut clients: Vec<_> = (0..racers).map(|_| process.client()).collect();
    let one_round = |round| {
        let ready = Barrier::new(racers);
        thread::scope(|scope| {
            let start = |(racer, client)| {
                let (ready, act) = (&ready, &act);
                scope.spawn(move || {
                    ready.wait();
                    act(racer, round, client)
                })
            };
            let running: Vec<_> = clients.iter_mut().enumerate().map(start).collect();
            running.into_iter().map(|racer| racer.join().unwrap()).collect()
        })
    };
    (0..rounds).map(one_round).collect()
}

fn register(client: &mut Client, name: &str, password: &str) {
    let reply = client.post("/register", &credentials(name, password));
    assert_eq!(reply.status, 201, "{reply:?}");
}

fn log_in(client: &mut Client, name: &str, password: &str) -> Tokens {
    Tokens::from_reply(&client.post("/login", &credentials(name, password)))
}

fn is_revoked(reply: &Reply) -> bool {
    reply.status == 401 && reply.json()["error"] == "token_revoked"
}

fn assert_refused(client: &mut Client, session: &Tokens) {
    for (method, path, token) in [
        ("GET", "/user/me", &session.access),
        ("POST", "/refresh", &session.refresh),
        ("POST", "/logout", &session.access),
        ("POST", "/logout", &session.refresh),
    ] {
        let reply = client.call(method, path, Some(token), None);
        assert!(is_revoked(&reply), "{method} {path}: {reply:?}");
    }
}

/// The names of the users in a store that no server uses; each is found under their name.
fn names_in(dir: &Path) -> HashSet<String> {
    let options = StoreOptions { cache: 16 << 20, min_free: 0, accept_clock: false };
    let store = Store::open(dir, &options, Arc::new(Clock::system())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let names = runtime.block_on(async {
        let mut names = HashSet::new();
        for user in store.users_after(None, usize::MAX).await.unwrap() {
            assert_eq!(store.user_named(&user.name).await.unwrap().unwrap().0, user);
            assert!(names.insert(user.name.as_str().to_owned()), "two users of one name");
        }
        names
    });
    store.close().unwrap();
    names
}
