//! Throttling: `--account-limit`, `--network-limit`, `--registration-limit`

use std::thread;
use std::time::Duration;

use gatelet::domain::clock::Timestamp;
use serde_json::{Value, json};

use crate::addresses::post_from;
use crate::refusal::{Refusal, expect, expect_fields};
use crate::support::{Client, Random, Reply, TestServer, credentials, request, start};

const PASSWORD: &str = "correct horse";
const WRONG: &str = "wrong horse!";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The home network of a user.
const HOME: &str = "192.0.2.1";

const BEHIND_A_PROXY: [&str; 2] = ["--trusted-proxies", "127.0.0.1"];

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A server with the user `anna`.
fn with_anna(args: &[&str]) -> TestServer {
    let server = TestServer::in_memory_with(args);
    server.register("anna", PASSWORD);
    server
}

/// The same behind a proxy, so that tests can choose the address of a client.
fn behind_a_proxy(args: &[&str]) -> TestServer {
    with_anna(&[args, &BEHIND_A_PROXY].concat())
}

fn log_in(client: &mut Client, address: &str, name: &str, password: &str) -> Reply {
    post_from(client, address, "/login", &credentials(name, password))
}

/// One of a hundred thousand addresses.
fn stranger(n: usize) -> String {
    format!("10.{}.{}.{}", n / 62_500, n / 250 % 250, n % 250 + 1)
}

#[track_caller]
fn expect_throttled(reply: &Reply, retry_after: u64, case: &str) {
    expect_too_many(reply, "Too many failed logins.", retry_after, case);
}

#[track_caller]
fn expect_too_many(reply: &Reply, text: &str, retry_after: u64, case: &str) {
    assert_eq!(reply.status, 429, "{case}: {reply:?}");
    assert_eq!(reply.json(), json!({"code": 429, "message": text, "status": "Too Many Requests"}), "{case}");
    assert_eq!(reply.header("retry-after"), Some(&*retry_after.to_string()), "{case}");
    assert_eq!(reply.header("content-type"), Some("application/json"), "{case}");
    assert_eq!(reply.header("www-authenticate"), None, "{case}");
    assert_eq!(reply.header("cache-control"), None, "{case}");
    assert!(reply.header("x-request-id").is_some(), "{case}");
}

/// The number of wrong logins that are answered 401 before the first 429, and that answer.
#[track_caller]
fn guesses_left(client: &mut Client, address: &str, name: &str) -> (usize, Reply) {
    for guesses in 0..10_000 {
        let reply = log_in(client, address, name, WRONG);
        if reply.status == 429 {
            return (guesses, reply);
        }
        Refusal::InvalidCredentials.expect(&reply, name);
    }
    panic!("never refused");
}

#[test]
fn an_account_is_throttled_until_the_second_that_retry_after_names() {
    let server = with_anna(&["--account-limit", "3,7m", "--network-limit", "off"]);
    let mut client = server.client();
    let mut wrong = || client.post("/login", &credentials("anna", WRONG));
    for n in 0..3 {
        Refusal::InvalidCredentials.expect(&wrong(), &n.to_string());
    }
    // From then on there is one guess in seven minutes, and throttled requests are not charged.
    for round in 0..3_u64 {
        let begun = start().after(secs(420 * round));
        for (millis, retry_after) in
            [(0, 420), (1, 420), (1_000, 419), (1_500, 419), (418_999, 2), (419_000, 1), (419_999, 1)]
        {
            server.clock.set(begun.after(Duration::from_millis(millis)));
            for _ in 0..5 {
                expect_throttled(&wrong(), retry_after, &format!("round {round}, {millis} ms"));
            }
        }
        server.clock.set(begun.after(secs(420)));
        Refusal::InvalidCredentials.expect(&wrong(), &format!("round {round}"));
    }
    // After a long pause there are as many guesses as at first, and no more.
    server.advance(secs(365 * 24 * 3600));
    for n in 0..3 {
        Refusal::InvalidCredentials.expect(&wrong(), &format!("rested, {n}"));
    }
    expect_throttled(&wrong(), 420, "rested");
}

