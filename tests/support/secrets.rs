//! Saves Gatelet's log from the tests, and the passwords, tokens and keys that they used, to files for
//! `.ci/no-secrets`, which searches the former for the latter.
//!
//! Each test process has three in `target/test-logs`: `.log`, `.secrets` (one a line) and `.names` (passwords
//! that are also usernames, which a log may hold). Nothing here fails a test; `.ci/no-secrets` notices if too
//! little arrives.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;

/// Shorter ones occur in any text by chance.
const SHORTEST: usize = 8;

/// The prefix of a password to search for: longer than the longest name, which may consist of the same
/// letters.
const PASSWORD_PART: usize = 200;

/// The suffix of a token to search for, part of its signature: the beginning may be truncated in the log.
const TOKEN_PART: usize = 43;

/// The prefix of a key to search for: in a signing key the public half comes last.
const KEY_PART: usize = 40;

/// A load makes secrets by the hundred thousand, of which a sample suffices: this many are kept in any case,
const ALL_UP_TO: u64 = 10_000;
/// and then one in this many.
const THEN_ONE_IN: u64 = 100;

/// A password that tests send in order to be refused, and a word in every log: `password hashes: 2 at once`.
const WORD: &str = "password";

/// Files of earlier runs are removed after this time.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

struct Files {
    log: File,
    secrets: File,
    names: File,
    /// Hashes of the secrets written so far.
    written: HashSet<u64>,
    /// Hashes of usernames.
    users: HashSet<u64>,
    /// The number of distinct secrets so far.
    count: u64,
}

fn open() -> io::Result<Files> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("test-logs");
    fs::create_dir_all(&dir)?;
    for entry in fs::read_dir(&dir)?.flatten() {
        let age = entry.metadata().and_then(|file| file.modified()).map(|time| time.elapsed());
        if matches!(age, Ok(Ok(age)) if age > KEPT_FOR) {
            let _ = fs::remove_file(entry.path());
        }
    }
    let file = |kind: &str| {
        let name = format!("{}-{}.{kind}", env!("CARGO_CRATE_NAME"), process::id());
        OpenOptions::new().create(true).append(true).open(dir.join(name))
    };
    Ok(Files {
        log: file("log")?,
        secrets: file("secrets")?,
        names: file("names")?,
        written: HashSet::new(),
        users: HashSet::new(),
        count: 0,
    })
}

