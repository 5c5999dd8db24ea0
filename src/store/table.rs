//! The tables that an engine keeps: sorted maps from keys to records.

/// A table. The numbers are part of the stored checksum and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Table {
    /// User id → user record.
    Users = 1,
    /// Folded name and name → user id, or until when the name stays taken: see [`super::names`].
    Usernames = 2,
    /// Session id → nothing. Sorted by the session's end.
    Revoked = 3,
    /// Session id → which of its refresh tokens is good, where they rotate. Sorted by the session's end.
    Rotations = 4,
    /// Key id → what is remembered about the key.
    Keys = 5,
    /// Facts about the store itself: see [`facts`].
    Facts = 6,
}

impl Table {
    /// The tables that hold records, in their order.
    pub(super) const RECORDS: [Self; 5] =
        [Self::Users, Self::Usernames, Self::Revoked, Self::Rotations, Self::Keys];

    /// The table of records after this one.
    pub(super) fn next(self) -> Option<Self> {
        Self::RECORDS.into_iter().find(|table| *table > self)
    }
}

/// The keys of [`Table::Facts`] that changes read and write. An engine keeps others of its own there.
pub(super) mod facts {
    /// How many administrators are enabled: 8 bytes, big-endian.
    pub(in crate::store) const ADMINS: &[u8] = b"admins";
    /// The id of the user created last, deleted since or not: 16 bytes.
    pub(in crate::store) const LAST_ID: &[u8] = b"last_id";
    /// Revocations of sessions that ended before this moment may have been pruned: milliseconds, 8 bytes, big-endian.
    pub(in crate::store) const PRUNED_UNTIL: &[u8] = b"pruned_until";
}

/// A key and its value.
pub(super) type Entry = (Vec<u8>, Vec<u8>);
