//! CSV by RFC 4180, read strictly, and its columns.
//!
//! A quote opens a field only at the field's beginning; elsewhere it is a character. Text behind a closing quote is an error
//! of that record, which ends where it would without the error: no record swallows the next, and one that is too long does
//! not end the file. Memory holds at most [`RECORD_MAX`] of a record.

use std::io::BufRead;

use super::input::Input;
use super::{COLUMNS, PASSWORD, Problem, RECORD_MAX, Unreadable, newcomer};
use crate::password::PasswordHash;
use crate::service::Newcomer;
use crate::text::NotText;

/// What may stand between fields; the first is the usual one.
const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];

/// One record.
pub(super) struct Record {
    /// The numbers of its first and last line.
    pub(super) lines: (u64, u64),
    /// Its fields, or the problem with its form.
    pub(super) fields: Result<Vec<String>, Problem>,
}

/// Where in a field the last byte was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before its first byte.
    Begin,
    /// In one without quotes.
    Plain,
    /// Between quotes.
    Quoted,
    /// Behind a quote that closes it, unless another follows.
    Closed,
}

/// A record that is being read.
struct Reading {
    separator: u8,
    place: Place,
    /// The last byte was a CR outside of quotes.
    after_cr: bool,
    /// The first and last line, and that in which the last quote was opened.
    first: u64,
    last: u64,
    opened: u64,
    /// How many bytes it has, without its end.
    length: usize,
    is_blank: bool,
    fields: Vec<Vec<u8>>,
    field: Vec<u8>,
    problem: Option<Problem>,
}

impl Reading {
    fn new(separator: u8) -> Self {
        Self {
            separator,
            place: Place::Begin,
            after_cr: false,
            first: 0,
            last: 0,
            opened: 0,
            length: 0,
            is_blank: true,
            fields: Vec::new(),
            field: Vec::new(),
            problem: None,
        }
    }

    /// Whether `byte` ends the record.
    fn takes(&mut self, byte: u8, line: u64) -> bool {
        if self.first == 0 {
            self.first = line;
        }
        self.last = line;
        if byte == b'\n' && self.place != Place::Quoted {
            return true;
        }
        self.length += 1;
        self.is_blank &= byte.is_ascii_whitespace();
        if self.length > RECORD_MAX {
            self.is_wrong(Problem::TooLong);
        }
        if std::mem::take(&mut self.after_cr) {
            self.is_wrong(Problem::LoneReturn);
        }
        match (self.place, byte) {
            (Place::Quoted, b'"') => self.place = Place::Closed,
            (Place::Quoted, _) => self.keep(byte),
            (Place::Begin, b'"') => {
                self.place = Place::Quoted;
                self.opened = line;
            }
            (Place::Closed, b'"') => {
                self.place = Place::Quoted;
                self.keep(byte);
            }
            (_, b'\r') => self.after_cr = true,
            (_, byte) if byte == self.separator => {
                self.place = Place::Begin;
                self.end_field();
            }
            (Place::Closed, _) => {
                self.is_wrong(Problem::AfterQuote);
                self.place = Place::Plain;
            }
            (Place::Begin | Place::Plain, _) => {
                self.place = Place::Plain;
                self.keep(byte);
            }
        }
        false
    }

    fn keep(&mut self, byte: u8) {
        if byte == 0 {
            self.is_wrong(Problem::Text(NotText::Nul));
        }
        if self.problem.is_none() {
            self.field.push(byte);
        }
    }

    fn end_field(&mut self) {
        if self.problem.is_none() {
            self.fields.push(std::mem::take(&mut self.field));
        }
    }

    /// Keeps the first problem, and nothing of the record from here on.
    fn is_wrong(&mut self, problem: Problem) {
        if self.problem.is_none() {
            self.problem = Some(problem);
            self.fields = Vec::new();
            self.field = Vec::new();
        }
    }

    fn finish(mut self) -> Record {
        self.end_field();
        let fields = match self.problem {
            Some(problem) => Err(problem),
            None => {
                let fields = self.fields.into_iter().map(String::from_utf8);
                fields.collect::<Result<_, _>>().map_err(|_| Problem::Text(NotText::NotUtf8))
            }
        };
        Record { lines: (self.first, self.last), fields }
    }
}

