//! The layout of the store: its versions, and the engine's own keys in the tree `meta`. The other keys are
//! [`crate::store::table::facts`].
//!
//! | layout | what it added |
//! |---|---|
//! | 1 | the ids of all keys in one record; names in the tree `usernames`, by spelling |
//! | 2 | key records in the tree `keys`; rotating refresh tokens |
//! | 3 | names in the tree `names`, by fold; names of deleted users |
//! | 4 | the number of enabled administrators, and the id of the newest user |

/// The layout of this version.
pub(super) const VERSION: &[u8] = &[4];

/// The tree of names.
pub(super) const NAMES: &str = "names";

/// The tree of names in layouts 1 and 2, by spelling.
pub(super) const NAMES_UNTIL_2: &str = "usernames";

/// Whether this version upgrades the layout.
pub(super) fn is_outdated(format: &[u8]) -> bool {
    matches!(format, [1..=3])
}

/// Whether the layout has names by spelling.
pub(super) fn has_old_index(format: &[u8]) -> bool {
    matches!(format, [1 | 2])
}

/// The tree of names in a layout; a new store has no layout yet.
pub(super) fn names_tree(format: Option<&[u8]>) -> &'static str {
    if format.is_some_and(has_old_index) { NAMES_UNTIL_2 } else { NAMES }
}

/// The layout's version.
pub(super) const FORMAT: &[u8] = b"format";
/// The store's id, repeated in the marker file.
pub(super) const STORE_ID: &[u8] = b"store_id";
/// The highest time seen, in milliseconds.
pub(super) const CLOCK_MARK: &[u8] = b"clock_mark";
/// [`crate::store::pruned_early::PrunedEarly`]: a moment in milliseconds, an era.
pub(super) const PRUNED_EARLY: &[u8] = b"forgotten";
/// See [`super::seal`].
pub(super) const SEAL: &[u8] = b"seal";
/// The ids of the required keys in layout 1; unused since.
pub(super) const KEY_IDS_V1: &[u8] = b"key_ids";
