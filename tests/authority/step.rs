//! The step itself: each change after each way to revoke its right, one by one and in one batch.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use gatelet::domain::clock::Clock;
use gatelet::domain::session::{Era, SessionId, Sessions, TokenId};
use gatelet::domain::user::{Role, User, UserId};
use gatelet::password::PasswordHash;
use gatelet::store::{
    Authority, ChangeError, Denied, NewUser, Outcome, Replaced, Rotation, Store, StoreOptions, UserChange,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support::{start, temporary};

/// Every change that a request with a token can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Create,
    Promote,
    Disable,
    Delete,
    ResetPassword,
    EndSessions,
    DeleteSelf,
    OwnPassword,
    EndOwnSessions,
    LogOut,
    Rotate,
}

const CHANGES: [Change; 11] = [
    Change::Create,
    Change::Promote,
    Change::Disable,
    Change::Delete,
    Change::ResetPassword,
    Change::EndSessions,
    Change::DeleteSelf,
    Change::OwnPassword,
    Change::EndOwnSessions,
    Change::LogOut,
    Change::Rotate,
];

/// Every way to revoke a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taking {
    Demote,
    Disable,
    Delete,
    LogOut,
    EndSessions,
    NewPassword,
}

const TAKINGS: [Taking; 6] = [
    Taking::Demote,
    Taking::Disable,
    Taking::Delete,
    Taking::LogOut,
    Taking::EndSessions,
    Taking::NewPassword,
];

impl Change {
    fn is_for_administrators(self) -> bool {
        use Change::{Create, Delete, Disable, EndSessions, Promote, ResetPassword};
        matches!(self, Create | Promote | Disable | Delete | ResetPassword | EndSessions)
    }

    /// The refusal that an administrator gets after this revocation.
    fn denied_after(self, taking: Taking) -> Option<Denied> {
        match taking {
            Taking::Demote => self.is_for_administrators().then_some(Denied::NotAllowed),
            _ => Some(Denied::SessionRevoked),
        }
    }
}

struct Bench {
    _dir: TempDir,
    store: Store,
    names: usize,
}

/// An administrator with a session, and a user.
struct Scene {
    actor: User,
    session: SessionId,
    victim: User,
    name: String,
}

impl Scene {
    fn authority(&self) -> Authority {
        Authority::of_session(self.actor.id, self.session)
    }
}

#[allow(clippy::disallowed_methods)] // the test changes the store without an authority
const STANDING: Authority = Authority::standing();

fn session_of(user: &User) -> SessionId {
    let ends_at = start().after(Duration::from_secs(1_000));
    SessionId::generate(ends_at, Era::default(), user.sessions.generation()).unwrap()
}

fn hash(text: &str) -> PasswordHash {
    PasswordHash::from_stored(text.into())
}

fn new_user(name: &str, role: Role) -> NewUser {
    NewUser::new(name.parse().unwrap(), role, hash("before"), start()).unwrap()
}

impl Bench {
    async fn new() -> Self {
        let dir = temporary();
        let options = StoreOptions { cache: 1 << 20, min_free: 1, accept_clock: None };
        Store::free_when_dropped();
        let store = Store::open(dir.path(), &options, Arc::new(Clock::manual(start()))).unwrap();
        store.create_user(STANDING, new_user("root", Role::Admin)).await.unwrap().unwrap();
        Self { _dir: dir, store, names: 0 }
    }

    async fn scene(&mut self) -> Scene {
        self.names += 1;
        let make = async |what: &str, role| {
            let name = format!("{what} {}", self.names);
            self.store.create_user(STANDING, new_user(&name, role)).await.unwrap().unwrap()
        };
        let actor = make("actor", Role::Admin).await;
        let session = session_of(&actor);
        Scene {
            session,
            actor,
            victim: make("victim", Role::User).await,
            name: format!("made {}", self.names),
        }
    }

    async fn take(&self, taking: Taking, scene: &Scene) {
        let (store, id) = (&self.store, scene.actor.id);
        let change = |role, disabled| store.update_user(STANDING, id, UserChange { role, disabled });
        match taking {
            Taking::Demote => {
                assert!(matches!(change(Some(Role::User), None).await, Ok(Outcome::Done(_))));
            }
            Taking::Disable => assert!(matches!(change(None, Some(true)).await, Ok(Outcome::Done(_)))),
            Taking::Delete => {
                assert_eq!(store.delete_user(STANDING, id, start()).await, Ok(Outcome::Done(())))
            }
            Taking::LogOut => assert_eq!(store.revoke_session(STANDING, scene.session).await, Ok(true)),
            Taking::EndSessions => assert_eq!(store.revoke_sessions(STANDING, id).await, Ok(true)),
            Taking::NewPassword => {
                let replaced = store.set_password(STANDING, id, hash("taken away"), None, None).await;
                assert_eq!(replaced, Ok(Replaced::Done));
            }
        }
    }

