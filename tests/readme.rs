//! The README is true: its commands answer as printed, its table of settings is the one of `--help`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use std::ffi::OsString;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use clap::CommandFactory;
use gatelet::settings::Cli;

use support::{Process, temporary};

const README: &str = include_str!("../README.md");

/// A command of a console block, and what is printed below it.
struct Step {
    command: String,
    printed: String,
}

fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in README.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step { command: command.into(), printed: String::new() }),
                None => writeln!(steps.last_mut().unwrap().printed, "{line}").unwrap(),
            },
        }
    }
    steps.retain(|step| !step.command.starts_with("cargo ")); // the test itself has done that
    steps
}

/// Whether `text` is `pattern`, in which `…` stands for anything on its line.
fn fits(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    for part in parts {
        let end = rest.find('\n').unwrap_or(rest.len());
        match if part.is_empty() || part.starts_with('\n') {
            Some(end)
        } else {
            rest[..end].find(part.trim_end())
        } {
            Some(at) => rest = &rest[at + part.trim_end().len()..],
            None => return false,
        }
    }
    rest.trim().is_empty()
}

/// As after an installation.
fn path_with_gatelet() -> OsString {
    let own = Path::new(env!("CARGO_BIN_EXE_gatelet")).parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap();
    std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&path))).unwrap()
}

#[test]
fn every_command_of_the_readme_answers_as_printed() {
    let dir = temporary();
    let server = Process::start(&dir.path().join("data"), &[]);
    let steps = steps();
    assert!(steps.len() > 10, "only {} commands found", steps.len());

    // One shell for all of them, as a reader would have; a mark after each tells their outputs apart.
    const MARK: &str = "==end of step==";
    let mut script = String::from("set -u\n");
    for step in &steps {
        let command = step.command.replace("127.0.0.1:5000", &server.address.to_string());
        writeln!(script, "{command}\necho; echo '{MARK}'").unwrap();
    }
    let output = Command::new("bash")
        .arg("-c")
        .arg(script)
        .current_dir(dir.path()) // where the server's data directory is, too
        .env("PATH", path_with_gatelet())
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let mut outputs = output.split(MARK);
    for step in &steps {
        let printed = outputs.next().unwrap().trim();
        assert!(
            fits(printed, step.printed.trim_end()),
            "{}\nanswered\n{printed}\nnot\n{}",
            step.command,
            step.printed
        );
    }
}

#[test]
fn the_table_of_settings_is_that_of_the_help() {
    let command = Cli::command();
    let mut rows = 0;
    for arg in command.get_arguments() {
        let Some(flag) = arg.get_long().filter(|flag| !["help", "version"].contains(flag)) else {
            continue;
        };
        let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}` ") };
        let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let switch = !arg.get_action().takes_values();
        let default = match arg.get_default_values().first() {
            _ if switch && variable.is_empty() => String::new(), // an act, not a setting
            _ if switch => "off".to_owned(),
            Some(value) => value.to_string_lossy().into_owned(),
            None => String::new(),
        };
        let help = arg.get_help().unwrap();
        let row = format!("| `--{flag}` | {}| {}| {help} |", code(&variable), code(&default));
        assert!(README.contains(&row), "the README has no row\n{row}");
        rows += 1;
    }
    let written = README.lines().filter(|line| line.starts_with("| `--")).count();
    assert_eq!(written, rows, "the README has rows for settings that there are not");
}

#[test]
fn the_exit_codes_of_the_readme_are_those_of_the_code() {
    use gatelet::exit::Exit;
    for exit in [Exit::Stopped, Exit::Other, Exit::Usage, Exit::Damaged, Exit::Unavailable, Exit::StoreFailed]
    {
        assert!(README.contains(&format!("\n| {} | ", exit.code())), "{exit:?}");
    }
}
