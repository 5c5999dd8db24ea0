//! Text from files and standard input, as editors of any system write it.
//!
//! Windows puts a mark before UTF-8, ends lines in CR LF, and defaults to UTF-16 in places. The mark is not part of a
//! password or a name. UTF-16 read as UTF-8 would be a password that cannot be typed.

use std::io::{self, Read};

use zeroize::Zeroizing;

/// U+FEFF, which some systems put before UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// The byte order marks of UTF-16.
const UTF_16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Why bytes are no text. The messages continue "… is".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotText {
    /// They begin as UTF-16 does.
    #[error("UTF-16: save it as UTF-8")]
    Utf16,
    /// They hold a NUL.
    #[error("no text, because of NUL bytes: if it is UTF-16, save it as UTF-8")]
    Nul,
    /// They are not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
}

/// `bytes` as text, without one leading mark.
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

/// `bytes` without one leading mark, for input that is read in pieces.
///
/// # Errors
/// [`NotText::Utf16`].
pub fn unmarked(bytes: &[u8]) -> Result<&[u8], NotText> {
    if UTF_16.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(NotText::Utf16);
    }
    Ok(bytes.strip_prefix(MARK).unwrap_or(bytes))
}

/// `text` without trailing line ends, which belong to the file and not to the password.
pub fn without_line_end(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}

/// All of `source`, or `None` if that is more than `max` bytes. Leaves no copies in memory: it may be secret.
///
/// # Errors
/// Those of reading.
pub fn read(source: impl Read, max: usize) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(max + 1)); // reserved, not touched
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
