//! Where hashes are computed: a fixed number of threads of their own and a short queue.
//!
//! A hash takes a third of a second and tens of megabytes. Run anywhere else, a flood of logins would take
//! every thread and all memory; here it takes its slots, the queue fills, and the rest is told to come back.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::metrics::Histogram;

use super::{Checked, Cost, HashFailure, Password, PasswordHash, check, decoy, hash, work_of};

/// How much work may wait. A person waits about this long for a login; what comes later is refused at once.
const QUEUE: Duration = Duration::from_secs(2);

/// What one unit of [`Cost::work`] takes until the first hash has been measured: 0.4 µs on a small server.
const FIRST_GUESS_NANOS: f64 = 400.0;

/// How niced the threads are. At 10 a hash gets a tenth of what a token check gets when both want the
/// processor, so that a flood of logins does not slow down those who are logged in.
const NICENESS: i32 = 10;

/// A hash that did not come back.
#[derive(Debug)]
pub enum PoolError {
    /// The queue is full.
    Busy,
    /// It was computed and failed.
    Failed(HashFailure),
    /// The pool is gone: the server is stopping, or a hash panicked.
    Gone,
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("too many logins at once"),
            Self::Failed(cause) => cause.fmt(f),
            Self::Gone => f.write_str("password hashing has stopped"),
        }
    }
}

impl From<HashFailure> for PoolError {
    fn from(cause: HashFailure) -> Self {
        Self::Failed(cause)
    }
}

/// Why there is no pool.
#[derive(Debug)]
pub enum PoolStartError {
    /// The system gives no threads.
    Threads(io::Error),
    /// There is nothing to check the passwords of unknown users against.
    Decoy(HashFailure),
}

impl fmt::Display for PoolStartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Threads(cause) => write!(f, "the system gives no threads for password hashes: {cause}"),
            Self::Decoy(cause) => cause.fmt(f),
        }
    }
}

impl std::error::Error for PoolStartError {}

/// The pool. Dropping it ends its threads after the hash they are at.
pub struct HashPool {
    shared: Arc<Shared>,
    cost: Cost,
    /// What passwords of users that do not exist are checked against, at `cost`.
    decoy: PasswordHash,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    slots: u32,
    durations: Histogram,
}

struct State {
    queue: VecDeque<Job>,
    queued_work: u64,
    running: usize,
    nanos_per_work: f64,
    closed: bool,
}

/// `run` answers its requester itself and tells how much there was to compute: nothing where the requester had
/// gone, more than `work` where a hash was renewed as well.
struct Job {
    work: u64,
    run: Run,
}

type Run = Box<dyn FnOnce() -> u64 + Send>;

impl HashPool {
    /// A pool of `slots` threads that hashes at `cost`.
    ///
    /// # Errors
    /// [`PoolStartError`]: the system gives no threads or no random numbers.
    pub fn start(slots: u32, cost: Cost) -> Result<Self, PoolStartError> {
        let decoy = decoy(cost).map_err(PoolStartError::Decoy)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                queued_work: 0,
                running: 0,
                nanos_per_work: FIRST_GUESS_NANOS,
                closed: false,
            }),
            wake: Condvar::new(),
            slots,
            durations: Histogram::of_durations(),
        });
        // Made first: should a thread fail to start, its drop ends those that did.
        let pool = Self { shared, cost, decoy };
        for slot in 0..slots {
            let shared = Arc::clone(&pool.shared);
            thread::Builder::new()
                .name(format!("hash-{slot}"))
                .spawn(move || shared.work())
                .map_err(PoolStartError::Threads)?;
        }
        Ok(pool)
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// [`PoolError`], `Busy` above all.
    pub async fn hash(&self, password: Password) -> Result<PasswordHash, PoolError> {
        let cost = self.cost;
        self.run(cost.work(), move || (hash(&password, cost), cost.work())).await
    }

    /// Checks a password against a stored hash, or against nobody's: a decoy at today's cost, so that an unknown
    /// name takes the way of a wrong password, step by step.
    ///
    /// # Errors
    /// [`PoolError`], `Busy` above all.
    pub async fn check(
        &self,
        password: Password,
        stored: Option<PasswordHash>,
    ) -> Result<Checked, PoolError> {
        let today = self.cost;
        let is_somebody = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.decoy.clone());
        let work = work_of(&password, &stored)?;
        self.run(work, move || {
            let mut checked = check(&password, &stored, today);
            if !is_somebody {
                checked = checked.map(|_| Checked::Wrong); // whatever came out
            }
            let renewal = if matches!(checked, Ok(Checked::RightRenewed(_))) { today.work() } else { 0 };
            (checked, work + renewal)
        })
        .await
    }

    /// How many hashes are being computed, and how many are waiting.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.shared.lock();
        (state.running, state.queue.len())
    }

    /// How long hashes have taken.
    pub(crate) fn durations(&self) -> Histogram {
        self.shared.durations.clone()
    }

    async fn run<T: Send + 'static>(
        &self,
        work: u64,
        compute: impl FnOnce() -> (Result<T, HashFailure>, u64) + Send + 'static,
    ) -> Result<T, PoolError> {
        let (answer, wait) = oneshot::channel();
        let durations = self.durations();
        let run = move || {
            // Whoever asked may have gone while this waited.
            if answer.is_closed() {
                return 0;
            }
            let began = Instant::now();
            let (computed, work) = compute();
            durations.took(began.elapsed()); // counted before anybody can know of it
            let _ = answer.send(computed);
            work
        };
        self.shared.enqueue(work, Box::new(run))?;
        Ok(wait.await.map_err(|_| PoolError::Gone)??)
    }
}

