//! The file that keeps known networks across restarts. Best effort: without it no network is known; if a
//! write fails, the next start reads the previous contents.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use super::known::{KnownNetworks, MAX_BYTES};
use super::ledger::lock;
use super::{Limits, Throttle};
use crate::domain::clock::Timestamp;
use crate::durable_file;
use crate::random::NoRandomness;

/// Long-term write rate: 86 MB a day at most, which an SD card endures for decades. A file of a thousand
/// networks may be written each minute.
const BYTES_A_SECOND: u64 = 1000;

/// The file of known networks, and its write rate.
pub struct KnownFile {
    path: PathBuf,
    /// The earliest time of the next write.
    next: Mutex<Timestamp>,
}

impl KnownFile {
    /// The file at `path`, which may be missing.
    pub fn at(path: PathBuf) -> Self {
        Self { path, next: Mutex::default() }
    }

    /// A throttle with the known networks of the file. Blocks.
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

    /// Writes the file if networks have changed and the write rate allows it. Blocks.
    pub fn keep(&self, throttle: &Throttle, now: Timestamp) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= *next {
            *next = self.write(throttle, now);
        }
    }

    /// Writes the file a last time if networks have changed. Blocks.
    pub fn close(&self, throttle: &Throttle, now: Timestamp) {
        self.write(throttle, now);
    }

    /// Writes the file if networks have changed. Returns the time of the next permitted write.
    fn write(&self, throttle: &Throttle, now: Timestamp) -> Timestamp {
        let bytes = {
            let known = &mut lock(&throttle.ledger).known;
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