#[test]
fn a_network_is_throttled_over_all_names_and_other_networks_are_not() {
    let server = behind_a_proxy(&["--account-limit", "off", "--network-limit", "4,10s"]);
    let mut client = server.client();
    for name in ["anna", "bert", "x", ""] {
        Refusal::InvalidCredentials.expect(&log_in(&mut client, HOME, name, WRONG), name);
    }
    expect_throttled(&log_in(&mut client, HOME, "anna", WRONG), 10, "another one");
    expect_throttled(&log_in(&mut client, HOME, "anna", PASSWORD), 10, "the right one too");
    assert_eq!(log_in(&mut client, "192.0.2.2", "anna", PASSWORD).status, 200);
    server.advance(secs(9));
    expect_throttled(&log_in(&mut client, HOME, "anna", PASSWORD), 1, "a second early");
    server.advance(secs(1));
    assert_eq!(log_in(&mut client, HOME, "anna", PASSWORD).status, 200);
}

#[test]
fn a_login_throttled_twice_gets_the_longer_wait_and_is_not_charged() {
    let server = behind_a_proxy(&["--account-limit", "1,7m", "--network-limit", "2,11m"]);
    let mut client = server.client();
    Refusal::InvalidCredentials.expect(&log_in(&mut client, HOME, "anna", WRONG), "the account's only one");
    for _ in 0..10 {
        expect_throttled(&log_in(&mut client, HOME, "anna", WRONG), 420, "by account");
    }
    Refusal::InvalidCredentials.expect(&log_in(&mut client, HOME, "bert", WRONG), "the network's second");
    expect_throttled(&log_in(&mut client, HOME, "anna", WRONG), 660, "by both");
    expect_throttled(&log_in(&mut client, HOME, "carla", WRONG), 660, "by network");
    expect_throttled(&log_in(&mut client, "192.0.2.2", "anna", WRONG), 420, "by account");
}

/// Hashes of a tenth of a second or more, one at a time. About a dozen may wait.
const COSTLY: [&str; 4] = ["--hash-slots", "1", "--scrypt", "ln=15,r=8,p=3"];

/// `size` clients that have sent their requests at once, each with its own body, and have read no answer yet.
fn crowd(server: &TestServer, size: usize, path: &str, body: impl Fn(usize) -> Value) -> Vec<Client> {
    let send = |n| {
        let mut client = server.client();
        client.send_raw(&request("POST", path, &[], Some(body(n).to_string().as_bytes()))).unwrap();
        client
    };
    (0..size).map(send).collect()
}

/// The statuses of the answers; `None` for requests that exceed their deadline on a slow machine.
fn statuses(crowd: &mut [Client]) -> Vec<Option<u16>> {
    crowd.iter_mut().map(|client| client.receive(false).ok().map(|reply| reply.status)).collect()
}

/// Clients whose logins fill the queue for a moment.
fn fill_the_queue(server: &TestServer) -> Vec<Client> {
    let mut crowd = crowd(server, 60, "/login", |n| credentials(&format!("nobody {n}"), PASSWORD));
    let last = crowd.pop().unwrap().receive(false).unwrap();
    Refusal::Busy.expect(&last, "the last of the crowd");
    crowd
}

#[test]
fn a_throttled_login_is_refused_before_hashing() {
    let limits = ["--account-limit", "1,1h", "--network-limit", "off"];
    let server = with_anna(&[&COSTLY[..], &limits].concat());
    for name in ["anna", "nobody"] {
        let wrong = credentials(name, WRONG);
        Refusal::InvalidCredentials.expect(&server.client().post("/login", &wrong), name);
        // If they were hashed, most would overflow the queue and get a 503.
        for password in [WRONG, PASSWORD] {
            for mut client in crowd(&server, 100, "/login", |_| credentials(name, password)) {
                expect_throttled(&client.receive(false).unwrap(), 3600, name);
            }
        }
    }
    // With a full queue the answer is the same.
    let mut busy = fill_the_queue(&server);
    let mut client = server.client();
    for _ in 0..10 {
        expect_throttled(&client.post("/login", &credentials("anna", PASSWORD)), 3600, "while busy");
    }
    assert!(statuses(&mut busy).iter().all(|status| [Some(401), Some(503), None].contains(status)));
}

/// An answer as a client sees it, without request id and date.
fn visible(reply: Reply) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let mut headers = reply.headers;
    headers.retain(|(name, _)| name != "x-request-id" && name != "date");
    (reply.status, headers, reply.body)
}

