//! `gatelet settings`: every setting, its value, and where that comes from.

use std::fmt;

use anstyle::Style;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use serde::Serialize;

use super::output::{OutputArgs, Table, cell};
use super::{CommandError, finish, say};
use crate::app::first_admin;
use crate::config::{ADMIN_PASSWORD, Settings};
use crate::exit::Exit;
use crate::machine;
use crate::store::Store;

/// The flags of `serve`, and what they come to.
#[derive(Clone, Debug)]
pub struct SettingsArgs {
    /// Checked as for `serve`.
    pub settings: Box<Settings>,
    rows: Vec<Row>,
    output: OutputArgs,
}

/// A setting.
#[derive(Clone, Debug, Serialize)]
struct Row {
    /// As its flag, without dashes.
    setting: String,
    /// As it was written; nothing where there is none.
    value: Option<String>,
    from: Source,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    Flag,
    Environment,
    Default,
    /// Worked out from what this machine has.
    Machine,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::Default => "default",
            Self::Machine => "machine",
        })
    }
}

/// By hand, because only clap's matches know where a value comes from. Each setting of `serve` appears by itself.
impl FromArgMatches for SettingsArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let settings = Box::new(Settings::from_arg_matches(matches)?);
        let command = Settings::augment_args(Command::new("settings"));
        let mut rows: Vec<_> = command.get_arguments().filter_map(|arg| Row::of(arg, matches)).collect();
        for row in &mut rows {
            if row.setting == "hash-slots" && row.value.is_none() {
                row.value = Some(machine::hash_slots(settings.scrypt).to_string());
                row.from = Source::Machine;
            }
        }
        rows.push(Row::admin_password(std::env::var_os(ADMIN_PASSWORD).is_some()));
        Ok(Self { settings, rows, output: OutputArgs::from_arg_matches(matches)? })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for SettingsArgs {
    fn augment_args(command: Command) -> Command {
        OutputArgs::augment_args(Settings::augment_args(command))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl Row {
    /// `None` for an act that is done once, which has no variable.
    fn of(arg: &Arg, matches: &ArgMatches) -> Option<Self> {
        arg.get_env()?;
        let (setting, id) = (arg.get_long()?.to_owned(), arg.get_id().as_str());
        let value = if arg.get_action().takes_values() {
            let raw = matches.get_raw(id).into_iter().flatten();
            let values: Vec<_> = raw.map(|value| value.to_string_lossy()).collect();
            Some(values.join(",")).filter(|value| !value.is_empty())
        } else {
            Some(if matches.get_flag(id) { "on" } else { "off" }.to_owned())
        };
        let from = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => Source::Flag,
            Some(ValueSource::EnvVariable) => Source::Environment,
            _ => Source::Default,
        };
        Some(Self { setting, value, from })
    }

    /// The setting that has no flag, and whose value is never printed.
    fn admin_password(is_set: bool) -> Self {
        Self {
            setting: "admin-password".to_owned(),
            value: is_set.then(|| "(set)".to_owned()),
            from: if is_set { Source::Environment } else { Source::Default },
        }
    }
}

/// Prints the settings, unless a server would refuse them.
pub fn run(args: &SettingsArgs) -> Exit {
    let mut warnings = args.settings.warnings();
    let is_for_once = args.settings.admin_password_is_for_once();
    match if is_for_once { Ok(None) } else { first_admin(&args.settings) } {
        Err(error) if Store::is_in(args.settings.data_dir()) => {
            warnings.push(format!("{error}; that matters only while there is none"));
        }
        Err(error) => return finish(Err(CommandError::Start(error))),
        Ok(_) => {}
    }
    let printed = args.output.print(&args.rows, |rows| table(rows));
    for warning in warnings {
        say(format_args!("warning: {warning}"));
    }
    finish(printed)
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(["SETTING", "VALUE", "FROM"]);
    for Row { setting, value, from } in rows {
        // Values that were chosen stand out.
        let style = if *from == Source::Default { Style::new().dimmed() } else { Style::new() };
        let value = value.as_deref().map_or("-".to_owned(), cell);
        table.styled_row(style, [setting.clone(), value, from.to_string()]);
    }
    table
}
