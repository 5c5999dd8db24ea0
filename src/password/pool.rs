//! Where hashes are computed: a fixed number of threads of their own and a short queue.
//!
//! A hash takes a third of a second and tens of megabytes. Run anywhere else, a flood of logins would take
//! every thread and all memory; here it takes its slots, the queue fills, and the rest is told to come back.
//!
//! A slot is a thread and the memory of one of our own hashes. What others stored may take eight times as much and
//! more: it takes as many slots as cover its memory, or all of them where these do not cover it, and then runs alone. What
//! the machine has no memory for is not computed at all.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::metrics::Histogram;

use super::{Checked, Cost, HashFailure, Password, PasswordHash, check, decoy, hash, memory_of, work_of};

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
    /// It was not computed: it takes more bytes than one hash may.
    TooLarge {
        /// What it takes.
        takes: u64,
        /// What it may take.
        most: u64,
    },
    /// The pool is gone: the server is stopping, or a hash panicked.
    Gone,
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("too many logins at once"),
            Self::Failed(cause) => cause.fmt(f),
            Self::TooLarge { takes, most } => write!(
                f,
                "a stored password hash takes {} MiB to check, and this machine has {} MiB for that: give it more memory, \
                 or the user another password",
                takes.div_ceil(1 << 20),
                most >> 20
            ),
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
    /// The most bytes that one hash may take.
    most: u64,
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
    /// The sum of [`Job::claim`].
    queued_work: u64,
    running: usize,
    free_slots: u32,
    nanos_per_work: f64,
    closed: bool,
}

/// `run` answers its requester itself and tells how much there was to compute: nothing where the requester had
/// gone, more than `work` where a hash was renewed as well.
struct Job {
    work: u64,
    slots: u32,
    run: Run,
}

type Run = Box<dyn FnOnce() -> u64 + Send>;

impl Job {
    /// How much could be computed in its place: while it runs, its slots do nothing else.
    fn claim(&self) -> u64 {
        self.work * u64::from(self.slots)
    }
}

impl State {
    /// The next job, if its slots are free. What is behind it has to wait as well: let past, the cheap ones that keep
    /// coming could keep the costly one waiting for ever. In this order it waits for those that are running, at most.
    fn take(&mut self) -> Option<Job> {
        if self.queue.front()?.slots > self.free_slots {
            return None;
        }
        let job = self.queue.pop_front()?;
        self.queued_work -= job.claim();
        self.running += 1;
        self.free_slots -= job.slots;
        Some(job)
    }
}