    /// Requests a change; `Ok` if it was made.
    async fn change(&self, change: Change, scene: &Scene) -> Result<(), Denied> {
        let (store, by) = (&self.store, scene.authority());
        let (own, other) = (scene.actor.id, scene.victim.id);
        let update = |role, disabled| store.update_user(by, other, UserChange { role, disabled });
        let token = || TokenId::generate().unwrap();
        let outcome = match change {
            Change::Create => store.create_user(by, new_user(&scene.name, Role::Admin)).await.map(|made| {
                made.unwrap();
            }),
            Change::Promote => update(Some(Role::Admin), None).await.map(done),
            Change::Disable => update(None, Some(true)).await.map(done),
            Change::Delete => store.delete_user(by, other, start()).await.map(done),
            Change::DeleteSelf => store.delete_user(by, own, start()).await.map(done),
            Change::ResetPassword => {
                store.set_password(by, other, hash("after"), None, None).await.map(replaced)
            }
            Change::OwnPassword => {
                let since = Some(scene.actor.sessions);
                store.set_password(by, own, hash("after"), since, Some(scene.session)).await.map(replaced)
            }
            Change::EndSessions => store.revoke_sessions(by, other).await.map(|there| assert!(there)),
            Change::EndOwnSessions => store.revoke_sessions(by, own).await.map(|there| assert!(there)),
            Change::LogOut => store.revoke_session(by, scene.session).await.map(|ended| assert!(ended)),
            Change::Rotate => {
                store.rotate(by, scene.session, token(), token(), start()).await.map(|rotation| {
                    assert!(matches!(rotation, Rotation::Advanced(_)), "{rotation:?}");
                })
            }
        };
        outcome.map_err(|error| match error {
            ChangeError::Denied(denied) => denied,
            ChangeError::Store(error) => panic!("{error}"),
        })
    }

    /// Everything that these changes could affect.
    async fn records(&self, scene: &Scene) -> (Vec<(User, PasswordHash)>, bool, bool) {
        (
            self.store.users_with_hashes_after(None, usize::MAX).await.unwrap(),
            self.store.is_revoked(&scene.session).await.unwrap(),
            self.store.has_rotated(&scene.session).await.unwrap(),
        )
    }
}

fn done<T: std::fmt::Debug>(outcome: Outcome<T>) {
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
}

fn replaced(replaced: Replaced) {
    assert_eq!(replaced, Replaced::Done);
}

fn run(test: impl AsyncFnOnce(Bench)) {
    Runtime::new().unwrap().block_on(async { test(Bench::new().await).await });
}

#[test]
fn a_change_without_its_right_is_not_made() {
    run(async |mut bench| {
        for change in CHANGES {
            let scene = bench.scene().await;
            let before = bench.records(&scene).await;
            assert_eq!(bench.change(change, &scene).await, Ok(()), "{change:?} with the right to it");
            assert_ne!(bench.records(&scene).await, before, "{change:?} changes something");
            for taking in TAKINGS {
                let scene = bench.scene().await;
                bench.take(taking, &scene).await;
                let before = bench.records(&scene).await;
                let expected = change.denied_after(taking).map_or(Ok(()), Err);
                assert_eq!(bench.change(change, &scene).await, expected, "{change:?} after {taking:?}");
                let unchanged = bench.records(&scene).await == before;
                assert_eq!(unchanged, expected.is_err(), "{change:?} after {taking:?}");
            }
        }
    });
}

#[test]
fn within_one_batch_the_first_change_is_decided_first() {
    run(async |mut bench| {
        for change in CHANGES {
            for taking in TAKINGS {
                let scene = bench.scene().await;
                // Begun in this order; the answers may come together or one by one.
                let ((), changed) = join(bench.take(taking, &scene), bench.change(change, &scene)).await;
                let expected = change.denied_after(taking).map_or(Ok(()), Err);
                assert_eq!(changed, expected, "{taking:?}, then {change:?}");

                if change.is_for_administrators() {
                    let scene = bench.scene().await;
                    let (changed, ()) = join(bench.change(change, &scene), bench.take(taking, &scene)).await;
                    assert_eq!(changed, Ok(()), "{change:?}, then {taking:?}");
                }
            }
        }
    });
}

#[test]
fn users_change_only_themselves() {
    run(async |mut bench| {
        for change in CHANGES {
            let scene = bench.scene().await;
            bench.take(Taking::Demote, &scene).await;
            let expected = if change.is_for_administrators() { Err(Denied::NotAllowed) } else { Ok(()) };
            assert_eq!(bench.change(change, &scene).await, expected, "{change:?}");
        }
    });
}

#[test]
fn a_session_whose_revocation_was_pruned_makes_no_change() {
    run(async |mut bench| {
        for change in CHANGES {
            let scene = bench.scene().await;
            bench.take(Taking::LogOut, &scene).await;
            bench.store.prune_sessions(scene.session.ends_at().after(Duration::from_secs(1))).await.unwrap();
            assert!(!bench.store.is_revoked(&scene.session).await.unwrap(), "pruned");
            assert_eq!(bench.change(change, &scene).await, Err(Denied::SessionRevoked), "{change:?}");
        }
    });
}

#[test]
fn a_user_without_a_record_has_no_right() {
    run(async |mut bench| {
        let mut scene = bench.scene().await;
        scene.actor.id = UserId::from_bytes([9; 16]);
        scene.actor.sessions = Sessions::default();
        for change in CHANGES {
            assert_eq!(bench.change(change, &scene).await, Err(Denied::SessionRevoked), "{change:?}");
        }
    });
}
