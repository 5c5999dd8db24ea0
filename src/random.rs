//! Random bytes from the operating system, the only source of them outside the key and hash libraries.

use std::fmt;

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug)]
pub struct NoRandomness(getrandom::Error);

impl fmt::Display for NoRandomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the operating system gave no random bytes: {}", self.0)
    }
}

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
