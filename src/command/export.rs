//! `gatelet export`: all users, with the hashes of their passwords, for another service.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use http::Method;
use serde_json::Value;

use super::console::{Console, with_console};
use super::output::{demand_file, path_cell, users};
use super::progress::Progress;
use super::user_files::{COLUMNS, Format};
use super::{CommandError, WhereNone, finish, print};
use crate::durable_file::Draft;
use crate::exit::Exit;
use crate::settings::{DataDirArgs, Settings};

/// Write all users with the hashes of their passwords.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// File to write; - is standard output
    file: Option<PathBuf>,
    /// How to write [default: by the file's name, or CSV]
    #[arg(long)]
    format: Option<Format>,
    /// Where the store is.
    #[command(flatten)]
    data: DataDirArgs,
}

/// Exports.
pub fn run(args: &ExportArgs) -> Exit {
    finish(export(args))
}

fn export(args: &ExportArgs) -> Result<(), CommandError> {
    let settings = Settings::from_environment(&args.data)?;
    let file = args.file.as_deref();
    let format = args.format.or_else(|| Format::of_file(file?)).unwrap_or(Format::Csv);
    if file.is_none() && io::stdout().is_terminal() {
        let why = "password hashes are not for a terminal: give a file, or - if you mean it";
        return Err(CommandError::Input(why.into()));
    }
    let file = file.filter(|path| *path != Path::new("-"));
    file.map_or(Ok(()), demand_file)?;
    with_console(&settings, WhereNone::Refuse, |console| match file {
        None => write_users(console, format, &mut io::stdout().lock()).map(drop),
        Some(path) => {
            let of_file = |error| CommandError::File(path.to_owned(), error);
            let mut draft = Draft::begin(path).map_err(of_file)?;
            let written = write_users(console, format, &mut draft.file);
            let count = written.map_err(|error| match error {
                CommandError::System(error) => of_file(error),
                error => error,
            })?;
            draft.replace().map_err(of_file)?;
            print(format!("{} written to {}", users(count), path_cell(path)))
        }
    })
}

/// Writes page by page, and nothing before there is a first one. Answers how many users there were.
fn write_users(console: &mut Console<'_>, format: Format, out: &mut dyn Write) -> Result<u64, CommandError> {
    let mut page = console.ask(Method::GET, "/export", None)?;
    let mut out = Writer::begin(format, out)?;
    let mut progress = Progress::begin("users", page["total"].as_u64());
    let mut count = 0;
    loop {
        let users = page["users"].as_array().map_or(&[][..], Vec::as_slice);
        for user in users {
            out.user(user)?;
        }
        count += users.len() as u64;
        progress.advance(users.len() as u64);
        match page["next"].as_str() {
            Some(next) => page = console.ask(Method::GET, &format!("/export?after={next}"), None)?,
            None => break,
        }
    }
    out.end()?;
    Ok(count)
}

/// Where users are written to, in their order.
enum Writer<'a> {
    Csv(Box<csv::Writer<&'a mut dyn Write>>),
    Jsonl(BufWriter<&'a mut dyn Write>),
}

impl<'a> Writer<'a> {
    fn begin(format: Format, out: &'a mut dyn Write) -> io::Result<Self> {
        match format {
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(out);
                writer.write_record(COLUMNS)?;
                Ok(Self::Csv(Box::new(writer)))
            }
            Format::Jsonl => Ok(Self::Jsonl(BufWriter::new(out))),
        }
    }

    fn user(&mut self, user: &Value) -> io::Result<()> {
        match self {
            Self::Csv(writer) => {
                let field = |name: &str| match &user[name] {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                Ok(writer.write_record(COLUMNS.map(field))?)
            }
            Self::Jsonl(writer) => writeln!(writer, "{user}"),
        }
    }

    fn end(self) -> io::Result<()> {
        match self {
            Self::Csv(mut writer) => writer.flush(),
            Self::Jsonl(mut writer) => writer.flush(),
        }
    }
}
