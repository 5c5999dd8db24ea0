//! The index of names, those of deleted users included.
//!
//! A key is the fold of a name, a NUL, and the name itself; names hold no NUL. So names with one fold are
//! neighbours, and each user needs one entry, independent of others' names. A value is the user's id; for a
//! deleted user, the moment until which the name stays taken, because applications may still know it.
//!
//! The index is the same for both rules of [`Usernames`]; the rule decides which entries count. So the
//! setting may change between starts, and names of earlier versions that share a fold stay as they are.

use std::ops::Bound;
use std::time::Duration;

use super::change::Range;
use super::error::StoreError;
use super::table::Table;
use crate::domain::clock::Timestamp;
use crate::domain::user::{UserId, Username, Usernames};

/// How long a deleted user's name stays taken: longer than most applications keep a session or a cache.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The entry of one spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameEntry {
    /// This user has the name.
    User(UserId),
    /// A deleted user had the name; it stays taken until this moment.
    Deleted(Timestamp),
}

impl NameEntry {
    /// The entry for a user deleted at `now`.
    pub(super) fn deleted_at(now: Timestamp) -> Self {
        Self::Deleted(now.after(KEPT))
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, StoreError> {
        if let Ok(id) = value.try_into() {
            return Ok(Self::User(UserId::from_bytes(id)));
        }
        let until = value.try_into().map_err(|_| StoreError::Unreadable)?;
        Ok(Self::Deleted(Timestamp::from_unix_millis(u64::from_be_bytes(until))))
    }

    pub(super) fn encode(self) -> Vec<u8> {
        match self {
            Self::User(id) => id.as_bytes().to_vec(),
            Self::Deleted(until) => until.unix_millis().to_be_bytes().to_vec(),
        }
    }

    fn user(self) -> Option<UserId> {
        match self {
            Self::User(id) => Some(id),
            Self::Deleted(_) => None,
        }
    }
}

/// The index key of a name.
pub(super) fn key(name: &Username) -> Vec<u8> {
    let mut key = name.fold().into_bytes();
    key.push(0);
    key.extend(name.as_str().as_bytes());
    key
}

/// Fold and name of a key.
pub(super) fn parts(key: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(key).ok()?.split_once('\0')
}

/// The entries that equal `name` by `rule`.
pub(super) fn range(name: &Username, rule: Usernames) -> Range {
    let (from, to) = match rule {
        Usernames::Folded => {
            let (mut from, mut to) = (name.fold().into_bytes(), name.fold().into_bytes());
            from.push(0);
            to.push(1);
            (Bound::Included(from), Bound::Excluded(to))
        }
        Usernames::Exact => (Bound::Included(key(name)), Bound::Included(key(name))),
    };
    Range { table: Table::Usernames, from, to, limit: usize::MAX }
}

/// The user whom a name means, from the entry of its own spelling and those of its [`range`]: the user with
/// that spelling, or else the only user with its fold. Takes as long for unknown names.
pub(super) fn find<'a>(
    own: Option<&[u8]>,
    entries: impl Iterator<Item = &'a [u8]>,
) -> Result<Option<UserId>, StoreError> {
    let own = own.map(NameEntry::decode).transpose()?;
    let mut alike = Vec::with_capacity(2);
    for value in entries {
        alike.extend(NameEntry::decode(value)?.user());
        if alike.len() == 2 {
            break;
        }
    }
    let only = if let [id] = alike[..] { Some(id) } else { None };
    Ok(own.and_then(NameEntry::user).or(only))
}

/// Whether a name with these entries is taken at `now`: a user has it, or had it not long ago.
pub(super) fn is_taken<'a>(
    entries: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    for (_, value) in entries {
        match NameEntry::decode(value)? {
            NameEntry::User(_) => return Ok(true),
            NameEntry::Deleted(until) if until > now => return Ok(true),
            NameEntry::Deleted(_) => {}
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn user(n: u8) -> NameEntry {
        NameEntry::User(UserId::from_bytes([n; 16]))
    }

    fn name(text: &str) -> Username {
        text.parse().unwrap()
    }

    type Index = BTreeMap<Vec<u8>, Vec<u8>>;

    fn index(entries: &[(&str, NameEntry)]) -> Index {
        entries.iter().map(|(text, entry)| (key(&name(text)), entry.encode())).collect()
    }

    fn of_name<'a>(
        index: &'a Index,
        name: &Username,
        rule: Usernames,
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let Range { from, to, .. } = range(name, rule);
        index.range((from, to)).map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    fn found(index: &Index, text: &str, rule: Usernames) -> Option<NameEntry> {
        let name = name(text);
        let own = index.get(&key(&name)).map(Vec::as_slice);
        find(own, of_name(index, &name, rule).map(|(_, value)| value)).unwrap().map(NameEntry::User)
    }

    #[test]
    fn a_spelling_means_its_own_user_or_the_only_one_of_its_fold() {
        use Usernames::{Exact, Folded};
        let moment = Timestamp::from_unix_secs(1_764_000_000);
        let index = index(&[
            ("Admin", user(1)),
            ("admin", user(2)),
            ("Zoë", user(3)),
            ("zoe", user(4)),
            ("ZOË", NameEntry::deleted_at(moment)),
            ("administrator", user(5)),
        ]);
        for (text, folded, exact) in [
            ("Admin", Some(user(1)), Some(user(1))),
            ("admin", Some(user(2)), Some(user(2))),
            ("ADMIN", None, None),
            ("ADMIN ", None, None),
            ("zoë", Some(user(3)), None),
            ("ZOË", Some(user(3)), None),
            ("ZOE", Some(user(4)), None),
            ("Administrator", Some(user(5)), None),
            ("administrato", None, None),
        ] {
            assert_eq!(found(&index, text, Folded), folded, "{text:?}");
            assert_eq!(found(&index, text, Exact), exact, "{text:?}");
        }
    }

    #[test]
    fn the_name_of_a_deleted_user_is_taken_for_thirty_days() {
        let moment = Timestamp::from_unix_secs(1_764_000_000);
        let index = index(&[("Anna", NameEntry::deleted_at(moment))]);
        let taken = |rule: Usernames, text: &str, days: u64| {
            let now = moment.after(Duration::from_secs(days * 24 * 3600));
            is_taken(of_name(&index, &name(text), rule), now).unwrap()
        };
        for (days, is_kept) in [(0, true), (29, true), (30, false), (31, false)] {
            assert_eq!(taken(Usernames::Folded, "anna", days), is_kept, "{days}");
            assert_eq!(taken(Usernames::Exact, "Anna", days), is_kept, "{days}");
            assert!(!taken(Usernames::Exact, "anna", days), "{days}");
        }
    }

    #[test]
    fn entries_come_back_as_written_and_others_are_refused() {
        for entry in [user(7), NameEntry::Deleted(Timestamp::from_unix_millis(5))] {
            assert_eq!(NameEntry::decode(&entry.encode()), Ok(entry));
        }
        for bytes in [&b""[..], b"1234567", b"123456789", &[0; 17]] {
            assert_eq!(NameEntry::decode(bytes), Err(StoreError::Unreadable));
        }
    }
}
