//! Races: many clients with the same request at the same moment, against the real executable.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods)] // an error fails the test

mod support;

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use gatelet::domain::clock::Clock;
use gatelet::domain::user::{User, Usernames};
use gatelet::store::{Store, StoreOptions};
use serde_json::json;

use support::{Client, Process, Reply, Tokens, admin_socket, credentials, serve, temporary};

/// No access log, and no limits: a lost race counts as a failed login.
#[rustfmt::skip] // flags and their values
const QUIET: [&str; 8] = [
    "--log", "info,gatelet::access=warn,gatelet::audit=warn",
    "--account-limit", "off",
    "--network-limit", "off",
    "--registration-limit", "off",
];

#[test]
fn exactly_one_of_sixteen_racing_registrations_of_a_name_wins() {
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
fn after_racing_logouts_the_session_is_revoked() {
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
fn exactly_one_of_racing_deletions_succeeds_despite_racing_logouts() {
    const USERS: usize = 60;
    const RACERS: usize = 9;
    let dir = temporary();
    let process = Process::start(dir.path(), &QUIET);
    let mut client = process.client();
    // Every third racer logs out of a session of its own, so that the deletions keep their sessions.
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
        assert_eq!(client.post("/register", &body).status, 409, "the name stays taken for a while");
        assert_refused(&mut client, &users[user][0]);
    }
}

#[test]
fn no_token_from_a_racing_refresh_survives_the_logout() {
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
    assert!(refreshed > 0, "no refresh came before its logout: this proves nothing");
}

/// Refreshes until refused, and returns the access tokens.
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
fn names_and_users_agree_after_racing_registrations_and_deletions() {
    const NAMES: usize = 3;
    const RACERS: usize = 8;
    const CYCLES: usize = 150;
    let dir = temporary();
    let process = Process::start(dir.path(), &QUIET);
    let lives = AtomicUsize::new(0);

    thread::scope(|scope| {
        for racer in 0..RACERS {
            let (process, lives, dir) = (&process, &lives, dir.path());
            scope.spawn(move || {
                let mut client = process.client();
                for cycle in 0..CYCLES {
                    let name = format!("name {}", cycle % NAMES);
                    let lived = live_and_die(&mut client, &name, &format!("password of racer {racer}"));
                    if lived {
                        free(dir, &name);
                    }
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

/// Registers, logs in and deletes a user whose password only this client knows. Returns whether the name was free.
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

/// Frees the name of a user who was deleted, as an administrator does.
fn free(dir: &Path, name: &str) {
    let freed = admin_socket::ask(dir, &json!({ "free_name": { "username": name } }));
    assert_eq!(freed, Some(Ok(json!({ "freed": [name] }))));
}

#[test]
fn one_of_two_administrators_who_demote_each_other_remains() {
    one_administrator_remains(Way::Demote, 150);
}

#[test]
fn one_of_two_administrators_who_disable_each_other_remains() {
    one_administrator_remains(Way::Disable, 150);
}

#[test]
fn one_of_two_administrators_who_delete_each_other_remains() {
    one_administrator_remains(Way::Delete, 100);
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Demote,
    Disable,
    Delete,
}

impl Way {
    fn end(self, client: &mut Client, id: &str, token: &str) -> Reply {
        let path = format!("/user/{id}");
        match self {
            Self::Demote => client.call("PATCH", &path, Some(token), Some(&json!({"role": "user"}))),
            Self::Disable => client.call("PATCH", &path, Some(token), Some(&json!({"disabled": true}))),
            Self::Delete => client.call("DELETE", &path, Some(token), None),
        }
    }
}

/// An administrator and a fresh token of theirs.
struct Admin {
    id: String,
    token: String,
}

/// Two administrators remove each other, or each themselves, at once. One succeeds; the remaining one restores the other.
fn one_administrator_remains(way: Way, rounds: usize) {
    const NAMES: [&str; 2] = ["ada", "bea"];
    let dir = temporary();
    let mut command = serve(dir.path(), &QUIET);
    command.env("GATELET_ADMIN_USERNAME", NAMES[0]).env("GATELET_ADMIN_PASSWORD", "correct horse");
    let process = Process::spawn(&mut command).unwrap();
    let mut client = process.client();
    let ada = Admin::log_in(&mut client, NAMES[0]);
    create_admin(&mut client, NAMES[1], &ada.token);
    let mut admins = [ada, Admin::log_in(&mut client, NAMES[1])];
    let mut won = [0; 2];
    for round in 0..rounds {
        let themselves = round % 2 == 1;
        let replies = race(&process, 2, 1, |racer, _, client| {
            let target = if themselves { racer } else { 1 - racer };
            way.end(client, &admins[target].id, &admins[racer].token)
        })
        .remove(0);
        let winners: Vec<_> = (0..2).filter(|&racer| replies[racer].status == 200).collect();
        assert_eq!(winners.len(), 1, "round {round}: {replies:?}");
        let winner = winners[0];
        won[winner] += 1;
        let refusal = &replies[1 - winner];
        // If they remove each other, the loser has lost the role or the session when the change is to be written. If they
        // remove themselves, the last administrator stays.
        let is_right = match way {
            _ if themselves => refusal.status == 409,
            Way::Demote => refusal.status == 403,
            Way::Disable | Way::Delete => is_revoked(refusal),
        };
        assert!(is_right, "round {round}: {refusal:?}");

        let remaining = if themselves { 1 - winner } else { winner };
        let (gone, token) = (1 - remaining, admins[remaining].token.clone());
        assert_eq!(enabled_admins(&mut client, &token), [&*admins[remaining].id], "round {round}");
        let reply = way.end(&mut client, &admins[remaining].id, &token);
        assert_eq!(reply.status, 409, "round {round}: {reply:?}");
        if round + 1 == rounds {
            break;
        }
        match way {
            Way::Delete => {
                let free = ["user", "free", NAMES[gone], "--data-dir"];
                assert!(support::gatelet().args(free).arg(dir.path()).status().unwrap().success());
                create_admin(&mut client, NAMES[gone], &token);
            }
            Way::Demote | Way::Disable => {
                let path = format!("/user/{}", admins[gone].id);
                let back = json!({"role": "admin", "disabled": false});
                assert_eq!(client.call("PATCH", &path, Some(&token), Some(&back)).status, 200);
            }
        }
        admins[gone] = Admin::log_in(&mut client, NAMES[gone]);
    }
    println!("{way:?}: {rounds} rounds, won {won:?}");
    assert!(won.iter().all(|won| *won > 0), "never at once: this proves nothing");
    assert_eq!(process.stop().code(), 0);
    let left = users_in(dir.path()).into_iter().filter(User::is_enabled_admin).count();
    assert_eq!(left, 1, "in the store");
}

impl Admin {
    fn log_in(client: &mut Client, name: &str) -> Self {
        let token = log_in(client, name, "correct horse").access;
        let id = client.call("GET", "/user/me", Some(&token), None).json()["id"].clone();
        Self { id: id.as_str().unwrap().to_owned(), token }
    }
}

fn create_admin(client: &mut Client, name: &str, token: &str) {
    let body = json!({"username": name, "password": "correct horse", "role": "admin"});
    let reply = client.call("POST", "/user", Some(token), Some(&body));
    assert_eq!(reply.status, 201, "{reply:?}");
}

/// The ids of the enabled administrators.
fn enabled_admins(client: &mut Client, token: &str) -> Vec<String> {
    let reply = client.call("GET", "/user", Some(token), None);
    assert_eq!(reply.status, 200, "{reply:?}");
    let list = reply.json();
    let admins =
        list.as_array().unwrap().iter().filter(|user| user["role"] == "admin" && user["disabled"] == false);
    admins.map(|user| user["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn exactly_one_of_racing_password_changes_wins() {
    const ROUNDS: usize = 100;
    let dir = temporary();
    let process = Process::start(dir.path(), &QUIET);
    let mut client = process.client();
    register(&mut client, "anna", "password number 0");
    let mut current = "password number 0".to_owned();
    let mut overtaken = 0;
    for round in 0..ROUNDS {
        // From two sessions, or twice from one.
        let mut sessions: Vec<_> = (0..2).map(|_| log_in(&mut client, "anna", &current)).collect();
        let is_shared = round % 2 == 1;
        if is_shared {
            sessions[1] = sessions[0].clone();
        }
        let new = |racer: usize| format!("password {racer} of round {round}");
        let replies = race(&process, 2, 1, |racer, _, client| {
            change_password(client, &sessions[racer].access, &current, &new(racer))
        })
        .remove(0);
        let winners: Vec<_> = (0..2).filter(|&racer| replies[racer].status == 200).collect();
        assert_eq!(winners.len(), 1, "round {round}: {replies:?}");
        let (winner, loser) = (winners[0], 1 - winners[0]);
        let refusal = &replies[loser];
        if is_shared {
            assert!(is_wrong_password(refusal), "round {round}: {refusal:?}");
        } else {
            // The loser's session is revoked when its change is to be written.
            assert!(is_wrong_password(refusal) || is_revoked(refusal), "round {round}: {refusal:?}");
            overtaken += usize::from(is_revoked(refusal));
            assert_refused(&mut client, &sessions[loser]);
        }

        let me = client.call("GET", "/user/me", Some(&sessions[winner].access), None);
        assert_eq!(me.status, 200, "round {round}: {me:?}");
        for wrong in [&current, &new(loser)] {
            let reply = client.post("/login", &credentials("anna", wrong));
            assert!(is_wrong_password(&reply), "round {round}: {reply:?}");
        }
        current = new(winner);
    }
    println!("{ROUNDS} rounds, {overtaken} times the loser's session was over");
    assert!(overtaken > 0, "never at once: this proves nothing");
    let last = log_in(&mut client, "anna", &current);
    assert_eq!(process.stop().code(), 0);
    let process = Process::start(dir.path(), &QUIET);
    let mut client = process.client();
    log_in(&mut client, "anna", &current);
    assert_eq!(client.call("GET", "/user/me", Some(&last.access), None).status, 200);
}

#[test]
fn a_password_change_ends_racing_logins_with_the_old_password_only() {
    const ROUNDS: usize = 40;
    const RACERS: usize = 5;
    let dir = temporary();
    // Hashes expensive enough that logins overlap with the change.
    let process = Process::start(dir.path(), &[&QUIET[..], &["--scrypt", "ln=8,r=8,p=1"]].concat());
    let mut client = process.client();
    register(&mut client, "anna", "password number 0");
    let password = |round: usize| format!("password number {round}");
    let (mut outlived, mut early) = (0, 0);
    for round in 0..ROUNDS {
        let (old, new) = (password(round), password(round + 1));
        let this = log_in(&mut client, "anna", &old);
        let replies = race(&process, RACERS, 1, |racer, _, client| match racer {
            0 => change_password(client, &this.access, &old, &new),
            1 | 2 => client.post("/login", &credentials("anna", &old)),
            _ => {
                // Retry until the new password works, without waiting for the answer to the change.
                let body = credentials("anna", &new);
                (0..100)
                    .map(|_| client.post("/login", &body))
                    .find(|reply| !is_wrong_password(reply))
                    .unwrap()
            }
        })
        .remove(0);
        assert_eq!(replies[0].status, 200, "round {round}: {:?}", replies[0]);
        for reply in &replies[1..3] {
            if reply.status == 200 {
                outlived += 1;
                assert_refused(&mut client, &Tokens::from_reply(reply));
            } else {
                assert!(is_wrong_password(reply), "round {round}: {reply:?}");
            }
        }
        for reply in &replies[3..] {
            early += 1;
            let tokens = Tokens::from_reply(reply);
            for token in [&tokens.access, &this.access] {
                let me = client.call("GET", "/user/me", Some(token), None);
                assert_eq!(me.status, 200, "round {round}: {me:?}");
            }
        }
        let reply = client.post("/login", &credentials("anna", &old));
        assert!(is_wrong_password(&reply), "round {round}: {reply:?}");
    }
    println!(
        "{ROUNDS} changes: {outlived} racing logins with the old password, none of them good afterwards"
    );
    println!("{early} racing logins with the new password, all of them good");
    assert!(outlived > 0, "no login came before its change: this proves nothing");
    assert_eq!(process.stop().code(), 0);
    let process = Process::start(dir.path(), &QUIET);
    log_in(&mut process.client(), "anna", &password(ROUNDS));
}

fn change_password(client: &mut Client, token: &str, current: &str, new: &str) -> Reply {
    let body = json!({"current_password": current, "new_password": new});
    client.call("POST", "/user/me/password", Some(token), Some(&body))
}

fn is_wrong_password(reply: &Reply) -> bool {
    reply.status == 401 && reply.json()["message"] == "Invalid credentials"
}

/// Runs `act` for all racers at once, `rounds` times, each on a connection of its own. Returns the replies of each
/// round.
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

/// The names of the users in a store that no server uses.
fn names_in(dir: &Path) -> HashSet<String> {
    let mut names = HashSet::new();
    for user in users_in(dir) {
        assert!(names.insert(user.name.as_str().to_owned()), "two users of one name");
    }
    names
}

/// The users in a store that no server uses. Asserts that each is found by name.
fn users_in(dir: &Path) -> Vec<User> {
    let options = StoreOptions { cache: 16 << 20, min_free: 0, accept_clock: None };
    Store::free_when_dropped();
    let store = Store::open(dir, &options, Arc::new(Clock::system())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let users = runtime.block_on(async {
        let users = store.users_after(None, usize::MAX).await.unwrap();
        for user in &users {
            assert_eq!(store.user_named(&user.name, Usernames::Folded).await.unwrap().unwrap().0, *user);
        }
        users
    });
    store.close().unwrap();
    users
}
