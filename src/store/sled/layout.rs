//! How the store is laid out: the versions there were, and the keys of the tree `meta` that are the engine's own. Others are
//! [`crate::store::table::facts`].
//!
//! | layout | what it knew |
//! |---|---|
//! | 1 | the ids of all keys in one record; names in the tree `usernames`, as they are spelled |
//! | 2 | what is remembered about a key in the tree `keys`; rotating refresh tokens |
//! | 3 | names in the tree `names`, by their folds; names of deleted users |
//! | 4 | how many administrators are enabled, and the id of the newest user |

/// The layout that this version writes, and the newest that it reads.
pub(super) const VERSION: &[u8] = &[4];

/// The index of names.
pub(super) const NAMES: &str = "names";

/// The same in layouts 1 and 2: names as they are spelled.
pub(super) const NAMES_UNTIL_2: &str = "usernames";

/// Whether a layout is one that is brought to this version's.
pub(super) fn is_outdated(format: &[u8]) -> bool {
    matches!(format, [1..=3])
}

/// Whether a layout has names in a tree of its own, as they are spelled.
pub(super) fn has_old_index(format: &[u8]) -> bool {
    matches!(format, [1 | 2])
}

/// The tree that holds the index of names in a layout; in a new store there is none yet.
pub(super) fn names_tree(format: Option<&[u8]>) -> &'static str {
    if format.is_some_and(has_old_index) { NAMES_UNTIL_2 } else { NAMES }
}

/// The version of the whole layout.
pub(super) const FORMAT: &[u8] = b"format";
/// The id that the marker file repeats.
pub(super) const STORE_ID: &[u8] = b"store_id";
/// The highest time seen, in milliseconds.
pub(super) const CLOCK_MARK: &[u8] = b"clock_mark";
/// See [`crate::store::forgotten::Forgotten`]: a moment in milliseconds, an era.
pub(super) const FORGOTTEN: &[u8] = b"forgotten";
/// See [`super::seal`].
pub(super) const SEAL: &[u8] = b"seal";
/// The ids of the keys that must be there, in layout 1; ignored since.
pub(super) const KEY_IDS_V1: &[u8] = b"key_ids";
