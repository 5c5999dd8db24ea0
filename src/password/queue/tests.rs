use proptest::prelude::*;

use super::*;

const NOW: Duration = Duration::from_secs(100);
const ROOMY: u64 = u64::MAX;

fn network(number: u16) -> Network {
    Network::V6([0x2001, 0xdb8, 0, number])
}

fn user(number: u128) -> UserId {
    uuid::Uuid::from_u128(number).hyphenated().to_string().parse().unwrap()
}

fn client(number: u16, account: Option<UserId>) -> Requester {
    Requester::Client { network: network(number), account, known: account.is_some() }
}

fn stranger(number: u16) -> Requester {
    client(number, None)
}

/// Takes and finishes all jobs. Returns their order.
fn order(queue: &mut Queue<&'static str>, outcome: JobOutcome) -> Vec<&'static str> {
    let mut order = Vec::new();
    while let Some(ticket) = queue.take(1, NOW) {
        queue.finished(ticket.requester, ticket.claim, outcome, NOW);
        order.push(ticket.job);
    }
    order
}

fn wait(queue: &mut Queue<&'static str>, requester: Requester, job: &'static str) {
    assert!(queue.push(requester, 10, 1, job, ROOMY, NOW).is_empty());
}

#[test]
fn networks_take_turns_and_this_machine_goes_first() {
    let mut queue = Queue::new();
    for job in ["a1", "a2", "a3"] {
        wait(&mut queue, stranger(1), job);
    }
    wait(&mut queue, stranger(2), "b1");
    wait(&mut queue, stranger(2), "b2");
    wait(&mut queue, stranger(3), "c1");
    wait(&mut queue, Requester::Local, "command");
    assert_eq!(order(&mut queue, JobOutcome::Done), ["command", "a1", "b1", "c1", "a2", "b2", "a3"]);
}

#[test]
fn an_account_that_logs_in_from_many_networks_is_one_client() {
    let mut queue = Queue::new();
    let (anna, mallory) = (Some(user(1)), Some(user(2)));
    for (number, job) in (10..).zip(["m1", "m2", "m3"]) {
        wait(&mut queue, client(number, mallory), job);
    }
    let first = queue.take(1, NOW).unwrap();
    wait(&mut queue, client(1, anna), "anna");
    queue.finished(first.requester, first.claim, JobOutcome::Authorised, NOW);
    assert_eq!(order(&mut queue, JobOutcome::Authorised), ["anna", "m2", "m3"]);
}

#[test]
fn wrong_guesses_do_not_push_an_owner_back() {
    let mut queue = Queue::new();
    let anna = Some(user(1));
    for number in 0..50 {
        wait(
            &mut queue,
            Requester::Client { network: network(number), account: anna, known: false },
            "guess",
        );
    }
    for _ in 0..40 {
        let ticket = queue.take(1, NOW).unwrap();
        queue.finished(ticket.requester, ticket.claim, JobOutcome::Done, NOW);
    }
    // The owner goes first; other clients of the guesser's network wait for lighter networks.
    wait(&mut queue, stranger(1), "other");
    wait(&mut queue, client(100, anna), "owner");
    wait(&mut queue, stranger(0), "another");
    let order = order(&mut queue, JobOutcome::Done);
    assert_eq!((order[0], &order[11..]), ("owner", &["other", "another"][..]));
}

#[test]
fn within_a_network_known_clients_go_first_and_then_lighter_ones() {
    let mut queue = Queue::new();
    let (anna, mallory) = (Some(user(1)), Some(user(2)));
    for job in ["m1", "m2"] {
        wait(&mut queue, client(1, mallory), job);
    }
    let first = queue.take(1, NOW).unwrap();
    queue.finished(first.requester, first.claim, JobOutcome::Authorised, NOW);
    wait(&mut queue, stranger(1), "guess");
    wait(&mut queue, client(1, anna), "anna");
    assert_eq!(order(&mut queue, JobOutcome::Done), ["anna", "m2", "guess"]);
}

#[test]
fn in_a_full_queue_the_newest_job_of_the_heaviest_client_is_refused() {
    let mut queue = Queue::new();
    for job in ["a1", "a2", "a3"] {
        wait(&mut queue, stranger(1), job);
    }
    assert_eq!(queue.push(stranger(2), 10, 1, "b1", 29, NOW), ["a3"]);
    assert_eq!(queue.push(stranger(1), 10, 1, "a4", 29, NOW), ["a4"]);
    assert_eq!(queue.push(stranger(3), 10, 1, "c1", 29, NOW), ["a2"]);
    assert_eq!(queue.push(Requester::Local, 10, 1, "command", 29, NOW), ["a1"], "it has been refused most");
    assert_eq!(order(&mut queue, JobOutcome::Done), ["command", "b1", "c1"]);
}

#[test]
fn a_disconnected_requester_pays_nothing() {
    let mut queue = Queue::new();
    for job in ["a1", "a2"] {
        wait(&mut queue, stranger(1), job);
    }
    wait(&mut queue, stranger(2), "b1");
    let gone = queue.take(1, NOW).unwrap();
    queue.finished(gone.requester, gone.claim, JobOutcome::Nothing, NOW);
    assert_eq!(order(&mut queue, JobOutcome::Done), ["a2", "b1"]);
}

#[test]
fn a_costly_job_whose_turn_has_come_is_not_overtaken() {
    let mut queue = Queue::new();
    queue.push(stranger(1), 40, 4, "costly", ROOMY, NOW);
    assert!(queue.take(3, NOW).is_none());
    for number in 2..50 {
        wait(&mut queue, stranger(number), "cheap");
        assert!(queue.take(3, NOW).is_none());
    }
    assert_eq!(queue.take(4, NOW).unwrap().job, "costly");
}

/// Logins of a quarter of a second each, two at once, for twenty seconds: `flood` networks keep three
/// connections each busy, retrying a quarter of a second after an answer, and a victim logs in every
/// second. Returns the victim's logins, its refusals, and its longest wait in milliseconds.
fn simulate(flood: u16, flooder: impl Fn(u16) -> Requester) -> (u32, u32, u64) {
    const SLOTS: u32 = 2;
    const HASH: u64 = 250;
    let (mut queue, mut running) = (Queue::new(), Vec::<(u64, Ticket<(u16, u64)>)>::new());
    let victim = u16::MAX;
    let mut next: Vec<(u64, u16)> = (0..flood * 3).map(|n| (u64::from(n % 250), n % flood)).collect();
    next.push((0, victim));
    let (mut asked, mut refused, mut longest) = (0, 0, 0);
    for millis in (0..20_000).step_by(10) {
        let now = Duration::from_millis(millis);
        let mut again = Vec::new();
        running.retain(|(end, ticket)| {
            if *end > millis {
                return true;
            }
            queue.finished(ticket.requester, ticket.claim, JobOutcome::Authorised, now);
            let (who, since) = ticket.job;
            if who == victim {
                longest = longest.max(millis - since);
            }
            again.push((millis + if who == victim { 1000 } else { 250 }, who));
            false
        });
        next.extend(again);
        let due: Vec<_> = next.extract_if(.., |(at, _)| *at <= millis).collect();
        for (_, who) in due {
            asked += u32::from(who == victim);
            let requester = if who == victim { client(who, Some(user(0))) } else { flooder(who) };
            for (who, _) in queue.push(requester, 10, 1, (who, millis), 160, now) {
                refused += u32::from(who == victim);
                next.push((millis + if who == victim { 1000 } else { 250 }, who));
            }
        }
        while running.len() < SLOTS as usize
            && let Some(ticket) = queue.take(SLOTS - u32::try_from(running.len()).unwrap(), now)
        {
            running.push((millis + HASH, ticket));
        }
    }
    (asked, refused, longest)
}

#[test]
fn a_victim_is_served_beside_floods_from_one_network_and_from_a_hundred() {
    let of_one_account = |number| client(number, Some(user(1)));
    let of_many_accounts = |number| client(number, Some(user(1000 + u128::from(number))));
    type Flooder<'a> = &'a dyn Fn(u16) -> Requester;
    let floods: [(&str, u16, Flooder<'_>); 5] = [
        ("one network, one account", 1, &of_one_account),
        ("one network, many accounts or wrong passwords", 1, &stranger),
        ("a hundred networks, one account", 100, &of_one_account),
        ("a hundred networks, an account each", 100, &of_many_accounts),
        ("a hundred networks, wrong passwords or registrations", 100, &stranger),
    ];
    for (flood, networks, flooder) in floods {
        let (asked, refused, longest) = simulate(networks, flooder);
        assert!(
            asked >= 14 && refused * 10 <= asked && longest <= 750,
            "{flood}: {asked} {refused} {longest}"
        );
    }
}

proptest! {
    #[test]
    fn no_job_is_lost_and_no_newcomer_is_refused_for_heavier_clients(
        steps in prop::collection::vec((0_u16..6, 1_u64..50, 1_u32..4, any::<bool>()), 1..200),
    ) {
        let mut queue = Queue::new();
        let (mut inside, mut now) = (0, NOW);
        for (number, (from, claim, slots, turn)) in steps.into_iter().enumerate() {
            now += Duration::from_millis(100);
            let refused = queue.push(stranger(from), claim, slots, number, 60, now);
            inside += 1;
            inside -= refused.len();
            prop_assert!(queue.claim() <= 60 + 49 || refused.is_empty());
            if turn && let Some(ticket) = queue.take(4, now) {
                inside -= 1;
                queue.finished(ticket.requester, ticket.claim, JobOutcome::Done, now);
            }
            prop_assert_eq!(queue.len(), inside);
        }
        // A newcomer that asks for no more than others is admitted and goes next.
        if queue.claim() > 60 {
            let newcomer = usize::MAX;
            let refused = queue.push(stranger(99), 0, 1, newcomer, 60, now);
            prop_assert!(!refused.contains(&newcomer));
        }
    }
}
