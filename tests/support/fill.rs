//! Users by the thousand, put straight into a store: through the server each would take a hash.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gatelet::clock::Clock;
use gatelet::password::PasswordHash;
use gatelet::store::{NewUser, Store, StoreOptions};
use gatelet::user::Role;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{Process, start, temporary};

/// So many changes are under way at the same time, and share a sync.
const AT_ONCE: usize = 512;

/// A directory with keys and so many users, and no server.
pub fn filled(users: u64) -> TempDir {
    let dir = temporary();
    Process::start(dir.path(), &[]).stop();
    fill(dir.path(), users);
    dir
}

/// Puts so many users into the store of a stopped server, with ids in the order of their numbers.
pub fn fill(dir: &Path, users: u64) {
    let options = StoreOptions { cache: 64 << 20, min_free: 0, accept_clock: false };
    let store = Arc::new(Store::open(dir, &options, Arc::new(Clock::system())).unwrap());
    // On one thread, tasks begin in the order in which they are made.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut numbers = (0..users).peekable();
    while numbers.peek().is_some() {
        let mut changes = JoinSet::new();
        for n in numbers.by_ref().take(AT_ONCE) {
            let store = Arc::clone(&store);
            let create = async move { store.create_user(user(n)).await.unwrap().is_some() };
            changes.spawn_on(create, runtime.handle());
        }
        assert!(runtime.block_on(changes.join_all()).into_iter().all(|created| created));
    }
    store.close().unwrap();
}

/// The user of a number, who came a millisecond after the one before and whom no password logs in.
pub fn user(n: u64) -> NewUser {
    // As long as a hash at the default cost, and as hard to compress.
    let noise = |salt: u64| format!("{:020}", (n ^ salt << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let hash = format!("$scrypt$ln=15,r=8,p=3$a{}A${}{}aaA", noise(1), noise(2), noise(3));
    let created_at = start().after(Duration::from_millis(n));
    NewUser::new(name(n).parse().unwrap(), Role::User, PasswordHash::from_stored(hash), created_at).unwrap()
}

/// What the user of a number is called.
pub fn name(n: u64) -> String {
    format!("user {n}")
}
