//! `gatelet import`: users of another service, with the hashes of their passwords.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Seek};
use std::path::{Path, PathBuf};

use clap::Args;
use http::Method;
use indicatif::HumanCount;
use serde::{Deserialize, Serialize, Serializer};

use super::console::{Console, not_understood, with_console};
use super::output::{OutputArgs, Table, cell, path_cell};
use super::progress::Progress;
use super::user_files::{Format, Problem, Row, Rows};
use super::{Access, CommandError, finish};
use crate::config::{DataDirArgs, Settings};
use crate::domain::user::{Role, UsernameError, Usernames};
use crate::exit::Exit;
use crate::http::admin::{MOVED_AT_ONCE, import_body};
use crate::password::IMPORTED_MAX;
use crate::service::{Arrival, Newcomer};
use crate::store::Store;

/// How many lines with problems a text lists; JSON lists all.
const LISTED: usize = 20;

/// Add users of another service with the hashes of their passwords.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// File of username, password_hash and, with a line of column names, role and disabled; - is standard input
    file: Option<PathBuf>,
    /// How the file is written [default: by its name or its first character]
    #[arg(long)]
    format: Option<Format>,
    /// Add the users; without it, nothing is changed
    #[arg(long)]
    apply: bool,
    /// Add those too whose role is admin
    #[arg(long)]
    allow_admins: bool,
    /// Where the store is.
    #[command(flatten)]
    data: DataDirArgs,
    /// How to print.
    #[command(flatten)]
    output: OutputArgs,
}

/// Imports; 1 if anybody was refused.
pub fn run(args: &ImportArgs) -> Exit {
    let mut report = Report::new(args.apply);
    let done = import(args, &mut report);
    report.problems.sort_by_key(|problem| problem.line);
    let printed = if report.lines > 0 { args.output.print(&report, ToString::to_string) } else { Ok(()) };
    match done.and(printed) {
        Ok(()) if report.problems.is_empty() => Exit::Stopped,
        Ok(()) => Exit::Other,
        Err(error) => finish(Err(error)),
    }
}

fn import(args: &ImportArgs, report: &mut Report) -> Result<(), CommandError> {
    let settings = Settings::from_environment(&args.data)?;
    let file = args.file.as_deref().filter(|path| *path != Path::new("-"));
    if args.file.is_none() && io::stdin().is_terminal() {
        return Err(CommandError::Input("give a file, or users on standard input".into()));
    }
    let name = file.map_or("standard input".to_owned(), path_cell);
    let unreadable = |error: &dyn fmt::Display| CommandError::Input(format!("{name}: {error}"));
    let (input, lines) = open(file).map_err(|error| unreadable(&error))?;
    let format = args.format.or_else(|| Format::of_file(file?));
    let mut rows = Rows::read(input, format).map_err(|error| unreadable(&error))?;
    let access = if args.apply { Access::Make } else { Access::Look };
    with_console(&settings, access, |console| {
        if io::stderr().is_terminal() {
            // A line of the audit log for each user would bury all else; the report has their number.
            log::set_max_level(log::LevelFilter::Warn.min(log::max_level()));
        }
        let mut progress = Progress::begin("lines", lines);
        report.rule = rule(&settings, console)?;
        let mut names = Names::of(report.rule);
        let mut batch = Vec::with_capacity(MOVED_AT_ONCE);
        let (mut rows_read, mut lines_done) = (0, 0);
        let ended = loop {
            let Row { line, last_line, user } = match rows.next() {
                Some(Ok(row)) => row,
                Some(Err(error)) => break Err(unreadable(&error)),
                None => break Ok(()),
            };
            report.lines = last_line;
            match user {
                Err(problem) => {
                    report.refuse(line, Refused::Problem(problem));
                    report.goes_on_until(last_line);
                }
                Ok(user) if user.role == Role::Admin && !args.allow_admins => {
                    report.refuse(line, Refused::Admin);
                }
                Ok(user) => match names.note(&user, line) {
                    Some(earlier) => report.refuse(line, Refused::Repeated(earlier)),
                    None => batch.push((line, user)),
                },
            }
            rows_read += 1;
            if rows_read % MOVED_AT_ONCE == 0 {
                report.settle(console, &mut batch)?;
                progress.advance(last_line - lines_done);
                lines_done = last_line;
            }
        };
        report.settle(console, &mut batch)?;
        report.ignored_columns = rows.ignored().to_vec();
        if report.lines == 0 { ended.and(Err(unreadable(&"there are no users in the input"))) } else { ended }
    })
}

