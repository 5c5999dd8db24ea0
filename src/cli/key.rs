//! `gatelet key …`

use clap::Subcommand;
use http::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::output::{OutputArgs, Table, pretty};
use super::{Access, CommandError, call, finish, print};
use crate::config::{DataDirArgs, Settings};
use crate::exit::Exit;
use crate::visible::Visible;

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

/// Does what `command` says.
pub fn run(command: KeyCommand) -> Exit {
    finish(match command {
        KeyCommand::List { data, output } => {
            ask(&data, Method::GET, "/keys", None).and_then(|body| output.print(&body, table))
        }
        KeyCommand::Rotate { revoke, data, output } => {
            let body = json!({ "revoke": revoke });
            ask(&data, Method::POST, "/keys", Some(&body)).and_then(|body| output.print(&body, table))
        }
        KeyCommand::Export { data, .. } => ask::<Keys<PublicKey>>(&data, Method::GET, "/keys/public", None)
            .and_then(|body| print(pretty(&body)?)),
        KeyCommand::Prune { data, output } => {
            ask(&data, Method::DELETE, "/keys", None).and_then(|body| output.print(&body, removed))
        }
    })
}

/// All keys.
#[derive(Deserialize, Serialize)]
struct Keys<K> {
    keys: Vec<K>,
}

/// A key as the console lists it; as JSON in this order.
#[derive(Deserialize, Serialize)]
struct Key {
    kid: Visible,
    not_after: Option<Visible>,
    state: Visible,
    r#use: Visible,
}

/// A key as it is published; as JSON in this order.
#[derive(Deserialize, Serialize)]
struct PublicKey {
    kid: Visible,
    not_after: Option<Visible>,
    public_key: Visible,
    state: Visible,
}

/// Keys that are no more.
#[derive(Deserialize, Serialize)]
struct Removed {
    removed: Vec<Visible>,
}

fn ask<T: DeserializeOwned>(
    data: &DataDirArgs,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<T, CommandError> {
    let access = if method == Method::GET { Access::Look } else { Access::Change };
    call(&Settings::from_environment(data)?, access, method, path, body)
}

fn removed(Removed { removed }: &Removed) -> String {
    let removed: Vec<_> = removed.iter().map(Visible::cell).collect();
    if removed.is_empty() { "nothing to remove".to_owned() } else { removed.join("\n") }
}

fn table(Keys { keys }: &Keys<Key>) -> Table {
    let mut table = Table::new(["KEY", "FOR", "STATE", "NOT AFTER"]);
    for key in keys {
        let not_after = key.not_after.as_ref().map_or_else(|| "-".to_owned(), Visible::cell);
        table.row([key.kid.cell(), key.r#use.cell(), key.state.cell(), not_after]);
    }
    table
}
