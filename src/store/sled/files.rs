//! sled's files, surveyed before sled opens them.
//!
//! While sled opens, it takes any read error in its log for the torn end that a crash leaves, and overwrites
//! the segment: a transient error destroys the store. So all files are read here first, and every error is
//! reported. That also warms the page cache for sled.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Instant;

use rustix::fs::OFlags;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::store::open_error::OpenError;

/// The file name of sled's log.
pub(super) const LOG: &str = "db";

/// The size of a segment of sled's log, the unit in which it allocates, frees and overwrites.
pub(super) const SEGMENT: usize = 512 << 10;

/// sled's files on disk.
#[derive(Debug)]
pub(super) struct Survey {
    /// All files but the log, by name relative to the store's folder.
    pub(super) files: BTreeMap<String, Sum>,
    /// The segments that were read, in file order.
    pub(super) segments: Vec<Segment>,
    pub(super) log_length: u64,
}

/// A length and a CRC-32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sum {
    pub(super) length: u64,
    pub(super) crc: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Segment {
    /// The offset in the file.
    pub(super) at: u64,
    pub(super) sum: Sum,
    /// Whether sled replays it when it opens, or may have to. It overwrites those that it finds invalid.
    pub(super) is_replayed: bool,
}

/// How much is read.
#[derive(Clone, Copy)]
pub(super) enum ReadScope {
    All,
    /// Only the segments that sled replays, and only until this moment.
    Replayed(Instant),
}

impl Survey {
    /// Reads the files of the store at `store`. Errors name the file.
    pub(super) fn take(store: &Path, extent: ReadScope) -> Result<Self, OpenError> {
        let mut files = BTreeMap::new();
        for name in names(store)? {
            let path = store.join(&name);
            let sum = sum(&path).map_err(OpenError::at(&path))?;
            files.insert(name, sum);
        }
        let replayed_from = replayed_from(&files);
        let log = store.join(LOG);
        let read = segments(&log, replayed_from, extent);
        let (segments, log_length) = read.map_err(OpenError::at(&log))?;
        Ok(Self { files, segments, log_length })
    }

    /// The checksum of everything that sled reads when it opens.
    pub(super) fn checksum(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for (name, sum) in &self.files {
            hasher.update(format!("{name} {} {:08x}\n", sum.length, sum.crc).as_bytes());
        }
        for Segment { at, sum, .. } in self.segments.iter().filter(|segment| segment.is_replayed) {
            hasher.update(format!("{at} {} {:08x}\n", sum.length, sum.crc).as_bytes());
        }
        hasher.update(format!("{}\n", self.log_length).as_bytes());
        hasher.finalize()
    }

    /// The snapshot that sled starts from.
    pub(super) fn snapshot(&self) -> Option<(&str, Sum)> {
        self.files.iter().rev().find(|(name, _)| name.starts_with("snap.")).map(|(name, sum)| (&**name, *sum))
    }
}

/// The names of sled's files except the log. Unfinished snapshots are left out: they are removed unread.
fn names(store: &Path) -> Result<Vec<String>, OpenError> {
    let mut names = Vec::new();
    for (folder, prefix) in [(store.to_owned(), ""), (store.join("blobs"), "blobs/")] {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !prefix.is_empty() => continue,
            entries => entries.map_err(OpenError::at(&folder))?,
        };
        for entry in entries {
            let name = entry.map_err(OpenError::at(&folder))?.file_name();
            let Some(name) = name.to_str() else { continue };
            let is_sleds = name == "conf" || name.starts_with("snap.") || !prefix.is_empty();
            if is_sleds && !name.ends_with(".generating") {
                names.push(format!("{prefix}{name}"));
            }
        }
    }
    Ok(names)
}

/// The log sequence number from which sled replays: that in its snapshot's name, or the start of that
/// segment.
fn replayed_from(files: &BTreeMap<String, Sum>) -> i64 {
    let snapshots = files.iter().filter(|(_, sum)| sum.length > 0);
    let last = snapshots.filter_map(|(name, _)| name.strip_prefix("snap.")).next_back();
    let place = last.and_then(|place| i64::from_str_radix(place, 16).ok()).unwrap_or(0);
    i64::try_from(SEGMENT).map_or(0, |segment| place - place % segment)
}