/// By what rules a server imports.
#[derive(Deserialize)]
struct Rules {
    usernames: Usernames,
}

/// When the server that will be asked takes two names for the same.
fn rule(settings: &Settings, console: &mut Console<'_>) -> Result<Usernames, CommandError> {
    if !Store::is_in(settings.data_dir()) {
        return Ok(settings.usernames); // the server will be ours
    }
    let Rules { usernames } = console.ask(Method::GET, "/import", None)?;
    Ok(usernames)
}

/// The input, and how many lines it has if that can be known.
fn open(file: Option<&Path>) -> io::Result<(Box<dyn BufRead>, Option<u64>)> {
    let Some(path) = file else {
        return Ok((Box::new(BufReader::new(io::stdin())), None));
    };
    let mut file = File::open(path)?;
    let lines = if file.metadata()?.is_file() { Some(count_lines(&mut file)?) } else { None };
    Ok((Box::new(BufReader::new(file)), lines))
}

/// Counts, and goes back to the beginning.
fn count_lines(file: &mut File) -> io::Result<u64> {
    let mut block = vec![0; 64 * 1024];
    let mut lines = 0;
    loop {
        match file.read(&mut block)? {
            0 => break,
            read => lines += block[..read].iter().filter(|&&byte| byte == b'\n').count() as u64,
        }
    }
    file.rewind()?;
    Ok(lines)
}

/// Where each name stands, by its hash: a million names take 35 MB. The chance that two of a million different ones are
/// taken for one is 1 in 37 million; the later is refused then, and another run, with other hashes, adds it.
struct Names {
    rule: Usernames,
    lines: HashMap<u64, u64>,
    hasher: RandomState,
}

impl Names {
    fn of(rule: Usernames) -> Self {
        Self { rule, lines: HashMap::new(), hasher: RandomState::new() }
    }

    /// Remembers the user's name. If it was there before, by the server's rule: in which line.
    fn note(&mut self, user: &Newcomer, line: u64) -> Option<u64> {
        let hash = match self.rule {
            Usernames::Folded => self.hasher.hash_one(user.name.fold()),
            Usernames::Exact => self.hasher.hash_one(user.name.as_str()),
        };
        let earlier = self.lines.insert(hash, line);
        if let Some(earlier) = earlier {
            self.lines.insert(hash, earlier);
        }
        earlier
    }
}

/// Why a line adds nobody.
#[derive(Clone, Copy)]
enum Refused {
    Problem(Problem),
    Admin,
    Repeated(u64),
    Taken,
    Altered,
    TooLarge,
    TooSlow,
    NoName(UsernameError),
    Kept,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problem(problem) => problem.fmt(f),
            Self::Admin => f.write_str("an administrator: --allow-admins adds these too"),
            Self::Repeated(line) => write!(f, "the same name as in line {line}"),
            Self::Taken => f.write_str("a user of that name is there with another hash, and is left alone"),
            Self::Altered => {
                f.write_str("a user of that name is there with another role or state, and is left alone")
            }
            Self::TooLarge => {
                f.write_str("the hash takes more memory to check than this machine has for that")
            }
            Self::TooSlow => write!(
                f,
                "the hash takes this machine more than {} seconds to check, which is too long for a login",
                IMPORTED_MAX.as_secs()
            ),
            Self::NoName(error) => write!(f, "the name {error}"),
            Self::Kept => f.write_str(
                "a deleted user had the name in the last 30 days (`gatelet user free` frees it), or several users have \
                 names like it",
            ),
        }
    }
}