#[test]
fn throttling_does_not_reveal_whether_a_user_exists() {
    let server = behind_a_proxy(&["--account-limit", "5,10m", "--network-limit", "off"]);
    for name in ["bert", "dora"] {
        server.register(name, PASSWORD);
    }
    server.add_admin("root", PASSWORD);
    let root = server.log_in("root", PASSWORD).access;
    let users = server.call("GET", "/user", Some(&root), None).json();
    let dora = users.as_array().unwrap().iter().find(|user| user["username"] == "dora").unwrap();
    let path = format!("/user/{}", dora["id"].as_str().unwrap());
    let reply = server.call("PATCH", &path, Some(&root), Some(&json!({"disabled": true})));
    assert_eq!(reply.status, 200, "{reply:?}");
    // Bert has a known network, which is none of those below.
    assert_eq!(log_in(&mut server.client(), HOME, "bert", PASSWORD).status, 200);

    // A user, one with a known network, a disabled one, two unknown names, an invalid one and one too long.
    let long = "x".repeat(200);
    let names = ["anna", "bert", "dora", "nobody", "Nobody else", "a\u{0}b", &long];
    let mut random = Random::begin("unknown names");
    let mut client = server.client();
    let (mut refused, mut throttled) = (0, 0);
    for step in 0..300 {
        let address = stranger(random.below(1000));
        let mut answers = names.map(|name| visible(log_in(&mut client, &address, name, WRONG))).into_iter();
        let first = answers.next().unwrap();
        for (answer, name) in answers.zip(&names[1..]) {
            assert_eq!(answer, first, "step {step}: {name:?}");
        }
        match first.0 {
            401 => refused += 1,
            _ => throttled += 1,
        }
        let pause = [0, 1, 60, 599, 600, 3601][random.below(6)];
        server.advance(secs(pause / 2));
    }
    assert!(refused > 20 && throttled > 20, "{refused} {throttled}");
}

#[test]
fn the_number_of_guesses_does_not_reveal_a_known_network() {
    let server = behind_a_proxy(&["--account-limit", "8,10m", "--network-limit", "off"]);
    server.register("bert", PASSWORD);
    let mut client = server.client();
    assert_eq!(log_in(&mut client, HOME, "bert", PASSWORD).status, 200);
    // A user known in that network, one known in none, and an unknown name.
    let names = ["bert", "anna", "nobody"];
    for name in names {
        let (guesses, reply) = guesses_left(&mut client, HOME, name);
        assert_eq!(guesses, 8, "{name}");
        expect_throttled(&reply, 600, name);
    }
    let mut random = Random::begin("a known network");
    let (mut refused, mut throttled) = (0, 0);
    for step in 0..300 {
        let answers = names.map(|name| visible(log_in(&mut client, HOME, name, WRONG)));
        assert!(answers.iter().all(|answer| *answer == answers[0]), "step {step}: {answers:?}");
        if answers[0].0 == 401 {
            refused += 1
        } else {
            throttled += 1
        }
        server.advance(secs([0, 1, 60, 599, 600, 3601][random.below(6)] / 2));
    }
    assert!(refused > 20 && throttled > 20, "{refused} {throttled}");
}

#[test]
fn unicode_spellings_of_one_name_share_a_limit() {
    let server = with_anna(&["--account-limit", "2,1h", "--network-limit", "off"]);
    server.register("Zo\u{eb}", PASSWORD);
    let mut client = server.client();
    for name in ["Zo\u{eb}", "Zoe\u{308}"] {
        Refusal::InvalidCredentials.expect(&client.post("/login", &credentials(name, WRONG)), name);
    }
    for name in ["Zo\u{eb}", "Zoe\u{308}"] {
        expect_throttled(&client.post("/login", &credentials(name, WRONG)), 3600, name);
    }
    Refusal::InvalidCredentials.expect(&client.post("/login", &credentials("Zoe", WRONG)), "another name");
}

#[test]
fn strangers_cannot_lock_the_owner_out_of_a_known_network() {
    let server = behind_a_proxy(&[]);
    let mut client = server.client();
    assert_eq!(log_in(&mut client, HOME, "anna", PASSWORD).status, 200);
    let (guesses, reply) = guesses_left(&mut client, &stranger(1), "anna");
    assert_eq!(guesses, 40);
    expect_throttled(&reply, 36 * 60, "a stranger");
    for day in 0..5 {
        let (guesses, _) = guesses_left(&mut client, &stranger(2), "anna");
        assert_eq!(guesses, if day == 0 { 0 } else { 40 }, "day {day}");
        let strange = log_in(&mut client, &stranger(3), "anna", PASSWORD);
        expect_throttled(&strange, 36 * 60, "the right password, from a strange network");
        // From the known network: any number of right passwords, even after nine wrong ones.
        for slip in 0..10 {
            for _ in 0..5 {
                assert_eq!(log_in(&mut client, HOME, "anna", PASSWORD).status, 200, "day {day}, slip {slip}");
            }
            let reply = log_in(&mut client, HOME, "anna", WRONG);
            Refusal::InvalidCredentials.expect(&reply, &format!("day {day}, slip {slip}"));
        }
        // The reserve of ten is used up. The next guess comes with the account's.
        expect_throttled(&log_in(&mut client, HOME, "anna", PASSWORD), 36 * 60, "no slips left");
        // Strangers gain nothing from that.
        let strange = log_in(&mut client, &stranger(4), "anna", PASSWORD);
        expect_throttled(&strange, 36 * 60, "still throttled");
        server.advance(2 * DAY);
    }
}

