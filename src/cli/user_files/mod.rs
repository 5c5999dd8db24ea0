//! Users in files: CSV, JSON lines and arrays of JSON.
//!
//! The content is not trusted. A bad record is reported with the numbers of its lines and keeps no other user out, and
//! memory holds at most [`RECORD_MAX`] of it. In CSV a quoted field may go on in the next line: a user with such a name must
//! not write a line for another.

mod csv;
#[cfg(fuzzing)]
pub mod fuzzing;
mod input;
mod json;

use std::io::{self, BufRead, Read};
use std::path::Path;

use clap::ValueEnum;

use self::csv::{Columns, First, Separator};
use self::input::Input;
use crate::domain::user::{Role, UsernameError};
use crate::password::{HashError, PasswordHash};
use crate::service::Newcomer;
use crate::text::{self, NotText};

/// The most bytes of one record: many times the longest name and the longest hash.
const RECORD_MAX: usize = 64 * 1024;

/// The columns, and what else the password's hash may be called. Those without a header are the first two.
pub(crate) const COLUMNS: [&str; 4] = ["username", "password_hash", "role", "disabled"];
const PASSWORD: &str = "password";

/// How users are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Comma-separated values (RFC 4180), with or without a line of column names
    Csv,
    /// One JSON object a line; an import reads arrays of objects as well
    Jsonl,
}

impl Format {
    /// As the name of a file says.
    pub(crate) fn of_file(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            _ => None,
        }
    }
}

/// An error of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    #[error("longer than {} KiB", RECORD_MAX >> 10)]
    TooLong,
    #[error("{0}")]
    Text(NotText),
    #[error("text follows a closing quote; within quotes, a quote is written twice")]
    AfterQuote,
    #[error("a carriage return in the line: lines end in LF or CR LF")]
    LoneReturn,
    #[error(
        "{expected} columns are expected, {found} found: {}",
        if found < expected {
            format!("the separator is {}, as in the first line", csv::name_of(*separator))
        } else {
            format!("a field that holds {} must stand in quotes", csv::name_of(*separator))
        }
    )]
    Columns { expected: usize, found: usize, separator: u8 },
    #[error("neither a user with a hash nor a header with the columns username and password_hash")]
    NoUser,
    #[error("not a JSON object with the texts username and password_hash")]
    NotJson,
    #[error("the name {0}")]
    Name(UsernameError),
    #[error("there is no hash: this user has no password")]
    NoHash,
    #[error("{0}")]
    Hash(HashError),
    #[error("role: neither user nor admin")]
    Role,
    #[error("disabled: neither true nor false")]
    Disabled,
}

/// Why the rest of a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the input is {0}")]
    Text(NotText),
    /// A header that lacks a column.
    #[error("the first line names columns, but not both username and password_hash (or password)")]
    Header,
    /// Where the quote is.
    #[error("line {0}: a quote is opened that nothing closes; nothing from there on was read")]
    OpenQuote(u64),
    /// Where the object begins.
    #[error("line {0}: an object is opened that nothing closes; nothing from there on was read")]
    OpenObject(u64),
    /// Where the array begins.
    #[error("line {0}: an array is opened that nothing closes: the end of the input may be missing")]
    OpenArray(u64),
}

/// A user or an error, with the numbers of its first and last line.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) line: u64,
    pub(crate) last_line: u64,
    pub(crate) user: Result<Newcomer, Problem>,
}

/// How records are told apart.
enum Form {
    Csv { separator: u8, columns: Option<Columns> },
    JsonLines,
    JsonStream(json::Stream),
}

/// The rows of a file.
pub(crate) struct Rows<R> {
    input: Input<R>,
    form: Form,
}

