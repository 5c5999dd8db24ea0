//! The store compared with a plain map, and damaged.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods)] // failed checks fail the test; changes bypass authority

mod support;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, OpenOptions};
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gatelet::domain::clock::{Clock, Timestamp};
use gatelet::domain::key::{KeyId, KeyRecord};
use gatelet::domain::session::{Era, SessionId, Sessions, TokenId};
use gatelet::domain::user::{Role, User, UserId, Username, Usernames};
use gatelet::password::PasswordHash;
use gatelet::store::{
    Authority, NewUser, OpenError, Outcome, Replaced, Rotation, Store, StoreOptions, Successor, UserChange,
};
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use support::{Random, log_file, start, temporary};

/// How long a replaced refresh token is still answered with its successor.
const GRACE: Duration = Duration::from_secs(30);

/// The most replaced tokens of a session answered that way.
const RETIRED_MAX: usize = 8;

/// The expected content of the store.
#[derive(Clone, Default)]
struct Model {
    users: BTreeMap<UserId, (User, PasswordHash)>,
    ended: HashSet<SessionId>,
    rotations: HashMap<SessionId, Rotated>,
    keys: BTreeMap<KeyId, KeyRecord>,
    /// Names of deleted users.
    kept: HashSet<Username>,
    /// Every user id ever given.
    ids: Vec<UserId>,
    sessions: Vec<Begun>,
}

/// A session that has begun.
#[derive(Clone)]
struct Begun {
    id: SessionId,
    user: UserId,
    /// Not revoked together with all others of the user.
    spared: bool,
    /// All its refresh tokens, in order.
    tokens: Vec<TokenId>,
}

#[derive(Clone)]
struct Rotated {
    good: Successor,
    /// The replaced ones, and when.
    replaced: Vec<(TokenId, Timestamp)>,
}

impl Model {
    fn holder(&self, name: &Username) -> Option<&(User, PasswordHash)> {
        let folded = folded(name);
        self.users.values().find(|(user, _)| self::folded(&user.name) == folded)
    }

    fn is_taken(&self, name: &Username) -> bool {
        self.holder(name).is_some() || self.kept.iter().any(|kept| folded(kept) == folded(name))
    }

    fn has_admin_besides(&self, id: Option<UserId>) -> bool {
        let mut others = self.users.values().filter(|(user, _)| Some(user.id) != id);
        others.any(|(user, _)| user.role == Role::Admin && !user.disabled)
    }

    /// Whether removing this administrator would leave none.
    fn is_last_admin(&self, id: UserId) -> bool {
        self.has_admin_besides(None) && !self.has_admin_besides(Some(id))
    }

    /// The first live session of a user.
    fn session_of(&self, id: UserId) -> Option<SessionId> {
        self.sessions.iter().find(|session| session.user == id && session.spared).map(|session| session.id)
    }

    fn end_sessions(&mut self, id: UserId, spared: Option<SessionId>) {
        for session in self.sessions.iter_mut().filter(|session| session.user == id) {
            session.spared &= Some(session.id) == spared;
        }
        let (user, _) = self.users.get_mut(&id).unwrap();
        user.sessions = user.sessions.revoked_except(spared);
    }

    fn end(&mut self, session: SessionId) -> bool {
        self.rotations.remove(&session);
        self.ended.insert(session)
    }

    fn rotate(&mut self, session: SessionId, presented: TokenId, next: TokenId, now: Timestamp) -> Rotation {
        if self.ended.contains(&session) {
            return Rotation::Revoked;
        }
        let good = Successor { id: next, issued_at: now };
        match self.rotations.get_mut(&session) {
            None => {
                self.rotations.insert(session, Rotated { good, replaced: vec![(presented, now)] });
                Rotation::Advanced(good)
            }
            Some(rotated) if rotated.good.id == presented => {
                rotated.good = good;
                rotated.replaced.push((presented, now));
                Rotation::Advanced(good)
            }
            Some(rotated) => {
                let late = rotated.replaced.iter().rev().take(RETIRED_MAX);
                let known =
                    |(token, at): &(TokenId, Timestamp)| *token == presented && now.since(*at) <= GRACE;
                if late.copied().any(|replaced| known(&replaced)) {
                    return Rotation::Again(rotated.good);
                }
                self.end(session);
                Rotation::Reused
            }
        }
    }