impl HashPool {
    /// A pool of `slots` threads that hashes at `cost`. What it computes at the same time takes `slots` times
    /// [`Cost::memory`] at most, or is one hash of up to `memory` bytes.
    ///
    /// # Errors
    /// [`PoolStartError`]: the system gives no threads or no random numbers.
    pub fn start(slots: u32, cost: Cost, memory: u64) -> Result<Self, PoolStartError> {
        // Made first: should a thread fail to start, its drop ends those that did.
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
            state: Mutex::new(State {
                queue: VecDeque::new(),
                queued_work: 0,
                running: 0,
                free_slots: slots,
                nanos_per_work: FIRST_GUESS_NANOS,
                closed: false,
            }),
            wake: Condvar::new(),
            slots,
            durations: Histogram::of_durations(),
        });
        // The slots' memory was given to them, by the settings if not by the machine.
        let most = memory.max(u64::from(slots).saturating_mul(cost.memory()));
        Ok(Self { shared, cost, most, decoy })
    }

    /// How many bytes a check against `stored` takes.
    ///
    /// # Errors
    /// [`PoolError::TooLarge`]; [`PoolError::Failed`] where it cannot be read.
    pub fn memory_of(&self, stored: &PasswordHash) -> Result<u64, PoolError> {
        let takes = memory_of(stored)?;
        if takes > self.most { Err(PoolError::TooLarge { takes, most: self.most }) } else { Ok(takes) }
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// [`PoolError`], `Busy` above all.
    pub async fn hash(&self, password: Password) -> Result<PasswordHash, PoolError> {
        let cost = self.cost;
        self.run(cost.work(), cost.memory(), move || (hash(&password, cost), cost.work())).await
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
        let work = work_of(&password, &stored, today)?;
        // A renewal begins when the check is over and has given its memory back.
        let memory = self.memory_of(&stored)?.max(today.memory());
        self.run(work, memory, move || {
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
        memory: u64,
        compute: impl FnOnce() -> (Result<T, HashFailure>, u64) + Send + 'static,
    ) -> Result<T, PoolError> {
        let slots = u32::try_from(memory.div_ceil(self.cost.memory())).unwrap_or(u32::MAX);
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
        self.shared.enqueue(Job { work, slots: slots.min(self.shared.slots), run: Box::new(run) })?;
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
    fn enqueue(&self, job: Job) -> Result<(), PoolError> {
        let mut state = self.lock();
        let wait = state.queued_work as f64 * state.nanos_per_work / f64::from(self.slots);
        if wait > QUEUE.as_nanos() as f64 {
            return Err(PoolError::Busy);
        }
        state.queued_work += job.claim();
        state.queue.push_back(job);
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
            self.finished(job.slots, work, started.elapsed());
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.take() {
                return Some(job);
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives the slots back, and learns from how long the work took, if there was any: a moving average, of which the
    /// newest measurement is an eighth.
    #[allow(clippy::cast_precision_loss)] // an estimate
    fn finished(&self, slots: u32, work: u64, took: Duration) {
        let mut state = self.lock();
        state.running -= 1;
        state.free_slots += slots;
        if work > 0 {
            let measured = took.as_nanos() as f64 / work as f64;
            state.nanos_per_work += (measured - state.nanos_per_work) / 8.0;
        }
        drop(state);
        self.wake.notify_all(); // the slots of one may do for several
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::{Context, Waker};

    use futures_util::future::join_all;
    use zeroize::Zeroizing;

    use super::*;

    fn typed(text: &str) -> Password {
        Password::typed(&Zeroizing::new(text.to_owned()))
    }

    fn cheap(p: u32) -> Cost {
        Cost::new(1, 8, p).unwrap()
    }

    const COSTLY: &str =
        "$argon2id$v=19$m=64,t=2,p=1$AOC8lxLivNfa27sXYowxRg$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM";

    #[test]
    fn what_runs_at_once_takes_no_more_memory_than_the_slots_or_runs_alone() {
        // Four slots of 33 KiB.
        let pool = HashPool::without_threads(4, Cost::new(5, 8, 1).unwrap(), 4 << 20).unwrap();
        let two_slots = Some(PasswordHash::from_stored(COSTLY.to_owned()));
        let beyond_all = Some(PasswordHash::from_stored(COSTLY.replace("m=64", "m=4096")));
        let nobodys = None;
        let asked = [&two_slots, &two_slots, &nobodys, &nobodys, &beyond_all, &nobodys];
        let mut asked = asked.map(|stored| Box::pin(pool.check(typed("x"), stored.clone())));
        for check in &mut asked {
            assert!(check.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        let take = || pool.shared.lock().take();
        let finish = |job: Job| pool.shared.finished(job.slots, 0, Duration::ZERO);

        let costly = [take().unwrap(), take().unwrap()];
        assert!(take().is_none(), "two hold all memory");
        costly.into_iter().for_each(finish);
        let cheap = [take().unwrap(), take().unwrap()];
        assert!(take().is_none(), "what takes more than all waits for the others, and nothing overtakes it");
        cheap.into_iter().for_each(finish);
        let alone = take().unwrap();
        assert!(take().is_none(), "nothing runs beside what takes more than all");
        finish(alone);
        finish(take().unwrap());
        let state = pool.shared.lock();
        assert_eq!((state.free_slots, state.running, state.queued_work), (4, 0, 0));
    }

    #[tokio::test]
    async fn what_the_machine_has_no_memory_for_is_refused_and_never_computed() {
        let large = PasswordHash::from_stored(COSTLY.replace("m=64", "m=1024"));
        let pool = |slots, memory| HashPool::start(slots, Cost::new(5, 8, 1).unwrap(), memory).unwrap();
        for (pool, fits) in [
            (pool(1, (1 << 20) - 1), false),
            (pool(1, 1 << 20), true),
            (pool(40, 0), true), // in the slots' memory
        ] {
            assert_eq!(pool.memory_of(&large).is_ok(), fits);
            let checked = pool.check(typed("x"), Some(large.clone())).await;
            match checked {
                Ok(Checked::Wrong) => assert!(fits),
                Err(PoolError::TooLarge { takes, .. }) => assert!(!fits && takes == 1 << 20),
                other => unreachable!("{other:?}"),
            }
            assert!(pool.hash(typed("x")).await.is_ok(), "ours are always computed");
        }
    }

    #[tokio::test]
    async fn every_hash_gets_its_turn_and_never_more_memory_than_there_is() {
        let pool = HashPool::start(4, cheap(1), u64::MAX).unwrap();
        let in_use = Arc::new(AtomicU64::new(0));
        let hashes = (0..200).map(|number| {
            let slots = 1 + number % 6; // up to more than there are
            let in_use = Arc::clone(&in_use);
            pool.run(0, slots * cheap(1).memory(), move || {
                let beside = in_use.fetch_add(slots, Ordering::SeqCst);
                thread::sleep(Duration::from_micros(200)); // so that others can come
                in_use.fetch_sub(slots, Ordering::SeqCst);
                (Ok(beside == 0 || beside + slots <= 4), 0)
            })
        });
        for fit in join_all(hashes).await {
            assert!(fit.unwrap());
        }
    }

    #[tokio::test]
    async fn nobody_has_no_right_password() {
        let mut pool = HashPool::start(1, cheap(1), u64::MAX).unwrap();
        assert!(matches!(pool.check(typed("correct horse"), None).await, Ok(Checked::Wrong)));
        // Not even the decoy's own, be it of today's cost or of another.
        for cost in [cheap(1), cheap(2)] {
            pool.decoy = hash(&typed("correct horse"), cost).unwrap();
            assert!(matches!(pool.check(typed("correct horse"), None).await, Ok(Checked::Wrong)));
        }
    }

    #[tokio::test]
    async fn an_unknown_name_is_checked_against_a_hash_of_todays_cost() {
        let pool = HashPool::start(1, cheap(3), u64::MAX).unwrap();
        assert_eq!(work_of(&typed(""), &pool.decoy, cheap(3)).unwrap(), cheap(3).work());
    }

    #[tokio::test]
    async fn a_stored_hash_is_checked_at_its_own_cost_and_renewed() {
        let pool = HashPool::start(1, cheap(3), u64::MAX).unwrap();
        let old = hash(&typed("correct horse"), cheap(1)).unwrap();
        assert!(matches!(pool.check(typed("wrong horse"), Some(old.clone())).await, Ok(Checked::Wrong)));
        let Ok(Checked::RightRenewed(new)) = pool.check(typed("correct horse"), Some(old)).await else {
            unreachable!("renewed");
        };
        assert!(matches!(pool.check(typed("correct horse"), Some(new)).await, Ok(Checked::Right)));
    }
}
