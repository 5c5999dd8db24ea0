//! The hashing threads: a fixed number, behind a short queue.
//!
//! A hash takes a third of a second and tens of megabytes. Elsewhere, a flood of logins would take every
//! thread and all memory; here it fills its slots and the queue, and further requests are refused.
//! [`super::queue`] decides the order and the refusals.
//!
//! A slot is a thread and the memory of one of our own hashes. An imported hash may take eight times as much
//! or more: it takes enough slots to cover its memory. If all of them do not suffice, it takes them all and
//! runs alone. A hash that exceeds the machine's memory is not computed.

mod error;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{getpriority_process, setpriority_process};
use tokio::sync::{OnceCell, oneshot};
use tokio::task::spawn_blocking;

use crate::metrics::Histogram;

use super::queue::{JobOutcome, Queue, Requester, Ticket};
use super::speed::Speed;
use super::{
    Checked, Cost, HashFailure, Password, PasswordHash, check, decoy, hash, memory_of, time_of, work_of,
};

pub use error::{PoolError, PoolStartError};

/// How much work may wait: the longest that people wait for a login. Further requests are refused at once.
const QUEUE: Duration = Duration::from_secs(2);

/// The longest check of a password against an imported hash. A request ends after 15 s. A login may wait 2 s
/// before it is hashed, tries two or more spellings of a password, and hashes once more with ours.
pub const IMPORTED_MAX: Duration = Duration::from_secs(5);

/// The time of one unit of [`Cost::work`] until the first hash has been measured: 0.4 µs on a small server.
const FIRST_GUESS_NANOS: f64 = 400.0;

/// The niceness of the threads, relative to the process. At 10 a hash gets a tenth of the processor time of a
/// token check when both want it, so that a flood of logins does not slow logged-in users down.
const NICER: i32 = 10;

/// The highest niceness. In a process that runs at it, hashes and token checks have equal priority.
const NICEST: i32 = 19;

/// The threads and their queue. On drop, each thread ends after its current hash.
pub struct HashPool {
    shared: Arc<Shared>,
    cost: Cost,
    /// The most bytes that one hash may take.
    most: u64,
    /// The hash at `cost` against which passwords of unknown users are checked.
    decoy: PasswordHash,
    /// Measured on first use.
    speed: OnceCell<Speed>,
}

/// Whether this machine can check passwords against a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It can, in a login's time.
    Fits,
    /// It lacks the memory.
    TooLarge,
    /// It takes longer than [`IMPORTED_MAX`].
    TooSlow,
}

struct Shared {
    state: Mutex<PoolState>,
    wake: Condvar,
    slots: u32,
    durations: Histogram,
    began: Instant,
}

struct PoolState {
    queue: Queue<Job>,
    running: usize,
    free_slots: u32,
    nanos_per_work: f64,
    closed: bool,
}

/// A job, which answers its requester itself.
type Job = Box<dyn FnOnce(Turn) -> Done + Send>;

enum Turn {
    Compute,
    Refuse,
}

/// The outcome of a job and its work: zero if the requester was gone, more than planned if a hash was
/// renewed.
struct Done {
    outcome: JobOutcome,
    work: u64,
}

impl Done {
    const NOTHING: Self = Self { outcome: JobOutcome::Nothing, work: 0 };
}

impl PoolState {
    /// The next job, if its slots are free.
    fn take(&mut self, now: Duration) -> Option<Ticket<Job>> {
        let ticket = self.queue.take(self.free_slots, now)?;
        self.running += 1;
        self.free_slots -= ticket.slots;
        Some(ticket)
    }
}