    /// Checks that the store holds this and nothing else, as far as its calls can tell.
    async fn compare(&self, store: &Store, names: impl Iterator<Item = Username>) {
        for id in &self.ids {
            let expected = self.users.get(id).map(|(user, _)| user.clone());
            assert_eq!(store.user(*id).await, Ok(expected));
        }
        for name in names {
            let free = store.is_taken(&name.as_str().parse().unwrap(), start()).await.map(|taken| !taken);
            assert_eq!(free, Ok(!self.is_taken(&name)), "{name:?}");
            assert_eq!(
                store.user_named(&name, Usernames::Folded).await,
                Ok(self.holder(&name).cloned()),
                "{name:?}"
            );
        }
        for session in &self.sessions {
            self.compare_session(store, session).await;
        }
        assert_eq!(store.has_users().await, Ok(!self.users.is_empty()));
        assert_eq!(store.has_admin().await, Ok(self.has_admin_besides(None)));
        assert_eq!(store.keys().await, Ok(self.keys.values().cloned().collect()));
    }

    async fn compare_session(&self, store: &Store, session: &Begun) {
        let ended = self.ended.contains(&session.id);
        assert_eq!(store.is_revoked(&session.id).await, Ok(ended), "{:?}", session.id);
        if let Some((user, _)) = self.users.get(&session.user) {
            let user = store.user(user.id).await.unwrap().unwrap();
            assert_eq!(user.sessions.include(&session.id), session.spared, "{:?} of {user:?}", session.id);
        }
        let rotated = self.rotations.get(&session.id);
        assert_eq!(store.has_rotated(&session.id).await, Ok(rotated.is_some()), "{:?}", session.id);
        if let Some(Rotated { good, replaced }) = rotated {
            // Reveals the current token and changes nothing.
            let (last, at) = *replaced.last().unwrap();
            let next = TokenId::from_bytes([0; 16]);
            assert_eq!(
                store.rotate(Authority::standing(), session.id, last, next, at).await,
                Ok(Rotation::Again(*good))
            );
        }
    }

