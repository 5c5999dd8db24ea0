//! Backups as files: compressed, readable by their owner alone, and named only when complete.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use rustix::fs::{Mode, OFlags, fstatvfs};
use rustix::io::Errno;
use uuid::Uuid;

use super::{Checked, Checker, Flaw, LINE_MAX, Restored};
use crate::domain::clock::Timestamp;
use crate::durable_file::Draft;
use crate::store::BALLAST;
use crate::token::offline::PublicKeys;

/// Bytes written between two looks at the free space.
const LOOK_FOR_ROOM: u64 = 1 << 20;

/// Ids and hashes are random: the best compression saves little more than the fastest, and takes several times as long.
fn compression() -> Compression {
    Compression::fast()
}

/// Compresses to `out`.
pub fn compressed<W: Write>(out: W) -> GzEncoder<W> {
    GzEncoder::new(out, compression())
}

/// A file that is being written. It gets its name when it is finished; dropped before, it is removed.
pub struct NewFile(GzEncoder<BufWriter<Roomy>>);

/// A file that leaves `min_free` bytes on its disk.
struct Roomy {
    draft: Draft,
    min_free: u64,
    since_looked: u64,
}

impl Write for Roomy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.since_looked + bytes.len() as u64 > LOOK_FOR_ROOM {
            demand_room(&self.draft.file, self.min_free)?;
            self.since_looked = 0;
        }
        let written = self.draft.file.write(bytes)?;
        self.since_looked += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.draft.file.flush()
    }
}

/// Leaves the store what it needs, even after the writes until the next look, and if it has to make its ballast anew.
fn demand_room(file: &File, min_free: u64) -> io::Result<()> {
    let stat = fstatvfs(file)?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let needed = min_free.saturating_add(BALLAST + LOOK_FOR_ROOM);
    if free < needed {
        let (free, needed) = (free >> 20, needed >> 20);
        let why = format!(
            "{free} MiB are free on its disk, and {needed} MiB must be (--min-free-mib and a reserve)"
        );
        return Err(io::Error::new(io::ErrorKind::StorageFull, why));
    }
    Ok(())
}

impl NewFile {
    /// A file that will be `path`. Writes fail once they would leave less than `min_free` bytes and the store's reserve.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &Path, min_free: u64) -> io::Result<Self> {
        let file = Roomy { draft: Draft::begin(path)?, min_free, since_looked: LOOK_FOR_ROOM };
        Ok(Self(compressed(BufWriter::with_capacity(1 << 16, file))))
    }

    /// Makes the file durable and gives it its name.
    ///
    /// # Errors
    /// When that fails, or a file of that name exists by now, which stays.
    pub fn finish(self) -> io::Result<()> {
        self.whole()?.finish()
    }

    /// Makes the file durable and gives it its name, in place of an existing file.
    ///
    /// # Errors
    /// When that fails; the existing file stays.
    pub fn replace(self) -> io::Result<()> {
        self.whole()?.replace()
    }

    fn whole(self) -> io::Result<Draft> {
        let roomy = self.0.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(roomy.draft)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // only a finished file counts
    }
}

