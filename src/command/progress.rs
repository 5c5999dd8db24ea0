//! How far something has come that takes long.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How long something may take without a word.
const PATIENCE: Duration = Duration::from_secs(2);

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
            Some(_) => "{bar:30} {percent}% {human_pos}/{human_len} {msg}, {per_sec}, {eta} left",
            None => "{spinner} {human_pos} {msg}, {per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(unit);
        Self { bar, shown: false }
    }

    /// So many more are done.
    pub(crate) fn advance(&mut self, by: u64) {
        if !self.shown && self.bar.elapsed() > PATIENCE {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.shown = true;
        }
        self.bar.inc(by);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
