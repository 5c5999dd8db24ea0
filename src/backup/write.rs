//! Writes a backup line by line, in constant memory.

use std::io::{self, Write};
use std::sync::Arc;

use ct_codecs::{Encoder, Hex};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{FORMAT, Header, KeptLine, Signer, Summary, Trailer, UserLine};
use crate::domain::clock::Timestamp;
use crate::store::{Abandon, Shown, Snapshot, SnapshotError};
use crate::token::statement::Subject;
use crate::token::{IssueError, KeyRing};

/// A backup that can be written.
pub struct Backup {
    snapshot: Snapshot,
    keys: Arc<KeyRing>,
    header: Header,
}

/// Why a backup was not written to its end.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The store could not be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// It could not be signed.
    #[error("{0}")]
    Sign(IssueError),
    /// It could not be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Backup {
    /// A backup of `snapshot`, begun at `now`, signed with the active one of `keys`.
    pub fn new(snapshot: Snapshot, keys: Arc<KeyRing>, issuer: &str, now: Timestamp) -> Self {
        let key = keys.signer();
        let header = Header {
            format: FORMAT,
            created_at: now.whole_seconds(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            store: snapshot.store_id(),
            issuer: issuer.to_owned(),
            users: snapshot.users(),
            key: Signer { id: key.id, public_key: key.paserk },
        };
        Self { snapshot, keys, header }
    }

    /// Its first line.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Abandons the backup from elsewhere while it is written.
    pub fn abandoner(&self) -> Abandon {
        self.snapshot.abandoner()
    }

    /// Writes it, uncompressed. Blocks.
    ///
    /// # Errors
    /// [`WriteError`]; the part written so far does not count as a backup.
    pub fn write(self, out: impl Write) -> Result<(), WriteError> {
        let Self { snapshot, keys, header } = self;
        let mut lines = Lines { out, sum: Sha256::new(), line: Vec::with_capacity(1024) };
        lines.write(&header)?;
        let mut users = 0;
        snapshot.read(|shown| {
            match shown {
                Shown::User(user, hash) => {
                    users += 1;
                    lines.write(&UserLine {
                        id: user.id.to_string().into(),
                        username: user.name.as_str().into(),
                        role: user.role,
                        disabled: user.disabled,
                        created_at_millis: user.created_at.unix_millis(),
                        password_hash: hash.as_str().into(),
                    })?;
                }
                Shown::KeptName(name, until) => lines.write(&KeptLine {
                    kept_name: name.as_str().into(),
                    until_millis: until.unix_millis(),
                })?,
            }
            Ok::<_, WriteError>(())
        })?;
        let sha256 = hex(lines.sum.clone());
        let summary = Summary { created_at: header.created_at, users, sha256 };
        let text = serde_json::to_string(&summary).map_err(io::Error::from)?;
        let signature = keys.state(Subject::Backup, &text).map_err(WriteError::Sign)?;
        lines.write(&Trailer { users, sha256: summary.sha256, signature })?;
        Ok(lines.out.flush()?)
    }
}

struct Lines<W> {
    out: W,
    sum: Sha256,
    line: Vec<u8>,
}

impl<W: Write> Lines<W> {
    fn write(&mut self, line: &impl Serialize) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line)?;
        self.line.push(b'\n');
        self.sum.update(&self.line);
        self.out.write_all(&self.line)
    }
}

/// A checksum as it stands in trailers.
pub(super) fn hex(sum: Sha256) -> String {
    Hex::encode_to_string(sum.finalize()).unwrap_or_default() // fails for lengths beyond any memory
}
