//! Users in files, for `fuzz/`.

use std::io::BufReader;

use super::{Format, Row, Rows};
use crate::service::Newcomer;

/// The number of a record's first line and of its last, and the user or what is wrong.
pub type Line = (u64, u64, Result<Newcomer, String>);

/// All rows of a file that arrives in pieces of `piece` bytes, and why the rest cannot be read, if so.
pub fn rows(file: &[u8], format: Option<Format>, piece: usize) -> (Vec<Line>, Option<String>) {
    let mut lines = Vec::new();
    let rows = match Rows::read(BufReader::with_capacity(piece, file), format) {
        Ok(rows) => rows,
        Err(error) => return (lines, Some(error.to_string())),
    };
    for row in rows {
        match row {
            Ok(Row { line, last_line, user }) => {
                lines.push((line, last_line, user.map_err(|problem| problem.to_string())));
            }
            Err(error) => return (lines, Some(error.to_string())),
        }
    }
    (lines, None)
}
