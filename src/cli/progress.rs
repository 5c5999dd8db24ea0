//! The progress of slow commands.

use std::fmt::Write;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use indicatif::{HumanFloatCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// How long a command may be silent.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a spinner turns.
const TURN: Duration = Duration::from_millis(100);

/// A bar with rate and time left on standard error, if that is a terminal and it takes longer than two seconds.
pub(crate) struct Progress {
    bar: ProgressBar,
    shown: bool,
}

impl Progress {
    /// Begins to count things that are called `unit` in the plural, of which there are `total` if that is known.
    pub(crate) fn begin(unit: &'static str, total: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        let template = match total {
            Some(_) => "{bar:30} {percent}% {human_pos}/{human_len} {msg}, {rate}, {eta} left",
            None => "{spinner} {human_pos} {msg}, {rate}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
                let _ = write!(out, "{:.0}/s", HumanFloatCount(state.per_sec()));
            }));
        }
        bar.set_message(unit);
        Self { bar, shown: false }
    }

    /// Counts further things as done.
    pub(crate) fn advance(&mut self, by: u64) {
        if !self.shown && self.bar.elapsed() > PATIENCE {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.shown = true;
        }
        let is_first = self.bar.position() == 0;
        self.bar.inc(by);
        if is_first {
            self.bar.reset_eta(); // the time before went into opening the store
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A spinner where nothing can be counted, shown likewise for as long as this lives.
pub(crate) struct Waiting {
    bar: ProgressBar,
    _done: Sender<()>,
}

impl Waiting {
    /// Begins to wait for `what`.
    pub(crate) fn begin(what: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(what);
        let (done, wait) = mpsc::channel();
        let shown = bar.clone();
        thread::spawn(move || {
            if wait.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                shown.set_draw_target(ProgressDrawTarget::stderr());
                shown.enable_steady_tick(TURN);
            }
        });
        Self { bar, _done: done }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
