//! The command line: the commands, and how arguments and variables are read.
//!
//! A flag beats its variable, which beats the default.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use super::backup::BackupArgs;
use super::export::ExportArgs;
use super::healthcheck::HealthcheckArgs;
use super::import::ImportArgs;
use super::key::KeyCommand;
use super::restore::RestoreArgs;
use super::settings::SettingsArgs;
use super::token::TokenCommand;
use super::user::UserCommand;
use super::verify::VerifyArgs;
use crate::config::{ADMIN_PASSWORD, Settings, check_together};

const EXAMPLES: &str = "\
Examples:
  gatelet                          serve on 127.0.0.1:5000, with all data in ./data
  gatelet user add --admin root    add the first administrator
  gatelet settings                 see what is set, and where";

/// Accounts, logins and tokens for small systems, as one binary with its store inside.
///
/// `gatelet` alone is `gatelet serve`.
#[derive(Debug, Parser)]
#[command(name = "gatelet", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Settings,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve requests until told to stop (the default)
    Serve(Box<Settings>),
    /// Ask the server of --data-dir, or one at --listen, whether it is alive; exit 0 if so and 1 if not
    Healthcheck(HealthcheckArgs),
    /// Manage users, whether the server is running or not
    #[command(subcommand)]
    User(UserCommand),
    /// Manage the keys of tokens, whether the server is running or not
    #[command(subcommand)]
    Key(KeyCommand),
    /// Back all users up to one file, while the server is running or not
    Backup(BackupArgs),
    /// Put a backup into an empty data directory
    Restore(RestoreArgs),
    /// Check store and keys, while the server is running or not, or check a backup
    Verify(VerifyArgs),
    /// Add users of another service, with the hashes of their passwords; a dry run unless --apply is given
    Import(ImportArgs),
    /// Write all users with the hashes of their passwords, for another service; `backup` is what restores this one
    Export(ExportArgs),
    /// Look at a token on standard input; needs no server
    #[command(subcommand)]
    Token(TokenCommand),
    /// Check the settings and print them, and where each comes from
    Settings(SettingsArgs),
    /// Print a script that lets a shell complete what is typed
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// Reads the process's arguments and environment.
///
/// # Errors
/// Wrong or unknown arguments; help and version where they are asked for.
pub fn from_process() -> Result<Command, clap::Error> {
    super::stray::refuse_strays(std::env::args_os(), std::env::vars_os())
        .map_err(|problem| Cli::command().error(ErrorKind::ValueValidation, problem))?;
    parse(std::env::args_os(), std::env::vars_os())
}

