//! The lines of a backup on their way to a command. A short queue keeps memory small on both sides.

use std::io::{self, Write};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::frame;
use crate::backup::Backup;

/// Bytes that go out together.
const PART: usize = 64 * 1024;

/// Parts that wait for the reader.
const PARTS: usize = 8;

/// How long a reader may take nothing at all: memory holds the changes since the backup began.
const STALLED: Duration = Duration::from_secs(30);

/// Writes the backup to `out`, and an empty message behind it. What lacks that is not whole.
pub(super) async fn stream(backup: Backup, out: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let (parts, mut reader) = mpsc::channel(PARTS);
    let mut lines = Parts { parts, runtime: Handle::current(), part: Vec::with_capacity(PART) };
    spawn_blocking(move || {
        let written = backup.write(&mut lines).and_then(|()| Ok(lines.flush()?));
        if let Err(error) = written.and_then(|()| Ok(lines.send(Vec::new())?)) {
            log::error!("a backup was broken off: {error}");
        }
    });
    while let Some(part) = reader.recv().await {
        tokio::time::timeout(STALLED, frame::write(out, &part)).await??;
    }
    Ok(())
}

/// The writing end, on a thread that may block.
struct Parts {
    parts: mpsc::Sender<Vec<u8>>,
    runtime: Handle,
    part: Vec<u8>,
}

impl Parts {
    fn send(&self, part: Vec<u8>) -> io::Result<()> {
        let sent = self.runtime.block_on(tokio::time::timeout(STALLED, self.parts.send(part)));
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "its reader has gone")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "its reader takes nothing any more")),
        }
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.extend_from_slice(bytes);
        if self.part.len() >= PART {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.part.is_empty() {
            return Ok(()); // an empty part is the end
        }
        let part = std::mem::replace(&mut self.part, Vec::with_capacity(PART));
        self.send(part)
    }
}