#[test]
fn only_a_right_password_makes_a_network_known_and_only_to_its_account() {
    let server = behind_a_proxy(&["--account-limit", "4,1h"]);
    server.register("bert", PASSWORD);
    let mut client = server.client();
    let tokens = log_in(&mut client, HOME, "bert", PASSWORD).json();
    // None of these makes 192.0.2.2 known: a failed login, a registration, a refresh.
    Refusal::InvalidCredentials.expect(&log_in(&mut client, "192.0.2.2", "anna", WRONG), "a failure");
    let body = credentials("carla", PASSWORD);
    assert_eq!(post_from(&mut client, "192.0.2.2", "/register", &body).status, 201);
    let authorization = format!("Bearer {}", tokens["refresh_token"].as_str().unwrap());
    let headers = [("X-Forwarded-For", "192.0.2.2"), ("Authorization", &*authorization)];
    assert_eq!(client.send("POST", "/refresh", &headers, None).status, 200);

    for (name, left) in [("anna", 3), ("bert", 4), ("carla", 4)] {
        assert_eq!(guesses_left(&mut client, &stranger(1), name).0, left, "{name}");
    }
    for (address, name, status) in [
        (HOME, "anna", 429),
        (HOME, "bert", 200),
        (HOME, "carla", 429),
        ("192.0.2.2", "anna", 429),
        ("192.0.2.2", "bert", 429),
        ("192.0.2.2", "carla", 429),
    ] {
        let reply = log_in(&mut client, address, name, PASSWORD);
        assert_eq!(reply.status, status, "{name} from {address}: {reply:?}");
    }
}

/// The largest number of these moments within any 24 hours, both ends included.
fn most_in_a_day(moments: &[Timestamp]) -> usize {
    let within = |first: usize| moments[first..].partition_point(|at| *at <= moments[first].after(DAY));
    (0..moments.len()).map(within).max().unwrap_or(0)
}

/// The moments of all guesses at anna's password that an attacker with these addresses gets in four days. The attack
/// begins with all addresses at once and continues with some: on the first day as soon as `Retry-After` allows, later
/// also at random times.
fn attack(server: &TestServer, addresses: &[String], random: &mut Random) -> Vec<Timestamp> {
    let begun = server.clock.reading();
    let mut client = server.client();
    let mut guesses = Vec::new();
    while server.clock.reading().since(begun) < 4 * DAY {
        let now = server.clock.reading();
        let mut soonest = u64::MAX;
        let sweep = if guesses.is_empty() || random.once_in(50) { addresses.len() } else { 10 };
        let first = random.below(addresses.len());
        // The last address may be the known network: always include it.
        let some = (0..sweep).map(|n| (first + n) % addresses.len()).chain([addresses.len() - 1]);
        for address in some.map(|n| &addresses[n]) {
            loop {
                let reply = log_in(&mut client, address, "anna", WRONG);
                if reply.status == 429 {
                    soonest = soonest.min(reply.header("retry-after").unwrap().parse().unwrap());
                    break;
                }
                Refusal::InvalidCredentials.expect(&reply, address);
                guesses.push(now);
            }
        }
        let chance = if now.since(begun) > DAY { random.below(20) } else { 20 };
        let pause = match chance {
            0 => secs(random.number() % (30 * 3600)),
            1..4 => Duration::from_millis(random.number() % 3_600_000),
            _ => secs(soonest),
        };
        server.advance(pause);
    }
    guesses
}

