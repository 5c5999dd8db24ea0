//! `gatelet verify`

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::output::{OutputArgs, Table, users};
use super::progress::Waiting;
use super::restore::{OpenBackup, known_keys, signed};
use super::{Access, CommandError, finish, say, with_socket};
use crate::config::{DataDirArgs, Settings, lifetime};
use crate::exit::Exit;
use crate::http::admin::messages::{Checked, Checks, Verify};
use crate::service::Verdict;
use crate::store::time_to_inspect;
use crate::visible::Visible;

/// Check store and keys, or a backup.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Check this backup instead: whether it could be restored
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
    /// Public keys of which one must have signed the backup, as for `gatelet token verify`
    #[arg(long, value_name = "FILE", requires = "backup")]
    keys: Option<PathBuf>,
    /// How long it may take [default: half a minute, and longer for large stores]
    #[arg(long, value_name = "DURATION", value_parser = lifetime)]
    deadline: Option<Duration>,
    /// Where the store is.
    #[command(flatten)]
    data: DataDirArgs,
    /// How to print.
    #[command(flatten)]
    output: OutputArgs,
}

/// Checks, and exits with 0 if all is well, with 1 if there are warnings and nothing worse.
pub fn run(args: &VerifyArgs) -> Exit {
    let checks = match &args.backup {
        Some(path) => check_backup(path, args),
        None => check_store(args),
    };
    match checks.and_then(|checks| args.output.print(&checks, table).map(|()| checks)) {
        Ok(checks) => {
            let count = |verdict| checks.checks.iter().filter(|check| check.verdict == verdict).count();
            match (count(Verdict::Wrong), count(Verdict::Warning)) {
                (0, 0) => Exit::Stopped,
                (0, warnings) => {
                    say(format_args!(
                        "gatelet: nothing is damaged, and {warnings} of the checks warn of something"
                    ));
                    Exit::Other
                }
                (wrong, _) => {
                    say(format_args!("gatelet: {wrong} of the checks found something wrong"));
                    Exit::Damaged
                }
            }
        }
        Err(error) => finish(Err(error)),
    }
}

fn check_store(args: &VerifyArgs) -> Result<Checks, CommandError> {
    let settings = Settings::from_environment(&args.data)?;
    let deadline = args.deadline.unwrap_or_else(|| time_to_inspect(settings.data_dir()));
    let waiting = Waiting::begin("checking");
    let checked = with_socket(&settings, Access::Look, |socket| socket.ask_within(deadline, Verify {}));
    drop(waiting);
    match checked {
        // Opening checks the same things, and stops at the first that is wrong.
        Err(CommandError::Start(error)) if error.exit() == Exit::Damaged => {
            Ok(one("store", Verdict::Wrong, &error))
        }
        checked => checked,
    }
}

fn check_backup(path: &Path, args: &VerifyArgs) -> Result<Checks, CommandError> {
    let known = known_keys(args.keys.as_deref())?;
    match OpenBackup::open(path)?.check(known.as_ref()) {
        Ok(checked) => {
            let header = &checked.header;
            let text = format!("{} of {}, {}", users(header.users), header.created_at, signed(&checked));
            Ok(one("backup", Verdict::Good, &text))
        }
        Err(CommandError::Damaged(why)) => Ok(one("backup", Verdict::Wrong, &why)),
        Err(error) => Err(error),
    }
}

fn one(check: &str, verdict: Verdict, found: &dyn std::fmt::Display) -> Checks {
    let [check, found] = [check.to_owned(), found.to_string()].map(Visible::from);
    Checks { checks: vec![Checked { check, found, verdict }] }
}

fn table(Checks { checks }: &Checks) -> Table {
    let mut table = Table::new(["CHECK", "VERDICT", "FOUND"]);
    for Checked { check, found, verdict } in checks {
        table.row([check.cell(), verdict.to_string(), found.to_string()]);
    }
    table
}
