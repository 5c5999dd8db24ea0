//! A backup, for a command: its lines as they are read, so that nothing piles up on either side.

use std::io::{self, Write};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::poll_fn;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use warp::Reply;

use super::super::{Answer, App};
use crate::audit::Origin;
use crate::service::Console;

/// Bytes that go out together.
const PART: usize = 64 * 1024;

/// Parts that wait for the reader.
const PARTS: usize = 8;

/// How long a reader may take nothing at all. What has changed since the backup began is kept in memory for it.
const STALLED: Duration = Duration::from_secs(30);

/// A part, or the end. Without the end, what came before is not whole.
type Part = Option<Bytes>;

pub(super) async fn stream(origin: Arc<Origin>, app: Arc<App>) -> Answer {
    let backup = app.service.backups.begin(&origin, Console).await?;
    let (parts, mut reader) = mpsc::channel(PARTS);
    let mut out = Parts { parts, runtime: Handle::current(), part: Vec::with_capacity(PART) };
    spawn_blocking(move || {
        let written = backup.write(&mut out).and_then(|()| Ok(out.send(None)?));
        if let Err(error) = written {
            log::error!("a backup was broken off: {error}");
        }
    });
    let body = poll_fn(move |context| match reader.poll_recv(context) {
        Poll::Ready(Some(Some(part))) => Poll::Ready(Some(Ok(part))),
        Poll::Ready(Some(None)) => Poll::Ready(None),
        Poll::Ready(None) => Poll::Ready(Some(Err(io::Error::other("the backup was broken off")))),
        Poll::Pending => Poll::Pending,
    });
    Ok(warp::reply::stream(body).into_response())
}

/// The writing end, on a thread that may block.
struct Parts {
    parts: mpsc::Sender<Part>,
    runtime: Handle,
    part: Vec<u8>,
}

impl Parts {
    fn send(&self, part: Part) -> io::Result<()> {
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
        let part = std::mem::replace(&mut self.part, Vec::with_capacity(PART));
        self.send(Some(part.into()))
    }
}
