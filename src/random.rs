//! Random bytes from the operating system, the only source of them outside the key and hash libraries.

use std::cell::RefCell;

use thiserror::Error;

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, Error)]
#[error("the operating system gave no random bytes: {0}")]
pub struct NoRandomness(getrandom::Error);

/// `N` random bytes.
///
/// # Errors
/// [`NoRandomness`], which no healthy system ever returns.
#[allow(clippy::disallowed_methods)] // this is the place
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(NoRandomness)?;
    Ok(bytes)
}

/// Ids drawn in one system call: a call for each would cost a request more than its log line.
const DRAWN: usize = 64;

/// Bytes in an id. At ten thousand requests a second, the chance that two ids of a year collide is one in a
/// million.
const ID: usize = 12;

thread_local! {
    /// Drawn ids not yet used, end to end.
    static IDS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A request's id: 24 random digits, which reveal neither how many requests there were nor the next id.
///
/// # Errors
/// [`NoRandomness`].
pub(crate) fn id() -> Result<String, NoRandomness> {
    IDS.with_borrow_mut(|ids| {
        if ids.len() < ID {
            *ids = bytes::<{ DRAWN * ID }>()?.to_vec();
        }
        let mut id = [0; size_of::<u128>()];
        let (_, drawn) = ids.split_at(ids.len() - ID);
        id[size_of::<u128>() - ID..].copy_from_slice(drawn);
        ids.truncate(ids.len() - ID);
        Ok(format!("{:0digits$x}", u128::from_be_bytes(id), digits = 2 * ID))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_ids_are_the_same_and_none_follows_from_another() {
        let mut ids: Vec<_> = (0..10 * DRAWN).map(|_| id().unwrap()).collect();
        assert!(ids.iter().all(|id| id.len() == 2 * ID && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
        assert!(!ids.is_sorted());
        ids.sort_unstable();
        // Ids that count up would share their beginning or their end.
        assert!(
            ids.windows(2).all(|two| two[0][..16] != two[1][..16] && two[0][8..] != two[1][8..]),
            "{ids:?}"
        );
    }
}
