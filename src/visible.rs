//! Untrusted texts, shown with invisible characters escaped, so that none hides text, moves a cursor or reverses text.

use std::borrow::Cow;
use std::fmt::{self, Write};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// A text from another program, such as the peer on a socket. It displays itself escaped. As JSON it is unchanged;
/// [`json`] makes that fit to be shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Visible(String);

impl Visible {
    /// [`quoted`].
    pub(crate) fn quoted(&self) -> String {
        quoted(&self.0)
    }

    /// [`cell`].
    pub(crate) fn cell(&self) -> String {
        cell(&self.0)
    }
}

impl From<String> for Visible {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for Visible {
    /// As part of a sentence: [`line()`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(line(&self.0).as_deref().unwrap_or(&self.0))
    }
}

impl fmt::Debug for Visible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.quoted())
    }
}

/// Reads a text that another program has sent and that is written to a file as it is. A control character, with which it
/// could speak to a terminal, is an error.
pub(crate) fn uncontrolled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.contains(char::is_control) { Err(D::Error::custom("a control character")) } else { Ok(text) }
}

/// A text in quotes, with invisible characters escaped. `Debug` would escape the vowels of Thai and Hindi as well, and not
/// the characters of [`is_invisible`].
pub(crate) fn quoted(text: &str) -> String {
    let mut shown = String::from('"');
    for character in text.escape_debug().to_string().replace("\\'", "'").chars() {
        if is_invisible(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown.push('"');
    shown
}

/// A line of text with invisible characters escaped; `None` if there are none.
pub(crate) fn line(text: &str) -> Option<String> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return None;
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        // Behind a letter, so that a combining mark is not escaped.
        let escaped = String::from_iter(['a', character]).escape_debug().to_string();
        match &escaped[1..] {
            "\\\\" | "\\\"" | "\\'" => shown.push(character),
            _ if is_invisible(character) => shown.extend(character.escape_unicode()),
            escaped => shown.push_str(escaped),
        }
    }
    Some(shown)
}

/// A text in a column of a table: [`quoted`] if there is something to escape, or spaces that look like a column's.
pub(crate) fn cell(text: &str) -> String {
    let quoted = quoted(text);
    let plain = quoted.len() == text.len() + 2 && text.trim() == text && !text.contains("  ");
    if plain { text.to_owned() } else { quoted }
}

/// Equivalent JSON with invisible characters escaped, combining marks included. They occur in strings only.
pub(crate) fn json(json: &str) -> Cow<'_, str> {
    let hides = |character: char| {
        let is_plain = matches!(character, ' '..='~' | '\n');
        !is_plain && (is_invisible(character) || character.escape_debug().len() > 1)
    };
    if !json.contains(hides) {
        return json.into();
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if hides(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}"); // a String takes everything
            }
        } else {
            shown.push(character);
        }
    }
    shown.into()
}

/// Invisible characters that `escape_debug` does not escape: those that Unicode ignores by default, and the blank of
/// Braille.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2800}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0100}'..='\u{e01ef}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_stays_the_same_json_without_anything_in_it_that_hides() {
        let text = "it's \"quoted\" \\ \r\n\t\u{7f}\u{85}\u{9b}31m \u{202e}\u{2028}\u{feff}\u{e0001}\u{3164}\u{2800} Zo\u{eb} e\u{301} \u{1f600}";
        let plain = serde_json::to_string_pretty(&[text]).unwrap();
        let shown = json(&plain);
        let harmful = |c: char| {
            (c.is_control() && c != '\n') || "\u{202e}\u{2028}\u{feff}\u{e0001}\u{3164}\u{2800}".contains(c)
        };
        assert!(!shown.contains(harmful), "{shown:?}");
        assert!(
            shown.contains("it's") && shown.contains("Zo\u{eb}") && shown.contains('\u{1f600}'),
            "{shown}"
        );
        assert_eq!(serde_json::from_str::<[String; 1]>(&shown).unwrap(), [text]);
    }

    #[test]
    fn a_text_of_another_program_shows_nothing_but_escapes_of_what_cannot_be_seen() {
        for (text, shown) in [
            ("anna said \"it's C:\\new\"", "anna said \"it's C:\\new\""),
            ("\u{1b}[31m\u{9b}31m", r"\u{1b}[31m\u{9b}31m"),
            ("a\nb\r\tc\u{0}", r"a\nb\r\tc\0"),
            ("\u{202e}\u{200b}\u{3164}", r"\u{202e}\u{200b}\u{3164}"),
            ("\\\u{1b}", r"\\u{1b}"),
            ("", ""),
            ("Zo\u{eb} e\u{301} \u{1f600}", "Zo\u{eb} e\u{301} \u{1f600}"),
        ] {
            let visible = Visible::from(text.to_owned());
            assert_eq!(visible.to_string(), shown);
            assert_eq!(serde_json::to_value(&visible).unwrap(), text);
            assert_eq!(format!("{visible:?}"), quoted(text));
        }
        let read = |json: &str| uncontrolled(&mut serde_json::Deserializer::from_str(json));
        assert!(read(r#""anna\u001b""#).is_err());
        assert!(read(r#""anna\u009b""#).is_err());
        assert_eq!(read(r#""ann\u00e4""#).unwrap(), "ann\u{e4}");
    }

    #[test]
    fn quotes_stand_around_what_was_chosen_and_nowhere_in_it() {
        for (text, shown) in [
            ("anna", r#""anna""#),
            ("o'neill", r#""o'neill""#),
            ("ไก่", "\"ไก่\""),
            ("anna\u{3164}", r#""anna\u{3164}""#),
            ("a\"\n\\", r#""a\"\n\\""#),
        ] {
            assert_eq!(quoted(text), shown);
        }
    }
}
