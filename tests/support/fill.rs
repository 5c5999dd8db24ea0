//! Thousands of users, written directly to a store: through the server each would cost a hash.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use gatelet::domain::clock::Clock;
use gatelet::domain::user::Role;
use gatelet::password::PasswordHash;
use gatelet::store::{Authority, NewUser, Store, StoreOptions};
use tempfile::TempDir;

use super::{Process, start, temporary};

/// Concurrent changes, which share a sync.
const AT_ONCE: usize = 512;

/// A directory with keys and this many users, and no server.
pub fn filled(users: u64) -> TempDir {
    let dir = temporary();
    Process::start(dir.path(), &[]).stop();
    fill(dir.path(), users);
    dir
}

/// Writes this many users to the store of a stopped server, with ids in the order of their numbers.
pub fn fill(dir: &Path, users: u64) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077)); // as the executable sets it
    let options = StoreOptions { cache: 64 << 20, min_free: 0, accept_clock: None };
    Store::free_when_dropped();
    let store = Store::open(dir, &options, Arc::new(Clock::system())).unwrap();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(create(&store, users));
    store.close().unwrap();
}

/// Writes this many users to an open store, likewise.
#[allow(clippy::disallowed_methods)] // the changes bypass authority
pub async fn create(store: &Store, users: u64) {
    for first in (0..users).step_by(AT_ONCE) {
        let numbers = (first..users).take(AT_ONCE);
        let create = |n| store.create_user(Authority::standing(), user(n));
        let created = join_all(numbers.map(create)).await; // begun in this order
        assert!(created.into_iter().all(|user| user.unwrap().is_some()));
    }
}

/// The user with this number, created a millisecond after the previous one and without a usable password.
fn user(n: u64) -> NewUser {
    // As long as a hash at the default cost, and as hard to compress.
    let noise = |salt: u64| format!("{:020}", (n ^ salt << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let hash = format!("$scrypt$ln=15,r=8,p=3$a{}A${}{}aaA", noise(1), noise(2), noise(3));
    let created_at = start().after(Duration::from_millis(n));
    NewUser::new(name(n).parse().unwrap(), Role::User, PasswordHash::from_stored(hash), created_at).unwrap()
}

/// The name of the user with this number.
pub fn name(n: u64) -> String {
    format!("user {n}")
}
