//! Users as JSON: an object a line, or objects over several lines, in an array or without.

use std::borrow::Cow;
use std::io::BufRead;

use serde::Deserialize;
use serde_json::Value;

use super::input::Input;
use super::{Problem, RECORD_MAX, Unreadable, newcomer};
use crate::service::Newcomer;
use crate::text::NotText;

/// A record, which may be a user: its bytes or the problem with its form, and its first and last line.
pub(super) struct Record {
    pub(super) lines: (u64, u64),
    pub(super) bytes: Result<Vec<u8>, Problem>,
}

/// A record that is being read.
#[derive(Default)]
struct Reading {
    first: u64,
    last: u64,
    bytes: Vec<u8>,
    problem: Option<Problem>,
}

impl Reading {
    fn keep(&mut self, byte: u8, line: u64) {
        if self.first == 0 {
            self.first = line;
        }
        self.last = line;
        if self.bytes.len() == RECORD_MAX {
            self.is_wrong(Problem::TooLong);
        }
        if self.problem.is_none() {
            self.bytes.push(byte);
        }
    }

    fn is_wrong(&mut self, problem: Problem) {
        self.problem.get_or_insert(problem);
        self.bytes = Vec::new();
    }

    fn has_begun(&self) -> bool {
        self.first > 0
    }

    fn finish(self) -> Record {
        Record { lines: (self.first, self.last), bytes: self.problem.map_or(Ok(self.bytes), Err) }
    }
}

/// The next line that is not blank.
pub(super) fn line(input: &mut Input<impl BufRead>) -> Result<Option<Record>, Unreadable> {
    loop {
        let mut reading = Reading::default();
        let mut is_blank = true;
        let ended = input.until(|byte, line| {
            is_blank &= byte.is_ascii_whitespace();
            if byte != b'\n' {
                reading.keep(byte, line);
            }
            byte == b'\n'
        })?;
        if !is_blank {
            return Ok(Some(reading.finish()));
        }
        if !ended {
            return Ok(None);
        }
    }
}

/// Arrays in arrays that are counted: one is usual.
const ARRAYS_MAX: usize = 8;

/// Where in a stream of objects its reader is, from one to the next.
#[derive(Default)]
pub(super) struct Stream {
    /// The brace that opens the next object has been read, in the line of this number.
    opened: Option<u64>,
    /// The lines in which the open arrays begin.
    arrays: Vec<u64>,
}

/// Where in an object the reader is.
struct Object {
    /// How many braces and brackets are open.
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The last byte outside of strings and white space.
    last: u8,
}

impl Stream {
    /// The next object, or the next line of anything else. A broken object ends where the next begins: at a brace that it
    /// cannot have itself, or at the end of a line within a string.
    pub(super) fn record(&mut self, input: &mut Input<impl BufRead>) -> Result<Option<Record>, Unreadable> {
        let mut reading = Reading::default();
        let mut object = self.opened.take().map(|line| {
            reading.keep(b'{', line);
            Object::begin()
        });
        let mut opened = None;
        let arrays = &mut self.arrays;
        let ended = input.until(|byte, line| match &mut object {
            Some(object) => {
                if object.cannot_hold(byte) {
                    reading.is_wrong(Problem::NotJson);
                    opened = (byte == b'{').then_some(line);
                    return true;
                }
                reading.keep(byte, line);
                object.takes(byte)
            }
            None if reading.has_begun() => {
                if byte != b'\n' {
                    reading.keep(byte, line);
                }
                byte == b'\n'
            }
            None if byte == b'{' => {
                reading.keep(byte, line);
                object = Some(Object::begin());
                false
            }
            // Between objects.
            None if byte == b'[' => {
                if arrays.len() < ARRAYS_MAX {
                    arrays.push(line);
                }
                false
            }
            None if byte == b']' => {
                arrays.pop();
                false
            }
            None if byte.is_ascii_whitespace() || byte == b',' => false,
            None => {
                reading.keep(byte, line);
                reading.is_wrong(Problem::NotJson);
                false
            }
        })?;
        self.opened = opened;
        if !ended && object.is_some() {
            return Err(Unreadable::OpenObject(reading.first));
        }
        if !ended
            && !reading.has_begun()
            && let Some(line) = self.arrays.first()
        {
            return Err(Unreadable::OpenArray(*line));
        }
        Ok(reading.has_begun().then(|| reading.finish()))
    }
}

impl Object {
    fn begin() -> Self {
        Self { depth: 1, in_string: false, escaped: false, last: b'{' }
    }

    fn cannot_hold(&self, byte: u8) -> bool {
        if self.in_string { byte == b'\n' } else { byte == b'{' && self.depth == 1 && self.last != b':' }
    }

    /// Whether `byte` ends it.
    fn takes(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            self.last = byte;
        }
        self.depth == 0
    }
}

/// A user as JSON; other members are ignored.
#[derive(Deserialize)]
struct JsonUser<'a> {
    #[serde(borrow)]
    username: Cow<'a, str>,
    #[serde(borrow, alias = "password")]
    password_hash: Cow<'a, str>,
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    disabled: Option<Value>,
}

pub(super) fn user(bytes: &[u8]) -> Result<Newcomer, Problem> {
    if bytes.contains(&0) {
        return Err(Problem::Text(NotText::Nul));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Problem::Text(NotText::NotUtf8))?;
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Problem::NotJson); // a list would be read by position
    }
    let user: JsonUser<'_> = serde_json::from_str(text).map_err(|_| Problem::NotJson)?;
    let disabled = match user.disabled {
        None | Some(Value::Null) => Cow::Borrowed(""),
        Some(Value::String(text)) => text.into(),
        Some(other) => other.to_string().into(),
    };
    newcomer(&user.username, &user.password_hash, user.role.as_deref().unwrap_or_default(), &disabled)
}
