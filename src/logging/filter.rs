//! Which lines are written: `--log`, in the form of `RUST_LOG`.

use std::str::FromStr;

use log::LevelFilter;

/// A filter of log lines. `RUST_LOG` may be meant for other programs: pairs for their targets leave ours at the default,
/// and pairs for some of our targets leave the others at warnings and errors.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    text: String,
    says: Says,
}

/// What a filter sets for our targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Says {
    #[default]
    Nothing,
    /// It has a pair for one of them.
    Ours,
    /// It has a level for all.
    All,
}

impl Filter {
    /// The whole filter, in the same form, with `base` for targets that it does not set.
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

    /// A lone word that is neither a level nor one of our targets is most likely a misspelt level.
    fn from_str(text: &str) -> Result<Self, String> {
        env_filter::Builder::new().try_parse(text).map_err(|error| error.to_string())?;
        let mut says = Says::Nothing;
        let directives = text.split('/').next().unwrap_or_default(); // a pattern follows
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

/// Whether a target is ours and not a library's.
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
