//! Which lines are written: `--log`, in the form of `RUST_LOG`.

use std::str::FromStr;

use log::LevelFilter;

/// A filter of log lines. The variable may have been set for other programs: what it says of their targets leaves ours
/// as they would be without it, and what it says of some of ours leaves warnings and errors of the others.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    text: String,
    says: Says,
}

/// What a filter says of our lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Says {
    #[default]
    Nothing,
    /// It has a pair for one of our targets.
    Ours,
    /// It has a level for all targets.
    All,
}

impl Filter {
    /// The whole filter, in the same form, where `base` holds for those who say nothing.
    pub(crate) fn over(&self, base: &str) -> String {
        match self.says {
            Says::Nothing => format!("{base},{}", self.text),
            Says::Ours => format!("warn,{}", self.text),
            Says::All => self.text.clone(),
        }
    }
}

impl FromStr for Filter {
    type Err = String;

    /// A lone word that is neither a level nor a target of ours is a misspelt level, more likely than not.
    fn from_str(text: &str) -> Result<Self, String> {
        env_filter::Builder::new().try_parse(text).map_err(|error| error.to_string())?;
        let mut says = Says::Nothing;
        let directives = text.split('/').next().unwrap_or_default(); // what follows is looked for in the lines
        for directive in directives.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
            match directive.split_once('=') {
                None if directive.parse::<LevelFilter>().is_ok() => says = Says::All,
                None if !is_ours(directive) => {
                    return Err(format!(
                        "{directive} is no level: give off, error, warn, info, debug or trace, and pairs for targets \
                         if you like, as in info,gatelet::access=off"
                    ));
                }
                Some((target, _)) if !is_ours(target) => {}
                None | Some(_) => says = says.max(Says::Ours),
            }
        }
        Ok(Self { text: text.to_owned(), says })
    }
}

/// Whether these lines are written by us, not by a library.
pub(super) fn is_ours(target: &str) -> bool {
    target.split("::").next() == Some("gatelet")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_others_changes_nothing_and_what_is_said_of_some_leaves_warnings_of_the_rest() {
        for (text, whole) in [
            ("", "info,"),
            ("myapp=debug,hyper=trace", "info,myapp=debug,hyper=trace"),
            ("gatelet::audit=info", "warn,gatelet::audit=info"),
            ("gatelet::audit, myapp=debug", "warn,gatelet::audit, myapp=debug"),
            ("error,gatelet::audit=info", "error,gatelet::audit=info"),
            ("gatelet::audit=info,OFF", "gatelet::audit=info,OFF"),
            ("/failed", "info,/failed"),
        ] {
            assert_eq!(text.parse::<Filter>().unwrap().over("info"), whole);
        }
    }

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        for text in ["verbose", "warning", "1", "info,hyper", "gateletd", "gatelet=loud", "a=b=c", "a/b/c"] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
    }
}
