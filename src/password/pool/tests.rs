use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};

use futures_util::future::join_all;
use zeroize::Zeroizing;

use super::*;

fn typed(text: &str) -> Password {
    Password::typed(&Zeroizing::new(text.to_owned()))
}

fn cheap(p: u32) -> Cost {
    Cost::new(1, 8, p).unwrap()
}

const COSTLY: &str =
    "$argon2id$v=19$m=64,t=2,p=1$AOC8lxLivNfa27sXYowxRg$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM";

#[test]
fn concurrent_hashes_fit_the_slots_memory_or_run_alone() {
    // Four slots of 33 KiB.
    let pool = HashPool::without_threads(4, Cost::new(5, 8, 1).unwrap(), 4 << 20).unwrap();
    let two_slots = Some(PasswordHash::from_stored(COSTLY.to_owned()));
    let beyond_all = Some(PasswordHash::from_stored(COSTLY.replace("m=64", "m=4096")));
    let nobodys = None;
    let asked = [&two_slots, &two_slots, &nobodys, &nobodys, &beyond_all, &nobodys];
    let mut asked = asked.map(|stored| Box::pin(pool.check(Requester::Local, typed("x"), stored.clone())));
    for check in &mut asked {
        assert!(check.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let take = || pool.shared.lock().take(Duration::ZERO);
    let finish = |ticket: Ticket<Job>| {
        let (requester, claim, slots) = (ticket.requester(), ticket.claim, ticket.slots);
        pool.shared.finished(requester, claim, slots, &Done::NOTHING, Duration::ZERO);
    };

    let costly = [take().unwrap(), take().unwrap()];
    assert!(take().is_none(), "two hold all memory");
    costly.into_iter().for_each(finish);
    let cheap = [take().unwrap(), take().unwrap()];
    assert!(take().is_none(), "what takes more than all waits for the others, and nothing overtakes it");
    cheap.into_iter().for_each(finish);
    let alone = take().unwrap();
    assert!(take().is_none(), "nothing runs beside what takes more than all");
    finish(alone);
    finish(take().unwrap());
    let state = pool.shared.lock();
    assert_eq!((state.free_slots, state.running, state.queue.len()), (4, 0, 0));
}

#[tokio::test]
async fn hashes_beyond_the_machines_memory_are_refused_and_never_computed() {
    let large = PasswordHash::from_stored(COSTLY.replace("m=64", "m=1024"));
    let pool = |slots, memory| HashPool::start(slots, Cost::new(5, 8, 1).unwrap(), memory).unwrap();
    for (pool, fits) in [
        (pool(1, (1 << 20) - 1), false),
        (pool(1, 1 << 20), true),
        (pool(40, 0), true), // in the slots' memory
    ] {
        assert_eq!(pool.memory_of(&large).is_ok(), fits);
        let checked = pool.check(Requester::Local, typed("x"), Some(large.clone())).await;
        match checked {
            Ok(Checked::Wrong) => assert!(fits),
            Err(PoolError::TooLarge { takes, .. }) => assert!(!fits && takes == 1 << 20),
            other => unreachable!("{other:?}"),
        }
        assert!(pool.hash(Requester::Local, typed("x")).await.is_ok(), "ours are always computed");
    }
}

#[tokio::test]
async fn hashes_that_take_too_long_are_not_imported() {
    const REST: &str = "AOC8lxLivNfa27sXYowxRg$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM";
    let hash = |scheme: &str| PasswordHash::import(format!("${scheme}${REST}")).unwrap();
    let (sha256, sha512) = (hash("pbkdf2-sha256$6000000"), hash("pbkdf2-sha512$6000000"));
    for (pbkdf2_sha512, fit) in [(800.0, Fit::Fits), (850.0, Fit::TooSlow)] {
        let mut pool = HashPool::without_threads(1, cheap(1), u64::MAX).unwrap();
        pool.speed = OnceCell::new_with(Some(Speed { pbkdf2_sha512, ..Speed::TYPICAL }));
        assert_eq!(pool.fit(&sha512).await, fit);
        assert_eq!(pool.fit(&sha256).await, Fit::Fits, "another digest");
    }
    let slow = Speed { scrypt: 1e6, argon2: 1e6, bcrypt: 1e6, pbkdf2_sha256: 1e6, pbkdf2_sha512: 1e6 };
    let mut pool = HashPool::without_threads(1, cheap(1), u64::MAX).unwrap();
    pool.speed = OnceCell::new_with(Some(slow));
    let bcrypt = |cost| {
        let text = format!("$2b${cost}$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu");
        PasswordHash::import(text).unwrap()
    };
    for (hash, fit) in [
        (hash("scrypt$ln=8,r=8,p=1"), Fit::Fits),
        (hash("scrypt$ln=10,r=8,p=1"), Fit::TooSlow),
        (hash("argon2id$v=19$m=4096,t=1,p=1"), Fit::Fits),
        (hash("argon2id$v=19$m=4096,t=2,p=1"), Fit::TooSlow),
        (bcrypt(12), Fit::Fits),
        (bcrypt(13), Fit::TooSlow),
    ] {
        assert_eq!(pool.fit(&hash).await, fit, "{}", hash.scheme());
    }
}

#[tokio::test]
async fn every_hash_gets_its_turn_and_never_more_memory_than_there_is() {
    let pool = HashPool::start(4, cheap(1), u64::MAX).unwrap();
    let in_use = Arc::new(AtomicU64::new(0));
    let hashes = (0..200).map(|number| {
        let slots = 1 + number % 6; // up to more than there are
        let in_use = Arc::clone(&in_use);
        pool.run(Requester::Local, 0, slots * cheap(1).memory(), move || {
            let beside = in_use.fetch_add(slots, Ordering::SeqCst);
            thread::sleep(Duration::from_micros(200)); // lets other jobs arrive
            in_use.fetch_sub(slots, Ordering::SeqCst);
            (Ok(beside == 0 || beside + slots <= 4), Done::NOTHING)
        })
    });
    for fit in join_all(hashes).await {
        assert!(fit.unwrap());
    }
}

#[tokio::test]
async fn an_unknown_user_has_no_right_password() {
    let mut pool = HashPool::start(1, cheap(1), u64::MAX).unwrap();
    assert!(matches!(pool.check(Requester::Local, typed("correct horse"), None).await, Ok(Checked::Wrong)));
    // Not even the decoy's own password, at today's cost or another.
    for cost in [cheap(1), cheap(2)] {
        pool.decoy = hash(&typed("correct horse"), cost).unwrap();
        assert!(matches!(
            pool.check(Requester::Local, typed("correct horse"), None).await,
            Ok(Checked::Wrong)
        ));
    }
}

#[tokio::test]
async fn an_unknown_name_is_checked_against_a_hash_of_todays_cost() {
    let pool = HashPool::start(1, cheap(3), u64::MAX).unwrap();
    assert_eq!(work_of(&typed(""), &pool.decoy, cheap(3)).unwrap(), cheap(3).work());
}

#[tokio::test]
async fn a_stored_hash_is_checked_at_its_own_cost_and_renewed() {
    let pool = HashPool::start(1, cheap(3), u64::MAX).unwrap();
    let old = hash(&typed("correct horse"), cheap(1)).unwrap();
    assert!(matches!(
        pool.check(Requester::Local, typed("wrong horse"), Some(old.clone())).await,
        Ok(Checked::Wrong)
    ));
    let Ok(Checked::RightRenewed(new)) =
        pool.check(Requester::Local, typed("correct horse"), Some(old)).await
    else {
        unreachable!("renewed");
    };
    assert!(matches!(
        pool.check(Requester::Local, typed("correct horse"), Some(new)).await,
        Ok(Checked::Right)
    ));
}
