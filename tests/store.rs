//! The store itself: against a plain map, and against damage.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use gatelet::clock::{Clock, Timestamp};
use gatelet::password::PasswordHash;
use gatelet::session::{Era, SessionId};
use gatelet::store::{OpenError, Store, StoreOptions};
use gatelet::user::{Role, User, UserId, Username};
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use support::{Random, log_file, start, temporary};

/// What the store should hold.
#[derive(Clone, Default)]
struct Model {
    users: BTreeMap<UserId, (User, PasswordHash)>,
    ended: HashSet<SessionId>,
    /// All that have ever been.
    ids: Vec<UserId>,
    sessions: Vec<SessionId>,
}

impl Model {
    fn holder(&self, name: &Username) -> Option<&(User, PasswordHash)> {
        self.users.values().find(|(user, _)| user.name == *name)
    }

    /// Whether the store holds this and nothing else, as far as it can be asked.
    async fn compare(&self, store: &Store, names: impl Iterator<Item = Username>) {
        for id in &self.ids {
            let expected = self.users.get(id).map(|(user, _)| user.clone());
            assert_eq!(store.user(*id).await, Ok(expected));
        }
        for name in names {
            assert_eq!(store.user_named(&name).await, Ok(self.holder(&name).cloned()), "{name:?}");
        }
        for session in &self.sessions {
            let ended = self.ended.contains(session);
            assert_eq!(store.session_ended(session).await, Ok(ended), "{session:?}");
        }
        assert_eq!(store.has_users().await, Ok(!self.users.is_empty()));
        for limit in [0, 2, usize::MAX] {
            let first: Vec<_> = self.users.values().take(limit).map(|(user, _)| user.clone()).collect();
            assert_eq!(store.first_users(limit).await, Ok(first));
        }
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Create { name: usize, order: u8 },
    Delete { user: usize },
    ReplaceHash { user: usize, knows_the_old_one: bool },
    End { after_secs: u64 },
    EndAgain { session: usize },
    Prune { after_secs: u64 },
    Restart,
    Crash,
}

const NAMES: usize = 6;

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => (0..NAMES, any::<u8>()).prop_map(|(name, order)| Operation::Create { name, order }),
        4 => any::<usize>().prop_map(|user| Operation::Delete { user }),
        3 => (any::<usize>(), any::<bool>())
            .prop_map(|(user, knows_the_old_one)| Operation::ReplaceHash { user, knows_the_old_one }),
        8 => (0..100_u64).prop_map(|after_secs| Operation::End { after_secs }),
        2 => any::<usize>().prop_map(|session| Operation::EndAgain { session }),
        3 => (0..110_u64).prop_map(|after_secs| Operation::Prune { after_secs }),
        2 => Just(Operation::Restart),
        2 => Just(Operation::Crash),
    ]
}

/// A store, the directory that it lies in, and what it should hold.
struct Bench {
    runtime: Runtime,
    dir: TempDir,
    store: Option<Store>,
    model: Model,
}