#[test]
fn a_thousand_addresses_get_at_most_a_hundred_guesses_in_any_24_hours() {
    let mut random = Random::begin("a thousand addresses");
    let strangers: Vec<_> = (0..1000).map(stranger).collect();
    let and_one_known: Vec<_> = strangers.iter().cloned().chain([HOME.to_owned()]).collect();
    for (addresses, expected) in [(&strangers, 75..=80), (&and_one_known, 95..=100)] {
        let server = behind_a_proxy(&[]);
        assert_eq!(log_in(&mut server.client(), HOME, "anna", PASSWORD).status, 200);
        let guesses = attack(&server, addresses, &mut random);
        let most = most_in_a_day(&guesses);
        assert!(expected.contains(&most), "{most} guesses in a day, {} in all", guesses.len());
    }
}

#[test]
fn the_owner_can_log_in_while_a_thousand_addresses_guess() {
    let server = behind_a_proxy(&[]);
    let (mut owner, mut attacker) = (server.client(), server.client());
    assert_eq!(log_in(&mut owner, HOME, "anna", PASSWORD).status, 200);
    for hour in 0..30 {
        for n in 0..50 {
            let reply = log_in(&mut attacker, &stranger(hour * 37 % 1000 + n), "anna", WRONG);
            assert!([401, 429].contains(&reply.status), "{reply:?}");
        }
        assert_eq!(log_in(&mut owner, HOME, "anna", PASSWORD).status, 200, "hour {hour}");
        server.advance(secs(3600));
    }
}

#[test]
fn a_successful_login_is_not_charged_and_clears_no_count() {
    let server = behind_a_proxy(&["--account-limit", "3,1h", "--network-limit", "4,1h"]);
    let mut client = server.client();
    for n in 0..20 {
        assert_eq!(log_in(&mut client, &stranger(n), "anna", PASSWORD).status, 200);
    }
    let reply = log_in(&mut client, "192.0.2.2", "anna", WRONG);
    Refusal::InvalidCredentials.expect(&reply, "one");
    for n in 0..20 {
        assert_eq!(log_in(&mut client, &stranger(n), "anna", PASSWORD).status, 200);
    }
    assert_eq!(guesses_left(&mut client, "192.0.2.3", "anna").0, 2);
    for name in ["bert", "carla"] {
        Refusal::InvalidCredentials.expect(&log_in(&mut client, "192.0.2.3", name, WRONG), name);
    }
    expect_throttled(&log_in(&mut client, "192.0.2.3", "dora", WRONG), 3600, "four in all from there");
}

#[test]
fn a_login_refused_by_the_full_queue_is_not_charged() {
    let limits = ["--account-limit", "20,1h", "--network-limit", "off"];
    let server = with_anna(&[&COSTLY[..], &limits].concat());
    let mut others = fill_the_queue(&server);
    // As many at once as the limit allows: a login under way counts until its outcome is known.
    let answers = statuses(&mut crowd(&server, 20, "/login", |_| credentials("anna", WRONG)));
    statuses(&mut others);
    assert!(answers.iter().all(|status| [Some(401), Some(503), None].contains(status)), "{answers:?}");
    // No answer counts as a failure: the password may have been checked.
    let failed = answers.iter().filter(|status| **status != Some(503)).count();
    assert!(failed < 20, "{answers:?}");
    let (left, reply) = guesses_left(&mut server.client(), HOME, "anna");
    assert_eq!(failed + left, 20);
    expect_throttled(&reply, 3600, "twenty in all");
}

#[test]
fn an_invalid_request_is_not_charged() {
    let server = with_anna(&["--account-limit", "1,1h", "--network-limit", "1,1h"]);
    let mut client = server.client();
    for _ in 0..5 {
        assert_eq!(client.post("/login", &json!({"username": "anna"})).status, 422);
        assert_eq!(client.post("/login", &json!({"username": "anna", "password": 1})).status, 422);
        let json = [("Content-Type", "application/json")];
        assert_eq!(client.send("POST", "/login", &json, Some(b"{")).status, 400);
    }
    Refusal::InvalidCredentials.expect(&client.post("/login", &credentials("anna", WRONG)), "the first");
    expect_throttled(&client.post("/login", &credentials("anna", WRONG)), 3600, "the second");
}

