//! The tables that an engine keeps: sorted maps from keys to records.

/// A table. The numbers are part of the stored checksum and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Table {
    /// User id → user record.
    Users = 1,
    /// Folded name and name → user id, or the moment until which the name stays taken: see [`super::names`].
    Usernames = 2,
    /// Session id → empty. Sorted by the session's end.
    Revoked = 3,
    /// Session id → its refresh tokens, if they rotate. Sorted by the session's end.
    Rotations = 4,
    /// Key id → the key's record.
    Keys = 5,
    /// Facts about the store: see [`facts`].
    Facts = 6,
}

impl Table {
    /// The tables of records, in order.
    pub(super) const RECORDS: [Self; 5] =
        [Self::Users, Self::Usernames, Self::Revoked, Self::Rotations, Self::Keys];

    pub(super) fn next(self) -> Option<Self> {
        Self::RECORDS.into_iter().find(|table| *table > self)
    }
}

/// Keys of [`Table::Facts`] that changes use. An engine keeps more of its own there.
pub(super) mod facts {
    /// The number of enabled administrators: 8 bytes, big-endian.
    pub(in crate::store) const ADMINS: &[u8] = b"admins";
    /// The id of the newest user, even if deleted: 16 bytes.
    pub(in crate::store) const LAST_ID: &[u8] = b"last_id";
    /// Revocations of sessions that ended before this moment may be pruned: milliseconds, 8 bytes,
    /// big-endian.
    pub(in crate::store) const PRUNED_UNTIL: &[u8] = b"pruned_until";
}

/// A key and its value.
pub(super) type Entry = (Vec<u8>, Vec<u8>);
