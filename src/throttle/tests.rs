use std::net::Ipv4Addr;

use super::ledger::LOGIN;
use super::*;

const START: Timestamp = Timestamp::from_unix_secs(1_764_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);
const HOME: &str = "2001:db8:1:2::7";

fn throttle(account: &str, network: &str, registrations: &str) -> Throttle {
    Throttle::new(Limits {
        account: account.parse().unwrap(),
        network: network.parse().unwrap(),
        registrations: registrations.parse().unwrap(),
    })
    .unwrap()
}

fn with_defaults() -> Throttle {
    Throttle::new(Limits {
        account: Allowance::ACCOUNT,
        network: Allowance::NETWORK,
        registrations: Allowance::REGISTRATIONS,
    })
    .unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn stranger(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0xcb00_0000 + number).into()
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn guess(throttle: &Throttle, peer: IpAddr, name: &str, now: Timestamp) -> Result<(), Throttled> {
    throttle.login(peer, name, now).map(Attempt::failed)
}

fn log_in(throttle: &Throttle, peer: IpAddr, name: &str, now: Timestamp) -> Result<(), Throttled> {
    throttle.login(peer, name, now).map(|attempt| attempt.succeeded(now))
}

/// Guesses until refused. Returns the refusal.
fn exhaust(throttle: &Throttle, peer: IpAddr, name: &str, now: Timestamp) -> Throttled {
    for _ in 0..Limit::BURST_MAX {
        if let Err(throttled) = guess(throttle, peer, name, now) {
            return throttled;
        }
    }
    panic!("never refused");
}

/// The moments of all guesses in five days of an attacker who tries from all addresses as soon as one is
/// let in, and pauses for `pause` whenever none is left.
fn attack(throttle: &Throttle, addresses: &[IpAddr], pause: Duration) -> Vec<Timestamp> {
    let mut guesses = Vec::new();
    let mut now = START;
    while now < START.after(5 * DAY) {
        let mut wait = Duration::MAX;
        for &address in addresses {
            wait = wait.min(loop {
                match guess(throttle, address, "ada", now) {
                    Ok(()) => guesses.push(now),
                    Err(throttled) => break throttled.retry_after,
                }
            });
        }
        now = now.after(wait.max(pause));
    }
    guesses
}

/// The most guesses in any 24 hours, both ends included.
fn most_a_day(guesses: &[Timestamp]) -> usize {
    let within = |first: usize| guesses[first..].partition_point(|&at| at <= guesses[first].after(DAY));
    (0..guesses.len()).map(within).max().unwrap_or(0)
}

#[test]
fn logins_under_way_fill_an_account_for_no_longer_than_they_take() {
    let throttle = throttle("3,10m", "off", "off");
    let home = ip(HOME);
    let under_way: Vec<_> = (0..3).map(|_| throttle.login(home, "ada", START).ok().unwrap()).collect();
    let throttled = throttle.login(home, "ada", START).err().unwrap();
    assert_eq!((throttled.by, throttled.retry_after), (ThrottledBy::Account, LOGIN));
    for attempt in under_way {
        attempt.succeeded(START);
    }
    assert_eq!(guess(&throttle, home, "ada", START), Ok(()));

    // One of them fails and takes its full span.
    let mut under_way: Vec<_> =
        (0..2).map(|_| throttle.login(stranger(1), "ada", START).ok().unwrap()).collect();
    exhaust(&throttle, stranger(2), "ada", START);
    under_way.clear();
    let throttled = throttle.login(stranger(2), "ada", START).err().unwrap();
    assert_eq!(throttled.retry_after, secs(600));
}

#[test]
fn a_thousand_addresses_get_no_more_than_a_hundred_guesses_in_any_day() {
    let strangers: Vec<_> = (0..1000).map(stranger).collect();
    let and_one_known: Vec<_> = strangers.iter().copied().chain([ip(HOME)]).collect();
    for hours in [0, 1, 5, 7, 24, 25] {
        let pause = secs(hours * 3600);
        assert!(most_a_day(&attack(&with_defaults(), &strangers, pause)) <= 80, "{hours}");

        let throttle = with_defaults();
        assert_eq!(log_in(&throttle, ip(HOME), "ada", START), Ok(()));
        let most = most_a_day(&attack(&throttle, &and_one_known, pause));
        assert!(most <= 100, "{most}, {hours}");
        assert!(hours > 0 || most == 100); // the promise is exact
    }
}

#[test]
fn an_owner_gets_in_from_a_known_network_while_strangers_are_guessing() {
    let throttle = with_defaults();
    assert_eq!(log_in(&throttle, ip(HOME), "ada", START), Ok(()));
    for day in 0..30 {
        let now = START.after(day * DAY);
        assert_eq!(exhaust(&throttle, stranger(1), "ada", now).by, ThrottledBy::Account);
        assert!(throttle.login(stranger(2), "ada", now).is_err());
        // From the same /64, after nine slips, and as often as it succeeds.
        let office = ip("2001:db8:1:2:ffff::1");
        for _ in 0..if day == 0 { 9 } else { 0 } {
            assert_eq!(guess(&throttle, office, "ada", now), Ok(()));
        }
        for _ in 0..100 {
            assert_eq!(log_in(&throttle, office, "ada", now), Ok(()));
        }
    }
}

#[test]
fn a_network_is_known_to_one_account_for_thirty_days_and_by_a_success_alone() {
    let throttle = with_defaults();
    let known = |name, now| throttle.login(ip(HOME), name, now).map(Attempt::withdrawn).is_ok();
    for name in ["ada", "bob"] {
        throttle.login(ip(HOME), name, START).ok().unwrap().failed();
        throttle.login(ip(HOME), name, START).ok().unwrap().withdrawn();
        drop(throttle.login(ip(HOME), name, START));
    }
    for name in ["ada", "bob"] {
        exhaust(&throttle, stranger(1), name, START);
        assert!(!known(name, START));
    }
    let later = START.after(DAY);
    assert_eq!(log_in(&throttle, ip(HOME), "ada", later), Ok(()));
    for name in ["ada", "bob"] {
        exhaust(&throttle, stranger(1), name, later);
        assert_eq!(known(name, later), name == "ada");
    }
    for (days, still) in [(29, true), (30, false)] {
        let now = later.after(days * DAY);
        exhaust(&throttle, stranger(1), "ada", now);
        assert_eq!(known("ada", now), still, "{days}");
    }
}

#[test]
fn an_account_has_eight_known_networks_at_the_most() {
    let throttle = throttle("4,1h", "off", "off");
    for number in 0..1000 {
        assert_eq!(log_in(&throttle, stranger(number), "ada", START), Ok(()));
    }
    exhaust(&throttle, ip(HOME), "ada", START);
    let known = (0..1000).filter(|&number| guess(&throttle, stranger(number), "ada", START).is_ok());
    assert_eq!(known.count(), 8);
}

#[test]
fn success_and_withdrawal_cost_nothing_and_failure_and_silence_do() {
    let throttle = throttle("2,1h", "off", "off");
    for _ in 0..100 {
        throttle.login(stranger(1), "ada", START).ok().unwrap().withdrawn();
    }
    drop(throttle.login(stranger(1), "ada", START));
    // One charge is left; a success gives back its own and no other.
    for _ in 0..100 {
        assert_eq!(log_in(&throttle, stranger(2), "ada", START), Ok(()));
    }
    assert_eq!(guess(&throttle, stranger(3), "ada", START), Ok(()));
    assert!(throttle.login(stranger(3), "ada", START).is_err());
}

#[test]
fn a_network_is_throttled_over_all_accounts_and_others_are_not() {
    let throttle = throttle("off", "3,10s", "off");
    for name in ["ada", "bob", "eve"] {
        assert_eq!(guess(&throttle, ip("2001:db8::1"), name, START), Ok(()));
    }
    let refused = Err(Throttled { by: ThrottledBy::Network, retry_after: secs(10) });
    assert_eq!(guess(&throttle, ip("2001:db8::ffff:1"), "joe", START), refused);
    assert_eq!(guess(&throttle, ip("2001:db8:0:1::1"), "joe", START), Ok(()));
}

#[test]
fn an_account_that_refuses_costs_the_network_nothing() {
    let throttle = throttle("1,1h", "2,1h", "off");
    assert_eq!(guess(&throttle, stranger(1), "ada", START), Ok(()));
    for _ in 0..10 {
        assert_eq!(
            guess(&throttle, stranger(1), "ada", START).map_err(|it| it.by),
            Err(ThrottledBy::Account)
        );
    }
    assert_eq!(guess(&throttle, stranger(1), "bob", START), Ok(()));
    assert_eq!(guess(&throttle, stranger(1), "eve", START).map_err(|it| it.by), Err(ThrottledBy::Network));
}

#[test]
fn a_client_that_waits_as_long_as_told_is_let_in_and_no_second_earlier() {
    for (account, network) in [("3,7m", "off"), ("off", "3,7m"), ("3,7m", "2,11m"), ("1,1s", "5,13s")] {
        let throttle = throttle(account, network, "off");
        assert_eq!(log_in(&throttle, ip(HOME), "ada", START), Ok(()));
        let mut now = START;
        for step in 0..200 {
            let peer = if step % 3 == 0 { ip(HOME) } else { stranger(1) };
            now = now.after(Duration::from_millis(step * 137));
            let Throttled { retry_after, .. } = exhaust(&throttle, peer, "ada", now);
            assert!(retry_after >= secs(1) && retry_after.subsec_nanos() == 0);
            let almost = now.after(retry_after - secs(1));
            assert!(throttle.login(peer, "ada", almost).is_err());
            now = now.after(retry_after);
            assert_eq!(guess(&throttle, peer, "ada", now), Ok(()));
        }
    }
}

#[test]
fn a_thousand_guesses_at_once_are_no_more_than_the_burst() {
    let throttle = with_defaults();
    let throttle = &throttle;
    let under_way: Vec<Attempt> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let addresses = (thread * 125..).take(125).map(stranger);
                scope.spawn(move || {
                    addresses
                        .filter_map(|address| throttle.login(address, "ada", START).ok())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(under_way.len(), 40);
}

#[test]
fn accounts_made_are_counted_and_those_not_made_are_not() {
    let throttle = throttle("1,1h", "1,1h", "3,10s");
    for _ in 0..3 {
        throttle.registration(ip(HOME), START).ok().unwrap().withdrawn();
        drop(throttle.registration(ip(HOME), START).ok().unwrap());
    }
    let refused = Throttled { by: ThrottledBy::Registrations, retry_after: secs(10) };
    assert_eq!(throttle.registration(ip(HOME), START).err(), Some(refused));
    assert!(throttle.registration(stranger(1), START).is_ok());
    assert!(throttle.registration(ip(HOME), START.after(secs(10))).is_ok());
    assert_eq!(guess(&throttle, ip(HOME), "ada", START), Ok(()));
}

#[test]
fn a_million_other_keys_do_not_free_an_account_at_its_limit_nor_take_more_memory() {
    let throttle = with_defaults();
    let bytes = || {
        let ledger = lock(&throttle.ledger);
        ledger.debts.bytes() + ledger.known.bytes()
    };
    let before = bytes();
    assert!(before <= 64 << 20);
    let until = exhaust(&throttle, stranger(0), "ada", START);
    for number in 1..=500_000 {
        // An account and a network each; every other network becomes known.
        let attempt = throttle.login(stranger(number), &number.to_string(), START).ok().unwrap();
        if number % 2 == 0 { attempt.succeeded(START) } else { attempt.failed() }
    }
    assert_eq!(exhaust(&throttle, ip(HOME), "ada", START), until);
    assert_eq!(bytes(), before);
}

#[test]
fn a_forgiven_account_begins_anew_and_no_other_and_no_network_does() {
    let throttle = throttle("3,10m", "10,10s", "off");
    let under_way = throttle.login(stranger(1), "ada", START).ok().unwrap();
    for name in ["ada", "bob"] {
        assert_eq!(exhaust(&throttle, stranger(2), name, START).by, ThrottledBy::Account);
    }
    assert!(throttle.forgive("ada", START) && !throttle.forgive("ada", START));
    assert!(!throttle.forgive("nobody", START));
    under_way.withdrawn(); // gives back a charge that is cleared already
    assert_eq!(exhaust(&throttle, stranger(3), "bob", START).by, ThrottledBy::Account);
    for _ in 0..3 {
        assert_eq!(guess(&throttle, stranger(2), "ada", START), Ok(()));
    }
    assert_eq!(exhaust(&throttle, stranger(2), "ada", START).by, ThrottledBy::Account);
    throttle.forgive("ada", START);
    for _ in 0..2 {
        assert_eq!(guess(&throttle, stranger(2), "ada", START), Ok(()));
    }
    assert_eq!(exhaust(&throttle, stranger(2), "ada", START).by, ThrottledBy::Network);
}

#[test]
fn off_means_never() {
    let throttle = throttle("off", "off", "off");
    for _ in 0..10_000 {
        assert_eq!(guess(&throttle, stranger(1), "ada", START), Ok(()));
        assert!(throttle.registration(stranger(1), START).is_ok());
    }
}

#[test]
fn time_may_step_back_and_end() {
    let throttle = throttle("2,366days", "2,366days", "2,366days");
    let (first, last) = (Timestamp::default(), Timestamp::from_unix_millis(u64::MAX));
    for now in [START, first, last, START, last, first] {
        let _ = log_in(&throttle, ip(HOME), "ada", now);
        let _ = throttle.login(stranger(1), "ada", now).map(Attempt::withdrawn);
        let _ = guess(&throttle, ip(HOME), "bob", now.after(secs(1)));
        let _ = throttle.registration(ip(HOME), now).map(Registration::withdrawn);
    }
}