impl Drop for HashPool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[allow(clippy::cast_precision_loss)] // an estimate
    fn enqueue(&self, work: u64, run: Run) -> Result<(), PoolError> {
        let mut state = self.lock();
        let wait = state.queued_work as f64 * state.nanos_per_work / f64::from(self.slots);
        if wait > QUEUE.as_nanos() as f64 {
            return Err(PoolError::Busy);
        }
        state.queued_work += work;
        state.queue.push_back(Job { work, run });
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    fn work(&self) {
        if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
            log::debug!("hashing runs at ordinary priority: {error}");
        }
        while let Some(job) = self.next() {
            let started = Instant::now();
            // A panic must not cost a slot; its requester learns that the channel is gone.
            let work = catch_unwind(AssertUnwindSafe(job.run)).unwrap_or(0);
            self.finished(work, started.elapsed());
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.queue.pop_front() {
                state.queued_work -= job.work;
                state.running += 1;
                return Some(job);
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Learns from how long the work took, if there was any: a moving average, an eighth of the newest measurement.
    #[allow(clippy::cast_precision_loss)] // an estimate
    fn finished(&self, work: u64, took: Duration) {
        let mut state = self.lock();
        state.running -= 1;
        if work > 0 {
            let measured = took.as_nanos() as f64 / work as f64;
            state.nanos_per_work += (measured - state.nanos_per_work) / 8.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn typed(text: &str) -> Password {
        Password::typed(&Zeroizing::new(text.to_owned()))
    }

    fn cheap(p: u32) -> Cost {
        Cost::new(1, 8, p).unwrap()
    }

    #[tokio::test]
    async fn nobody_has_no_right_password() {
        let mut pool = HashPool::start(1, cheap(1)).unwrap();
        assert!(matches!(pool.check(typed("correct horse"), None).await, Ok(Checked::Wrong)));
        // Not even the decoy's own, be it of today's cost or of another.
        for cost in [cheap(1), cheap(2)] {
            pool.decoy = hash(&typed("correct horse"), cost).unwrap();
            assert!(matches!(pool.check(typed("correct horse"), None).await, Ok(Checked::Wrong)));
        }
    }

    #[tokio::test]
    async fn an_unknown_name_is_checked_against_a_hash_of_todays_cost() {
        let pool = HashPool::start(1, cheap(3)).unwrap();
        assert_eq!(work_of(&typed(""), &pool.decoy).unwrap(), cheap(3).work());
    }

    #[tokio::test]
    async fn a_stored_hash_is_checked_at_its_own_cost_and_renewed() {
        let pool = HashPool::start(1, cheap(3)).unwrap();
        let old = hash(&typed("correct horse"), cheap(1)).unwrap();
        assert!(matches!(pool.check(typed("wrong horse"), Some(old.clone())).await, Ok(Checked::Wrong)));
        let Ok(Checked::RightRenewed(new)) = pool.check(typed("correct horse"), Some(old)).await else {
            unreachable!("renewed");
        };
        assert!(matches!(pool.check(typed("correct horse"), Some(new)).await, Ok(Checked::Right)));
    }
}