#[test]
fn a_wrong_current_password_counts_as_a_guess() {
    let server = behind_a_proxy(&["--account-limit", "4,1h", "--network-limit", "off"]);
    let mut client = server.client();
    // The session began at home; the thief of its token is elsewhere.
    let tokens = log_in(&mut client, HOME, "anna", PASSWORD).json();
    let authorization = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let mut change = |address: &str, current: &str, new: &str| {
        let headers = [
            ("Content-Type", "application/json"),
            ("X-Forwarded-For", address),
            ("Authorization", &authorization),
        ];
        let body = json!({"current_password": current, "new_password": new}).to_string();
        client.send("POST", "/user/me/password", &headers, Some(body.as_bytes()))
    };
    let thief = "192.0.2.66";
    for _ in 0..5 {
        let reply = change(thief, WRONG, "short");
        expect_fields(&reply, &json!({"new_password": ["Shorter than minimum length 8."]}), "no guess");
    }
    for n in 0..2 {
        Refusal::InvalidCredentials.expect(&change(thief, WRONG, "another horse"), &n.to_string());
    }
    let mut other = server.client();
    assert_eq!(guesses_left(&mut other, &stranger(1), "anna").0, 2, "logins and changes are one account");
    // The account's guesses are used up. The session's reserve is one guess, from any network.
    Refusal::InvalidCredentials.expect(&change(thief, WRONG, "another horse"), "the session's own");
    for password in [WRONG, PASSWORD] {
        expect_throttled(&change(thief, password, "another horse"), 3600, "throttled");
    }
    // The reserve of the known network is one guess. Right passwords do not use it.
    for (old, new) in [(PASSWORD, "another horse"), ("another horse", "yet another horse")] {
        expect(&change(HOME, old, new), 200, &json!({"message": "Password changed."}), "the owner");
    }
    Refusal::InvalidCredentials.expect(&change(HOME, WRONG, "another horse"), "a slip");
    expect_throttled(&change(HOME, "yet another horse", PASSWORD), 3600, "no second slip");
    expect_throttled(&log_in(&mut other, HOME, "anna", "yet another horse"), 3600, "nor at the login");
}

#[test]
fn strangers_cannot_keep_a_session_from_changing_the_password() {
    let server = behind_a_proxy(&["--account-limit", "8,1h", "--network-limit", "off"]);
    let mut client = server.client();
    let tokens = log_in(&mut client, HOME, "anna", PASSWORD).json();
    let authorization = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    assert_eq!(guesses_left(&mut server.client(), &stranger(1), "anna").0, 8);
    // From networks that are not known.
    let mut change = |address: &str, current: &str, new: &str| {
        let headers = [
            ("Content-Type", "application/json"),
            ("X-Forwarded-For", address),
            ("Authorization", &*authorization),
        ];
        let body = json!({"current_password": current, "new_password": new}).to_string();
        client.send("POST", "/user/me/password", &headers, Some(body.as_bytes()))
    };
    let (away, elsewhere) = ("198.51.100.1", "198.51.100.2");
    Refusal::InvalidCredentials.expect(&change(away, WRONG, "another horse"), "a slip");
    let changed = json!({"message": "Password changed."});
    expect(&change(away, PASSWORD, "another horse"), 200, &changed, "the owner");
    Refusal::InvalidCredentials.expect(&change(elsewhere, WRONG, "another horse"), "a second slip");
    let reply = change(elsewhere, "another horse", PASSWORD);
    expect_throttled(&reply, 3600, "the session's reserve is used up");
}

#[test]
fn known_networks_survive_a_restart() {
    let server = TestServer::start_with(&BEHIND_A_PROXY);
    server.register("anna", PASSWORD);
    assert_eq!(log_in(&mut server.client(), HOME, "anna", PASSWORD).status, 200);
    let file = server.data_dir().join("known-networks");
    let mut server = server.restart();
    let text = std::fs::read(&file).unwrap();
    assert!(!text.windows(4).any(|part| part == "anna".as_bytes() || part == [192, 0, 2, 1]));
    for days in [0, 29] {
        server.advance(days * DAY);
        guesses_left(&mut server.client(), &stranger(1), "anna");
        assert_eq!(log_in(&mut server.client(), &stranger(2), "anna", PASSWORD).status, 429);
        assert_eq!(log_in(&mut server.client(), HOME, "anna", PASSWORD).status, 200, "{days}");
        server = server.restart();
    }
    // A server starts with an unreadable file, and knows no network then.
    for content in [&text[..text.len() / 2], b"", b"something else"] {
        std::fs::write(&file, content).unwrap();
        server = server.restart();
        guesses_left(&mut server.client(), &stranger(1), "anna");
        assert_eq!(log_in(&mut server.client(), HOME, "anna", PASSWORD).status, 429);
    }
    // The next login makes the network known again.
    server.advance(30 * DAY);
    assert_eq!(log_in(&mut server.client(), HOME, "anna", PASSWORD).status, 200);
    let server = server.restart();
    guesses_left(&mut server.client(), &stranger(1), "anna");
    assert_eq!(log_in(&mut server.client(), HOME, "anna", PASSWORD).status, 200);
}

