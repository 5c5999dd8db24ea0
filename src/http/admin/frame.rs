//! Messages on the socket: a length of four bytes, the highest first, and that many bytes.

use std::io;

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::messages::REQUEST_MAX;

/// What a length is that begins an answer by HTTP, as servers of 0.1.0 give it.
const HTTP: u32 = u32::from_be_bytes(*b"HTTP");

/// Bytes of a length.
const LENGTH: usize = size_of::<u32>();

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("the request is too large")]
    TooLarge,
    #[error("the message is by HTTP")]
    Http,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads a message of up to `max` bytes. Nothing is kept of one that is larger.
pub(super) async fn read(
    from: &mut (impl AsyncRead + Unpin),
    max: usize,
) -> Result<Zeroizing<Vec<u8>>, FrameError> {
    let length = match from.read_u32().await? {
        HTTP => return Err(FrameError::Http),
        length => usize::try_from(length).unwrap_or(usize::MAX),
    };
    if length > max {
        return Err(FrameError::TooLarge);
    }
    // Of this size from the beginning: growing would leave copies of passwords behind.
    let mut bytes = Zeroizing::new(vec![0; length]);
    from.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Writes a message.
pub(super) async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let mut message = Zeroizing::new(Vec::with_capacity(LENGTH + bytes.len()));
    message.extend_from_slice(&[0; LENGTH]);
    message.extend_from_slice(bytes);
    send(to, message).await
}

/// Writes a message as JSON.
pub(super) async fn write_json(
    to: &mut (impl AsyncWrite + Unpin),
    message: &impl Serialize,
) -> io::Result<()> {
    // Passwords fit without growing: see `read`.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH + REQUEST_MAX));
    bytes.extend_from_slice(&[0; LENGTH]);
    serde_json::to_writer(&mut *bytes, message)?;
    send(to, bytes).await
}

/// Writes a message that has room for its length. In one piece: a peer that refuses the length alone would close
/// before the rest, and its answer would be lost behind the error.
async fn send(to: &mut (impl AsyncWrite + Unpin), mut message: Zeroizing<Vec<u8>>) -> io::Result<()> {
    let length = u32::try_from(message.len() - LENGTH).map_err(io::Error::other)?;
    message[..LENGTH].copy_from_slice(&length.to_be_bytes());
    to.write_all(&message).await
}
