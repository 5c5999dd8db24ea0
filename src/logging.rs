//! Where log lines go: to standard error, by a thread of its own, so that a reader who stalls holds up nobody.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// How many lines may wait to be written, some 200 bytes each. Beyond it lines are dropped and counted.
const WAITING: usize = 8192;

/// The running log. [`Logging::finish`] writes what is left.
pub struct Logging {
    lines: SyncSender<Line>,
    /// Disconnected once the writer has ended.
    writer: Receiver<()>,
}

/// How long the last lines may take: a reader who stalls must not keep the process from ending.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long the writer rests after each block. Waking it for every line would cost a request more than the
/// whole rest of its way; so a few hundred lines share one wake-up and one system call.
const REST: Duration = Duration::from_millis(2);

/// Lets others speak from warnings up only, whatever the filter says: below them sled prints the records that it
/// handles, with names and hashes, and warp the paths that it is asked for.
struct Discreet(env_logger::Logger);

impl Discreet {
    fn allows(metadata: &log::Metadata<'_>) -> bool {
        let ours = metadata.target().split("::").next() == Some("gatelet");
        ours || metadata.level() <= log::Level::Warn
    }
}

impl log::Log for Discreet {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        Self::allows(metadata) && self.0.enabled(metadata)
    }

    fn log(&self, record: &log::Record<'_>) {
        if Self::allows(record.metadata()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

enum Line {
    Text(Vec<u8>),
    Last,
}

impl Logging {
    /// Sends everything logged from now on to standard error. `filter` is in the form of `RUST_LOG`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(filter: &str) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let queue = Queue { lines: lines.clone(), lost: Arc::clone(&lost) };
        let (running, writer) = channel();
        thread::Builder::new().name("log".into()).spawn(move || {
            write_lines(&waiting, &lost);
            drop(running);
        })?;
        let logger = env_logger::Builder::new()
            .parse_filters(filter)
            .format_timestamp_millis()
            .target(env_logger::Target::Pipe(Box::new(queue)))
            .build();
        log::set_max_level(logger.filter());
        log::set_boxed_logger(Box::new(Discreet(logger))).map_err(io::Error::other)?;
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map_or_else(String::new, |at| format!(" at {at}"));
            log::error!("a thread panicked{place}");
        }));
        Ok(Self { lines, writer })
    }

    /// Writes what is waiting, as far as standard error takes it within a second or two. What is logged later is lost.
    pub fn finish(self) {
        let began = Instant::now();
        while self.lines.try_send(Line::Last).is_err() {
            if began.elapsed() > LAST_LINES {
                return;
            }
            thread::sleep(REST);
        }
        let _ = self.writer.recv_timeout(LAST_LINES);
    }
}

/// Where the logger writes to: one call of `write_all` a line.
struct Queue {
    lines: SyncSender<Line>,
    lost: Arc<AtomicU64>,
}

impl Write for Queue {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.lines.try_send(Line::Text(bytes.to_vec())) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes all lines that are waiting with as few system calls as it takes.
fn write_lines(waiting: &Receiver<Line>, lost: &AtomicU64) {
    let mut out = io::stderr(); // not locked: others may write to it too
    let mut block = Vec::with_capacity(16 * 1024);
    while let Ok(first) = waiting.recv() {
        let mut last = false;
        for line in std::iter::once(first).chain(waiting.try_iter()) {
            match line {
                Line::Text(text) => block.extend_from_slice(&text),
                Line::Last => last = true,
            }
            if block.len() > 64 * 1024 {
                break;
            }
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            block.extend_from_slice(
                format!("[{lost} log lines were lost: standard error is too slow]\n").as_bytes(),
            );
        }
        let _ = out.write_all(&block);
        block.clear();
        if last {
            return;
        }
        thread::sleep(REST);
    }
}
