//! A snapshot shows one moment, whatever changes while it is read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods)] // failed checks fail the test; changes bypass authority

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use gatelet::domain::clock::Clock;
use gatelet::domain::session::{Era, SessionId, TokenId};
use gatelet::domain::user::{Role, User, UserId};
use gatelet::password::PasswordHash;
use gatelet::store::{Authority, NewUser, Shown, Snapshot, SnapshotError, Store, StoreOptions, UserChange};
use tokio::runtime::Runtime;

use support::{Random, start, temporary};

/// Several chunks of each tree.
const USERS: usize = 3000;

type Users = BTreeMap<UserId, (User, PasswordHash)>;

fn open(dir: &Path) -> Store {
    let options = StoreOptions { cache: 1 << 20, min_free: 0, accept_clock: None };
    Store::free_when_dropped();
    Store::open(dir, &options, Arc::new(Clock::manual(start()))).unwrap()
}

fn hash(random: &mut Random) -> PasswordHash {
    PasswordHash::from_stored(format!("hash {}", random.number()))
}

async fn create(store: &Store, random: &mut Random) -> (User, PasswordHash) {
    let name = format!("user {:x}", random.number()).parse().unwrap();
    let hash = hash(random);
    let new = NewUser::new(name, Role::User, hash.clone(), start()).unwrap();
    (store.create_user(Authority::standing(), new).await.unwrap().unwrap(), hash)
}

async fn fill(store: &Store, random: &mut Random) -> Users {
    let mut users = Users::new();
    for _ in 0..USERS {
        let (user, hash) = create(store, random).await;
        users.insert(user.id, (user, hash));
    }
    users
}

/// A random change to a random user.
async fn change(store: &Store, ids: &mut Vec<UserId>, random: &mut Random) {
    let place = random.below(ids.len());
    match random.below(7) {
        0 | 1 => ids.push(create(store, random).await.0.id),
        2 | 3 => {
            store.delete_user(Authority::standing(), ids.swap_remove(place), start()).await.unwrap();
        }
        4 => {
            store.set_password(Authority::standing(), ids[place], hash(random), None, None).await.unwrap();
        }
        5 => {
            let role = if random.once_in(2) { Role::Admin } else { Role::User };
            let change = UserChange { role: Some(role), disabled: Some(random.once_in(2)) };
            store.update_user(Authority::standing(), ids[place], change).await.unwrap();
        }
        _ => {
            let session = SessionId::generate(start(), Era::default(), Default::default()).unwrap();
            let token = || TokenId::generate().unwrap();
            store.rotate(Authority::standing(), session, token(), token(), start()).await.unwrap();
            store.revoke_session(Authority::standing(), session).await.unwrap();
        }
    }
}

fn read(snapshot: Snapshot) -> Result<Users, SnapshotError> {
    let mut users = Users::new();
    snapshot.read(|shown| {
        let Shown::User(user, hash) = shown else { return Ok(()) };
        assert!(users.insert(user.id, (user.clone(), hash.clone())).is_none(), "{} twice", user.id);
        Ok::<_, SnapshotError>(())
    })?;
    Ok(users)
}

#[test]
fn changes_between_two_reads_do_not_show() {
    let mut random = Random::begin("snapshot");
    let runtime = Runtime::new().unwrap();
    let dir = temporary();
    let store = open(dir.path());
    let before = runtime.block_on(fill(&store, &mut random));
    let mut ids: Vec<_> = before.keys().copied().collect();

    let first = runtime.block_on(store.snapshot()).unwrap();
    let (second, mut third) = (runtime.block_on(store.snapshot()).unwrap(), None);
    assert_eq!((first.users(), first.changes()), (USERS as u64, USERS as u64));
    let mut seen = Users::new();
    first
        .read(|shown| {
            let Shown::User(user, hash) = shown else { return Ok(()) };
            seen.insert(user.id, (user.clone(), hash.clone()));
            runtime.block_on(change(&store, &mut ids, &mut random));
            if seen.len() == USERS / 2 {
                third = Some((runtime.block_on(store.snapshot()).unwrap(), ids.len()));
            }
            Ok::<_, SnapshotError>(())
        })
        .unwrap();
    assert!(seen == before);
    assert!(read(second).unwrap() == before, "several can be read at once");
    let (third, count) = third.unwrap();
    assert_eq!(third.users(), count as u64);
    assert_eq!(read(third).unwrap().len(), count);
    let now = read(runtime.block_on(store.snapshot()).unwrap()).unwrap();
    assert_eq!(now.len(), ids.len());
    assert!(now != before);
    store.close().unwrap();
}

/// The sum that ends a snapshot covers every record, so one that is read to its end shows one moment.
#[test]
fn snapshots_add_up_while_several_clients_change_everything() {
    const WRITERS: usize = 4;
    const SNAPSHOTS: usize = 40;
    let mut random = Random::begin("snapshot race");
    let runtime = Runtime::new().unwrap();
    let dir = temporary();
    let store = open(dir.path());
    let users = runtime.block_on(fill(&store, &mut random));
    let ids: Vec<_> = users.keys().copied().collect();
    let (done, changes) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for part in ids.chunks(USERS / WRITERS) {
            let (mut ids, mut random) = (part.to_vec(), random.branch());
            let (store, done, changes, runtime) = (&store, &done, &changes, &runtime);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    runtime.block_on(change(store, &mut ids, &mut random));
                    changes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let begun = changes.load(Ordering::Relaxed);
        let results: Vec<_> = (0..SNAPSHOTS)
            .map(|_| {
                let snapshot = runtime.block_on(store.snapshot()).unwrap();
                let count = snapshot.users();
                read(snapshot).map(|users| assert_eq!(users.len() as u64, count))
            })
            .collect();
        done.store(true, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        let changes = changes.load(Ordering::Relaxed) - begun;
        println!("{SNAPSHOTS} snapshots, {changes} changes meanwhile");
        assert!(changes > SNAPSHOTS);
    });
    store.close().unwrap();
}
