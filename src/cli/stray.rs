//! Control characters around values: line ends of Windows in a file of variables or in a script leave them.
//!
//! Most values with one would be refused anyway. A path would not, and a directory whose name ends in CR looks like the right
//! one.

use std::ffi::{OsStr, OsString};

use crate::config::ADMIN_PASSWORD;

/// What remains of the end of a line.
const CR: char = '\r';

/// Refuses a value that begins or ends with a control character, and a variable of ours whose name begins with a mark.
/// Names the argument or the variable, and never says a value: it may be secret.
///
/// # Errors
/// The problem and its remedy, in words.
pub(super) fn refuse_strays(
    args: impl Iterator<Item = OsString>,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<(), String> {
    let args: Vec<_> = args.collect();
    for (place, arg) in args.iter().enumerate().skip(1) {
        let flag = args[..=place].iter().rev().take(2).find_map(|arg| flag(arg));
        match (stray(arg), flag) {
            (Some(stray), Some(flag)) => return Err(complaint(&flag, stray, "the script")),
            // A file that is there may have any name, and is named so that it can be got rid of; CR has another cause.
            (Some(CR), None) => return Err(complaint(&format!("argument {place}"), CR, "the script")),
            (Some(_) | None, _) => {}
        }
    }
    for (name, value) in variables {
        let name = name.to_string_lossy();
        let is_ours = |name: &str| name.starts_with("GATELET_") || name == "RUST_LOG";
        if name.strip_prefix('\u{feff}').is_some_and(is_ours) {
            return Err(format!(
                "the variable {} has U+FEFF before its name and sets nothing: save the file that it comes from without \
                 a byte order mark",
                name.trim_start_matches('\u{feff}')
            ));
        }
        // Line ends behind the password are no part of it, in a variable as in a file.
        if is_ours(&name)
            && name != ADMIN_PASSWORD
            && let Some(stray) = stray(&value)
        {
            return Err(complaint(&name, stray, "the file that it comes from"));
        }
    }
    Ok(())
}

/// The name of a flag, without the value that may follow it.
fn flag(arg: &OsStr) -> Option<String> {
    let text = arg.to_string_lossy();
    let name = text.split('=').next().filter(|name| name.starts_with("--"))?;
    Some(name.trim_end_matches(char::is_control).to_owned())
}

/// The control character that `value` begins or ends with.
fn stray(value: &OsStr) -> Option<char> {
    let text = value.to_string_lossy();
    [text.chars().next_back(), text.chars().next()].into_iter().flatten().find(|c| c.is_control())
}

fn complaint(whose: &str, stray: char, source: &str) -> String {
    let cause =
        if stray == CR { format!("; save {source} with line ends of LF, not CR LF") } else { String::new() };
    format!(
        "the value of {whose} begins or ends with the control character U+{:04X}{cause}",
        u32::from(stray)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(args: &[&str], variables: &[(&str, &str)]) -> Result<(), String> {
        let args = ["gatelet"].iter().chain(args).map(OsString::from);
        refuse_strays(args, variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn values_with_control_characters_around_them_are_refused_by_name_and_not_told() {
        for (args, variables, named) in [
            (&[][..], &[("GATELET_DATA_DIR", "v4lue\r")][..], "of GATELET_DATA_DIR"),
            (&[], &[("GATELET_BACKUP_DIR", "\tv4lue")], "of GATELET_BACKUP_DIR"),
            (&[], &[("RUST_LOG", "v4lue\n")], "of RUST_LOG"),
            (&[], &[("\u{feff}GATELET_ISSUER", "v4lue")], "variable GATELET_ISSUER"),
            (&["--data-dir", "v4lue\r"], &[], "of --data-dir"),
            (&["serve", "--data-dir=v4lue\r"], &[], "of --data-dir"),
            (&["export", "v4lue\r"], &[], "of argument 2"),
            (&["user", "list\r"], &[], "of argument 2"),
        ] {
            let error = refused(args, variables).unwrap_err();
            assert!(error.contains(named) && !error.contains("v4lue"), "{error}");
        }
    }

    #[test]
    fn what_is_not_ours_and_what_stands_inside_is_let_be() {
        let variables = [("PS1", "\u{1b}[m"), ("GATELET_ADMIN_PASSWORD", "x\r"), ("GATELET_ISSUER", "a\tb")];
        assert_eq!(refused(&["user", "show", "a\tb", "", "export", "a\u{7}"], &variables), Ok(()));
    }
}
