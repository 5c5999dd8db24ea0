//! `gatelet completions`: a script that lets a shell complete commands, flags and their values.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::args::Cli;
use super::{finish, print};
use crate::exit::Exit;

/// Prints the script for `shell`.
pub fn run(shell: Shell) -> Exit {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "gatelet", &mut script);
    finish(print(String::from_utf8_lossy(&script).trim_end()))
}
