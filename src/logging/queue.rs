//! The buffer of log lines: bounded in bytes for each kind of line, so that no kind displaces another.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::metrics::Logs;

/// The kind of a line. Each kind has a buffer of its own. While standard error is too slow, the kinds are written in this
/// order of priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Audit lines.
    Audit,
    /// Warnings, errors, and the lines of a start.
    Other,
    /// Audit lines that clients can cause for free, such as refused tokens and throttled logins: bandwidth alone limits a
    /// flood of them.
    Cheap,
    /// Access lines, and warnings that any request can cause.
    Access,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Audit, Self::Other, Self::Cheap, Self::Access];

    /// The kind of a record, as set by [`super::inform`]; `Other` for `log`'s macros.
    pub(super) fn of(record: &log::Record<'_>) -> Self {
        let path = record.module_path_static();
        Self::ALL.into_iter().find(|kind| path == Some(kind.path())).unwrap_or(Self::Other)
    }

    /// Marks the kind in a record.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Other => "other",
            Self::Cheap => "cheap",
            Self::Access => "access",
        }
    }

    /// The label of lost lines.
    fn label(self) -> &'static str {
        match self {
            Self::Audit | Self::Cheap => "audit",
            Self::Other => "other",
            Self::Access => "access",
        }
    }

    /// Bytes that may be buffered. A failed login takes about 170: 4 MiB hold a minute of 400 a second, more than a machine
    /// of many cores can hash. The other kinds keep what led to a stall, in little memory.
    fn room(self) -> usize {
        match self {
            Self::Audit => 4 << 20,
            Self::Other => 256 << 10,
            Self::Cheap => 512 << 10,
            Self::Access => 1 << 20,
        }
    }
}

/// Bytes written at once: the size of a pipe.
const BLOCK: usize = 64 << 10;

/// Bytes of a line besides its text.
const OVERHEAD: usize = mem::size_of::<(u64, usize)>();

/// Lines that wait for the writer.
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    logs: Logs,
}

#[derive(Default)]
struct State {
    waiting: [Waiting; Kind::ALL.len()],
    /// The next line's number, which keeps the order between kinds.
    next: u64,
    /// Lines lost since the last [`Queue::take_lost`].
    lost: Lost,
    /// The writer waits.
    is_idle: bool,
    /// Takes no more lines.
    is_closed: bool,
}

/// The lines of one kind: their texts end to end, and the number and length of each.
#[derive(Default)]
struct Waiting {
    texts: VecDeque<u8>,
    lines: VecDeque<(u64, usize)>,
}

/// Numbers of lost lines.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lost {
    pub(super) audit: u64,
    pub(super) access: u64,
    pub(super) other: u64,
}

impl Lost {
    fn add(&mut self, kind: Kind, lines: u64) {
        match kind {
            Kind::Audit | Kind::Cheap => self.audit += lines,
            Kind::Other => self.other += lines,
            Kind::Access => self.access += lines,
        }
    }

    pub(super) fn all(self) -> u64 {
        self.audit + self.access + self.other
    }
}

/// Lines to be written at once.
#[derive(Default)]
pub(super) struct Block {
    pub(super) text: Vec<u8>,
    lines: [u64; Kind::ALL.len()],
}

/// What is left after a block was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing, or too little to hurry.
    Little,
    /// A block and more.
    Much,
    /// Nothing, and no more will come.
    Closed,
}

