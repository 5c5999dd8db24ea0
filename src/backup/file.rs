//! Backups as files: compressed, for their owner alone, and there under their name only when they are whole.

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use rustix::fs::{OFlags, fstatvfs};

use super::{Checked, Checker, Flaw, LINE_MAX};
use crate::clock::Timestamp;
use crate::durable_file;
use crate::password::PasswordHash;
use crate::token::offline::PublicKeys;
use crate::user::User;

/// After so many bytes it is looked again whether there is room left.
const LOOK_FOR_ROOM: u64 = 1 << 20;

/// Ids and hashes are random: the best compression saves little more than the quickest and takes several times as long.
fn compression() -> Compression {
    Compression::fast()
}

/// Compresses to `out`.
pub fn compressed<W: Write>(out: W) -> GzEncoder<W> {
    GzEncoder::new(out, compression())
}

/// A file that is being written, beside its place. Dropped before it is finished, it is removed.
pub struct NewFile {
    path: PathBuf,
    beside: PathBuf,
    out: Option<GzEncoder<BufWriter<Roomy>>>,
}

/// A file that leaves some room on its disk.
struct Roomy {
    file: File,
    min_free: u64,
    since_looked: u64,
}

impl Write for Roomy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.since_looked >= LOOK_FOR_ROOM {
            demand_room(&self.file, self.min_free)?;
            self.since_looked = 0;
        }
        let written = self.file.write(bytes)?;
        self.since_looked += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn demand_room(file: &File, min_free: u64) -> io::Result<()> {
    let stat = fstatvfs(file)?;
    if stat.f_bavail.saturating_mul(stat.f_frsize) < min_free {
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

impl NewFile {
    /// A file that will be `path`, which it replaces if it is there. Nothing is written where less than `min_free` bytes
    /// of the disk would be left: the store may need them.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &Path, min_free: u64) -> io::Result<Self> {
        let beside = path.with_added_extension("new");
        let file = take(&beside)?;
        let file = Roomy { file, min_free, since_looked: LOOK_FOR_ROOM };
        let out = compressed(BufWriter::with_capacity(1 << 16, file));
        Ok(Self { path: path.to_owned(), beside, out: Some(out) })
    }

    /// Makes the file durable and gives it its name.
    ///
    /// # Errors
    /// When that fails; there is no file then, or the one that was there before.
    pub fn finish(mut self) -> io::Result<()> {
        let Some(out) = self.out.take() else {
            return Ok(()); // cannot be: only this takes it
        };
        self.name(out).inspect_err(|_| self.remove())
    }

    fn name(&self, out: GzEncoder<BufWriter<Roomy>>) -> io::Result<()> {
        let roomy = out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        roomy.file.sync_all()?;
        fs::rename(&self.beside, &self.path)?;
        durable_file::sync_dir(durable_file::parent(&self.path))
    }

    fn remove(&self) {
        let _ = fs::remove_file(&self.beside);
    }
}

/// Opens an empty file for ourselves alone, be it new or left over from somebody who was killed. One that another
/// process is writing is not taken from it: it would give its name to what we write. What somebody else has put there,
/// or what is known by another name as well, is not written into.
fn take(path: &Path) -> io::Result<File> {
    let busy = || io::Error::new(io::ErrorKind::ResourceBusy, "another gatelet is writing it");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(busy()),
        // Not every file system knows locks; two at once are rarer still.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != rustix::process::geteuid().as_raw() || found.nlink() != 1 {
        let why = "what lies there with .new behind the name is not ours: remove it";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    // Between the two calls its writer may have finished it: then it is a backup by now.
    if !fs::metadata(path).is_ok_and(|there| file.metadata().is_ok_and(|ours| ours.ino() == there.ino())) {
        return Err(busy());
    }
    file.set_len(0)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.as_mut().map_or(Ok(0), |out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // what is not finished is nothing
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.out.is_some() {
            self.remove();
        }
    }
}

/// Why a backup cannot be read to its end.
#[derive(Debug)]
pub enum ReadError {
    /// It is no good backup.
    Flaw(Flaw),
    /// It cannot be read.
    Io(io::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flaw(flaw) => flaw.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<Flaw> for ReadError {
    fn from(flaw: Flaw) -> Self {
        Self::Flaw(flaw)
    }
}

/// A backup that can be read, more than once.
pub struct BackupFile {
    file: File,
}

impl BackupFile {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be read, or is no file: it has to be read twice.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is no file, and is to be read twice",
            ));
        }
        Ok(Self { file })
    }

    /// Reads it from its beginning to its end, checks all of it, and shows each user, and how many there are in all, to
    /// `visit`. With `known`, one of those keys must have signed it.
    ///
    /// # Errors
    /// Those of `visit`, or [`ReadError`]: what was shown is then not to be used.
    pub fn read<E: From<ReadError>>(
        &mut self,
        known: Option<&PublicKeys>,
        mut visit: impl FnMut(u64, User, PasswordHash) -> Result<(), E>,
    ) -> Result<Checked, E> {
        let begun = io::Seek::rewind(&mut self.file);
        begun.map_err(ReadError::Io)?;
        let file = BufReader::with_capacity(1 << 16, &self.file);
        let mut lines = BufReader::with_capacity(1 << 16, GzDecoder::new(file));
        let mut checker = Checker::new(known);
        let mut line = Vec::with_capacity(1024);
        while next_line(&mut lines, &mut line)? {
            let user = checker.line(&line).map_err(ReadError::Flaw)?;
            let total = checker.header().map_or(0, |header| header.users);
            if let Some((user, hash)) = user {
                visit(total, user, hash)?;
            }
        }
        let mut file = lines.into_inner().into_inner();
        if !file.fill_buf().map_err(ReadError::Io)?.is_empty() {
            return Err(ReadError::Flaw(Flaw::AfterEnd).into());
        }
        Ok(checker.finish().map_err(ReadError::Flaw)?)
    }
}

/// Reads a line, without its end. `false`: there is none.
fn next_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool, ReadError> {
    line.clear();
    let read = lines.take(LINE_MAX as u64).read_until(b'\n', line).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ReadError::Flaw(Flaw::Cut),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => ReadError::Flaw(Flaw::Compression),
        _ => ReadError::Io(error),
    })?;
    match line.pop() {
        Some(b'\n') => Ok(true),
        Some(_) if read == LINE_MAX => Err(ReadError::Flaw(Flaw::NoBackup)), // longer than any line
        Some(_) => Err(ReadError::Flaw(Flaw::Cut)),
        None => Ok(false),
    }
}

/// The name of a copy that was begun at `moment`, in a folder of copies: `gatelet-20261122T120000Z.jsonl.gz`.
pub fn own_name(moment: Timestamp) -> String {
    let compact: String = moment.to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
    format!("gatelet-{compact}.jsonl.gz")
}

/// When a copy of that name was begun; nothing for names that are not of [`own_name`].
pub fn moment_of(name: &str) -> Option<Timestamp> {
    let digits = name.strip_prefix("gatelet-")?.strip_suffix("Z.jsonl.gz")?;
    if digits.len() != 15 || !digits.is_ascii() {
        return None;
    }
    let [year, month, day] = [&digits[..4], &digits[4..6], &digits[6..8]];
    let [hour, minute, second] = [&digits[9..11], &digits[11..13], &digits[13..15]];
    let text = format!("\"{year}-{month}-{day}T{hour}:{minute}:{second}Z\"");
    let moment = serde_json::from_str(&text).ok()?;
    (own_name(moment) == name).then_some(moment)
}
