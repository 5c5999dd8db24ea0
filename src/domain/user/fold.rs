//! The fold of a name: the form that spellings share which people and programs cannot tell apart.
//!
//! NFKC and full Unicode case folding, repeated until stable (Unicode Standard, 3.13, D146 to D147);
//! default-ignorable characters dropped; white space trimmed at both ends and each run inside made one space,
//! as HTML and shells do.
//!
//! The store's index of names is sorted by folds, so a fold must never change. Unicode promises that only for
//! assigned characters. So new names hold none that Unicode 16.0 leaves unassigned, and an older name that
//! does is its own fold. Raising `UNICODE` means a new layout: every store's index has to be rebuilt.

use caseless::Caseless;
use unicode_general_category::{GeneralCategory, get_general_category};
use unicode_normalization::UnicodeNormalization;

/// The version of Unicode that decides assignment and case folding; the crates may know later versions.
#[cfg(test)]
const UNICODE: (u64, u64, u64) = (16, 0, 0);

/// The fold of `text`. Idempotent.
pub(super) fn fold(text: &str) -> String {
    if text.chars().any(is_unassigned) {
        return text.to_owned();
    }
    let mut folded = if text.is_ascii() { text.to_ascii_lowercase() } else { once(text) };
    while !folded.is_ascii() {
        let again = once(&folded);
        if again == folded {
            break;
        }
        folded = again;
    }
    folded.split(char::is_whitespace).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn once(text: &str) -> String {
    text.nfkc().default_case_fold().filter(|&c| !is_ignorable(c)).nfkc().collect()
}

/// Whether two texts are equal under NFKC and case folding. Allocates nothing: one may be a password.
pub(super) fn is_alike(one: &str, other: &str) -> bool {
    one.nfkc().default_case_fold().nfkc().eq(other.nfkc().default_case_fold().nfkc())
}

pub(super) fn is_unassigned(c: char) -> bool {
    !c.is_ascii() && get_general_category(c) == GeneralCategory::Unassigned
}

/// Whether `c` is default-ignorable (DerivedCoreProperties.txt): programs that cannot display it show
/// nothing. The Braille blank shows nothing either.
pub(super) fn is_ignorable(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_data_are_of_the_version_that_stores_are_indexed_by() {
        assert_eq!(caseless::UNICODE_VERSION, UNICODE);
        assert_eq!(unicode_general_category::UNICODE_VERSION, UNICODE);
        let (major, minor, _) = unicode_normalization::UNICODE_VERSION;
        assert!((u64::from(major), u64::from(minor)) >= (UNICODE.0, UNICODE.1));
        assert!(unicode_script::UNICODE_VERSION >= UNICODE);
    }

    #[test]
    fn spellings_of_one_name_have_one_fold() {
        for (fold_of_all, spellings) in [
            (
                "anna",
                &[
                    "anna",
                    "Anna",
                    "ANNA",
                    " anna",
                    "anna\u{a0}",
                    "ａｎｎａ",
                    "an\u{200b}na",
                    "𝐚nna",
                    "an\u{ad}na",
                ][..],
            ),
            ("zoë müller", &["Zoë Müller", "ZOE\u{308} MU\u{308}LLER", "zoë  müller", "Zoë\u{2003}Müller\t"]),
            ("strasse", &["straße", "STRASSE", "STRAẞE", "ſtraße"]),
            ("οδυσσευσ", &["ΟΔΥΣΣΕΥΣ", "Οδυσσευς"]),
            ("k", &["K", "\u{212a}"]),
            ("μ", &["µ", "Μ"]),
            ("fi", &["ﬁ", "FI"]),
            ("...", &["…", "．．．"]),
            ("👩🚀", &["👩\u{200d}🚀", "👩🚀", "👩\u{fe0f}\u{200d}🚀"]),
            ("", &["", " ", "\u{200b}", "\u{3164}"]),
        ] {
            for spelling in spellings {
                assert_eq!(fold(spelling), fold_of_all, "{spelling:?}");
            }
        }
        for (one, other) in [("anna", "аnna"), ("i", "ı"), ("a b", "ab"), ("1", "l"), ("💃🏽", "💃🏿")]
        {
            assert_ne!(fold(one), fold(other), "{one} {other}");
        }
    }

    #[test]
    fn unassigned_characters_are_left_alone() {
        let unassigned = "Anna\u{a7ff0}";
        assert_eq!(fold(unassigned), unassigned);
    }

    proptest! {
        #[test]
        fn a_fold_folds_to_itself_and_is_that_of_every_normal_form(text in "\\PC{0,24}") {
            let folded = fold(&text);
            prop_assert_eq!(fold(&folded), &*folded);
            prop_assume!(!text.chars().any(is_unassigned));
            for form in [text.nfc().collect::<String>(), text.nfd().collect(), text.nfkc().collect(), text.nfkd().collect()] {
                prop_assert_eq!(fold(&form), &*folded);
            }
        }
    }

    #[test]
    fn every_character_has_a_fold_that_is_stable() {
        let assigned = (1..=u32::from(char::MAX))
            .filter_map(char::from_u32)
            .filter(|&c| !is_unassigned(c) && get_general_category(c) != GeneralCategory::PrivateUse);
        for c in assigned {
            let folded = fold(&format!("{c}\u{345}"));
            assert_eq!(fold(&folded), folded, "{c:?}");
            assert!(!folded.contains('\0'), "{c:?}");
        }
    }
}
