//! Signals that ask the process to end.

use std::fmt;
use std::future::pending;
use std::io;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal that the process was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// By a supervisor.
    Terminate,
    /// By Ctrl-C.
    Interrupt,
    /// By a terminal that was closed.
    HangUp,
    /// By Ctrl-\.
    Quit,
}

impl Told {
    fn number(self) -> Number {
        match self {
            Self::Terminate => Number::TERM,
            Self::Interrupt => Number::INT,
            Self::HangUp => Number::HUP,
            Self::Quit => Number::QUIT,
        }
    }

    /// The exit code that shells report for a process ended by this signal.
    pub(crate) fn exit_code(self) -> i32 {
        128 + self.number().as_raw()
    }

    fn kind(self) -> SignalKind {
        SignalKind::from_raw(self.number().as_raw())
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::HangUp => "SIGHUP",
            Self::Quit => "SIGQUIT",
        })
    }
}

/// Catches signals, which no longer end the process by themselves.
pub struct Signals([Option<Signal>; 4]);

impl Signals {
    const ALL: [Told; 4] = [Told::Terminate, Told::Interrupt, Told::HangUp, Told::Quit];

    /// Catches all. SIGHUP and SIGQUIT stay ignored if the process was started so: by `nohup`, to outlive its terminal, and
    /// by shells, which keep Ctrl-\ from background jobs.
    ///
    /// # Errors
    /// Those of the system.
    pub fn listen() -> io::Result<Self> {
        Self::of(&Self::ALL)
    }

    /// Catches all but SIGINT.
    pub(crate) fn listen_beside_interrupt() -> io::Result<Self> {
        Self::of(&[Told::Terminate, Told::HangUp, Told::Quit])
    }

    fn of(wanted: &[Told]) -> io::Result<Self> {
        // Uncaught, a write beyond the limit of file sizes (`ulimit -f`) would end the process silently; caught, it fails.
        drop(signal(SignalKind::from_raw(Number::XFSZ.as_raw()))?);
        // Sent by log rotation to have log files reopened; there are none.
        for number in [Number::USR1, Number::USR2, Number::ALARM] {
            drop(signal(SignalKind::from_raw(number.as_raw()))?);
        }
        let ignored = ignored();
        let mut signals = Self([const { None }; 4]);
        for (place, told) in signals.0.iter_mut().zip(Self::ALL).filter(|(_, told)| wanted.contains(told)) {
            let may_be_ignored = matches!(told, Told::HangUp | Told::Quit);
            if !(may_be_ignored && ignored >> (told.number().as_raw() - 1) & 1 == 1) {
                *place = Some(signal(told.kind())?);
            }
        }
        Ok(signals)
    }

    /// The next signal.
    pub async fn next(&mut self) -> Told {
        let [terminate, interrupt, hang_up, quit] = &mut self.0;
        tokio::select! {
            () = received(terminate) => Told::Terminate,
            () = received(interrupt) => Told::Interrupt,
            () = received(hang_up) => Told::HangUp,
            () = received(quit) => Told::Quit,
        }
    }
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => pending().await,
    }
}

/// The signals that the process was started to ignore, as a bit mask (proc(5), `SigIgn`); none without `/proc`.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