#[test]
fn a_refresh_keeps_a_network_known_but_makes_none_known() {
    let server = behind_a_proxy(&["--refresh-ttl", "90d"]);
    let mut client = server.client();
    let tokens = log_in(&mut client, HOME, "anna", PASSWORD).json();
    let authorization = format!("Bearer {}", tokens["refresh_token"].as_str().unwrap());
    for day in 0..3 {
        server.advance(20 * DAY);
        for address in [HOME, "192.0.2.2"] {
            let headers = [("X-Forwarded-For", address), ("Authorization", &*authorization)];
            assert_eq!(client.send("POST", "/refresh", &headers, None).status, 200, "{day}");
        }
    }
    guesses_left(&mut client, &stranger(1), "anna");
    assert_eq!(log_in(&mut client, "192.0.2.2", "anna", PASSWORD).status, 429);
    assert_eq!(log_in(&mut client, HOME, "anna", PASSWORD).status, 200);
}

#[test]
fn a_throttled_users_sessions_go_on() {
    let server = with_anna(&["--account-limit", "2,1h", "--network-limit", "2,1h"]);
    let tokens = server.log_in("anna", PASSWORD);
    for _ in 0..2 {
        let reply = server.client().post("/login", &credentials("anna", WRONG));
        Refusal::InvalidCredentials.expect(&reply, "wrong");
    }
    assert_eq!(server.client().post("/login", &credentials("anna", PASSWORD)).status, 429);
    let access = server.refresh(&tokens);
    assert_eq!(server.call("GET", "/user/me", Some(&access), None).status, 200);
    assert_eq!(server.call("POST", "/logout", Some(&access), None).status, 200);
}

#[test]
fn only_registrations_of_new_and_taken_names_are_charged() {
    let server = with_anna(&["--registration-limit", "5,10s"]);
    let mut client = server.client();
    let mut register = |name: &str, password: &str| client.post("/register", &credentials(name, password));
    let refused = |reply: &Reply, seconds, case: &str| {
        expect_too_many(reply, "Too many registrations.", seconds, case);
    };
    for _ in 0..10 {
        assert_eq!(register("bert", "short").status, 422);
        assert_eq!(register("", PASSWORD).status, 422);
    }
    Refusal::NameTaken.expect(&register("anna", PASSWORD), "a taken name is charged");
    let register = |name: &str| server.client().post("/register", &credentials(name, PASSWORD));
    for name in ["bert", "carla", "dora"] {
        assert_eq!(register(name).status, 201, "{name}");
    }
    for (millis, seconds) in [(0, 10), (1, 10), (1_000, 9), (9_000, 1), (9_999, 1)] {
        server.clock.set(start().after(Duration::from_millis(millis)));
        refused(&register("emil"), seconds, &millis.to_string());
        refused(&register("anna"), seconds, "without telling that the name is taken");
    }
    server.clock.set(start().after(secs(10)));
    assert_eq!(register("emil").status, 201);
    refused(&register("fritz"), 10, "one in ten seconds");
    server.advance(secs(10));
    Refusal::NameTaken.expect(&register("anna"), "the one in ten seconds");
    refused(&register("fritz"), 10, "used up by the taken name");
    // Logins have limits of their own, and administrators create users without one.
    server.add_admin("root", PASSWORD);
    let root = server.log_in("root", PASSWORD);
    for n in 0..6 {
        let body = credentials(&format!("user {n}"), PASSWORD);
        assert_eq!(server.call("POST", "/user", Some(&root.access), Some(&body)).status, 201);
    }
    refused(&register("fritz"), 10, "still");
}

#[test]
fn a_registration_refused_by_the_full_queue_is_not_charged() {
    // One for anna and one for each client of the crowd.
    let server = with_anna(&[&COSTLY[..], &["--registration-limit", "61,1h"]].concat());
    let mut crowd = crowd(&server, 60, "/register", |n| credentials(&format!("user {n}"), PASSWORD));
    let answers = statuses(&mut crowd);
    assert!(answers.iter().all(|answer| [Some(201), Some(503), None].contains(answer)), "{answers:?}");
    assert!(answers.contains(&Some(503)), "{answers:?}");
    // If refused ones were charged, this would get a 429. A taken name is found without a hash.
    let taken = server.client().post("/register", &credentials("anna", PASSWORD));
    Refusal::NameTaken.expect(&taken, "not throttled");
}

