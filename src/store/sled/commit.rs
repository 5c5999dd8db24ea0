//! Durable commits: one thread writes, flushes, syncs, and only then answers.
//!
//! On Linux, sled's `flush` ends in `sync_file_range`, which does not survive a power cut. So the committer
//! holds a handle of its own to sled's log file and calls `sync_data` on it after each flush. A sync takes
//! about a millisecond; all changes that arrive meanwhile share the next one (group commit). As the only
//! writer, it decides uniqueness and one-time use without races.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::acknowledged::Acknowledged;
use super::error::reason;
use super::files::{ReadScope, Survey};
use super::progress::Progress;
use super::space::Space;
use super::writer::Writer;
use crate::metrics::Commits;
use crate::store::open_error::OpenError;

/// The most changes per sync: at 4 KiB each far below the space that is kept free.
const BATCH: usize = 512;

/// Time limit for reading the files for the mark of a clean stop: a supervisor is waiting.
const MARKING: Duration = Duration::from_millis(400);

/// A change: decides, writes, and returns the answer to send once that is durable. An error fails the whole
/// store.
pub(super) type Work = Box<dyn FnOnce(&mut Writer) -> Result<Reply, sled::Error> + Send>;

pub(super) type Reply = Box<dyn FnOnce() + Send>;

pub(super) enum Order {
    Commit(Work),
    /// The last order.
    Close,
}

pub(super) struct Committer {
    pub(super) db: sled::Db,
    /// A second handle to sled's log file, to sync it.
    pub(super) log: File,
    pub(super) space: Space,
    pub(super) progress: Arc<Progress>,
    pub(super) writer: Writer,
    pub(super) acknowledged: Acknowledged,
    pub(super) measured: Commits,
    /// The folder for the mark of a clean stop; `None` for a copy.
    pub(super) marked: Option<PathBuf>,
}

impl Committer {
    /// Commits until closed or until the store fails.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        let progress = Arc::clone(&self.progress);
        let ended = catch_unwind(AssertUnwindSafe(|| self.serve(orders)));
        match ended {
            Ok(Ok(())) => {
                self.leave_mark();
                return;
            }
            Ok(Err(error)) => log::error!("the store failed: {}", reason(&error)),
            Err(_) => log::error!("the store failed: a write panicked"),
        }
        progress.fail();
        // Dropping the queued changes reports the failure to their callers, and to later ones.
    }

    fn serve(&mut self, orders: &Receiver<Order>) -> Result<(), sled::Error> {
        let mut open = true;
        while open && let Ok(first) = orders.recv() {
            let mut batch = Vec::with_capacity(16);
            for order in std::iter::once(first).chain(orders.try_iter()).take(BATCH) {
                match order {
                    Order::Commit(change) => batch.push(change),
                    Order::Close => open = false,
                }
            }
            self.commit(batch)?;
        }
        if self.space.check().is_ok() {
            self.writer.keep_time()?;
        }
        self.sync()
    }

    /// Writes the mark of a clean stop, unless that takes too long. Without it the next start copies the
    /// files first.
    fn leave_mark(&self) {
        let Some(store) = &self.marked else {
            return;
        };
        let until = Instant::now() + MARKING;
        let marked = Survey::take(store, ReadScope::Replayed(until)).and_then(|survey| {
            let written = self.writer.closed(&survey).write(store);
            written.map_err(OpenError::at(store))
        });
        if let Err(error) = marked {
            log::info!(
                "the store was closed without a mark, and the next start takes a little longer: {error}"
            );
        }
    }

    fn commit(&mut self, batch: Vec<Work>) -> Result<(), sled::Error> {
        self.writer.begin(self.space.check().is_ok());
        self.progress.begin();
        let changes = batch.len();
        let mut answers = Vec::with_capacity(batch.len());
        for change in batch {
            answers.push(change(&mut self.writer)?);
        }
        if self.writer.has_changed() {
            self.writer.keep_time()?;
            let began = Instant::now();
            self.sync()?;
            self.measured.sync.took(began.elapsed());
            self.measured.batch.held(changes);
        }
        self.progress.end();
        for answer in answers {
            answer();
        }
        Ok(())
    }

    /// Makes everything written so far durable.
    fn sync(&mut self) -> Result<(), sled::Error> {
        self.db.flush()?;
        self.log.sync_data()?;
        Ok(self.acknowledged.advance(self.writer.changes())?)
    }
}
