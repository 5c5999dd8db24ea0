//! Where log lines go: to standard error, by a thread of its own, so that a reader who stalls holds up nobody.

mod filter;
mod json;

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use log::kv::Value;

use crate::metrics::Counter;
use filter::is_ours;

pub use filter::Filter;

/// How many lines may wait to be written, some 200 bytes each. Beyond it lines are dropped and counted.
const WAITING: usize = 8192;

/// How many lines are waiting. There is one log in a process.
static PENDING: AtomicUsize = AtomicUsize::new(0);

/// Returns once so many lines fit in, however long the reader takes: for those who can wait and have many to write.
pub(crate) async fn room_for(lines: usize) {
    while PENDING.load(Ordering::Relaxed) + lines > WAITING {
        tokio::time::sleep(REST).await;
    }
}

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: time, level, target, text.
    Text,
    /// For machines: the same as an object, and the fields of access and audit lines one by one.
    Json,
}

/// A name and what it stands for.
pub(crate) type Field<'a> = (&'static str, Value<'a>);

/// Logs, at level info, what is `text` to people, and a `message` with `fields` to machines.
pub(crate) fn inform(
    target: &str,
    text: fmt::Arguments<'_>,
    message: &dyn fmt::Display,
    fields: &[Field<'_>],
) {
    let level = log::Level::Info;
    if log::log_enabled!(target: target, level) {
        let said = (json::MESSAGE, Value::from_dyn_display(message));
        let fields = [&[said][..], fields];
        let record =
            log::Record::builder().target(target).level(level).args(text).key_values(&fields).build();
        log::logger().log(&record);
    }
}

/// The running log. [`Logging::finish`] writes what is left.
pub struct Logging {
    lines: SyncSender<Line>,
    lost: Counter,
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
        is_ours(metadata.target()) || metadata.level() <= log::Level::Warn
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
    /// Sends everything logged from now on to standard error: what `filter` says on top of `base`, which is in the same
    /// form.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(base: &str, filter: &Filter, format: Format) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(WAITING);
        let lost = Counter::default();
        let queue = Queue { lines: lines.clone(), lost: lost.clone() };
        let (running, writer) = channel();
        let lost_so_far = lost.clone();
        thread::Builder::new().name("log".into()).spawn(move || {
            write_lines(&waiting, &lost_so_far, format);
            drop(running);
        })?;
        let mut logger = env_logger::Builder::new();
        logger
            .parse_filters(&filter.over(base))
            .format_timestamp_millis()
            .target(env_logger::Target::Pipe(Box::new(queue)));
        if format == Format::Json {
            logger.format(|out, record| out.write_all(&json::line(record)));
        }
        let logger = logger.build();
        log::set_max_level(logger.filter());
        log::set_boxed_logger(Box::new(Discreet(logger))).map_err(io::Error::other)?;
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map_or_else(String::new, |at| format!(" at {at}"));
            log::error!("a thread panicked{place}");
        }));
        Ok(Self { lines, lost, writer })
    }

    /// Counts the lines that were dropped.
    pub fn lost(&self) -> Counter {
        self.lost.clone()
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
    lost: Counter,
}

impl Write for Queue {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        PENDING.fetch_add(1, Ordering::Relaxed);
        match self.lines.try_send(Line::Text(bytes.to_vec())) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                PENDING.fetch_sub(1, Ordering::Relaxed);
                self.lost.count();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes all lines that are waiting with as few system calls as it takes.
fn write_lines(waiting: &Receiver<Line>, lost: &Counter, format: Format) {
    let mut said_lost = 0;
    let mut out = io::stderr(); // not locked: others may write to it too
    let mut block = Vec::with_capacity(16 * 1024);
    while let Ok(first) = waiting.recv() {
        let (mut last, mut written) = (false, 0);
        for line in std::iter::once(first).chain(waiting.try_iter()) {
            match line {
                Line::Text(text) => {
                    block.extend_from_slice(&text);
                    written += 1;
                }
                Line::Last => last = true,
            }
            if block.len() > 64 * 1024 {
                break;
            }
        }
        let lost = lost.get();
        if lost > said_lost {
            block.extend_from_slice(&notice(lost - said_lost, format));
            said_lost = lost;
        }
        let _ = out.write_all(&block);
        PENDING.fetch_sub(written, Ordering::Relaxed);
        block.clear();
        if last {
            return;
        }
        thread::sleep(REST);
    }
}

/// The line that stands for those that were dropped. It does not go through the logger, which might drop it as well.
fn notice(lost: u64, format: Format) -> Vec<u8> {
    let text = format!("{lost} log lines were lost: standard error is too slow");
    match format {
        Format::Text => format!("[{text}]\n").into_bytes(),
        Format::Json => json::line(
            &log::Record::builder()
                .level(log::Level::Warn)
                .target(module_path!())
                .args(format_args!("{text}"))
                .build(),
        ),
    }
}