#[test]
fn limits_that_are_off_hold_nothing_up() {
    let off = ["--account-limit", "off", "--network-limit", "off", "--registration-limit", "off"];
    let server = with_anna(&off);
    let mut client = server.client();
    for n in 0..500 {
        let reply = client.post("/login", &credentials("anna", WRONG));
        Refusal::InvalidCredentials.expect(&reply, &n.to_string());
    }
    server.log_in("anna", PASSWORD);
    // On several connections, so that they share their syncs.
    thread::scope(|scope| {
        for thread in 0..8 {
            let mut client = server.client();
            scope.spawn(move || {
                for n in 0..140 {
                    let body = credentials(&format!("user {thread}.{n}"), PASSWORD);
                    assert_eq!(client.post("/register", &body).status, 201);
                }
            });
        }
    });
}

#[test]
fn resetting_a_password_or_enabling_an_account_clears_its_failed_logins() {
    const NEW_PASSWORD: &str = "a horse of another colour";
    let server = behind_a_proxy(&["--account-limit", "3,36m"]);
    let mut client = server.client();
    let anna = server.log_in("anna", PASSWORD).access;
    let id =
        client.call("GET", "/session", Some(&anna), None).json()["user"]["id"].as_str().unwrap().to_owned();
    server.add_admin("root", PASSWORD);
    let root = server.log_in("root", PASSWORD).access;
    let mut as_root = |method: &str, below: &str, body: &Value| {
        let reply = client.call(method, &format!("/user/{id}{below}"), Some(&root), Some(body));
        assert!(reply.status < 300, "{reply:?}");
    };
    let mut client = server.client();
    let mut lock_out = |name: &str| assert_eq!(guesses_left(&mut client, "192.0.2.2", name).0, 3);
    let tried = |address: &str| log_in(&mut server.client(), address, "anna", NEW_PASSWORD).status;
    lock_out("bert");
    let (new, enabled) = (json!({"new_password": NEW_PASSWORD}), json!({"disabled": false}));
    for (n, (method, below, body)) in
        [("POST", "/password", &new), ("PATCH", "", &enabled)].into_iter().enumerate()
    {
        lock_out("anna");
        as_root("PATCH", "", &json!({"role": "user"}));
        assert_eq!(tried(HOME), 429, "another change does not clear it");
        as_root(method, below, body);
        assert_eq!(tried(&stranger(n)), 200); // from then on this network has a reserve
    }
    expect_throttled(&log_in(&mut server.client(), HOME, "bert", PASSWORD), 2160, "another account");
}

#[test]
fn the_default_limits_are_the_documented_ones() {
    let server = with_anna(&[]);
    let mut client = server.client();
    let mut left = |name: &str| {
        let mut guesses = 0;
        loop {
            let reply = client.post("/login", &credentials(name, WRONG));
            if reply.status == 429 {
                return (guesses, reply.header("retry-after").unwrap().to_owned());
            }
            guesses += 1;
        }
    };
    assert_eq!(left("anna"), (40, "2160".to_owned()));
    for name in ["b", "c", "d", "e", "f", "g"] {
        assert_eq!(left(name), (40, "2160".to_owned()));
    }
    assert_eq!(left("h"), (20, "10".to_owned()), "300 of a network");
}

#[test]
fn an_ordinary_test_script_stays_below_the_default_limits() {
    let server = TestServer::in_memory();
    let mut client = server.client();
    for n in 0..100 {
        let name = format!("user {n}");
        let reply = client.post("/register", &credentials(&name, PASSWORD));
        expect(&reply, 201, &json!({"message": "User created successfully."}), &name);
        Refusal::NameTaken.expect(&client.post("/register", &credentials(&name, PASSWORD)), &name);
    }
    for n in 0..30 {
        let reply = client.post("/login", &credentials("user 7", WRONG));
        Refusal::InvalidCredentials.expect(&reply, &n.to_string());
        let reply = client.post("/login", &credentials("nobody", PASSWORD));
        Refusal::InvalidCredentials.expect(&reply, &n.to_string());
    }
    let tokens = server.log_in("user 7", PASSWORD);
    let shown: Value = client.call("GET", "/user/me", Some(&tokens.access), None).json();
    assert_eq!(shown["username"], "user 7");
}