impl<R: BufRead> Rows<R> {
    /// Begins to read. The first line tells the format where it is not given, and CSV's separator.
    pub(crate) fn read(mut input: R, format: Option<Format>) -> Result<Self, Unreadable> {
        let (mut head, blank) = first_line(&mut input)?;
        let text = head.trim_ascii();
        let guess =
            if text.starts_with(b"{") || text.starts_with(b"[") { Format::Jsonl } else { Format::Csv };
        let mut before = blank;
        let form = match format.unwrap_or(guess) {
            Format::Jsonl if text == b"{" || text.starts_with(b"[") => {
                Form::JsonStream(json::Stream::default())
            }
            Format::Jsonl => Form::JsonLines,
            Format::Csv => {
                let separator = match csv::separator(&head) {
                    Separator::Said(separator) => {
                        before += 1;
                        head.clear();
                        separator
                    }
                    Separator::Shown(separator) => separator,
                    Separator::Unknown => b',',
                };
                Form::Csv { separator, columns: None }
            }
        };
        Ok(Self { input: Input::new(head, input, before), form })
    }

    /// The columns of the header that are not ours.
    pub(crate) fn ignored(&self) -> &[String] {
        match &self.form {
            Form::Csv { columns: Some(columns), .. } => &columns.ignored,
            Form::Csv { columns: None, .. } | Form::JsonLines | Form::JsonStream(_) => &[],
        }
    }

    fn row(&mut self) -> Result<Option<Row>, Unreadable> {
        let row = |(line, last_line), user| Ok(Some(Row { line, last_line, user }));
        let record = match &mut self.form {
            Form::JsonLines => json::line(&mut self.input)?,
            Form::JsonStream(stream) => stream.record(&mut self.input)?,
            Form::Csv { separator, columns } => loop {
                let Some(csv::Record { lines, fields }) = csv::record(&mut self.input, *separator)? else {
                    return Ok(None);
                };
                let fields = match fields {
                    Ok(fields) => fields,
                    Err(problem) => return row(lines, Err(problem)),
                };
                if let Some(columns) = columns {
                    return row(lines, columns.user(&fields, *separator));
                }
                match Columns::of_first(&fields)? {
                    First::Header(header) => *columns = Some(header),
                    First::User => {
                        let user = columns.insert(Columns::default()).user(&fields, *separator);
                        return row(lines, user);
                    }
                    First::Neither => {
                        *columns = Some(Columns::default());
                        return row(lines, Err(Problem::NoUser));
                    }
                }
            },
        };
        match record {
            Some(json::Record { lines, bytes }) => row(lines, bytes.and_then(|bytes| json::user(&bytes))),
            None => Ok(None),
        }
    }
}

impl<R: BufRead> Iterator for Rows<R> {
    type Item = Result<Row, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        self.row().transpose()
    }
}

/// The first line that is not blank, as far as a record may go, and how many blank lines there are before it.
fn first_line(input: &mut impl BufRead) -> Result<(Vec<u8>, u64), Unreadable> {
    let mut blank = 0;
    let mut is_first = true;
    loop {
        let mut line = Vec::new();
        input.take(RECORD_MAX as u64).read_until(b'\n', &mut line)?;
        if std::mem::take(&mut is_first) {
            line = text::unmarked(&line).map_err(Unreadable::Text)?.to_vec();
            if line.iter().take(2).any(|&byte| byte == 0) {
                return Err(Unreadable::Text(NotText::Nul)); // half of the first letter in UTF-16
            }
        }
        if !line.ends_with(b"\n") || !line.trim_ascii().is_empty() {
            return Ok((line, blank));
        }
        blank += 1;
    }
}

/// Without a role and a state, the user has the role `user` and may log in. White space around all fields but the name means
/// nothing; databases write truth in several ways.
fn newcomer(username: &str, password_hash: &str, role: &str, disabled: &str) -> Result<Newcomer, Problem> {
    Ok(Newcomer {
        name: username.parse().map_err(Problem::Name)?,
        hash: match password_hash.trim() {
            "" => return Err(Problem::NoHash),
            hash => PasswordHash::import(hash.to_owned()).map_err(Problem::Hash)?,
        },
        role: match role.trim() {
            "" => Role::User,
            role => role.to_ascii_lowercase().parse().map_err(|_| Problem::Role)?,
        },
        disabled: match &*disabled.trim().to_ascii_lowercase() {
            "" | "0" | "f" | "false" | "n" | "no" | "off" => false,
            "1" | "t" | "true" | "y" | "yes" | "on" => true,
            _ => return Err(Problem::Disabled),
        },
    })
}

#[cfg(test)]
mod tests;