/// Reads arguments (the program's name first), and looks for unknown settings among the environment's variables; the
/// values of settings always come from the process.
///
/// # Errors
/// As for [`from_process`].
pub fn parse(
    args: impl Iterator<Item = OsString>,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Command, clap::Error> {
    let args: Vec<_> = args.collect();
    let cli = Cli::try_parse_from(&args).map_err(|error| explain(error, &args))?;
    let variables: Vec<_> = variables.collect();
    let has_admin_password = variables.iter().any(|(name, _)| name == ADMIN_PASSWORD);
    refuse_unknown_variables(&variables)?;
    let command = cli.command.unwrap_or(Command::Serve(Box::new(cli.serve)));
    if let Command::Serve(settings) | Command::Settings(SettingsArgs { settings, .. }) = &command {
        check_together(settings, has_admin_password)
            .map_err(|problem| Cli::command().error(ErrorKind::ValueValidation, problem))?;
    }
    Ok(command)
}

/// Names the variable that a wrong value came from, and tells where a password and a flag belong.
fn explain(mut error: clap::Error, args: &[OsString]) -> clap::Error {
    let mut tip = None;
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) if arg == "--password" => {
            tip = Some("a password is typed or piped in: everybody on this machine can read arguments");
        }
        Some(ContextValue::String(arg)) => {
            if let Some(variable) = variable_of(arg, args) {
                error.insert(ContextKind::InvalidArg, ContextValue::String(variable));
            }
        }
        _ if error.get(ContextKind::InvalidSubcommand).is_some()
            && error.kind() == ErrorKind::ArgumentConflict =>
        {
            tip = Some("flags stand behind the command, as in 'gatelet user list --data-dir DIR'");
        }
        _ => {}
    }
    if let Some(tip) = tip {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// Where an argument's value came from, if that is not the command line: not every command has a flag for it.
fn variable_of(arg: &str, args: &[OsString]) -> Option<String> {
    let command = Cli::command();
    let flag = arg.split(' ').next()?; // behind it stands the name of its value
    let known = |arg: &&clap::Arg| arg.get_long() == flag.strip_prefix("--");
    let variable = command.get_arguments().find(known)?.get_env()?;
    let is_given = args.iter().any(|given| given.to_string_lossy().split('=').next() == Some(flag));
    (!is_given && std::env::var_os(variable).is_some()).then(|| variable.to_string_lossy().into_owned())
}

/// A misspelt variable would silently leave its default in force.
fn refuse_unknown_variables(variables: &[(OsString, OsString)]) -> Result<(), clap::Error> {
    let mut command = Cli::command();
    let known = command.get_arguments().filter_map(clap::Arg::get_env);
    let known: Vec<_> = known.chain([ADMIN_PASSWORD.as_ref()]).collect();
    match super::environment::misspelt(variables, &known) {
        None => Ok(()),
        Some(name) => {
            let text = format!("unknown setting {name} in the environment; --help lists those there are");
            Err(command.error(ErrorKind::UnknownArgument, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::password::Policy;

    fn serve(args: &[&str], variables: &[(&str, &str)]) -> Result<Settings, String> {
        let args = std::iter::once("gatelet").chain(args.iter().copied()).map(OsString::from);
        match parse(args, variables.iter().map(|(name, value)| (name.into(), value.into()))) {
            Ok(Command::Serve(settings)) => Ok(*settings),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_word_it_serves_and_serve_takes_the_same_flags() {
        for args in [&["--listen", "127.0.0.1:7"][..], &["serve", "--listen", "127.0.0.1:7"]] {
            assert_eq!(serve(args, &[]).unwrap().listen().port(), 7);
        }
    }

    #[test]
    fn every_wrong_setting_is_named() {
        for (args, named) in [
            (&["--listen", "nowhere"][..], "--listen"),
            (&["--access-ttl", "15"], "--access-ttl"),
            (&["--refresh-ttl", "0s"], "--refresh-ttl"),
            (&["--scrypt", "ln=30,r=8,p=1"], "--scrypt"),
            (&["--hash-slots", "0"], "--hash-slots"),
            (&["--max-connections", "0"], "--max-connections"),
            (&["--issuer", ""], "--issuer"),
            (&["--cache-mib", "0"], "--cache-mib"),
            (&["--password-min-length", "0"], "--password-min-length"),
            (&["--log", "gatelet=loud"], "--log"),
            (&["--log-format", "xml"], "--log-format"),
            (&["--metrics-listen", "9100"], "--metrics-listen"),
            (&["--password-blocklist", "no"], "--password-blocklist"),
            (&["--registration", "off"], "--registration"),
            (&["--usernames", "fold"], "--usernames"),
            (&["--refresh-rotation", "yes"], "--refresh-rotation"),
            (&["--account-limit", "40"], "--account-limit"),
            (&["--trusted-proxies", "proxy"], "--trusted-proxies"),
            (&["--cors-origins", "*"], "--cors-origins"),
            (&["--backup-every", "59s"], "--backup-every"),
            (&["--backup-keep", "0"], "--backup-keep"),
            (&["--admin-username", "root"], "GATELET_ADMIN_PASSWORD"),
            (&["--admin-password-file", "/nowhere/at/all"], "--admin-username"),
            (&["--colour"], "--colour"),
            (&["frobnicate"], "frobnicate"),
            (&["--dev", "--listen", "0.0.0.0:5000"], "--dev-anywhere"),
        ] {
            let error = serve(args, &[]).unwrap_err();
            assert!(error.contains(named), "{args:?}: {error}");
        }
    }

    #[test]
    fn unknown_variables_are_refused_but_not_those_that_describe_a_service() {
        for (name, value) in
            [("GATELET_ACESS_TTL", "15m"), ("GATELET_LISTEN_PORT", "5000"), ("GATELET_PORT", "5000")]
        {
            let error = serve(&[], &[(name, value)]).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
        let others = [
            ("GATELET_PORT", "tcp://10.0.0.1:5000"),
            ("GATELET_METRICS_SERVICE_HOST", "10.0.0.1"),
            ("PATH", "/usr/bin"),
        ];
        assert!(serve(&[], &others).is_ok());
    }

    #[test]
    fn no_setting_has_a_name_that_may_describe_a_service() {
        for name in Cli::command().get_arguments().filter_map(clap::Arg::get_env) {
            let name = name.to_string_lossy();
            assert!(
                !name.ends_with("_PORT") && !name.contains("_PORT_") && !name.contains("_SERVICE_"),
                "{name}"
            );
        }
    }

    #[test]
    fn dev_listens_elsewhere_only_when_told_twice() {
        let anywhere = ["--dev", "--dev-anywhere", "--listen", "0.0.0.0:5000"];
        assert!(serve(&anywhere, &[]).is_ok());
        assert!(serve(&["--dev"], &[]).is_ok());
    }

    #[test]
    fn passwords_are_what_the_settings_ask_for_and_anything_under_dev() {
        for (args, min_chars, blocklist) in [
            (&[][..], 8, true),
            (&["--password-blocklist", "on"], 8, true),
            (&["--password-min-length=12", "--password-blocklist=off"], 12, false),
            (&["--dev", "--password-min-length=12", "--password-blocklist=on"], 1, false),
        ] {
            let policy = serve(args, &[]).unwrap().password_policy();
            assert_eq!(policy, Policy { min_chars, blocklist }, "{args:?}");
        }
    }
}
