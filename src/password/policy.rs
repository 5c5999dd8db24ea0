//! The rules for new passwords.
//!
//! A minimum length and a blocklist, no composition rules (NIST SP 800-63B-4, 3.1.1.2). They apply when a
//! password is set; a login accepts any text.

use super::Password;
use crate::domain::user::Username;

/// The 3,000 most common passwords of at least eight characters, one a line, in lower-case ASCII (source:
/// `common.md`). Online guessing gets no further than a few thousand, and the list takes 29 KB.
const COMMON: &str = include_str!("common.txt");

/// This program's name, an obvious guess where it runs.
const OWN_NAME: &str = "gatelet";

/// The rules for new passwords, as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The fewest characters.
    pub min_chars: usize,
    /// Whether common passwords, the user's name and our own are refused.
    pub blocklist: bool,
}

/// Why a password cannot be set: a predicate of "the password", for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Fewer characters than [`Policy::min_chars`].
    #[error("has fewer than {min_chars} characters")]
    TooShort {
        /// The minimum.
        min_chars: usize,
    },
    /// More bytes than [`Policy::MAX_BYTES`].
    #[error("has more than {} bytes", Policy::MAX_BYTES)]
    TooLong,
    /// One of the first guesses.
    #[error("is among the most common")]
    TooCommon,
    /// The user's name.
    #[error("is the user's name")]
    TooCloseToName,
}

impl Policy {
    /// The most bytes in a new password: room for any passphrase, and a bound on the work of normalising and
    /// hashing.
    pub const MAX_BYTES: usize = 1024;

    /// Checks `password` for the user `name`, or for no particular user if `name` is `None`.
    ///
    /// # Errors
    /// [`PasswordError`], the first that applies.
    pub fn check(&self, password: &Password, name: Option<&Username>) -> Result<(), PasswordError> {
        let text = password.normal.as_str();
        if text.len() > Self::MAX_BYTES {
            return Err(PasswordError::TooLong);
        }
        if text.chars().count() < self.min_chars {
            return Err(PasswordError::TooShort { min_chars: self.min_chars });
        }
        if !self.blocklist {
            return Ok(());
        }
        if is_common(text) || is_own_name(text) {
            return Err(PasswordError::TooCommon);
        }
        if name.is_some_and(|name| name.is_like(text) || folded(text).eq(folded(name.as_str()))) {
            return Err(PasswordError::TooCloseToName);
        }
        Ok(())
    }
}

/// `text` without case, character by character, so that the password is not copied. Through upper case,
/// because ς and σ share only Σ.
fn folded(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

fn is_common(text: &str) -> bool {
    COMMON.lines().any(|common| folded(text).eq(common.chars()))
}

/// Whether `text` is our name, once or repeated, between characters that are not letters: `Gatelet-2026`,
/// `gateletgatelet`.
fn is_own_name(text: &str) -> bool {
    let core = text.trim_matches(|c: char| !c.is_alphabetic()).as_bytes();
    !core.is_empty() && core.chunks(OWN_NAME.len()).all(|part| part.eq_ignore_ascii_case(OWN_NAME.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use unicode_normalization::is_nfc;
    use zeroize::Zeroizing;

    use super::*;

    const POLICY: Policy = Policy { min_chars: 8, blocklist: true };

    fn check(policy: Policy, password: &str, name: &str) -> Result<(), PasswordError> {
        policy.check(&Password::typed(&Zeroizing::new(password.to_owned())), name.parse().ok().as_ref())
    }

    #[test]
    fn length_rules_count_characters_below_and_bytes_above() {
        let too_short = Err(PasswordError::TooShort { min_chars: 8 });
        for blocklist in [true, false] {
            let policy = Policy { blocklist, ..POLICY };
            assert_eq!(check(policy, "äöüßäöü", "anna"), too_short);
            assert_eq!(check(policy, "äöüßäöüß", "anna"), Ok(()));
            assert_eq!(check(policy, &"x".repeat(1024), "anna"), Ok(()));
            assert_eq!(check(policy, &"ä".repeat(513), "anna"), Err(PasswordError::TooLong));
        }
    }

    #[test]
    fn the_list_holds_3000_passwords_that_would_pass_otherwise_as_they_are_compared() {
        let lines: Vec<_> = COMMON.lines().collect();
        assert_eq!(lines.len(), 3000);
        assert_eq!(lines.iter().collect::<HashSet<_>>().len(), 3000, "each once");
        for line in lines {
            assert!(line.len() >= 8 && line.is_ascii() && is_nfc(line), "{line}");
            assert!(folded(line).eq(line.chars()), "{line}");
            assert_eq!(check(POLICY, line, "anna"), Err(PasswordError::TooCommon), "{line}");
            assert_eq!(check(Policy { blocklist: false, ..POLICY }, line, "anna"), Ok(()), "{line}");
        }
    }

    #[test]
    fn common_passwords_are_refused_in_either_case_and_only_whole() {
        for common in ["password", "PASSWORD1", "Qwerty123", "IloveYou", "12345678"] {
            assert_eq!(check(POLICY, common, "anna"), Err(PasswordError::TooCommon), "{common}");
        }
        for rare in
            ["password correct horse", " password", "assword1x", "password\n12345678", "correct horse"]
        {
            assert_eq!(check(POLICY, rare, "anna"), Ok(()), "{rare}");
        }
    }

    #[test]
    fn the_name_is_refused_as_password_in_either_case_and_normalisation() {
        for (name, password) in [
            ("annabella", "annabella"),
            ("annabella", "AnnaBella"),
            ("Zoe\u{308} Müller", "ZO\u{cb} MU\u{308}LLER"),
            ("ΟΔΥΣΣΕΥΣ", "Οδυσσευς"),
            ("Weißmüller", "WEISSMÜLLER"),
            ("ﬁlipendula", "ＦＩＬＩＰＥＮＤＵＬＡ"),
        ] {
            assert_eq!(check(POLICY, password, name), Err(PasswordError::TooCloseToName), "{password}");
            assert_eq!(check(POLICY, password, "bert"), Ok(()), "{password}");
        }
        assert_eq!(check(POLICY, "annabella's horse", "annabella"), Ok(()));
    }

    #[test]
    fn our_own_name_is_refused_however_it_is_dressed_up() {
        let lax = Policy { min_chars: 1, ..POLICY };
        for password in
            ["gatelet", "gatelet1", "Gatelet-2026", "GateletGatelet", "2026 GATELET!", "…gatelet…"]
        {
            assert_eq!(check(lax, password, "anna"), Err(PasswordError::TooCommon), "{password}");
        }
        for password in ["my gatelet", "gatelets", "gateletgate", "gatele", "2026-11-22", "gatelet è mio"] {
            assert_eq!(check(lax, password, "anna"), Ok(()), "{password}");
        }
    }

    #[test]
    fn without_the_list_length_alone_counts() {
        let policy = Policy { blocklist: false, ..POLICY };
        for password in ["password", "annabella", "gatelet1"] {
            assert_eq!(check(policy, password, "annabella"), Ok(()), "{password}");
        }
    }
}