    /// Pages of any length, after any user, deleted ones included.
    async fn compare_lists(&self, store: &Store) {
        for after in std::iter::once(None).chain(self.ids.iter().copied().map(Some)) {
            let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
            let all: Vec<_> =
                self.users.range((begin, Bound::Unbounded)).map(|(_, (user, _))| user.clone()).collect();
            for limit in [0, 2, usize::MAX] {
                let expected = all.iter().take(limit).cloned().collect();
                assert_eq!(store.users_after(after, limit).await, Ok(expected), "{limit} after {after:?}");
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Create { name: usize, role: Role, after_millis: u64 },
    Update { user: usize, role: Option<Role>, disabled: Option<bool> },
    Delete { user: usize },
    Free { name: usize },
    RenewHash { user: usize, knows_the_old_one: bool },
    SetPassword { user: usize, since: Since, spares: bool },
    EndSessions { user: usize },
    Begin { user: usize, after_secs: u64 },
    End { session: usize },
    Rotate { session: usize, token: Token, after_millis: u64, times: usize },
    Prune { after_secs: u64 },
    KeepKeys { keys: BTreeMap<usize, (u64, Option<u64>)> },
    Restart,
    Crash,
}

/// The sessions that a password change expects the user to have.
#[derive(Clone, Copy, Debug)]
enum Since {
    Any,
    These,
    Others,
}

/// The refresh token that is presented.
#[derive(Clone, Copy, Debug)]
enum Token {
    Newest,
    /// A replaced one, counted back from the newest.
    Before(usize),
    Unknown,
}

const NAMES: usize = 6;

#[rustfmt::skip] // one line an operation
fn operation() -> impl Strategy<Value = Operation> {
    let role = || prop_oneof![Just(Role::User), Just(Role::Admin)];
    let since = prop_oneof![Just(Since::Any), Just(Since::These), Just(Since::Others)];
    let token = prop_oneof![6 => Just(Token::Newest), 4 => prop_oneof![1..4_usize, RETIRED_MAX..RETIRED_MAX + 2].prop_map(Token::Before), 1 => Just(Token::Unknown)];
    let pause = prop::sample::select(vec![0, 0, 1, 9_999, 15_000, 30_000, 30_001, 60_000]);
    let times = prop_oneof![3 => Just(1), 1 => Just(RETIRED_MAX + 2)];
    let keys = prop::collection::btree_map(0..5_usize, (1..100_u64, prop::option::of(0..100_u64)), 0..5);
    prop_oneof![
        8 => (0..NAMES, role(), 0..3_u64)
            .prop_map(|(name, role, after_millis)| Operation::Create { name, role, after_millis }),
        8 => (any::<usize>(), prop::option::of(role()), prop::option::of(any::<bool>()))
            .prop_map(|(user, role, disabled)| Operation::Update { user, role, disabled }),
        3 => any::<usize>().prop_map(|user| Operation::Delete { user }),
        2 => (0..NAMES).prop_map(|name| Operation::Free { name }),
        2 => (any::<usize>(), any::<bool>())
            .prop_map(|(user, knows_the_old_one)| Operation::RenewHash { user, knows_the_old_one }),
        4 => (any::<usize>(), since, any::<bool>())
            .prop_map(|(user, since, spares)| Operation::SetPassword { user, since, spares }),
        2 => any::<usize>().prop_map(|user| Operation::EndSessions { user }),
        8 => (any::<usize>(), 0..100_u64).prop_map(|(user, after_secs)| Operation::Begin { user, after_secs }),
        4 => any::<usize>().prop_map(|session| Operation::End { session }),
        14 => (any::<usize>(), token, pause, times)
            .prop_map(|(session, token, after_millis, times)| Operation::Rotate { session, token, after_millis, times }),
        3 => (0..110_u64).prop_map(|after_secs| Operation::Prune { after_secs }),
        2 => keys.prop_map(|keys| Operation::KeepKeys { keys }),
        3 => Just(Operation::Restart),
        3 => Just(Operation::Crash),
    ]
}

/// A store, its directory, and its expected content.
struct Bench {
    runtime: Runtime,
    /// `None` for a store in memory, which is never restarted.
    dir: Option<TempDir>,
    store: Option<Store>,
    model: Model,
    /// For the next rotation.
    now: Timestamp,
    /// The number of hashes made so far; no two are equal.
    hashes: usize,
}

impl Bench {
    fn in_memory() -> Self {
        Self::of(None, Store::in_memory().unwrap())
    }

    fn on_disk() -> Self {
        let dir = temporary();
        let store = open(dir.path()).unwrap();
        Self::of(Some(dir), store)
    }

    fn of(dir: Option<TempDir>, store: Store) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Self { runtime, dir, store: Some(store), model: Model::default(), now: start(), hashes: 0 }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn run(&mut self, operation: &Operation) {
        match *operation {
            Operation::Create { name, role, after_millis } => self.create(name, role, after_millis),
            Operation::Update { user, role, disabled } => {
                self.update(self.some_id(user), UserChange { role, disabled });
            }
            Operation::Delete { user } => self.delete(self.some_id(user)),
            Operation::Free { name } => self.free(name_of(name)),
            Operation::RenewHash { user, knows_the_old_one } => {
                self.renew_hash(self.some_id(user), knows_the_old_one);
            }
            Operation::SetPassword { user, since, spares } => {
                self.set_password(self.some_id(user), since, spares);
            }
            Operation::EndSessions { user } => self.end_sessions(self.some_id(user)),
            Operation::Begin { user, after_secs } => self.begin(self.some_id(user), after_secs),
            Operation::End { session } => {
                if let Some(place) = self.place_of_session(session) {
                    self.end(self.model.sessions[place].id);
                }
            }
            Operation::Rotate { session, token, after_millis, times } => {
                let Some(place) = self.place_of_session(session) else {
                    return;
                };
                self.now = self.now.after(Duration::from_millis(after_millis));
                for _ in 1..times {
                    self.rotate(place, Token::Newest);
                }
                self.rotate(place, token);
            }
            Operation::Prune { after_secs } => {
                let moment = secs_after_start(after_secs);
                self.model.ended.retain(|session| session.ends_at() >= moment);
                self.model.rotations.retain(|session, _| session.ends_at() >= moment);
                assert_eq!(self.runtime.block_on(self.store().prune_sessions(moment)), Ok(()));
            }
            Operation::KeepKeys { ref keys } => self.keep_keys(keys),
            Operation::Restart => {
                let Some(dir) = &self.dir else { return };
                let store = self.store.take().unwrap();
                store.close().unwrap();
                drop(store);
                self.store = Some(open(dir.path()).unwrap());
            }
            Operation::Crash => {
                // No change is under way, so the disk holds what a crash would leave.
                let Some(dir) = &self.dir else { return };
                let crashed = copy_of(dir.path());
                self.store = None;
                self.store = Some(open(crashed.path()).unwrap());
                self.dir = Some(crashed);
            }
        }
    }

    fn create(&mut self, name: usize, role: Role, after_millis: u64) {
        let name = name_of(name);
        // Sometimes earlier than others: the clock stands still, or a request was overtaken.
        let created_at = start().after(Duration::from_millis(after_millis));
        let hash = self.new_hash();
        let new = NewUser::new(name.as_str().parse().unwrap(), role, hash.clone(), created_at).unwrap();
        let created = self.runtime.block_on(self.store().create_user(Authority::standing(), new)).unwrap();
        assert_eq!(created.is_some(), !self.model.is_taken(&name));
        let Some(user) = created else {
            return;
        };
        let id = user.id;
        assert!(!self.model.ids.contains(&id), "{id} was given out twice");
        assert!(
            self.model.ids.iter().all(|other| *other < id),
            "{id} is not after all others, deleted ones too"
        );
        let sessions = Sessions::default();
        assert_eq!(user, User { id, name, role, disabled: false, created_at, sessions });
        self.model.ids.push(id);
        self.model.users.insert(id, (user, hash));
    }

    fn update(&mut self, id: UserId, change: UserChange) {
        let expected = match self.model.users.get(&id) {
            None => Outcome::Missing,
            Some((user, _)) => {
                let mut new = user.clone();
                new.role = change.role.unwrap_or(user.role);
                new.disabled = change.disabled.unwrap_or(user.disabled);
                if new == *user {
                    Outcome::Unchanged(new)
                } else if self.model.is_last_admin(id) && (new.role == Role::User || new.disabled) {
                    Outcome::LastAdmin
                } else {
                    if new.disabled && !user.disabled {
                        self.model.end_sessions(id, None);
                    }
                    let (user, _) = self.model.users.get_mut(&id).unwrap();
                    *user = User { sessions: user.sessions, ..new };
                    Outcome::Done(user.clone())
                }
            }
        };
        assert_eq!(
            self.runtime.block_on(self.store().update_user(Authority::standing(), id, change)),
            Ok(expected)
        );
    }

    fn free(&mut self, name: Username) {
        let freed = self
            .runtime
            .block_on(self.store().free_name(Authority::standing(), name.clone(), Usernames::Folded))
            .unwrap();
        let (expected, kept): (HashSet<_>, _) =
            self.model.kept.drain().partition(|kept| folded(kept) == folded(&name));
        self.model.kept = kept;
        assert_eq!(freed.into_iter().collect::<HashSet<_>>(), expected);
    }

    fn delete(&mut self, id: UserId) {
        let expected = if self.model.is_last_admin(id) {
            Outcome::LastAdmin
        } else if let Some((user, _)) = self.model.users.remove(&id) {
            self.model.kept.insert(user.name);
            Outcome::Done(())
        } else {
            Outcome::Missing
        };
        assert_eq!(
            self.runtime.block_on(self.store().delete_user(Authority::standing(), id, start())),
            Ok(expected)
        );
    }

    fn renew_hash(&mut self, id: UserId, knows_the_old_one: bool) {
        let new = self.new_hash();
        let mut old = PasswordHash::from_stored("another hash".into());
        let mut renewed = false;
        if knows_the_old_one && let Some((_, hash)) = self.model.users.get_mut(&id) {
            old = std::mem::replace(hash, new.clone());
            renewed = true;
        }
        assert_eq!(self.runtime.block_on(self.store().renew_hash(id, old, new)), Ok(renewed));
    }

    fn set_password(&mut self, id: UserId, since: Since, spares: bool) {
        let new = self.new_hash();
        let spared = self.model.session_of(id).filter(|_| spares);
        let sessions = self.model.users.get(&id).map(|(user, _)| user.sessions).unwrap_or_default();
        let (since, matches) = match since {
            Since::Any => (None, true),
            Since::These => (Some(sessions), true),
            // As at the beginning, or at some later time.
            Since::Others if sessions == Sessions::default() => {
                (Some(sessions.revoked_except(spared)), false)
            }
            Since::Others => (Some(Sessions::default()), false),
        };
        let expected = match self.model.users.get_mut(&id) {
            None => Replaced::Missing,
            Some(_) if !matches => Replaced::Outdated,
            Some((_, hash)) => {
                *hash = new.clone();
                self.model.end_sessions(id, spared);
                Replaced::Done
            }
        };
        let replaced =
            self.runtime.block_on(self.store().set_password(Authority::standing(), id, new, since, spared));
        assert_eq!(replaced, Ok(expected));
    }

    fn end_sessions(&mut self, id: UserId) {
        let there = self.model.users.contains_key(&id);
        if there {
            self.model.end_sessions(id, None);
        }
        assert_eq!(self.runtime.block_on(self.store().revoke_sessions(Authority::standing(), id)), Ok(there));
    }

    /// Writes nothing: a live session needs no record.
    fn begin(&mut self, user: UserId, after_secs: u64) {
        let Some((User { sessions, .. }, _)) = self.model.users.get(&user) else {
            return;
        };
        let ends_at = secs_after_start(after_secs);
        let id = SessionId::generate(ends_at, Era::default(), sessions.generation()).unwrap();
        let tokens = vec![TokenId::generate().unwrap()];
        self.model.sessions.push(Begun { id, user, spared: true, tokens });
    }

    fn end(&mut self, session: SessionId) {
        let ended = self.model.end(session);
        assert_eq!(
            self.runtime.block_on(self.store().revoke_session(Authority::standing(), session)),
            Ok(ended)
        );
    }

    fn rotate(&mut self, place: usize, token: Token) {
        let Begun { id, ref tokens, .. } = self.model.sessions[place];
        let presented = match token {
            Token::Newest => *tokens.last().unwrap(),
            Token::Before(count) => tokens[tokens.len().saturating_sub(1 + count)],
            Token::Unknown => TokenId::generate().unwrap(),
        };
        let next = TokenId::generate().unwrap();
        let expected = self.model.rotate(id, presented, next, self.now);
        if let Rotation::Advanced(_) = expected {
            self.model.sessions[place].tokens.push(next);
        }
        let rotated =
            self.runtime.block_on(self.store().rotate(Authority::standing(), id, presented, next, self.now));
        assert_eq!(rotated, Ok(expected), "{token:?} of {id:?}");
    }

    fn keep_keys(&mut self, keys: &BTreeMap<usize, (u64, Option<u64>)>) {
        let records: Vec<_> = keys
            .iter()
            .map(|(&n, &(longest, not_after))| KeyRecord {
                id: key_id(n),
                longest: Duration::from_secs(longest),
                not_after: not_after.map(secs_after_start),
            })
            .collect();
        self.model.keys = records.iter().map(|record| (record.id.clone(), record.clone())).collect();
        assert_eq!(self.runtime.block_on(self.store().keep_keys(records)), Ok(()));
    }

    fn new_hash(&mut self) -> PasswordHash {
        self.hashes += 1;
        PasswordHash::from_stored(format!("hash {}", self.hashes))
    }

    /// The id of a present, deleted or unknown user.
    fn some_id(&self, n: usize) -> UserId {
        self.model.ids.get(n % (self.model.ids.len() + 1)).copied().unwrap_or(UserId::from_bytes([9; 16]))
    }

    /// One of the newest sessions, so that several operations meet in one.
    fn place_of_session(&self, n: usize) -> Option<usize> {
        let count = self.model.sessions.len();
        (count > 0).then(|| count - 1 - n % count.min(5))
    }

    fn compare(&self) {
        self.runtime.block_on(async {
            self.model.compare(self.store(), (0..NAMES).map(name_of)).await;
            self.model.compare_lists(self.store()).await;
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        max_shrink_iters: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_store_answers_like_a_map(
        operations in prop::collection::vec(operation(), 1..60),
    ) {
        for mut bench in [Bench::on_disk(), Bench::in_memory()] {
            for operation in &operations {
                bench.run(operation);
                bench.compare();
            }
        }
    }
}

#[test]
fn a_disabled_administrator_does_not_count_as_the_last_one_after_a_restart() {
    let mut bench = Bench::on_disk();
    for name in NAMES..NAMES + 2 {
        bench.create(name, Role::Admin, 0);
    }
    let [enabled, disabled] = bench.model.ids[..] else { panic!("{:?}", bench.model.ids) };
    bench.update(disabled, UserChange { role: None, disabled: Some(true) });
    for end in [Operation::Restart, Operation::Crash] {
        bench.run(&end);
        bench.update(enabled, UserChange { role: Some(Role::User), disabled: None });
        bench.update(enabled, UserChange { role: None, disabled: Some(true) });
        bench.delete(enabled);
        assert!(bench.model.users.contains_key(&enabled));
        bench.compare();
    }
}

#[test]
fn a_damaged_store_is_refused_or_whole() {
    const DAMAGES: usize = 60;
    let mut random = Random::begin("damage");
    let (_kept, model, images) = populated();
    let names: Vec<_> = (NAMES..NAMES + POPULATION).map(name_of).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
    let mut harmless = 0;
    for n in 0..DAMAGES {
        let dir = copy_of(images[n % images.len()].path());
        let what = damage(&log_file(dir.path()), n / images.len(), &mut random);
        let whole = |store: &Store| {
            runtime.block_on(async {
                model.compare(store, names.iter().cloned()).await;
                let all: Vec<_> = model.users.values().map(|(user, _)| user.clone()).collect();
                assert_eq!(store.users_after(None, usize::MAX).await, Ok(all), "{what}");
            });
        };
        match open(dir.path()) {
            Ok(store) => {
                whole(&store);
                // Later writes must not land behind the damage.
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

/// The content of a folder, without the files set aside by a start and the mark of a clean stop.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.is_file());
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn a_refused_start_leaves_the_store_as_it_was() {
    const FLIPS: usize = 48;
    let mut random = Random::begin("flips");
    let (_kept, model, images) = populated();
    let names: Vec<_> = (0..POPULATION).map(name_of).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut refused, mut worse) = (0, Vec::new());
    for n in 0..FLIPS {
        let dir = copy_of(images[n % images.len()].path());
        let (log, store) = (log_file(dir.path()), dir.path().join("store"));
        let used = fs::read(&log).unwrap().iter().rposition(|&byte| byte != 0).unwrap() + 1;
        let (place, bit) = (random.below(used) as u64, 1 << random.below(8));
        let flip = || {
            let file = OpenOptions::new().read(true).write(true).open(&log).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, place).unwrap();
            file.write_all_at(&[byte[0] ^ bit], place).unwrap();
        };
        flip();
        let before = content(&store);
        let Err(error) = open(dir.path()) else { continue };
        refused += 1;
        let as_before = content(&store) == before && !store.join("aside").exists();
        flip();
        match open(dir.path()) {
            Ok(store) if as_before => {
                runtime.block_on(model.compare(&store, names.iter().cloned()));
                store.close().unwrap();
            }
            again => worse.push((place, used, error, as_before, again.err())),
        }
    }
    println!("{FLIPS} flips: {refused} refused");
    assert!(worse.is_empty(), "{worse:?}");
    assert!(refused >= 10, "{refused}");
}

/// Users of the store to be damaged; every tenth is deleted again.
const POPULATION: usize = 500;

/// A store with a history, its expected content, and images of its directory after a crash and after a clean
/// stop.
fn populated() -> (TempDir, Model, [TempDir; 2]) {
    let mut bench = Bench::on_disk();
    bench.run(&Operation::KeepKeys { keys: (0..4).map(|n| (n, (900, None))).collect() });
    for n in 0..POPULATION {
        let role = if n % 50 == 7 { Role::Admin } else { Role::User };
        bench.create(NAMES + n, role, n as u64 / 3);
        let id = *bench.model.ids.last().unwrap();
        bench.begin(id, n as u64);
        let newest = bench.model.sessions.len() - 1;
        match n % 10 {
            0 => bench.delete(id),
            1 | 2 => bench.end(bench.model.sessions[newest].id),
            3 | 4 => {
                bench.rotate(newest, Token::Newest);
                bench.rotate(newest, Token::Newest);
            }
            5 => bench.renew_hash(id, true),
            6 => bench.set_password(id, Since::These, true),
            7 => bench.update(id, UserChange { role: None, disabled: Some(n % 20 == 7) }),
            _ => {}
        }
        if n == POPULATION / 2 {
            bench.run(&Operation::Restart);
            bench.run(&Operation::Prune { after_secs: 100 });
            bench.run(&Operation::KeepKeys { keys: (2..8).map(|n| (n, (900, Some(n as u64)))).collect() });
        }
    }
    let crashed = copy_of(bench.dir.as_ref().unwrap().path());
    bench.run(&Operation::Restart);
    bench.compare();
    let Bench { dir, store, model, .. } = bench;
    store.unwrap().close().unwrap();
    let dir = dir.unwrap();
    let ended = copy_of(dir.path());
    (dir, model, [crashed, ended])
}

/// Damages a file in one of several ways, which it returns in words.
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

fn variant(error: &OpenError) -> String {
    format!("{error:?}").split('(').next().unwrap().to_owned()
}

fn open(dir: &Path) -> Result<Store, OpenError> {
    let options = StoreOptions { cache: 16 << 20, min_free: 0, accept_clock: None };
    Store::free_when_dropped();
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
    // The first few are three names, each in two spellings.
    let name = match n {
        0..NAMES if n.is_multiple_of(2) => format!("name {}", n / 2),
        0..NAMES => format!("NAME {}", n / 2),
        _ => format!("name {n}"),
    };
    name.parse().unwrap()
}

/// The fold of these names, which differ only in case.
fn folded(name: &Username) -> String {
    name.as_str().to_ascii_lowercase()
}

fn secs_after_start(secs: u64) -> Timestamp {
    Timestamp::from_unix_secs(start().unix_secs() + secs)
}

fn key_id(n: usize) -> KeyId {
    let prefix = if n.is_multiple_of(2) { "k4.pid." } else { "k4.lid." };
    format!("{prefix}{n:A>44}").parse().unwrap()
}
