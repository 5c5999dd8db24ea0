//! `gatelet restore`

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::output::{OutputArgs, path_cell, users};
use super::progress::Progress;
use super::token::read_keys;
use super::{CommandError, finish};
use crate::app::{StartError, lifetimes, store_options};
use crate::backup::{BackupFile, Checked, Flaw, Header, ReadError, RestoreError, Restored, restore};
use crate::config::{DataDirArgs, Settings};
use crate::domain::clock::Clock;
use crate::exit::Exit;
use crate::logging::Logging;
use crate::store::Restoration;
use crate::token::offline::PublicKeys;

/// Restore a backup.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// File to read, or - for standard input
    file: PathBuf,
    /// Public keys of which one must have signed the backup, as for `gatelet token verify`
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Where the store will be.
    #[command(flatten)]
    data: DataDirArgs,
    /// How to print.
    #[command(flatten)]
    output: OutputArgs,
}

/// Restores a backup.
pub fn run(args: &RestoreArgs) -> Exit {
    finish(restore_file(args))
}

fn restore_file(args: &RestoreArgs) -> Result<(), CommandError> {
    let settings = Settings::from_environment(&args.data)?;
    let known = known_keys(args.keys.as_deref())?;
    let dir = settings.data_dir();
    let mut opened = if args.file == Path::new("-") {
        OpenBackup::from_stdin(dir, store_options(&settings).min_free)?
    } else {
        OpenBackup::open(&args.file)?
    };
    let checked = opened.check(known.as_ref())?;
    let logging = Logging::start("warn", &settings.log, settings.log_format)?;
    let into = Restoration::begin(dir, &store_options(&settings))
        .map_err(|error| CommandError::Start(StartError::Store(error)))?;
    let mut progress = Progress::begin("users restored", Some(checked.header.users));
    let now = Clock::system().reading();
    let restored =
        restore(&mut opened.file, known.as_ref(), &checked, into, lifetimes(&settings), now, |_| {
            progress.advance(1);
        });
    drop(progress);
    logging.finish();
    restored.map_err(|error| match error {
        RestoreError::Backup(error) => opened.unreadable(error),
        RestoreError::Store(error) => CommandError::Start(StartError::Store(error)),
        RestoreError::Keys(error) => CommandError::Start(StartError::Keys(error)),
    })?;
    let mut data = described(&checked);
    data["data_dir"] = dir.display().to_string().into();
    data["vouched"] = checked.vouched.into();
    args.output.print(&data, |_| {
        format!(
            "{} restored to {}, as of {}\nThe backup was {}\nThe keys are new: all sessions are over, and services that \
             check tokens have to load the keys again.",
            users(checked.header.users),
            path_cell(dir),
            checked.header.created_at,
            signed(&checked)
        )
    })
}

/// A backup for scripts.
pub(super) fn described(checked: &Checked) -> Value {
    let Header { created_at, users, store, key, .. } = &checked.header;
    json!({ "created_at": created_at, "users": users, "store": store, "kid": key.id })
}

/// The public keys in a file.
pub(super) fn known_keys(path: Option<&Path>) -> Result<Option<PublicKeys>, CommandError> {
    path.map(read_keys).transpose().map_err(|error| CommandError::Input(error.to_string()))
}

/// The key that signed a backup, and whether it is known.
pub(super) fn signed(checked: &Checked) -> String {
    let key = &checked.header.key.id;
    if checked.vouched {
        format!("signed by one of the keys given: {key}")
    } else {
        format!("signed by a key that it brings itself (--keys tells whether that is yours): {key}")
    }
}

/// A backup's file and its name.
pub(super) struct OpenBackup {
    path: PathBuf,
    pub(super) file: BackupFile,
}

impl OpenBackup {
    pub(super) fn open(path: &Path) -> Result<Self, CommandError> {
        let file = BackupFile::open(path)
            .map_err(|error| CommandError::Input(format!("{}: {error}", path_cell(path))))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Keeps standard input in a file in `dir`, the directory to restore into: only there is room for certain.
    fn from_stdin(dir: &Path, min_free: u64) -> Result<Self, CommandError> {
        let path = PathBuf::from("standard input");
        if io::stdin().is_terminal() {
            return Err(CommandError::Input("a backup is nothing to be typed: give a file".into()));
        }
        Restoration::demand_empty(dir).map_err(|error| CommandError::Start(StartError::Store(error)))?;
        match BackupFile::keep(&mut io::stdin().lock(), dir, min_free) {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(CommandError::File(dir.to_owned(), error)),
        }
    }

    /// Reads all of it.
    pub(super) fn check(&mut self, known: Option<&PublicKeys>) -> Result<Checked, CommandError> {
        let mut progress = None;
        let read = self.file.read(known, |total, read| {
            if let Restored::User(..) = read {
                progress.get_or_insert_with(|| Progress::begin("users checked", Some(total))).advance(1);
            }
            Ok(())
        });
        read.map_err(|error| self.unreadable(error))
    }

    fn unreadable(&self, error: ReadError) -> CommandError {
        let path = &self.path;
        match error {
            ReadError::Io(error) => CommandError::File(path.clone(), error),
            ReadError::Flaw(Flaw::UnknownKey(Some(key))) => CommandError::Damaged(format!(
                "{} is whole, but it is signed by {key}, which is not among the keys given: give the public keys of the \
                 time when it was made, or leave --keys out if you know where it comes from",
                path_cell(path)
            )),
            ReadError::Flaw(flaw) => CommandError::Damaged(format!(
                "{} is no good backup: {flaw}: nothing can be restored from it, use another",
                path_cell(path)
            )),
        }
    }
}