/// Why a backup cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not a good backup.
    #[error(transparent)]
    Flaw(#[from] Flaw),
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A backup that can be read, more than once.
pub struct BackupFile {
    file: File,
}

impl BackupFile {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be read, or is not a regular file: it has to be read twice.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Opening a pipe would wait for its writer.
        let nonblock = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
        }
        Ok(Self { file })
    }

    /// Keeps `input` in an unnamed file in `dir`, which goes with the process. It leaves as much free space as
    /// [`NewFile`].
    ///
    /// # Errors
    /// When it cannot be read or kept.
    pub fn keep(input: &mut impl Read, dir: &Path, min_free: u64) -> io::Result<Self> {
        let mut file = unnamed(dir)?;
        loop {
            demand_room(&file, min_free)?;
            if io::copy(&mut input.by_ref().take(LOOK_FOR_ROOM), &mut file)? == 0 {
                return Ok(Self { file });
            }
        }
    }

    /// Reads and checks all of it, and passes each item, with the number of all users, to `visit`. With `known`, one of
    /// those keys must have signed it.
    ///
    /// # Errors
    /// Those of `visit`, or [`ReadError`]: the visited items are then not to be trusted.
    pub fn read<E: From<ReadError>>(
        &mut self,
        known: Option<&PublicKeys>,
        visit: impl FnMut(u64, Restored) -> Result<(), E>,
    ) -> Result<Checked, E> {
        self.read_by(Checker::new(known), visit)
    }

    /// Reads back what this process has just written, in constant memory.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read_back(&mut self) -> Result<Checked, ReadError> {
        self.read_by(Checker::new(None).without_names(), |_, _| Ok(()))
    }

    fn read_by<E: From<ReadError>>(
        &mut self,
        mut checker: Checker<'_>,
        mut visit: impl FnMut(u64, Restored) -> Result<(), E>,
    ) -> Result<Checked, E> {
        io::Seek::rewind(&mut self.file).map_err(ReadError::Io)?;
        let file = BufReader::with_capacity(1 << 16, &self.file);
        let mut lines = BufReader::with_capacity(1 << 16, GzDecoder::new(file));
        let mut line = Vec::with_capacity(1024);
        while next_line(&mut lines, &mut line)? {
            let read = checker.line(&line).map_err(ReadError::Flaw)?;
            let total = checker.header().map_or(0, |header| header.users);
            if let Some(read) = read {
                visit(total, read)?;
            }
        }
        let mut file = lines.into_inner().into_inner();
        if !file.fill_buf().map_err(ReadError::Io)?.is_empty() {
            return Err(ReadError::Flaw(Flaw::AfterEnd).into());
        }
        Ok(checker.finish().map_err(ReadError::Flaw)?)
    }
}

/// An unnamed file in `dir`, for this process alone.
fn unnamed(dir: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(file.into()),
        // A directory with this name in it counts as empty for a restore.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => unlinked(&dir.join("restoring.new")),
        Err(error) => Err(error.into()),
    }
}

/// Like `unnamed`, for file systems that cannot make unnamed files, such as network shares: it removes the name at once.
/// A killed process may have left `path` behind.
fn unlinked(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    fs::remove_file(path)?;
    Ok(file)
}

/// Reads a line, without its line end. `false`: there is none.
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

/// The name of an automatic backup, in a directory that several stores may share: the beginning of the store's id, and
/// when the backup began, as in `gatelet-3f2a9c1e-20261122T120000Z.jsonl.gz`. Sorts by age, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackupName {
    /// When the backup began.
    pub moment: Timestamp,
    store: u32,
}

impl BackupName {
    /// The name of a backup of `store` that began at `moment`.
    pub fn new(store: Uuid, moment: Timestamp) -> Self {
        Self { moment, store: store.as_fields().0 }
    }

    /// Reads a name; `None` for other files.
    pub fn read(name: &str) -> Option<Self> {
        let (store, moment) = name.strip_prefix("gatelet-")?.strip_suffix("Z.jsonl.gz")?.split_once('-')?;
        if moment.len() != 15 || !moment.is_ascii() {
            return None;
        }
        let [year, month, day] = [&moment[..4], &moment[4..6], &moment[6..8]];
        let [hour, minute, second] = [&moment[9..11], &moment[11..13], &moment[13..15]];
        let moment = format!("\"{year}-{month}-{day}T{hour}:{minute}:{second}Z\"");
        let read =
            Self { moment: serde_json::from_str(&moment).ok()?, store: u32::from_str_radix(store, 16).ok()? };
        (read.to_string() == name).then_some(read)
    }

    /// Whether the backup is of this store.
    pub fn is_of(self, store: Uuid) -> bool {
        self.store == store.as_fields().0
    }
}

impl fmt::Display for BackupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compact: String = self.moment.to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
        write!(f, "gatelet-{:08x}-{compact}.jsonl.gz", self.store)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_without_a_name_can_be_had_of_any_file_system() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("name");
        fs::write(&path, "left over").unwrap();
        for mut file in [unnamed(dir.path()).unwrap(), unlinked(&path).unwrap()] {
            assert_eq!(
                fs::read_dir(dir.path())
                    .unwrap()
                    .filter(|there| there.as_ref().unwrap().path() != path)
                    .count(),
                0
            );
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            file.write_all(b"kept").unwrap();
            io::Seek::rewind(&mut file).unwrap();
            assert_eq!(io::read_to_string(file).unwrap(), "kept");
        }
        assert!(!path.try_exists().unwrap());
    }
}