/// The next record that is not blank.
pub(super) fn record(input: &mut Input<impl BufRead>, separator: u8) -> Result<Option<Record>, Unreadable> {
    loop {
        let mut reading = Reading::new(separator);
        let ended = input.until(|byte, line| reading.takes(byte, line))?;
        if !ended && reading.place == Place::Quoted {
            return Err(Unreadable::OpenQuote(reading.opened));
        }
        if !reading.is_blank {
            return Ok(Some(reading.finish()));
        }
        if !ended {
            return Ok(None);
        }
    }
}

/// The separator that the first line shows: the one that makes it a header or a user. Excel reads and writes `sep=;`.
pub(super) enum Separator {
    /// The line says so, and says nothing else.
    Said(u8),
    Shown(u8),
    Unknown,
}

pub(super) fn separator(line: &[u8]) -> Separator {
    if let [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', said] = line.trim_ascii_end()
        && SEPARATORS.contains(said)
    {
        return Separator::Said(*said);
    }
    if line.trim_ascii() == b"sep=" {
        return Separator::Said(b'\t');
    }
    let shows = |&separator: &u8| {
        let fields = fields_of_line(line, separator);
        fields.is_some_and(|fields| Columns::of_header(&fields).is_some() || is_user(&fields))
    };
    SEPARATORS.into_iter().find(shows).map_or(Separator::Unknown, Separator::Shown)
}

fn fields_of_line(line: &[u8], separator: u8) -> Option<Vec<String>> {
    let mut input = Input::new(Vec::new(), line, 0);
    record(&mut input, separator).ok()??.fields.ok()
}

/// Whether these are a name and a hash.
fn is_user(fields: &[String]) -> bool {
    fields.len() == 2 && is_hash(&fields[1])
}

fn is_hash(text: &str) -> bool {
    PasswordHash::import(text.trim().to_owned()).is_ok()
}

/// Which column of a record holds what.
#[derive(Debug)]
pub(super) struct Columns {
    count: usize,
    username: usize,
    password_hash: usize,
    role: Option<usize>,
    disabled: Option<usize>,
    pub(super) ignored: Vec<String>,
}

/// Without a header.
impl Default for Columns {
    fn default() -> Self {
        Self { count: 2, username: 0, password_hash: 1, role: None, disabled: None, ignored: Vec::new() }
    }
}

impl Columns {
    /// The columns that a header names, if it is one: no hash reads `password_hash`.
    fn of_header(fields: &[String]) -> Option<Self> {
        let find = |name: &str| fields.iter().position(|field| is_named(field, name));
        let [username, password_hash, role, disabled] = COLUMNS.map(find);
        let (username, password_hash) = (username?, password_hash.or_else(|| find(PASSWORD))?);
        let known = [Some(username), Some(password_hash), role, disabled];
        let ignored = fields.iter().enumerate().filter(|(at, _)| !known.contains(&Some(*at)));
        let ignored = ignored.map(|(_, name)| name.clone()).collect();
        Some(Self { count: fields.len(), username, password_hash, role, disabled, ignored })
    }

    /// Decides what the first record is.
    pub(super) fn of_first(fields: &[String]) -> Result<First, Unreadable> {
        if let Some(columns) = Self::of_header(fields) {
            return Ok(First::Header(columns));
        }
        if is_user(fields) {
            return Ok(First::User);
        }
        let names = || COLUMNS.iter().chain([&PASSWORD]);
        if fields.iter().any(|field| names().any(|name| is_named(field, name))) {
            return Err(Unreadable::Header);
        }
        // A record that could be a user but for its form gets the problem with that.
        Ok(if fields.iter().any(|field| field.contains('$')) { First::User } else { First::Neither })
    }

    pub(super) fn user(&self, fields: &[String], separator: u8) -> Result<Newcomer, Problem> {
        if fields.len() != self.count {
            return Err(Problem::Columns { expected: self.count, found: fields.len(), separator });
        }
        let field = |at: Option<usize>| at.and_then(|at| fields.get(at)).map_or("", String::as_str);
        newcomer(
            field(Some(self.username)),
            field(Some(self.password_hash)),
            field(self.role),
            field(self.disabled),
        )
    }
}

/// What the first record is.
pub(super) enum First {
    Header(Columns),
    User,
    /// Perhaps a header in other words, perhaps a user whose password is not hashed.
    Neither,
}

fn is_named(field: &str, name: &str) -> bool {
    field.trim().eq_ignore_ascii_case(name)
}

/// How a separator is called.
pub(super) fn name_of(separator: u8) -> &'static str {
    match separator {
        b';' => "a semicolon",
        b'\t' => "a tab",
        _ => "a comma",
    }
}