/// Unbuffered: nothing runs at the exit of a test process that could flush a buffer. Benches save nothing, so
/// that their measurements are undisturbed.
fn with_files(write: impl FnOnce(&mut Files) -> io::Result<()>) {
    static FILES: OnceLock<Option<Mutex<Files>>> = OnceLock::new();
    if !cfg!(test) {
        return;
    }
    if let Some(files) = FILES.get_or_init(|| open().ok().map(Mutex::new)) {
        let _ = write(&mut files.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Saves the log of a server or command.
pub fn logged(text: &str) {
    if !text.is_empty() {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        with_files(|files| files.log.write_all(format!("{text}{end}").as_bytes()));
    }
}

/// Saves a password.
pub fn password(text: &str) {
    // One a line: a password with line breaks counts as several secrets.
    for part in text.split(char::is_control).filter(|part| is_telling(part)) {
        let part: String = part.chars().take(PASSWORD_PART).collect();
        with_files(|files| files.keep(&part));
    }
}

/// Whether a log with this text must have it from the password.
fn is_telling(text: &str) -> bool {
    let first = text.chars().next();
    let one_letter = text.chars().all(|letter| Some(letter) == first); // as in the longest names
    let number = text.chars().all(|digit| digit.is_ascii_hexdigit()); // as in ids
    text.chars().count() >= SHORTEST && !one_letter && !number && text != WORD
}

/// Saves a token.
pub fn token(text: &str) {
    let payload = text.split('.').nth(2).unwrap_or_default();
    if let Some(end) = payload.len().checked_sub(TOKEN_PART).and_then(|begin| payload.get(begin..)) {
        with_files(|files| files.keep(end));
    }
}

/// Saves the keys of a data directory.
pub fn keys(data: &Path) {
    for entry in fs::read_dir(data.join("keys")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let key = text.strip_prefix("k4.secret.").or_else(|| text.strip_prefix("k4.local."));
        if let Some(part) = key.and_then(|key| key.get(..KEY_PART)) {
            with_files(|files| files.keep(part));
        }
    }
}

/// Saves the token and the passwords of a request that is sent in one piece.
pub fn sent(request: &[u8]) {
    let Some(end) = find(request, b"\r\n\r\n") else {
        return;
    };
    let (head, body) = (String::from_utf8_lossy(&request[..end]), &request[end..]);
    for line in head.lines() {
        if let Some(text) = line.strip_prefix("Authorization: Bearer ") {
            token(text);
        }
    }
    if find(body, b"password").is_none() {
        return;
    }
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    if ["POST /register ", "POST /user "].iter().any(|begin| head.starts_with(begin)) {
        user(&body);
    }
    passwords(&body);
}

/// Saves the passwords of a body.
pub fn passwords(body: &Value) {
    for field in ["password", "current_password", "new_password"] {
        password(body[field].as_str().unwrap_or_default());
    }
}

/// Records that a user with the name in this body is about to be created.
pub fn user(body: &Value) {
    if let Some(name) = body["username"].as_str().filter(|name| name.chars().count() >= SHORTEST) {
        with_files(|files| files.user(name));
    }
}

/// Saves the tokens of an answer.
pub fn received(body: &[u8]) {
    if find(body, b"_token\"").is_some() {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        for field in ["access_token", "refresh_token"] {
            token(body[field].as_str().unwrap_or_default());
        }
    }
}

/// Saves the password in a command's environment. Returns the command's data directory.
pub fn command(command: &Command) -> Option<PathBuf> {
    let variable = |wanted: &str| {
        command.get_envs().find(|(name, _)| *name == wanted).and_then(|(_, value)| value).map(PathBuf::from)
    };
    let flag = |wanted: &str| {
        let mut args = command.get_args().skip_while(|arg| *arg != OsStr::new(wanted));
        args.nth(1).map(PathBuf::from)
    };
    password(&variable("GATELET_ADMIN_PASSWORD").unwrap_or_default().to_string_lossy());
    if let Some(file) = flag("--admin-password-file").or_else(|| variable("GATELET_ADMIN_PASSWORD_FILE")) {
        password(&fs::read_to_string(file).unwrap_or_default());
    }
    flag("--data-dir").or_else(|| variable("GATELET_DATA_DIR"))
}

impl Files {
    fn keep(&mut self, secret: &str) -> io::Result<()> {
        let hash = hash(secret);
        if self.written.contains(&hash) {
            return Ok(());
        }
        self.count += 1;
        if self.count > ALL_UP_TO && !self.count.is_multiple_of(THEN_ONE_IN) {
            return Ok(());
        }
        self.written.insert(hash);
        if self.users.contains(&hash) {
            self.names.write_all(format!("{secret}\n").as_bytes())?;
        }
        self.secrets.write_all(format!("{secret}\n").as_bytes())
    }

    fn user(&mut self, name: &str) -> io::Result<()> {
        let hash = hash(name);
        if self.users.insert(hash) && self.written.contains(&hash) {
            self.names.write_all(format!("{name}\n").as_bytes())?;
        }
        Ok(())
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// Saves the log of servers inside this process, at every level.
pub fn keep_log() {
    if cfg!(test) && log::set_logger(&Keep).is_ok() {
        log::set_max_level(log::LevelFilter::Trace);
    }
}

struct Keep;

/// Filters as the executable does: other crates log from warnings up only.
impl log::Log for Keep {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().split("::").next() == Some("gatelet") || metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            logged(&format!("{} {} {}", record.level(), record.target(), record.args()));
        }
    }

    fn flush(&self) {}
}
