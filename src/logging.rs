//! Where log lines go: to standard error, by a thread of its own, so that a reader who stalls holds up nobody.

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

/// More than an audit line takes: its user's name is the longest there is, each character of it escaped.
const AUDIT_LINE: usize = 2 * 1024;

/// Returns once so many audit lines fit in, however long the reader takes: for those who can wait and have many to write.
pub(crate) async fn room_for(lines: usize) {
    if let Some(queue) = QUEUE.get() {
        while !queue.has_room_for(lines * AUDIT_LINE) {
            tokio::time::sleep(REST).await;
        }
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

/// Logs a warning that any request can cause: it takes no room from those that nobody can cause at will.
pub(crate) fn warn_of_request(target: &str, text: fmt::Arguments<'_>) {
    let level = log::Level::Warn;
    if log::log_enabled!(target: target, level) {
        let mut record = log::Record::builder();
        record.target(target).level(level).args(text).module_path_static(Some(Kind::Access.path()));
        log::logger().log(&record.build());
    }
}

/// Most characters of a text that a client has chosen: as many as the longest name has.
const CHOSEN_MAX: usize = 128;

/// A text that a client has chosen, as far as a log line takes it: methods may have as many letters as a head has bytes.
pub(crate) fn chosen(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(CHOSEN_MAX) {
        Some((end, _)) => format!("{}\u{2026}", &text[..end]).into(),
        None => text.into(),
    }
}

/// Most bytes of a line before anything in it is escaped: two of the longest paths, and what is said about them.
const LINE_MAX: usize = 10 * 1024;

/// Cuts off what is too long for a line.
fn cut(text: &mut String) {
    if text.len() > LINE_MAX {
        text.truncate(text.floor_char_boundary(LINE_MAX));
        text.push('\u{2026}');
    }
}

/// The time that a line bears.
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

/// How long the last lines may take: a reader who stalls must not keep the process from ending.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long the writer rests after each block. Waking it for every line would cost a request more than the
/// whole rest of its way; so a few hundred lines share one wake-up and one system call.
const REST: Duration = Duration::from_millis(2);

/// How often the log says that lines are being lost while standard error takes some, but not all.
const SAY_LOST: Duration = Duration::from_secs(1);

/// Whether a panic is one of sled's that the store catches, and puts into words. sled's destructors panic where the disk
/// does not let them write. Requests run on tokio's threads, where nothing catches it: there it is said.
fn is_caught(panic: &std::panic::PanicHookInfo<'_>) -> bool {
    panic.location().is_some_and(|at| at.file().contains("/sled-"))
        && thread::current().name() != Some("tokio-runtime-worker")
}

/// Lets others speak from warnings up only, whatever the filter says: below them warp prints the paths that it is asked
/// for. sled does not speak at all: it prints the records that it handles, with names and hashes, and its errors in the
/// form that Rust has for programmers; the store says what they mean.
struct Logger(env_logger::Logger);

impl Logger {
    fn allows(metadata: &log::Metadata<'_>) -> bool {
        let target = metadata.target();
        is_ours(target) || (metadata.level() <= log::Level::Warn && target.split("::").next() != Some("sled"))
    }
}

thread_local! {
    /// Where each thread writes its lines, one after the other: memory that need not be asked for each time.
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

/// Puts a record's line into the queue.
fn queue_line(queue: &Queue, format: Format, record: &log::Record<'_>) {
    let mut line = LINE.try_with(Cell::take).unwrap_or_default(); // a thread that ends has none
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
    /// Sends everything logged from now on to standard error: what `filter` says on top of `base`, which is in the same
    /// form.
    ///
    /// # Errors
    /// When the system gives no thread.
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
            // Lines go to the queue by their kind, which a target does not see.
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

    /// Counts the lines that were lost.
    pub fn instruments(&self) -> Logs {
        self.logs.clone()
    }

    /// Writes what is waiting, as far as standard error takes it within a second. What is logged later is lost.
    pub fn finish(self) {
        self.queue.close();
        let _ = self.writer.recv_timeout(LAST_LINES);
    }
}

/// Writes all lines that are waiting with as few system calls as it takes.
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
        // Once standard error keeps up again, and in between.
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

/// Like [`Write::write_all`], and waits where standard error is a pipe that does not block. The error is how many bytes
/// were written before another.
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

/// The line that stands for those that were lost. It does not go through the logger, which might drop it as well.
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
