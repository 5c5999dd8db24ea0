//! Text that people wrote to a file or to standard input, in an editor of any system.
//!
//! Windows puts a mark before UTF-8, ends lines in CR LF, and writes UTF-16 where nobody asked for it. A mark is no part of
//! a password or a name; UTF-16 read as UTF-8 would be one that nobody can type.

use std::fmt;
use std::io::{self, Read};

use zeroize::Zeroizing;

/// U+FEFF, which some systems put before UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// What UTF-16 begins with, in either order of bytes.
const UTF_16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Why bytes are no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotText {
    /// They begin as UTF-16 does.
    Utf16,
    /// They hold a NUL.
    Nul,
    /// They are not UTF-8.
    NotUtf8,
}

/// Follows what it is that is no text.
impl fmt::Display for NotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Utf16 => "UTF-16: save it as UTF-8",
            Self::Nul => "no text, because of NUL bytes: if it is UTF-16, save it as UTF-8",
            Self::NotUtf8 => "not UTF-8",
        })
    }
}

/// The text that `bytes` are, without one mark before it.
///
/// # Errors
/// [`NotText`].
pub fn of(bytes: &[u8]) -> Result<&str, NotText> {
    let bytes = unmarked(bytes)?;
    if bytes.contains(&0) {
        return Err(NotText::Nul);
    }
    std::str::from_utf8(bytes).map_err(|_| NotText::NotUtf8)
}

/// `bytes` without one mark before them, for what is read piece by piece.
///
/// # Errors
/// [`NotText::Utf16`].
pub fn unmarked(bytes: &[u8]) -> Result<&[u8], NotText> {
    if UTF_16.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(NotText::Utf16);
    }
    Ok(bytes.strip_prefix(MARK).unwrap_or(bytes))
}

/// `text` without the ends of lines behind it, which a file has and a password has not.
pub fn without_line_end(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}

/// All there is to read, or nothing where that is more than `max` bytes. It may be secret, and leaves no copies.
///
/// # Errors
/// Whatever reading fails with.
pub fn read(source: impl Read, max: usize) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(max + 1)); // which takes memory only where it is written to
    let read = source.take(max as u64 + 1).read_to_end(&mut bytes)?;
    Ok((read <= max).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf_16(text: &str, order: impl Fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(order).collect()
    }

    #[test]
    fn one_mark_before_the_text_goes_and_all_else_stays() {
        for (bytes, text) in [
            ("\u{feff}seven wild horses\r\n", "seven wild horses\r\n"),
            ("\u{feff}\u{feff}a", "\u{feff}a"),
            ("a\u{feff}", "a\u{feff}"),
            ("\u{feff}", ""),
            ("", ""),
            ("Zo\u{eb}", "Zo\u{eb}"),
        ] {
            assert_eq!(of(bytes.as_bytes()), Ok(text));
        }
    }

    #[test]
    fn utf_16_is_refused_with_a_mark_and_without() {
        for (bytes, error) in [
            (utf_16("\u{feff}anna\n", u16::to_le_bytes), NotText::Utf16),
            (utf_16("\u{feff}anna\n", u16::to_be_bytes), NotText::Utf16),
            (utf_16("anna", u16::to_le_bytes), NotText::Nul),
            (utf_16("anna", u16::to_be_bytes), NotText::Nul),
            (utf_16("Ольга\n", u16::to_le_bytes), NotText::Nul),
            (b"\xef\xbb\xbfan\0na".to_vec(), NotText::Nul),
            (b"Zo\xeb".to_vec(), NotText::NotUtf8),
        ] {
            assert_eq!(of(&bytes), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_longer_than_it_may_be_is_not_read_to_its_end() {
        assert_eq!(read(&b"abc"[..], 3).unwrap().unwrap().as_slice(), b"abc");
        assert!(read(&b"abcd"[..], 3).unwrap().is_none());
        assert!(read(io::repeat(b'x'), 1000).unwrap().is_none());
    }
}
