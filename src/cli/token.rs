//! `gatelet token verify` and `gatelet token explain`: a token from standard input, looked at without the server.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::output::{OutputArgs, pretty};
use super::{CommandError, finish, print, say};
use crate::domain::clock::{Clock, Timestamp};
use crate::exit::Exit;
use crate::text::{self, NotText};
use crate::token::offline::{self, Explained, MalformedKeys, PublicKeys, Purpose, Signature};

/// The longest token that is read, in bytes: as long as all headers of a request together may be.
const TOKEN_MAX: usize = 16 * 1024;

/// The longest file of keys, in bytes: some 4,000 keys, where a hundred are many.
const KEYS_MAX: usize = 1024 * 1024;

/// What to do with a token.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Check an access token: exit 0 and its claims if it is good, 1 and what is wrong if not
    ///
    /// Says nothing about sessions that were logged out or users who are gone: only the server knows.
    Verify {
        /// Public keys: what `/.well-known/paseto-keys` answers, or a `k4.public.…` on each line
        #[arg(long, value_name = "FILE")]
        keys: PathBuf,

        /// Who must have issued it [default: anybody who has the keys]
        #[arg(long, value_name = "NAME")]
        issuer: Option<String>,
    },
    /// Take a token apart without trusting it: exit 0, or 1 if it is none of Gatelet's
    Explain {
        /// Public keys to check the signature with, as for verify
        #[arg(long, value_name = "FILE")]
        keys: Option<PathBuf>,
        /// How to print.
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// Why there is no token or no keys to look at.
#[derive(Debug, thiserror::Error)]
pub(super) enum UsageError {
    #[error("no token on standard input: `gatelet token … < FILE`")]
    NoInput,
    #[error("standard input is longer than any token")]
    TooLong,
    #[error("standard input cannot be read: {0}")]
    Input(io::Error),
    #[error("standard input is {0}")]
    NoText(NotText),
    #[error("the keys in {} cannot be read: {} (--keys)", .0.display(), .1)]
    Unreadable(PathBuf, io::Error),
    #[error("the file of keys {} is {} (--keys)", .0.display(), .1)]
    NoTextInKeys(PathBuf, NotText),
    #[error("{} is no file of public keys: {} (--keys)", .0.display(), .1)]
    Keys(PathBuf, MalformedKeys),
}

/// Looks at the token on standard input.
pub fn run(command: &TokenCommand) -> Exit {
    look(command).unwrap_or_else(|error| finish(Err(CommandError::Input(error.to_string()))))
}

fn look(command: &TokenCommand) -> Result<Exit, UsageError> {
    let now = Clock::system().reading();
    match command {
        TokenCommand::Verify { keys, issuer } => {
            let keys = read_keys(keys)?;
            Ok(verify(&read_token()?, &keys, issuer.as_deref(), now))
        }
        TokenCommand::Explain { keys, output } => {
            let keys = keys.as_deref().map(read_keys).transpose()?;
            Ok(explain(&read_token()?, keys.as_ref(), now, *output))
        }
    }
}

fn verify(token: &str, keys: &PublicKeys, issuer: Option<&str>, now: Timestamp) -> Exit {
    let explained = match offline::verify(token, keys, issuer, now) {
        Ok(explained) => explained,
        Err(error) => {
            say(error.to_string());
            return Exit::Other;
        }
    };
    let expiry = explained.time("exp").map(|moment| at(moment, now));
    match (&explained.claims, expiry) {
        (Some(claims), Some(expiry)) if explained.flaws.is_empty() => {
            let printed = pretty(claims).and_then(print);
            say(format!("valid until {expiry}"));
            finish(printed)
        }
        (_, expiry) => {
            let mut text = "the token is not valid:".to_owned();
            list_flaws(&mut text, &explained);
            if let Some(expiry) = expiry {
                text.push_str(&format!("\nas it says, it expires {expiry}"));
            }
            say(&text);
            Exit::Other
        }
    }
}

fn explain(token: &str, keys: Option<&PublicKeys>, now: Timestamp, output: OutputArgs) -> Exit {
    match offline::explain(token, keys, now) {
        Ok(explained) if output.json => finish(
            pretty(&json!({
                "version": "v4",
                "purpose": explained.purpose,
                "key": explained.key,
                "signature": explained.signature,
                "claims": explained.claims,
                "flaws": explained.flaws.iter().map(ToString::to_string).collect::<Vec<_>>(),
            }))
            .and_then(print),
        ),
        Ok(explained) => finish(describe(&explained, now).and_then(print)),
        Err(error) => {
            say(error.to_string());
            Exit::Other
        }
    }
}

/// Everything about a token, line by line.
fn describe(token: &Explained, now: Timestamp) -> Result<String, CommandError> {
    let purpose = match token.purpose {
        Purpose::Public => "public (signed; everybody can read it)",
        Purpose::Local => "local (encrypted; only the server can read it)",
    };
    let key = token.key.as_ref().map_or("none named", |key| key.as_str());
    let mut text = format!("version    v4\npurpose    {purpose}\nkey        {key}");
    let signature = match token.signature {
        Signature::NotOurs => None,
        Signature::NotChecked => Some("not verified (--keys FILE verifies it)"),
        Signature::UnknownKey => Some("not verified: the key is unknown"),
        Signature::Wrong => Some("does not fit"),
        Signature::Good => Some("verified"),
    };
    if let Some(signature) = signature {
        text.push_str(&format!("\nsignature  {signature}"));
    }
    for (name, claim) in
        [("logged in", "auth_time"), ("issued", "iat"), ("valid from", "nbf"), ("expires", "exp")]
    {
        if let Some(moment) = token.time(claim) {
            text.push_str(&format!("\n{name:<10} {}", at(moment, now)));
        }
    }
    if let Some(claims) = &token.claims {
        let trust = if token.signature == Signature::Good { "verified" } else { "not verified" };
        text.push_str(&format!("\nclaims     {trust}\n{}", pretty(claims)?));
    }
    if !token.flaws.is_empty() {
        text.push_str("\nwhat is wrong:");
        list_flaws(&mut text, token);
    }
    Ok(text)
}

fn list_flaws(text: &mut String, token: &Explained) {
    for flaw in &token.flaws {
        text.push_str(&format!("\n- {flaw}"));
    }
}

fn at(moment: Timestamp, now: Timestamp) -> String {
    format!("{moment} ({})", offline::distance(moment, now))
}

/// The token, without the scheme and the white space that people copy along with it.
fn read_token() -> Result<String, UsageError> {
    if io::stdin().is_terminal() {
        say("the token, and Ctrl-D on a line of its own:");
    }
    let bytes = text::read(io::stdin().lock(), TOKEN_MAX).map_err(UsageError::Input)?;
    let bytes = bytes.ok_or(UsageError::TooLong)?;
    let text = text::of(&bytes).map_err(UsageError::NoText)?.trim();
    let token = match text.split_at_checked("bearer ".len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer ") => token.trim_start(),
        _ => text,
    };
    if token.is_empty() { Err(UsageError::NoInput) } else { Ok(token.to_owned()) }
}

pub(super) fn read_keys(path: &Path) -> Result<PublicKeys, UsageError> {
    let bytes = File::open(path)
        .and_then(|file| text::read(file, KEYS_MAX))
        .map_err(|error| UsageError::Unreadable(path.into(), error))?;
    let keys = |error| UsageError::Keys(path.into(), error);
    let bytes = bytes.ok_or_else(|| keys(MalformedKeys::Format))?;
    let text = text::of(&bytes).map_err(|error| UsageError::NoTextInKeys(path.into(), error))?;
    text.parse().map_err(keys)
}
