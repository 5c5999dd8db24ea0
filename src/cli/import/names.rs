//! Names that stand in a file twice.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::domain::user::Usernames;
use crate::service::Newcomer;

/// The line of each name, by the name's hash: a million names take 35 MB. With a chance of 1 in 37 million, two of a
/// million names have one hash: then the later is refused, and another run, with other hashes, adds it.
pub(super) struct Names {
    rule: Usernames,
    lines: HashMap<u64, u64>,
    hasher: RandomState,
}

impl Names {
    pub(super) fn of(rule: Usernames) -> Self {
        Self { rule, lines: HashMap::new(), hasher: RandomState::new() }
    }

    /// Remembers the user's name, and answers the earlier line that has the same by the server's rule.
    pub(super) fn note(&mut self, user: &Newcomer, line: u64) -> Option<u64> {
        let hash = match self.rule {
            Usernames::Folded => self.hasher.hash_one(user.name.fold()),
            Usernames::Exact => self.hasher.hash_one(user.name.as_str()),
        };
        let earlier = self.lines.insert(hash, line);
        if let Some(earlier) = earlier {
            self.lines.insert(hash, earlier);
        }
        earlier
    }
}
