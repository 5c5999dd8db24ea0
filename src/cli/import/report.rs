//! What becomes of the users of an import, in words and as JSON.

use std::fmt;

use indicatif::HumanCount;
use serde::{Serialize, Serializer};

use crate::cli::output::{Table, cell};
use crate::cli::user_files::Problem;
use crate::domain::user::UsernameError;
use crate::password::IMPORTED_MAX;

/// How many lines with problems a text lists; JSON lists all.
const LISTED: usize = 20;

/// A line with its problem.
#[derive(Serialize)]
pub(super) struct Line {
    pub(super) line: u64,
    /// The last of its further lines, if it has some.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_line: Option<u64>,
    problem: Reason,
}

/// What becomes of the users; holds no names and no hashes.
#[derive(Default, Serialize)]
pub(super) struct Report {
    pub(super) applied: bool,
    pub(super) added: u64,
    pub(super) present: u64,
    pub(super) taken: u64,
    pub(super) altered: u64,
    pub(super) refused: u64,
    pub(super) ignored_columns: Vec<String>,
    pub(super) problems: Vec<Line>,
    #[serde(skip)]
    pub(super) lines: u64,
    /// There is no store yet.
    #[serde(skip)]
    pub(super) no_store: bool,
}

impl Report {
    /// The line adds no user.
    pub(super) fn refuse(&mut self, line: u64, problem: Reason) {
        match problem {
            Reason::Taken => self.taken += 1,
            Reason::Altered => self.altered += 1,
            Reason::Problem(_)
            | Reason::Admin
            | Reason::Repeated(_)
            | Reason::TooLarge
            | Reason::TooSlow
            | Reason::NoName(_)
            | Reason::Kept => self.refused += 1,
        }
        self.problems.push(Line { line, last_line: None, problem });
    }

    /// The line refused last goes on in further lines.
    pub(super) fn goes_on_until(&mut self, last_line: u64) {
        if let Some(problem) = self.problems.last_mut().filter(|problem| problem.line < last_line) {
            problem.last_line = Some(last_line);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["RESULT", "USERS"]);
        let added = if self.applied { "added" } else { "would be added" };
        for (result, users) in [
            (added, self.added),
            ("there already", self.present),
            ("there with another hash", self.taken),
            ("there with other rights", self.altered),
            ("refused", self.refused),
        ] {
            table.row([result.to_owned(), HumanCount(users).to_string()]);
        }
        write!(f, "{table}")?;
        if !self.ignored_columns.is_empty() {
            let columns: Vec<_> = self.ignored_columns.iter().map(|name| cell(name)).collect();
            write!(f, "\ncolumns that are not looked at: {}", columns.join(", "))?;
        }
        for Line { line, last_line, problem } in self.problems.iter().take(LISTED) {
            match last_line {
                None => write!(f, "\nline {line}: {problem}")?,
                Some(last_line) => write!(f, "\nlines {line} to {last_line}: {problem}")?,
            }
        }
        match self.problems.len().saturating_sub(LISTED) {
            0 => {}
            more => write!(f, "\n… and {} more (--json lists all)", HumanCount(more as u64))?,
        }
        match (self.applied || self.added == 0, self.no_store) {
            (true, _) => Ok(()),
            (false, true) => f.write_str("\nNothing has been changed; --apply adds them, to a new store."),
            (false, false) => f.write_str("\nNothing has been changed; --apply adds them."),
        }
    }
}

/// Why a line adds no user.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Reason {
    #[error(transparent)]
    Problem(Problem),
    #[error("an administrator: --allow-admins adds these too")]
    Admin,
    #[error("the same name as in line {0}")]
    Repeated(u64),
    #[error("a user of that name is there with another hash, and is left alone")]
    Taken,
    #[error("a user of that name is there with another role or state, and is left alone")]
    Altered,
    #[error("the hash takes more memory to check than this machine has for that")]
    TooLarge,
    #[error(
        "the hash takes this machine more than {} seconds to check, which is too long for a login",
        IMPORTED_MAX.as_secs()
    )]
    TooSlow,
    #[error("the name {0}")]
    NoName(UsernameError),
    #[error(
        "a deleted user had the name in the last 30 days (`gatelet user free` frees it), or several users have names like \
         it"
    )]
    Kept,
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
