//! Free space, and a reserve of it.
//!
//! sled cannot open on a full disk, and after one failed write it fails until restarted. So writes are
//! refused while there is still room, and a ballast file is kept that can be removed when a start needs
//! space.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::durable_file;

/// The size of the ballast: several times what sled needs to open and to write the snapshot of a large store.
pub(crate) const BALLAST: u64 = 8 << 20;

/// Pause after failing to create ballast: each try writes that much.
const TRY_AGAIN: Duration = Duration::from_secs(600);

/// Free bytes on the file system of `dir`. Blocks.
pub(super) fn free(dir: &Path) -> io::Result<u64> {
    let stat = statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Watches the file system of the data directory.
pub(super) struct Space {
    dir: PathBuf,
    min_free: u64,
    low: bool,
    keeps_ballast: bool,
    /// When ballast last could not be created.
    failed_at: Option<Instant>,
    /// Free space could not be determined.
    is_blind: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct SpaceLow;

impl Space {
    /// Writing stops below `min_free` bytes.
    pub(super) fn new(dir: &Path, min_free: u64) -> Self {
        let (failed_at, is_blind) = (None, false);
        Self { dir: dir.to_owned(), min_free, low: false, keeps_ballast: true, failed_at, is_blind }
    }

    /// For a temporary folder, where nothing is reserved.
    pub(super) fn without_ballast(dir: &Path) -> Self {
        Self { keeps_ballast: false, ..Self::new(dir, 0) }
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    pub(super) fn free(&self) -> io::Result<u64> {
        free(&self.dir)
    }

    /// If it cannot be determined, the ballast counts as present and is not created again.
    fn is_ballast_missing(&self) -> bool {
        self.keeps_ballast && self.ballast().try_exists().is_ok_and(|is_there| !is_there)
    }

    /// The free bytes needed to write anything, missing ballast included.
    pub(super) fn least(&self) -> u64 {
        self.min_free.saturating_add(if self.is_ballast_missing() { BALLAST } else { 0 })
    }

    /// Removes the ballast if the store has too little room to open.
    pub(super) fn make_room(&self) -> io::Result<()> {
        if self.free()? < BALLAST && self.ballast().try_exists()? {
            fs::remove_file(self.ballast())?;
            log::warn!("the disk is full: gave back {} MiB of ballast to start", BALLAST >> 20);
        }
        Ok(())
    }

    /// Whether there is room to make another file or store.
    pub(super) fn has_room(&self) -> bool {
        self.free().is_ok_and(|free| free >= self.min_free.saturating_add(BALLAST))
    }

    /// Whether there is room to write. Recreates missing ballast if there is; logs changes.
    pub(super) fn check(&mut self) -> Result<(), SpaceLow> {
        let looked = self.free();
        let was_blind = std::mem::replace(&mut self.is_blind, looked.is_err());
        let free = looked.unwrap_or_else(|error| {
            if !was_blind {
                log::warn!("cannot tell how much space is free: {error}");
            }
            u64::MAX
        });
        let ballast_missing = self.is_ballast_missing();
        let least = self.least();
        let low = free < least;
        if low != self.low {
            self.low = low;
            let (free, least) = (free >> 20, least >> 20);
            let ballast = if ballast_missing { " and the ballast" } else { "" };
            if low {
                log::error!(
                    "the disk is nearly full: {free} MiB are free and {least} MiB must be (--min-free-mib{ballast}): \
                     nothing is written until there is room again; token checks and logins go on"
                );
            } else {
                log::info!("there is room on the disk again ({free} MiB free): writing goes on");
            }
        }
        if low {
            return Err(SpaceLow);
        }
        let is_due = self.failed_at.is_none_or(|moment| moment.elapsed() > TRY_AGAIN);
        if ballast_missing && is_due {
            self.failed_at = match self.take_up_ballast() {
                Ok(()) => None,
                Err(error) => {
                    log::warn!("no ballast could be taken up: {error}");
                    Some(Instant::now())
                }
            };
        }
        Ok(())
    }

    fn take_up_ballast(&self) -> io::Result<()> {
        let beside = self.dir.join("ballast.new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        if fallocate(&file, FallocateFlags::empty(), 0, BALLAST).is_err() {
            // Not every file system can reserve space; there the bytes are written.
            let block = vec![0xa5; 1 << 16];
            for _ in 0..BALLAST / (1 << 16) {
                file.write_all(&block)?;
            }
        }
        fs::rename(&beside, self.ballast())?;
        durable_file::sync_dir(&self.dir)
    }
}
