//! Usernames: which are valid, and when two are the same.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_general_category::{GeneralCategory, get_general_category};
use unicode_normalization::UnicodeNormalization;
use unicode_script::{Script, ScriptExtension, UnicodeScript};

use super::fold;

/// The most characters in a name. Generous for people, small enough for a record of 4 KiB.
pub const USERNAME_MAX_CHARS: usize = 128;

/// A name that may exist: NFC-normalised, 1 to 128 characters, no control characters.
///
/// Parsing accepts any name that a user may have or type at a login: earlier versions allowed names that
/// [`NewName`] refuses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Username(String);

/// A name for a new user, checked by the rule that it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewName {
    name: Username,
    rule: Usernames,
}

/// When two names are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Usernames {
    /// Names are the same if their folds are: case and invisible characters make no difference.
    #[default]
    Folded,
    /// Names are the same if their NFC texts are, as in the first version; all but control characters are
    /// allowed.
    Exact,
}

impl fmt::Display for Usernames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Folded => "folded",
            Self::Exact => "exact",
        })
    }
}

/// Why a text is no name: a predicate of "the name", for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsernameError {
    /// It has no characters.
    #[error("is empty")]
    Empty,
    /// It has more than [`USERNAME_MAX_CHARS`].
    #[error("has more than {USERNAME_MAX_CHARS} characters")]
    TooLong,
    /// It holds a control character (Unicode class Cc).
    #[error("holds a control character")]
    ControlCharacter,
    /// It begins or ends with white space.
    #[error("begins or ends with white space")]
    OuterSpace,
    /// It holds a character that does not show: default-ignorable, a format or bidi control, or the end of a line.
    #[error("holds a character that cannot be seen")]
    Invisible,
    /// It holds a character that Unicode 16.0 does not know.
    #[error("holds a character that is not in Unicode 16.0")]
    Unassigned,
    /// Its letters are of scripts that no language mixes.
    #[error("mixes letters of scripts that do not go together")]
    MixedScripts,
    /// It consists of dots, as steps within a path do.
    #[error("consists of dots")]
    Dots,
}

impl Username {
    /// A name that was parsed before it was stored.
    pub(crate) fn from_stored(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same for all spellings of this name.
    pub fn fold(&self) -> String {
        fold::fold(&self.0)
    }

    /// Whether `password` is a spelling of this name.
    pub(crate) fn is_like(&self, password: &str) -> bool {
        fold::is_alike(&self.0, password)
    }
}

impl FromStr for Username {
    type Err = UsernameError;

    fn from_str(text: &str) -> Result<Self, UsernameError> {
        let name: String = text.nfc().collect();
        match name.chars().take(USERNAME_MAX_CHARS + 1).count() {
            0 => Err(UsernameError::Empty),
            n if n > USERNAME_MAX_CHARS => Err(UsernameError::TooLong),
            _ if name.chars().any(char::is_control) => Err(UsernameError::ControlCharacter),
            _ => Ok(Self(name)),
        }
    }
}

impl Usernames {
    /// A name for a new user.
    ///
    /// # Errors
    /// [`UsernameError`], the first that applies.
    pub fn new_name(self, text: &str) -> Result<NewName, UsernameError> {
        let name: Username = text.parse()?;
        match self {
            Self::Exact => {}
            Self::Folded => demand_clear(&name)?,
        }
        Ok(NewName { name, rule: self })
    }

    /// The key under which guesses at the password of `name` are counted: another spelling must not buy more
    /// guesses.
    pub fn guessed_name(self, name: &Username) -> String {
        match self {
            Self::Folded => name.fold(),
            Self::Exact => name.as_str().to_owned(),
        }
    }
}

impl NewName {
    /// The rule that decides whether the name is taken.
    pub fn rule(&self) -> Usernames {
        self.rule
    }

    /// The checked name.
    pub fn into_name(self) -> Username {
        self.name
    }
}

impl Deref for NewName {
    type Target = Username;

