//! `gatelet import`: users of another service, with the hashes of their passwords.

mod names;
mod report;

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Seek};
use std::path::{Path, PathBuf};

use clap::Args;

use super::admin_socket::AdminSocket;
use super::output::{OutputArgs, path_cell};
use super::progress::Progress;
use super::user_files::{Format, Row, Rows};
use super::{Access, CommandError, finish, with_socket};
use crate::config::{DataDirArgs, Settings};
use crate::domain::user::{Role, Usernames};
use crate::exit::Exit;
use crate::http::admin::AdminError;
use crate::http::admin::messages::{Import, ImportRule, MOVED_AT_ONCE, MovedUser};
use crate::service::{Arrival, Newcomer};
use crate::store::Store;
use names::Names;
use report::{Reason, Report};

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

/// Imports; 1 if a user was refused.
pub fn run(args: &ImportArgs) -> Exit {
    let mut report = Report { applied: args.apply, ..Report::default() };
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
    with_socket(&settings, access, |socket| {
        if io::stderr().is_terminal() {
            // A line of the audit log for each user would bury all else; the report has their number.
            log::set_max_level(log::LevelFilter::Warn.min(log::max_level()));
        }
        let mut progress = Progress::begin("lines", lines);
        let rule = rule(&settings, socket)?;
        let mut names = Names::of(rule);
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
                    report.refuse(line, Reason::Problem(problem));
                    report.goes_on_until(last_line);
                }
                Ok(user) if user.role == Role::Admin && !args.allow_admins => {
                    report.refuse(line, Reason::Admin);
                }
                Ok(user) => match names.note(&user, line) {
                    Some(earlier) => report.refuse(line, Reason::Repeated(earlier)),
                    None => batch.push((line, user)),
                },
            }
            rows_read += 1;
            if rows_read % MOVED_AT_ONCE == 0 {
                settle(report, &mut batch, rule, socket)?;
                progress.advance(last_line - lines_done);
                lines_done = last_line;
            }
        };
        settle(report, &mut batch, rule, socket)?;
        report.ignored_columns = rows.ignored().to_vec();
        if report.lines == 0 { ended.and(Err(unreadable(&"there are no users in the input"))) } else { ended }
    })
}

/// The rule by which the server that will be asked compares names.
fn rule(settings: &Settings, socket: &mut AdminSocket<'_>) -> Result<Usernames, CommandError> {
    if Store::is_in(settings.data_dir()) {
        socket.ask(ImportRule {})
    } else {
        Ok(settings.usernames) // the server will be ours
    }
}

/// Sends a batch and counts what became of it.
fn settle(
    report: &mut Report,
    batch: &mut Vec<(u64, Newcomer)>,
    rule: Usernames,
    socket: &mut AdminSocket<'_>,
) -> Result<(), CommandError> {
    if batch.is_empty() {
        return Ok(());
    }
    let users = batch
        .iter()
        .map(|(_, user)| MovedUser::new(user.name.as_str(), &user.hash, user.role, user.disabled));
    let arrivals = match socket.ask(Import { apply: report.applied, users: users.collect() }) {
        Err(CommandError::NoStore(_)) if !report.applied => {
            report.no_store = true;
            let is_name = |user: &Newcomer| rule.new_name(user.name.as_str()).is_ok();
            let arrival = |user| if is_name(user) { Arrival::Added } else { Arrival::NoName };
            batch.iter().map(|(_, user)| arrival(user)).collect()
        }
        arrivals => arrivals?,
    };
    if arrivals.len() != batch.len() {
        return Err(AdminError::NotUnderstood.into());
    }
    for ((line, user), arrival) in batch.drain(..).zip(arrivals) {
        match arrival {
            Arrival::Added => report.added += 1,
            Arrival::Present => report.present += 1,
            Arrival::Taken => report.refuse(line, Reason::Taken),
            Arrival::Altered => report.refuse(line, Reason::Altered),
            Arrival::TooLarge => report.refuse(line, Reason::TooLarge),
            Arrival::TooSlow => report.refuse(line, Reason::TooSlow),
            Arrival::Kept => report.refuse(line, Reason::Kept),
            Arrival::NoName => match Usernames::Folded.new_name(user.name.as_str()) {
                Err(error) => report.refuse(line, Reason::NoName(error)),
                Ok(_) => return Err(AdminError::NotUnderstood.into()),
            },
        }
    }
    Ok(())
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
