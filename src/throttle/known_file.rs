//! The file that remembers known networks across restarts. It is a help, not a record: where it cannot be read, no network
//! is known, and where it cannot be written, the next start knows what the last one did.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use super::known::{KnownNetworks, MAX_BYTES};
use super::{Limits, Throttle, lock};
use crate::domain::clock::Timestamp;
use crate::durable_file;
use crate::random::NoRandomness;

/// How much may be written a second in the long run: 86 MB a day at the most, which an SD card stands for decades. A file
/// of a thousand known networks may be written each minute.
const BYTES_A_SECOND: u64 = 1000;

/// Where known networks are kept.
pub struct KnownFile {
    path: PathBuf,
    /// When there may be the next write.
    next: Mutex<Timestamp>,
}

impl KnownFile {
    /// The file at `path`, which need not be there.
    pub fn at(path: PathBuf) -> Self {
        Self { path, next: Mutex::default() }
    }

    /// A throttle that knows the networks in the file. Blocks.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn open(&self, limits: Limits, now: Timestamp) -> Result<Throttle, NoRandomness> {
        let known = match self.read() {
            Ok(bytes) => {
                KnownNetworks::decode(&bytes, now).map_err(|_| "it is damaged or of another version".into())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Throttle::new(limits),
            Err(error) => Err(error.to_string()),
        };
        match known {
            Ok(known) => Ok(Throttle::knowing(limits, known)),
            Err(why) => {
                log::warn!(
                    "no user's networks are known until the next login from them, because {} cannot be read: {why}",
                    self.path.display()
                );
                Throttle::new(limits)
            }
        }
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
        File::open(&self.path)?.take(most + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes the file if there is something new, and if it is time. Blocks.
    pub fn keep(&self, throttle: &Throttle, now: Timestamp) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= *next {
            *next = self.write(throttle, now);
        }
    }

    /// Writes the file if there is something new, for the last time. Blocks.
    pub fn close(&self, throttle: &Throttle, now: Timestamp) {
        self.write(throttle, now);
    }

    /// Writes the file if there is something new. Answers when to do so again.
    fn write(&self, throttle: &Throttle, now: Timestamp) -> Timestamp {
        let bytes = {
            let known = &mut lock(&throttle.books).known;
            if !known.has_changed() {
                return now;
            }
            known.encode(now)
        };
        if let Err(error) = durable_file::write(&self.path, &bytes) {
            log::debug!("known networks could not be written to {}: {error}", self.path.display());
        }
        now.after(Duration::from_secs(bytes.len() as u64 / BYTES_A_SECOND))
    }
}