    fn deref(&self) -> &Username {
        &self.name
    }
}

/// Checked by the default rule.
impl FromStr for NewName {
    type Err = UsernameError;

    fn from_str(text: &str) -> Result<Self, UsernameError> {
        Usernames::default().new_name(text)
    }
}

/// Refuses names that can be mistaken for other names or for none.
fn demand_clear(name: &Username) -> Result<(), UsernameError> {
    let text = name.as_str();
    if text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        return Err(UsernameError::OuterSpace);
    }
    if text.chars().any(fold::is_unassigned) {
        return Err(UsernameError::Unassigned);
    }
    let chars: Vec<_> = text.chars().collect();
    if (0..chars.len()).any(|place| is_invisible(&chars, place)) {
        return Err(UsernameError::Invisible);
    }
    // The fold is checked, because spellings share it: µ may be the Greek letter or the micro sign.
    let folded = name.fold();
    if folded.chars().all(|c| c == '.') {
        return Err(UsernameError::Dots);
    }
    if is_mixed(&folded) { Err(UsernameError::MixedScripts) } else { Ok(()) }
}

/// Whether the character at `place` is invisible. Joiners and variation selectors are visible within emoji;
/// the fold drops them.
fn is_invisible(chars: &[char], place: usize) -> bool {
    let at = |place: Option<usize>| place.and_then(|place| chars.get(place)).copied();
    let (before, after) = (at(place.checked_sub(1)), at(place.checked_add(1)));
    match chars[place] {
        '\u{200d}' => !(before.is_some_and(ends_picture) && after.is_some_and(is_picture)),
        '\u{fe0e}' | '\u{fe0f}' => {
            let keycap = matches!(before, Some('0'..='9' | '#' | '*')) && after == Some('\u{20e3}');
            !(before.is_some_and(is_picture) || keycap)
        }
        c => {
            fold::is_ignorable(c)
                || matches!(
                    get_general_category(c),
                    GeneralCategory::Format
                        | GeneralCategory::LineSeparator
                        | GeneralCategory::ParagraphSeparator
                )
        }
    }
}

/// Whether `c` can begin an emoji element: a symbol, or one of three that Unicode classes as mathematical.
fn is_picture(c: char) -> bool {
    get_general_category(c) == GeneralCategory::OtherSymbol || matches!(c, '↔' | '\u{25fd}' | '\u{25fe}')
}

/// Whether `c` can end an emoji element: also a variation selector or a skin tone.
fn ends_picture(c: char) -> bool {
    is_picture(c) || matches!(c, '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}')
}

/// Whether the letters mix scripts beyond "highly restrictive" (Unicode TS 39, 5.2). Digits, marks,
/// punctuation and symbols go with every script.
fn is_mixed(text: &str) -> bool {
    use Script::{Bopomofo, Han, Hangul, Hiragana, Katakana, Latin};
    const TOGETHER: [&[Script]; 3] =
        [&[Latin, Han, Hiragana, Katakana], &[Latin, Han, Bopomofo], &[Latin, Han, Hangul]];
    let letters: String = text.chars().filter(|&c| is_letter(c)).collect();
    let goes_with = |set: &[Script]| {
        letters.chars().all(|c| set.iter().any(|&script| c.script_extension().contains_script(script)))
    };
    // The intersection of script extensions accounts for letters shared by several scripts or common to all.
    ScriptExtension::for_str(&letters).is_empty() && !TOGETHER.into_iter().any(goes_with)
}

fn is_letter(c: char) -> bool {
    matches!(
        get_general_category(c),
        GeneralCategory::UppercaseLetter
            | GeneralCategory::LowercaseLetter
            | GeneralCategory::TitlecaseLetter
            | GeneralCategory::ModifierLetter
            | GeneralCategory::OtherLetter
            | GeneralCategory::LetterNumber
    )
}

#[cfg(test)]
mod tests;