impl HashPool {
    /// A pool of `slots` threads that hashes at `cost`. Concurrent hashes take at most `slots` times
    /// [`Cost::memory`] together; a single one may take up to `memory` bytes.
    ///
    /// # Errors
    /// [`PoolStartError`]: the system gave no threads or no random bytes.
    pub fn start(slots: u32, cost: Cost, memory: u64) -> Result<Self, PoolStartError> {
        // Made first: if a thread fails to start, dropping the pool ends the others.
        let pool = Self::without_threads(slots, cost, memory)?;
        for slot in 0..slots {
            let shared = Arc::clone(&pool.shared);
            thread::Builder::new()
                .name(format!("hash-{slot}"))
                .spawn(move || shared.work())
                .map_err(PoolStartError::Threads)?;
        }
        Ok(pool)
    }

    fn without_threads(slots: u32, cost: Cost, memory: u64) -> Result<Self, PoolStartError> {
        let decoy = decoy(cost).map_err(PoolStartError::Decoy)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(PoolState {
                queue: Queue::new(),
                running: 0,
                free_slots: slots,
                nanos_per_work: FIRST_GUESS_NANOS,
                closed: false,
            }),
            wake: Condvar::new(),
            slots,
            durations: Histogram::of_durations(),
            began: Instant::now(),
        });
        // The slots' memory is granted, by the settings if not by the machine.
        let most = memory.max(u64::from(slots).saturating_mul(cost.memory()));
        Ok(Self { shared, cost, most, decoy, speed: OnceCell::new() })
    }

    /// The memory of a check against `stored` in bytes.
    ///
    /// # Errors
    /// [`PoolError::TooLarge`], or [`PoolError::Failed`] if the hash is invalid.
    pub fn memory_of(&self, stored: &PasswordHash) -> Result<u64, PoolError> {
        let takes = memory_of(stored)?;
        if takes > self.most { Err(PoolError::TooLarge { takes, most: self.most }) } else { Ok(takes) }
    }

    /// Whether a user with this hash could log in. The first call takes some milliseconds.
    pub async fn fit(&self, stored: &PasswordHash) -> Fit {
        if self.memory_of(stored).is_err() {
            return Fit::TooLarge;
        }
        let measure = async || spawn_blocking(Speed::measure).await.unwrap_or(Speed::TYPICAL);
        let speed = self.speed.get_or_init(measure).await;
        match time_of(stored, *speed) {
            Ok(time) if time <= IMPORTED_MAX => Fit::Fits,
            Ok(_) | Err(_) => Fit::TooSlow,
        }
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// [`PoolError`], mostly `Busy`.
    pub async fn hash(&self, requester: Requester, password: Password) -> Result<PasswordHash, PoolError> {
        let cost = self.cost;
        self.run(requester, cost.work(), cost.memory(), move || {
            (hash(&password, cost), Done { outcome: JobOutcome::Authorised, work: cost.work() })
        })
        .await
    }

    /// Checks a password against a stored hash. `None` checks against the decoy, so that an unknown user
    /// takes the same steps as a wrong password.
    ///
    /// # Errors
    /// [`PoolError`], mostly `Busy`.
    /// [`PoolError`], `Busy` above all.
    pub async fn check(
        &self,
        requester: Requester,
        password: Password,
        stored: Option<PasswordHash>,
    ) -> Result<Checked, PoolError> {
        let today = self.cost;
        let is_somebody = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.decoy.clone());
        let work = work_of(&password, &stored, today)?;
        // A renewal runs after the check has freed its memory.
        let memory = self.memory_of(&stored)?.max(today.memory());
        self.run(requester, work, memory, move || {
            let mut checked = check(&password, &stored, today);
            if !is_somebody {
                checked = checked.map(|_| Checked::Wrong); // even the decoy's own password is wrong
            }
            let (outcome, renewal) = match &checked {
                Ok(Checked::Wrong) | Err(_) => (JobOutcome::Done, 0),
                Ok(Checked::Right) => (JobOutcome::Authorised, 0),
                Ok(Checked::RightRenewed(_)) => (JobOutcome::Authorised, today.work()),
            };
            (checked, Done { outcome, work: work + renewal })
        })
        .await
    }

    /// The number of hashes being computed, and of those waiting.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.shared.lock();
        (state.running, state.queue.len())
    }

    /// The measured durations of hashes.
    pub(crate) fn durations(&self) -> Histogram {
        self.shared.durations.clone()
    }

    async fn run<T: Send + 'static>(
        &self,
        requester: Requester,
        work: u64,
        memory: u64,
        compute: impl FnOnce() -> (Result<T, HashFailure>, Done) + Send + 'static,
    ) -> Result<T, PoolError> {
        let slots = u32::try_from(memory.div_ceil(self.cost.memory())).unwrap_or(u32::MAX);
        let slots = slots.min(self.shared.slots);
        let (answer, wait) = oneshot::channel();
        let durations = self.durations();
        let job = Box::new(move |turn: Turn| {
            // The requester may be gone by now.
            if answer.is_closed() {
                return Done::NOTHING;
            }
            if let Turn::Refuse = turn {
                let _ = answer.send(Err(PoolError::Busy));
                return Done::NOTHING;
            }
            let began = Instant::now();
            let (computed, done) = compute();
            durations.took(began.elapsed()); // counted before the answer, so that a reader of it sees the count
            let _ = answer.send(computed.map_err(PoolError::Failed));
            done
        });
        // Its slots do nothing else while it runs.
        self.shared.enqueue(requester, work * u64::from(slots), slots, job);
        wait.await.map_err(|_| PoolError::Gone)?
    }
}

