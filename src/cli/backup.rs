//! `gatelet backup`

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::output::{OutputArgs, demand_file, path_cell, users};
use super::progress::Progress;
use super::restore::described;
use super::{Access, CommandError, finish, say, with_socket};
use crate::app::min_free;
use crate::backup::{Checked, Checker, Flaw, LINE_MAX, NewFile, compressed};
use crate::config::{DataDirArgs, Settings};
use crate::exit::Exit;

/// Back all users up.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// File to write, or - for standard output
    file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    /// Where the store is.
    #[command(flatten)]
    data: DataDirArgs,
    /// How to print.
    #[command(flatten)]
    output: OutputArgs,
}

/// Writes a backup.
pub fn run(args: &BackupArgs) -> Exit {
    finish(back_up(args))
}

fn back_up(args: &BackupArgs) -> Result<(), CommandError> {
    let settings = Settings::from_environment(&args.data)?;
    let path = args.file.as_path();
    if path == Path::new("-") {
        if io::stdout().is_terminal() {
            return Err(CommandError::Input("a backup is nothing for a terminal: give a file".into()));
        }
        let mut out = compressed(io::stdout().lock());
        let checked = download(&settings, &mut out, path)?;
        out.finish()?.flush()?;
        say(summary(&checked));
        return Ok(());
    }
    demand_file(path)?;
    let taken = || {
        let text =
            format!("{} is there already: give another name, or --force to replace it", path_cell(path));
        CommandError::Input(text)
    };
    if !args.force && path.try_exists().map_err(|error| CommandError::File(path.to_owned(), error))? {
        return Err(taken());
    }
    let file = |error| CommandError::File(path.to_owned(), error);
    let mut out = NewFile::create(path, min_free(&settings)).map_err(file)?;
    let checked = download(&settings, &mut out, path)?;
    if args.force {
        out.replace().map_err(file)?;
    } else {
        out.finish().map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => taken(), // since
            _ => file(error),
        })?;
    }
    let mut data = described(&checked);
    data["file"] = path.display().to_string().into();
    args.output.print(&data, |_| format!("{}: {}", path_cell(path), summary(&checked)))
}

fn summary(checked: &Checked) -> String {
    let header = &checked.header;
    format!("{}, signed by {} at {}", users(header.users), header.key.id, header.created_at)
}

/// Writes the server's backup to `out`, and checks on the way that it could be restored.
fn download(settings: &Settings, out: &mut impl Write, path: &Path) -> Result<Checked, CommandError> {
    let mut lines = Lines { checker: Checker::new(None), rest: Vec::new(), progress: None };
    with_socket(settings, Access::Look, |socket| {
        socket.download(|part| {
            lines.take(part).map_err(damaged)?;
            out.write_all(part).map_err(|error| CommandError::File(path.to_owned(), error))
        })
    })?;
    lines.checker.finish().map_err(damaged)
}

fn damaged(flaw: Flaw) -> CommandError {
    CommandError::Damaged(format!("what the store holds makes no good backup: {flaw}"))
}

/// The lines of a backup that comes in parts.
struct Lines<'a> {
    checker: Checker<'a>,
    /// The beginning of a line.
    rest: Vec<u8>,
    progress: Option<Progress>,
}

impl Lines<'_> {
    fn take(&mut self, part: &[u8]) -> Result<(), Flaw> {
        let before = self.checker.users();
        let mut lines = part.split_inclusive(|&byte| byte == b'\n');
        lines.try_for_each(|line| {
            if self.rest.len() + line.len() > LINE_MAX {
                return Err(Flaw::NoBackup);
            }
            self.rest.extend_from_slice(line);
            if self.rest.pop_if(|last| *last == b'\n').is_some() {
                self.checker.line(&self.rest)?;
                self.rest.clear();
            }
            Ok(())
        })?;
        let total = self.checker.header().map(|header| header.users);
        let progress = self.progress.get_or_insert_with(|| Progress::begin("users", total));
        progress.advance(self.checker.users() - before);
        Ok(())
    }
}