impl Serialize for Refused {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What has become of the users of a batch, in their order.
#[derive(Deserialize)]
struct Arrivals {
    arrivals: Vec<Arrival>,
}

/// A line with its problem.
#[derive(Serialize)]
struct Line {
    line: u64,
    /// Where it goes on in further lines: the last of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_line: Option<u64>,
    problem: Refused,
}

/// What has become of the users; holds no names and no hashes.
#[derive(Serialize)]
struct Report {
    applied: bool,
    added: u64,
    present: u64,
    taken: u64,
    altered: u64,
    refused: u64,
    ignored_columns: Vec<String>,
    problems: Vec<Line>,
    #[serde(skip)]
    lines: u64,
    /// There is no store yet in which anybody could be.
    #[serde(skip)]
    no_store: bool,
    #[serde(skip)]
    rule: Usernames,
}

impl Report {
    fn new(applied: bool) -> Self {
        Self {
            applied,
            added: 0,
            present: 0,
            taken: 0,
            altered: 0,
            refused: 0,
            ignored_columns: Vec::new(),
            problems: Vec::new(),
            lines: 0,
            no_store: false,
            rule: Usernames::default(),
        }
    }

    fn refuse(&mut self, line: u64, problem: Refused) {
        match problem {
            Refused::Taken => self.taken += 1,
            Refused::Altered => self.altered += 1,
            Refused::Problem(_)
            | Refused::Admin
            | Refused::Repeated(_)
            | Refused::TooLarge
            | Refused::TooSlow
            | Refused::NoName(_)
            | Refused::Kept => self.refused += 1,
        }
        self.problems.push(Line { line, last_line: None, problem });
    }

    /// What was refused last goes on in further lines.
    fn goes_on_until(&mut self, last_line: u64) {
        if let Some(problem) = self.problems.last_mut().filter(|problem| problem.line < last_line) {
            problem.last_line = Some(last_line);
        }
    }

    /// Sends a batch and counts what became of it.
    fn settle(
        &mut self,
        console: &mut Console<'_>,
        batch: &mut Vec<(u64, Newcomer)>,
    ) -> Result<(), CommandError> {
        if batch.is_empty() {
            return Ok(());
        }
        let body = import_body(batch.iter().map(|(_, user)| user), self.applied);
        let arrivals: Vec<Arrival> = match console.ask(Method::POST, "/import", Some(&body)) {
            Ok(Arrivals { arrivals }) => arrivals,
            Err(CommandError::NoStore(_)) if !self.applied => {
                self.no_store = true;
                let is_name = |user: &Newcomer| self.rule.new_name(user.name.as_str()).is_ok();
                let arrival = |user| if is_name(user) { Arrival::Added } else { Arrival::NoName };
                batch.iter().map(|(_, user)| arrival(user)).collect()
            }
            Err(error) => return Err(error),
        };
        if arrivals.len() != batch.len() {
            return Err(not_understood());
        }
        for ((line, user), arrival) in batch.drain(..).zip(arrivals) {
            match arrival {
                Arrival::Added => self.added += 1,
                Arrival::Present => self.present += 1,
                Arrival::Taken => self.refuse(line, Refused::Taken),
                Arrival::Altered => self.refuse(line, Refused::Altered),
                Arrival::TooLarge => self.refuse(line, Refused::TooLarge),
                Arrival::TooSlow => self.refuse(line, Refused::TooSlow),
                Arrival::Kept => self.refuse(line, Refused::Kept),
                Arrival::NoName => match Usernames::Folded.new_name(user.name.as_str()) {
                    Err(error) => self.refuse(line, Refused::NoName(error)),
                    Ok(_) => return Err(not_understood()),
                },
            }
        }
        Ok(())
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
            (false, true) => f.write_str(
                "
Nothing has been changed; --apply adds them, to a new store.",
            ),
            (false, false) => f.write_str(
                "
Nothing has been changed; --apply adds them.",
            ),
        }
    }
}