/// The log's segments and its length.
fn segments(log: &Path, replayed_from: i64, extent: ReadScope) -> io::Result<(Vec<Segment>, u64)> {
    let file = open(log)?;
    let log_length = file.metadata()?.len();
    let mut segments = Vec::new();
    let mut bytes = vec![0; SEGMENT];
    let mut at = 0;
    while at < log_length {
        let length = (log_length - at).min(SEGMENT as u64);
        let mut is_wanted = true;
        if let ReadScope::Replayed(until) = extent {
            if Instant::now() > until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let header = HEADER.min(usize::try_from(length).unwrap_or(HEADER));
            read_exact_at(&file, &mut bytes[..header], at)?;
            is_wanted = is_replayed(&bytes[..header], replayed_from);
        }
        if is_wanted {
            let bytes = &mut bytes[..usize::try_from(length).unwrap_or(SEGMENT)];
            read_exact_at(&file, bytes, at)?;
            let sum = Sum { length, crc: crc32fast::hash(bytes) };
            segments.push(Segment { at, sum, is_replayed: is_replayed(bytes, replayed_from) });
        }
        at += length;
    }
    Ok((segments, log_length))
}

/// Length of a segment's header: a checksum, the log sequence number, and up to where that is stable.
const HEADER: usize = 20;

/// Whether sled replays a segment with this beginning. It skips one with a damaged header, and may overwrite
/// it.
fn is_replayed(segment: &[u8], replayed_from: i64) -> bool {
    let Some((crc, rest)) = segment.get(..HEADER).and_then(|header| header.split_first_chunk::<4>()) else {
        return true;
    };
    let is_free = segment[..HEADER].iter().all(|&byte| byte == 0);
    let is_good = u32::from_le_bytes(*crc) ^ u32::MAX == crc32fast::hash(rest);
    let place = rest.first_chunk().map_or(i64::MAX, |place| i64::from_le_bytes(*place) ^ i64::MAX);
    !is_free && (!is_good || place >= replayed_from)
}

/// Opens a regular file for reading.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let no_wait = OFlags::NONBLOCK.bits().cast_signed(); // does not block on a pipe
    let file = OpenOptions::new().read(true).custom_flags(no_wait).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
}

fn sum(path: &Path) -> io::Result<Sum> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    let mut hasher = crc32fast::Hasher::new();
    let mut piece = vec![0; SEGMENT.min(usize::try_from(length).unwrap_or(SEGMENT))];
    let mut at = 0;
    while at < length {
        let piece = &mut piece[..usize::try_from(length - at).unwrap_or(SEGMENT).min(SEGMENT)];
        read_exact_at(&file, piece, at)?;
        hasher.update(piece);
        at += piece.len() as u64;
    }
    Ok(Sum { length, crc: hasher.finalize() })
}

/// Reads all bytes, across interruptions and short reads. The end of the file is an error.
pub(super) fn read_exact_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    file.read_exact_at(bytes, at).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::new(io::ErrorKind::UnexpectedEof, "it ends early"),
        _ => error,
    })
}

/// A record as a line of text with its checksum.
pub(super) fn to_line(record: &impl Serialize) -> io::Result<Vec<u8>> {
    let text = serde_json::to_string(record)?;
    Ok(format!("{:08x} {text}\n", crc32fast::hash(text.as_bytes())).into_bytes())
}

/// Reads such a line, if there is a valid one.
pub(super) fn from_line<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes?,
    };
    let read = || {
        let (crc, text) = std::str::from_utf8(&bytes).ok()?.strip_suffix('\n')?.split_once(' ')?;
        let is_whole = u32::from_str_radix(crc, 16) == Ok(crc32fast::hash(text.as_bytes()));
        if is_whole { serde_json::from_str(text).ok() } else { None }
    };
    Ok(read())
}

/// Copies a folder recursively. Errors name the file.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), OpenError> {
    let io = OpenError::at;
    DirBuilder::new().mode(0o700).create(to).map_err(io(to))?;
    for entry in fs::read_dir(from).map_err(io(from))? {
        let entry = entry.map_err(io(from))?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if fs::metadata(&from).map_err(io(&from))?.is_dir() {
            copy(&from, &to)?;
            continue;
        }
        let source = open(&from).map_err(io(&from))?;
        let length = source.metadata().map_err(io(&from))?.len();
        let target =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to).map_err(io(&to))?;
        let mut bytes = vec![0; SEGMENT];
        let mut at = 0;
        while at < length {
            let piece = &mut bytes[..usize::try_from(length - at).unwrap_or(SEGMENT).min(SEGMENT)];
            read_exact_at(&source, piece, at).map_err(io(&from))?;
            // Zeros stay a hole, so that copying a sparse file does not fill it.
            if piece.iter().any(|&byte| byte != 0) {
                target.write_all_at(piece, at).map_err(io(&to))?;
            }
            at += piece.len() as u64;
        }
        target.set_len(length).map_err(io(&to))?;
    }
    Ok(())
}