impl Bench {
    fn new() -> Self {
        let dir = temporary();
        let store = open(dir.path()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Self { runtime, dir, store: Some(store), model: Model::default() }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn run(&mut self, operation: &Operation) {
        match *operation {
            Operation::Create { name, order } => self.create(name, order),
            Operation::Delete { user } => {
                let id = pick(&self.model.ids, user).unwrap_or(UserId::from_bytes([9; 16]));
                let had = self.model.users.remove(&id).is_some();
                assert_eq!(self.runtime.block_on(self.store().delete_user(id)), Ok(had));
            }
            Operation::ReplaceHash { user, knows_the_old_one } => self.replace_hash(user, knows_the_old_one),
            Operation::End { after_secs } => {
                let session = SessionId::generate(secs_after_start(after_secs), Era::default()).unwrap();
                self.model.sessions.push(session);
                self.end(session);
            }
            Operation::EndAgain { session } => {
                if let Some(session) = pick(&self.model.sessions, session) {
                    self.end(session);
                }
            }
            Operation::Prune { after_secs } => {
                let moment = secs_after_start(after_secs);
                self.model.ended.retain(|session| session.ends_at() >= moment);
                assert_eq!(self.runtime.block_on(self.store().prune_sessions(moment)), Ok(()));
            }
            Operation::Restart => {
                let store = self.store.take().unwrap();
                store.close().unwrap();
                drop(store);
                self.store = Some(open(self.dir.path()).unwrap());
            }
            Operation::Crash => {
                // Nothing is under way: what lies on disk now is what a crash would leave.
                let crashed = copy_of(self.dir.path());
                self.store = None;
                self.store = Some(open(crashed.path()).unwrap());
                self.dir = crashed;
            }
        }
    }

    fn create(&mut self, name: usize, order: u8) {
        let name = name_of(name);
        // Never used twice; not in order of creation.
        let mut id = [order; 16];
        id[8..].copy_from_slice(&(self.model.ids.len() as u64).to_be_bytes());
        let user = User { id: UserId::from_bytes(id), name, role: Role::User, created_at: start() };
        let hash = PasswordHash::from_stored(format!("hash of {}", user.id));
        let free = self.model.holder(&user.name).is_none();
        self.model.ids.push(user.id);
        if free {
            self.model.users.insert(user.id, (user.clone(), hash.clone()));
        }
        assert_eq!(self.runtime.block_on(self.store().create_user(user, hash)), Ok(free));
    }

    fn replace_hash(&mut self, user: usize, knows_the_old_one: bool) {
        let Some(id) = pick(&self.model.ids, user) else {
            return;
        };
        let new = PasswordHash::from_stored(format!("hash {user}"));
        let mut old = PasswordHash::from_stored("another hash".into());
        let mut replaced = false;
        if knows_the_old_one && let Some((_, hash)) = self.model.users.get_mut(&id) {
            old = std::mem::replace(hash, new.clone());
            replaced = true;
        }
        assert_eq!(self.runtime.block_on(self.store().replace_hash(id, old, new)), Ok(replaced));
    }

    fn end(&mut self, session: SessionId) {
        let ended = self.model.ended.insert(session);
        assert_eq!(self.runtime.block_on(self.store().end_session(session)), Ok(ended));
    }

    fn compare(&self) {
        self.runtime.block_on(self.model.compare(self.store(), (0..NAMES).map(name_of)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        max_shrink_iters: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_store_answers_like_a_map_whatever_happens_between(
        operations in prop::collection::vec(operation(), 1..40),
    ) {
        let mut bench = Bench::new();
        for operation in &operations {
            bench.run(operation);
            bench.compare();
        }
    }
}

#[test]
fn a_damaged_store_is_refused_or_whole() {
    const DAMAGES: usize = 60;
    let mut random = Random::begin("damage");
    let (_kept, model, images) = populated();
    let names: Vec<_> = (0..POPULATION).map(name_of).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
    let mut harmless = 0;
    for n in 0..DAMAGES {
        let dir = copy_of(images[n % images.len()].path());
        let what = damage(&log_file(dir.path()), n / images.len(), &mut random);
        let whole = |store: &Store| {
            runtime.block_on(async {
                model.compare(store, names.iter().cloned()).await;
                assert_eq!(store.key_ids().await, Ok(key_ids()), "{what}");
            });
        };
        match open(dir.path()) {
            Ok(store) => {
                whole(&store);
                // What it writes from now on must not lie behind the damage.
                runtime.block_on(store.keep_time()).unwrap();
                store.close().unwrap();
                drop(store);
                match open(dir.path()) {
                    Ok(store) => whole(&store),
                    Err(error) => panic!("{what}: opened once, then never again: {error}"),
                }
                harmless += 1;
            }
            Err(error) => *refusals.entry(variant(&error)).or_default() += 1,
        }
    }
    println!("{DAMAGES} damages: {harmless} harmless, refused as {refusals:?}");
}

/// Users of the store that is damaged; every tenth is deleted again.
const POPULATION: usize = 500;

fn key_ids() -> Vec<String> {
    vec!["k4.pid.one".into(), "k4.lid.two".into()]
}

/// A store with some history, what it holds, and images of its directory: as a crash and as a clean end leave it.
fn populated() -> (TempDir, Model, [TempDir; 2]) {
    let mut bench = Bench::new();
    bench.runtime.block_on(bench.store().keep_key_ids(key_ids())).unwrap();
    for n in 0..POPULATION {
        bench.create(n, 7);
        match n % 10 {
            0 => bench.run(&Operation::Delete { user: n }),
            1..=4 => bench.run(&Operation::End { after_secs: n as u64 }),
            5 => bench.run(&Operation::ReplaceHash { user: n, knows_the_old_one: true }),
            _ => {}
        }
        if n == POPULATION / 2 {
            bench.run(&Operation::Restart);
            bench.run(&Operation::Prune { after_secs: 100 });
        }
    }
    let crashed = copy_of(bench.dir.path());
    bench.run(&Operation::Restart);
    let Bench { dir, store, model, .. } = bench;
    store.unwrap().close().unwrap();
    let ended = copy_of(dir.path());
    (dir, model, [crashed, ended])
}

/// Damages a file in one of several ways and says how.
fn damage(path: &Path, way: usize, random: &mut Random) -> String {
    const PAGE: usize = 4096;
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
    let place = random.below(length);
    let page = place / PAGE * PAGE;
    let rest = PAGE.min(length - page);
    match way % 4 {
        0 => {
            let mut byte = [0];
            file.read_exact_at(&mut byte, place as u64).unwrap();
            file.write_all_at(&[byte[0] ^ (1 << random.below(8))], place as u64).unwrap();
            format!("a bit flipped at {place} of {length}")
        }
        1 => {
            file.write_all_at(&vec![0; rest], page as u64).unwrap();
            format!("a page zeroed at {page} of {length}")
        }
        2 => {
            file.set_len(place as u64).unwrap();
            format!("cut to {place} of {length}")
        }
        _ => {
            let mut other = vec![0; rest];
            let from = random.below(length - rest + 1);
            file.read_exact_at(&mut other, from as u64).unwrap();
            file.write_all_at(&other, page as u64).unwrap();
            format!("{rest} bytes from {from} written to {page} of {length}")
        }
    }
}

/// The variant's name.
fn variant(error: &OpenError) -> String {
    format!("{error:?}").split('(').next().unwrap().to_owned()
}

fn open(dir: &Path) -> Result<Store, OpenError> {
    let options = StoreOptions { cache: 16 << 20, min_free: 0, accept_clock: false };
    Store::open(dir, &options, Arc::new(Clock::manual(start())))
}

fn copy_of(dir: &Path) -> TempDir {
    let copy = temporary();
    copy_files(dir, copy.path());
    copy
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy_files(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

fn name_of(n: usize) -> Username {
    format!("name {n}").parse().unwrap()
}

fn secs_after_start(secs: u64) -> Timestamp {
    Timestamp::from_unix_secs(start().unix_secs() + secs)
}

fn pick<T: Copy>(list: &[T], n: usize) -> Option<T> {
    (!list.is_empty()).then(|| list[n % list.len()])
}
