//! The log: lines to standard error, written by a thread of its own, so that a stalled reader does not block requests.

mod filter;
mod json;
mod queue;
mod text;

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use clap::ValueEnum;
use log::kv::Value;

use crate::domain::clock::Clock;
use crate::metrics::Logs;
use filter::is_ours;
use queue::{Block, Lost, Queue, Rest};

pub use filter::Filter;
pub(crate) use queue::Kind;

/// The queue of the running log. There is one log in a process.
static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// An upper bound for an audit line: with the longest name, every character escaped.
const AUDIT_LINE: usize = 2 * 1024;

/// Returns once the buffer has room for so many audit lines, however long the reader takes. For imports.
pub(crate) async fn room_for(lines: usize) {
    if let Some(queue) = QUEUE.get() {
        while !queue.has_room_for(lines * AUDIT_LINE) {
            tokio::time::sleep(REST).await;
        }
    }
}

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: time, level, target, text.
    Text,
    /// For machines: a JSON object, with the fields of access and audit lines one by one.
    Json,
}

/// A field's name and value.
pub(crate) type Field<'a> = (&'static str, Value<'a>);

/// Logs a line at level info: `text` for people, `message` and `fields` for machines.
pub(crate) fn inform(
    kind: Kind,
    target: &str,
    text: fmt::Arguments<'_>,
    message: &dyn fmt::Display,
    fields: &[Field<'_>],
) {
    let level = log::Level::Info;
    if log::log_enabled!(target: target, level) {
        let said = (json::MESSAGE, Value::from_dyn_display(message));
        let fields = [&[said][..], fields];
        let mut record = log::Record::builder();
        record
            .target(target)
            .level(level)
            .args(text)
            .module_path_static(Some(kind.path()))
            .key_values(&fields);
        log::logger().log(&record.build());
    }
}

/// Logs a warning that any request can cause. It shares the access lines' buffer, away from other warnings.
pub(crate) fn warn_of_request(target: &str, text: fmt::Arguments<'_>) {
    let level = log::Level::Warn;
    if log::log_enabled!(target: target, level) {
        let mut record = log::Record::builder();
        record.target(target).level(level).args(text).module_path_static(Some(Kind::Access.path()));
        log::logger().log(&record.build());
    }
}

/// Most characters of a text that a client has chosen: the length of the longest name.
const CHOSEN_MAX: usize = 128;

/// Cuts a text that a client has chosen to [`CHOSEN_MAX`]: a method may be as long as a request head.
pub(crate) fn chosen(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(CHOSEN_MAX) {
        Some((end, _)) => format!("{}\u{2026}", &text[..end]).into(),
        None => text.into(),
    }
}

/// Most bytes of a line before escapes: two of the longest paths, and a sentence.
const LINE_MAX: usize = 10 * 1024;

/// Cuts a text to [`LINE_MAX`].
fn cut(text: &mut String) {
    if text.len() > LINE_MAX {
        text.truncate(text.floor_char_boundary(LINE_MAX));
        text.push('\u{2026}');
    }
}

/// A line's time.
fn now() -> impl fmt::Display {
    let now = Duration::from_millis(Clock::system().reading().unix_millis());
    humantime::format_rfc3339_millis(UNIX_EPOCH + now)
}

/// The running log. [`Logging::finish`] writes what is left.
pub struct Logging {
    queue: Arc<Queue>,
    logs: Logs,
    /// Disconnected once the writer has ended.
    writer: Receiver<()>,
}

/// How long the last lines may take: a stalled reader must not keep the process from ending.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long the writer rests after each block. Waking it for every line would cost more than the rest of a token check;
/// so a few hundred lines share one wake-up and one system call.
const REST: Duration = Duration::from_millis(2);

/// How often the log reports lost lines while standard error is too slow.
const SAY_LOST: Duration = Duration::from_secs(1);

/// Whether the store catches and reports this panic. sled's destructors panic if the disk fails. On tokio's threads, where
/// requests run, nothing catches a panic, so it is logged.
fn is_caught(panic: &std::panic::PanicHookInfo<'_>) -> bool {
    panic.location().is_some_and(|at| at.file().contains("/sled-"))
        && thread::current().name() != Some("tokio-runtime-worker")
}

/// Allows other crates only warnings and errors, independent of the filter: below that, warp prints requested paths. sled
/// is silenced: it prints records with names and hashes, and the store reports its errors in words.
struct Logger(env_logger::Logger);

impl Logger {
    fn allows(metadata: &log::Metadata<'_>) -> bool {
        let target = metadata.target();
        is_ours(target) || (metadata.level() <= log::Level::Warn && target.split("::").next() != Some("sled"))
    }
}

thread_local! {
    /// Each thread formats its lines in a buffer that it reuses.
    static LINE: Cell<String> = const { Cell::new(String::new()) };
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        Self::allows(metadata) && self.0.enabled(metadata)
    }

    fn log(&self, record: &log::Record<'_>) {
        if Self::allows(record.metadata()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {}
}

/// Formats a record and queues its line.
fn queue_line(queue: &Queue, format: Format, record: &log::Record<'_>) {
    let mut line = LINE.try_with(Cell::take).unwrap_or_default(); // none while the thread ends
    line.clear();
    match format {
        Format::Text => text::write(&mut line, record),
        Format::Json => json::write(&mut line, record),
    }
    queue.push(Kind::of(record), line.as_bytes());
    if line.capacity() <= 2 * LINE_MAX {
        let _ = LINE.try_with(|kept| kept.set(line));
    }
}

impl Logging {
    /// Starts the log: `filter` on top of `base`, which is in the same form.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(base: &str, filter: &Filter, format: Format) -> io::Result<Self> {
        let logs = Logs::default();
        let queue = Arc::new(Queue::new(logs.clone()));
        let (running, writer) = channel();
        let source = Arc::clone(&queue);
        thread::Builder::new().name("log".into()).spawn(move || {
            write_lines(&source, format);
            drop(running);
        })?;
        let lines = Arc::clone(&queue);
        let logger = env_logger::Builder::new()
            .parse_filters(&filter.over(base))
            .format(move |_, record| {
                queue_line(&lines, format, record);
                Ok(())
            })
            // The format closure queues the lines: a target does not see their kind.
            .target(env_logger::Target::Pipe(Box::new(io::sink())))
            .build();
        log::set_max_level(logger.filter());
        log::set_boxed_logger(Box::new(Logger(logger))).map_err(io::Error::other)?;
        let _ = QUEUE.set(Arc::clone(&queue));
        std::panic::set_hook(Box::new(|panic| {
            if is_caught(panic) {
                return;
            }
            let place = panic.location().map_or_else(String::new, |at| format!(" at {at}"));
            log::error!("a thread panicked{place}");
        }));
        Ok(Self { queue, logs, writer })
    }

    /// The counters of lost lines.
    pub fn instruments(&self) -> Logs {
        self.logs.clone()
    }

    /// Writes the buffered lines, for up to a second. Later lines are lost.
    pub fn finish(self) {
        self.queue.close();
        let _ = self.writer.recv_timeout(LAST_LINES);
    }
}

/// Writes the buffered lines with as few system calls as possible.
fn write_lines(queue: &Queue, format: Format) {
    let mut said = Instant::now();
    let mut out = io::stderr(); // not locked: others may write to it too
    let mut block = Block::default();
    let mut torn = false;
    loop {
        let rest = queue.take(&mut block);
        if torn {
            block.text.insert(0, b'\n');
        }
        match write_all(&mut out, &block.text) {
            Ok(()) => torn = false,
            Err(written) => {
                torn = if written == 0 { torn } else { block.text[written - 1] != b'\n' };
                queue.lose(&block);
            }
        }
        block.clear();
        // When standard error keeps up again, and in between.
        if rest != Rest::Much || said.elapsed() > SAY_LOST {
            let lost = queue.take_lost();
            if lost.all() > 0 {
                let _ = write_all(&mut out, &notice(lost, format));
                said = Instant::now();
            }
        }
        match rest {
            Rest::Closed => return,
            Rest::Little => thread::sleep(REST),
            Rest::Much => {}
        }
    }
}

/// Like [`Write::write_all`], but waits for a non-blocking pipe. The error is the number of bytes written before it.
fn write_all(out: &mut impl Write, text: &[u8]) -> Result<(), usize> {
    let mut written = 0;
    while written < text.len() {
        match out.write(&text[written..]) {
            Ok(0) => return Err(written),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(REST),
            Err(_) => return Err(written),
        }
    }
    Ok(())
}

/// The line that reports lost lines. It bypasses the queue, which might drop it as well.
fn notice(lost: Lost, format: Format) -> Vec<u8> {
    let Lost { audit, access, other } = lost;
    let text = format!(
        "{} log lines were lost ({audit} audit, {access} access, {other} other): standard error did not take them",
        lost.all()
    );
    match format {
        Format::Text => format!("[{text}]\n").into_bytes(),
        Format::Json => {
            let fields = [("audit", audit), ("access", access), ("other", other)];
            let mut line = String::new();
            json::write(
                &mut line,
                &log::Record::builder()
                    .level(log::Level::Warn)
                    .target(module_path!())
                    .args(format_args!("{text}"))
                    .key_values(&fields)
                    .build(),
            );
            line.into_bytes()
        }
    }
}