impl Queue {
    pub(super) fn new(logs: Logs) -> Self {
        Self { state: Mutex::default(), filled: Condvar::new(), logs }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line, or counts it as lost if its kind's buffer is full.
    pub(super) fn push(&self, kind: Kind, line: &[u8]) {
        let mut state = self.lock();
        let State { waiting, next, lost, is_idle, is_closed } = &mut *state;
        if *is_closed {
            return;
        }
        let waiting = &mut waiting[kind as usize];
        if waiting.bytes() + line.len() + OVERHEAD > kind.room() {
            lost.add(kind, 1);
            drop(state);
            self.logs.lost.count(kind.label());
            return;
        }
        waiting.texts.extend(line);
        waiting.lines.push_back((*next, line.len()));
        *next += 1;
        if mem::take(is_idle) {
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Whether audit lines of so many bytes fit.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        self.lock().waiting[Kind::Audit as usize].bytes() + bytes <= Kind::Audit.room()
    }

    /// Takes no more lines from now on.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_one();
    }

    /// Waits for lines, and moves a block of them to `block`: all in their order if they fit, else by priority.
    pub(super) fn take(&self, block: &mut Block) -> Rest {
        let mut state = self.lock();
        while state.waiting.iter().all(|waiting| waiting.lines.is_empty()) && !state.is_closed {
            state.is_idle = true;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let bytes = |state: &State| state.waiting.iter().map(|waiting| waiting.texts.len()).sum::<usize>();
        if bytes(&state) <= BLOCK {
            while let Some(kind) = state.eldest() {
                state.waiting[kind as usize].move_to(block, kind);
            }
        } else {
            for kind in Kind::ALL {
                let waiting = &mut state.waiting[kind as usize];
                while waiting.lines.front().is_some_and(|(_, length)| block.text.len() + length <= BLOCK) {
                    waiting.move_to(block, kind);
                }
            }
        }
        for waiting in &mut state.waiting {
            waiting.give_back();
        }
        match bytes(&state) {
            0 if state.is_closed => Rest::Closed,
            0..=BLOCK => Rest::Little,
            _ => Rest::Much,
        }
    }

    /// The lines lost since the last call.
    pub(super) fn take_lost(&self) -> Lost {
        mem::take(&mut self.lock().lost)
    }

    /// Counts the lines of a block that could not be written.
    pub(super) fn lose(&self, block: &Block) {
        for (kind, lines) in Kind::ALL.into_iter().zip(block.lines) {
            self.lock().lost.add(kind, lines);
            for _ in 0..lines {
                self.logs.lost.count(kind.label());
            }
        }
    }
}

impl State {
    /// The kind of the oldest line.
    fn eldest(&self) -> Option<Kind> {
        let number = |kind: Kind| self.waiting[kind as usize].lines.front().map(|(number, _)| *number);
        Kind::ALL
            .into_iter()
            .filter_map(|kind| Some((number(kind)?, kind)))
            .min_by_key(|first| first.0)
            .map(|first| first.1)
    }
}

impl Waiting {
    fn bytes(&self) -> usize {
        self.texts.len() + self.lines.len() * OVERHEAD
    }

    fn move_to(&mut self, block: &mut Block, kind: Kind) {
        if let Some((_, length)) = self.lines.pop_front() {
            let (front, back) = self.texts.as_slices();
            let in_front = length.min(front.len());
            block.text.extend_from_slice(&front[..in_front]);
            block.text.extend_from_slice(&back[..length - in_front]);
            self.texts.drain(..length);
            block.lines[kind as usize] += 1;
        }
    }

    /// Returns the memory of a stall when it is over.
    fn give_back(&mut self) {
        if self.lines.is_empty() && self.texts.capacity() > BLOCK {
            *self = Self::default();
        }
    }
}

impl Block {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.lines = Default::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(queue: &Queue) -> (Vec<String>, Rest) {
        let mut block = Block::default();
        let rest = queue.take(&mut block);
        let text = String::from_utf8(block.text).unwrap();
        (text.lines().map(str::to_owned).collect(), rest)
    }

    #[test]
    fn lines_that_fit_into_a_block_keep_their_order() {
        let queue = Queue::new(Logs::default());
        for (kind, line) in [
            (Kind::Access, "one\n"),
            (Kind::Audit, "two\n"),
            (Kind::Other, "three\n"),
            (Kind::Access, "four\n"),
        ] {
            queue.push(kind, line.as_bytes());
        }
        assert_eq!(
            taken(&queue),
            (["one", "two", "three", "four"].map(str::to_owned).to_vec(), Rest::Little)
        );
    }

    #[test]
    fn a_flood_fills_the_room_of_its_own_kind_and_is_written_last() {
        let queue = Queue::new(Logs::default());
        let line = [[b'x'; 999].as_slice(), b"\n"].concat();
        for kind in [Kind::Access, Kind::Cheap, Kind::Other] {
            (0..2000).for_each(|_| queue.push(kind, &line));
        }
        for number in 0..2000 {
            queue.push(Kind::Audit, format!("{number:999}\n").as_bytes());
        }
        let mut numbers = Vec::new();
        while numbers.len() < 2000 {
            let (lines, rest) = taken(&queue);
            assert_eq!(rest, Rest::Much);
            numbers.extend(lines.iter().map_while(|line| line.trim().parse::<usize>().ok()));
        }
        assert!(numbers.into_iter().eq(0..2000));
        let lost = queue.take_lost();
        assert_eq!(lost.audit + lost.access + lost.other, lost.all());
        assert!(lost.access > 900 && lost.audit > 1400 && lost.other > 1700, "{lost:?}");
        assert_eq!(queue.take_lost().all(), 0);
        queue.close();
        queue.push(Kind::Audit, b"too late\n");
        while taken(&queue).1 != Rest::Closed {}
        let state = queue.lock();
        let kept: usize = state.waiting.iter().map(|waiting| waiting.texts.capacity()).sum();
        assert!(kept <= Kind::ALL.len() * BLOCK, "{kept}");
    }

    #[test]
    fn no_more_bytes_wait_than_there_is_room_for() {
        let queue = Queue::new(Logs::default());
        for kind in Kind::ALL {
            for length in [8000, 200, 1] {
                let line = vec![b'x'; length];
                (0..kind.room() / (length + OVERHEAD)).for_each(|_| queue.push(kind, &line));
            }
            assert!(queue.lock().waiting[kind as usize].bytes() <= kind.room());
        }
    }
}
