//! A log line for people: `[time level target] text`.

use std::fmt::Write;

use log::Record;

use super::{cut, now};
use crate::visible;

/// Appends the line, with its line end. Always one line; no character in it moves a cursor or reverses text.
pub(super) fn write(line: &mut String, record: &Record<'_>) {
    let (level, target) = (record.level(), record.target());
    let _ = write!(line, "[{} {level:<5} {target}] {}", now(), record.args()); // a String takes everything
    cut(line);
    if let Some(shown) = visible::line(line) {
        *line = shown;
    }
    line.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> String {
        let mut line = String::new();
        write(&mut line, &Record::builder().args(format_args!("{text}")).target("gatelet").build());
        line.split_once("] ").unwrap().1.to_owned()
    }

    #[test]
    fn a_line_is_one_line_of_what_can_be_seen() {
        assert_eq!(line("a \"plain\" \\ Zo\u{eb} ไก่ text"), "a \"plain\" \\ Zo\u{eb} ไก่ text\n");
        assert_eq!(line("two\nlines"), "two\\nlines\n");
        assert_eq!(line("\u{1b}[2J\u{9b}31m\u{202e}"), "\\u{1b}[2J\\u{9b}31m\\u{202e}\n");
    }

    #[test]
    fn no_line_is_longer_than_any_of_ours() {
        for text in ["x".repeat(1 << 20), "\u{1b}".repeat(1 << 20), "\u{eb}".repeat(1 << 20)] {
            let line = line(&text);
            assert!(line.len() < 64 << 10 && line.ends_with("\u{2026}\n"), "{}", line.len());
        }
    }
}
