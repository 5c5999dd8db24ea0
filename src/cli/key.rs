//! `gatelet key …`

use clap::Subcommand;

use super::output::{OutputArgs, Table, pretty};
use super::{Access, CommandError, finish, print, with_socket};
use crate::config::{DataDirArgs, Settings};
use crate::domain::key::KeyState;
use crate::exit::Exit;
use crate::http::admin::messages::{
    Call, KeyUse, Keys, ListKeys, PruneKeys, PublishedKeys, Removed, RotateKeys,
};

/// Manage the keys of tokens.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List all keys: those that make tokens and those that still check old ones
    List {
        /// Where the store is.
        #[command(flatten)]
        data: DataDirArgs,
        /// How to print.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Make new keys and use them from now on; the old ones check their tokens until the last has expired
    Rotate {
        /// Refuse all tokens made with the old keys from now on, as if all sessions had ended: for stolen keys
        #[arg(long)]
        revoke: bool,
        /// Where the store is.
        #[command(flatten)]
        data: DataDirArgs,
        /// How to print.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Print the public keys as JSON, as `/.well-known/paseto-keys` does
    Export {
        /// The public keys; the others never leave the data directory
        #[arg(long, required = true)]
        public: bool,
        /// Where the store is.
        #[command(flatten)]
        data: DataDirArgs,
    },
    /// Remove keys whose last token has expired; the running server does so by itself
    Prune {
        /// Where the store is.
        #[command(flatten)]
        data: DataDirArgs,
        /// How to print.
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// Runs `command`.
pub fn run(command: KeyCommand) -> Exit {
    finish(match command {
        KeyCommand::List { data, output } => {
            ask(&data, Access::Look, ListKeys {}).and_then(|keys| output.print(&keys, table))
        }
        KeyCommand::Rotate { revoke, data, output } => {
            ask(&data, Access::Change, RotateKeys { revoke }).and_then(|keys| output.print(&keys, table))
        }
        KeyCommand::Export { data, .. } => {
            ask(&data, Access::Look, PublishedKeys {}).and_then(|keys| print(pretty(&keys)?))
        }
        KeyCommand::Prune { data, output } => {
            ask(&data, Access::Change, PruneKeys {}).and_then(|keys| output.print(&keys, removed))
        }
    })
}

fn ask<C: Call>(data: &DataDirArgs, access: Access, call: C) -> Result<C::Answer, CommandError> {
    with_socket(&Settings::from_environment(data)?, access, |socket| socket.ask(call))
}

fn removed(Removed { removed }: &Removed) -> String {
    let removed: Vec<_> = removed.iter().map(ToString::to_string).collect();
    if removed.is_empty() { "nothing to remove".to_owned() } else { removed.join("\n") }
}

fn table(Keys { keys }: &Keys) -> Table {
    let mut table = Table::new(["KEY", "FOR", "STATE", "NOT AFTER"]);
    for key in keys {
        let made = match key.r#use {
            KeyUse::Access => "access tokens",
            KeyUse::Refresh => "refresh tokens",
        };
        let state = match key.state {
            KeyState::Active => "active",
            KeyState::Retiring => "retiring",
        };
        let not_after = key.not_after.map_or_else(|| "-".to_owned(), |moment| moment.to_string());
        table.row([key.kid.to_string(), made.to_owned(), state.to_owned(), not_after]);
    }
    table
}
