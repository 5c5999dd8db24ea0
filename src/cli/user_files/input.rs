//! Bytes with the numbers of their lines.

use std::io::{self, BufRead, Chain, Cursor, Read};

/// The bytes that were looked at to tell the format, and the rest.
pub(super) struct Input<R> {
    bytes: Chain<Cursor<Vec<u8>>, R>,
    /// How many lines have ended.
    ended: u64,
}

impl<R: BufRead> Input<R> {
    /// `head`, which has been read from `rest` after `ended` lines, and the rest.
    pub(super) fn new(head: Vec<u8>, rest: R, ended: u64) -> Self {
        Self { bytes: Cursor::new(head).chain(rest), ended }
    }

    /// Gives `take` one byte after the other, with the number of its line, until it answers that it has enough. `false`:
    /// the input ended before.
    pub(super) fn until(&mut self, mut take: impl FnMut(u8, u64) -> bool) -> io::Result<bool> {
        loop {
            let buffer = match self.bytes.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                buffer => buffer?,
            };
            if buffer.is_empty() {
                return Ok(false);
            }
            let mut taken = 0;
            let mut done = false;
            for &byte in buffer {
                taken += 1;
                done = take(byte, self.ended + 1);
                self.ended += u64::from(byte == b'\n');
                if done {
                    break;
                }
            }
            self.bytes.consume(taken);
            if done {
                return Ok(true);
            }
        }
    }
}