impl Drop for HashPool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue(&self, requester: Requester, claim: u64, slots: u32, job: Job) {
        let mut state = self.lock();
        let room = self.room(state.nanos_per_work);
        let refused = state.queue.push(requester, claim, slots, job, room, self.began.elapsed());
        drop(state);
        self.wake.notify_one();
        for job in refused {
            job(Turn::Refuse);
        }
    }

    /// The work that may wait, in units of [`Cost::work`].
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an estimate
    fn room(&self, nanos_per_work: f64) -> u64 {
        (QUEUE.as_nanos() as f64 * f64::from(self.slots) / nanos_per_work) as u64
    }

    fn work(&self) {
        lower_priority();
        while let Some(ticket) = self.next() {
            let (requester, claim, slots) = (ticket.requester(), ticket.claim, ticket.slots);
            let started = Instant::now();
            // A panic must not cost a slot; the requester sees a closed channel.
            let done =
                catch_unwind(AssertUnwindSafe(|| (ticket.job)(Turn::Compute))).unwrap_or(Done::NOTHING);
            self.finished(requester, claim, slots, &done, started.elapsed());
        }
    }

    fn next(&self) -> Option<Ticket<Job>> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(ticket) = state.take(self.began.elapsed()) {
                return Some(ticket);
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Frees the slots and updates the estimated speed: a moving average in which a new measurement weighs an
    /// eighth.
    #[allow(clippy::cast_precision_loss)] // an estimate
    fn finished(&self, requester: Requester, claim: u64, slots: u32, done: &Done, took: Duration) {
        let mut state = self.lock();
        state.running -= 1;
        state.free_slots += slots;
        state.queue.finished(requester, claim, done.outcome, self.began.elapsed());
        if done.work > 0 {
            let measured = took.as_nanos() as f64 / done.work as f64;
            state.nanos_per_work += (measured - state.nanos_per_work) / 8.0;
        }
        drop(state);
        self.wake.notify_all(); // they may suffice for several jobs
    }
}

/// Lowers this thread's priority. Failing that, it hashes at the ordinary one.
fn lower_priority() {
    // On Linux niceness belongs to a thread, which inherits it from its creator.
    let lowered = getpriority_process(None)
        .and_then(|ordinary| setpriority_process(None, ordinary.saturating_add(NICER).min(NICEST)));
    if let Err(error) = lowered {
        log::debug!("hashing runs at ordinary priority: {error}");
    }
}

#[cfg(test)]
mod tests;
