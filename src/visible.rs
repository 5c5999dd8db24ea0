//! Texts that others chose, written so that nothing in them hides, moves a cursor or turns what stands around it.

use std::borrow::Cow;
use std::fmt::Write;

/// A text in quotes, with everything escaped that cannot be seen. `Debug` would escape the vowels of Thai and Hindi
/// as well, and not what [`is_invisible`] knows.
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

/// A line of text with everything escaped that cannot be seen; nothing where there is no such thing in it.
pub(crate) fn line(text: &str) -> Option<String> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return None;
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        // Behind a letter, so that marks are taken for what they are on one.
        let escaped = String::from_iter(['a', character]).escape_debug().to_string();
        match &escaped[1..] {
            "\\\\" | "\\\"" | "\\'" => shown.push(character),
            _ if is_invisible(character) => shown.extend(character.escape_unicode()),
            escaped => shown.push_str(escaped),
        }
    }
    Some(shown)
}

/// The same JSON, with everything escaped that cannot be seen, marks on letters included: whoever reads it as JSON gets
/// what was there before. Such characters stand in its strings alone.
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

/// Characters that `escape_debug` leaves as they are though they show nothing: those that Unicode ignores by default,
/// and the blank of Braille.
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
