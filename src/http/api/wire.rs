//! What clients are told of names and passwords that are refused. The contract fixes these sentences.

use crate::domain::user::{USERNAME_MAX_CHARS, UsernameError};
use crate::password::{PasswordError, Policy};

/// The sentence for a name that cannot be taken.
pub(crate) fn name_refused(error: UsernameError) -> String {
    match error {
        UsernameError::Empty => too_short(1),
        UsernameError::TooLong => too_long(USERNAME_MAX_CHARS),
        UsernameError::ControlCharacter => "Not a valid string.".to_owned(),
        UsernameError::OuterSpace
        | UsernameError::Invisible
        | UsernameError::Unassigned
        | UsernameError::MixedScripts
        | UsernameError::Dots => "Invalid value.".to_owned(),
    }
}

/// The sentence for a password that cannot be set.
pub(crate) fn password_refused(error: PasswordError) -> String {
    match error {
        PasswordError::TooShort { min_chars } => too_short(min_chars),
        PasswordError::TooLong => too_long(Policy::MAX_BYTES),
        PasswordError::TooCommon => "This password is too common.".to_owned(),
        PasswordError::TooCloseToName => "This password is too close to the username.".to_owned(),
    }
}

fn too_short(min: usize) -> String {
    format!("Shorter than minimum length {min}.")
}

fn too_long(max: usize) -> String {
    format!("Longer than maximum length {max}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_are_those_that_clients_know() {
        for (error, text) in [
            (PasswordError::TooShort { min_chars: 12 }, "Shorter than minimum length 12."),
            (PasswordError::TooLong, "Longer than maximum length 1024."),
            (PasswordError::TooCommon, "This password is too common."),
            (PasswordError::TooCloseToName, "This password is too close to the username."),
        ] {
            assert_eq!(password_refused(error), text);
        }
        for (error, text) in [
            (UsernameError::Empty, "Shorter than minimum length 1."),
            (UsernameError::TooLong, "Longer than maximum length 128."),
            (UsernameError::ControlCharacter, "Not a valid string."),
            (UsernameError::OuterSpace, "Invalid value."),
            (UsernameError::Invisible, "Invalid value."),
            (UsernameError::Unassigned, "Invalid value."),
            (UsernameError::MixedScripts, "Invalid value."),
            (UsernameError::Dots, "Invalid value."),
        ] {
            assert_eq!(name_refused(error), text);
        }
    }
}
