//! `gatelet export`: all users, with the hashes of their passwords, for another service.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::admin_socket::AdminSocket;
use super::output::{demand_file, path_cell, users};
use super::progress::Progress;
use super::user_files::{COLUMNS, Format};
use super::{Access, CommandError, finish, print, with_socket};
use crate::config::{DataDirArgs, Settings};
use crate::durable_file::Draft;
use crate::exit::Exit;
use crate::http::admin::AdminError;
use crate::http::admin::messages::{Export, MovedUser};

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
    with_socket(&settings, Access::Look, |socket| match file {
        None => write_users(socket, format, &mut io::stdout().lock()).map(drop),
        Some(path) => {
            let of_file = |error| CommandError::File(path.to_owned(), error);
            let mut draft = Draft::begin(path).map_err(of_file)?;
            let written = write_users(socket, format, &mut draft.file);
            let count = written.map_err(|error| match error {
                CommandError::System(error) => of_file(error),
                error => error,
            })?;
            draft.replace().map_err(of_file)?;
            print(format!("{} written to {}", users(count), path_cell(path)))
        }
    })
}

/// Writes page by page, and nothing before the first has come. Answers the number of users.
fn write_users(
    socket: &mut AdminSocket<'_>,
    format: Format,
    out: &mut dyn Write,
) -> Result<u64, CommandError> {
    let mut page = socket.ask(Export { after: None })?;
    let mut out = Writer::begin(format, out)?;
    let mut progress = Progress::begin("users", Some(page.total));
    let mut count = 0;
    loop {
        for user in &page.users {
            out.user(user)?;
        }
        let written = page.users.len() as u64;
        count += written;
        progress.advance(written);
        let Some(next) = page.next else {
            break;
        };
        page = socket.ask(Export { after: Some(next) })?;
        // Ids are in order, and only a full page has a next one: otherwise a list might never end.
        if page.next.is_some_and(|after| after <= next || page.users.is_empty()) {
            return Err(AdminError::NotUnderstood.into());
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

    fn user(&mut self, user: &MovedUser) -> io::Result<()> {
        match self {
            Self::Csv(writer) => {
                let MovedUser { disabled, password_hash, role, username } = user;
                let (role, disabled) = (role.to_string(), disabled.to_string());
                Ok(writer.write_record([username, password_hash, &role, &disabled])?)
            }
            Self::Jsonl(writer) => {
                serde_json::to_writer(&mut *writer, user)?;
                writeln!(writer)
            }
        }
    }

    fn end(self) -> io::Result<()> {
        match self {
            Self::Csv(mut writer) => writer.flush(),
            Self::Jsonl(mut writer) => writer.flush(),
        }
    }
}
