//! What the tests made Gatelet write to its log, and the passwords, tokens and keys that they used: kept in files
//! for `.ci/no-secrets`, which looks for the latter in the former.
//!
//! Each test process has three in `target/test-logs`: `.log`, `.secrets` (one a line) and `.names` (those of the
//! passwords that are names of users as well, which a log may hold). Nothing here fails a test; `.ci/no-secrets`
//! notices if too little arrives.

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

/// Shorter ones stand in any text by chance.
const SHORTEST: usize = 8;

/// Of a password so many characters are looked for: more than the longest name has, which may be of the same letters.
const PASSWORD_PART: usize = 200;

/// Of a token the end is looked for, which lies within its signature: what comes before may be cut off.
const TOKEN_PART: usize = 43;

/// Of a key the beginning is looked for: in a signing key the public half comes last.
const KEY_PART: usize = 40;

/// A load makes secrets by the hundred thousand, of which some say as much as all: so many are kept in any case,
const ALL_UP_TO: u64 = 10_000;
/// and of those that follow one in so many.
const THEN_ONE_IN: u64 = 100;

/// A password that tests send in order to be refused, and a word that every log holds: `password hashes: 2 at once`.
const WORD: &str = "password";

/// Files of earlier runs are removed after this time.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

struct Files {
    log: File,
    secrets: File,
    names: File,
    /// What has been written, by hash.
    written: HashSet<u64>,
    /// Names of users, by hash.
    users: HashSet<u64>,
    /// How many different secrets there have been.
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

/// Written to at once: nothing is called when a test process ends that could write what waits in a buffer. Benches
/// keep nothing, so that they measure nothing but what they are about.
fn with_files(write: impl FnOnce(&mut Files) -> io::Result<()>) {
    static FILES: OnceLock<Option<Mutex<Files>>> = OnceLock::new();
    if !cfg!(test) {
        return;
    }
    if let Some(files) = FILES.get_or_init(|| open().ok().map(Mutex::new)) {
        let _ = write(&mut files.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Keeps what a server, or a command, has logged.
pub fn logged(text: &str) {
    if !text.is_empty() {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        with_files(|files| files.log.write_all(format!("{text}{end}").as_bytes()));
    }
}

/// Keeps a password that is used, typed or set.
pub fn password(text: &str) {
    // One a line: a password with line breaks is as many secrets.
    for part in text.split(char::is_control).filter(|part| is_telling(part)) {
        let part: String = part.chars().take(PASSWORD_PART).collect();
        with_files(|files| files.keep(&part));
    }
}

/// Whether a log that holds this text must have it from the password.
fn is_telling(text: &str) -> bool {
    let first = text.chars().next();
    let one_letter = text.chars().all(|letter| Some(letter) == first); // as in the longest names
    let number = text.chars().all(|digit| digit.is_ascii_hexdigit()); // as in ids
    text.chars().count() >= SHORTEST && !one_letter && !number && text != WORD
}

/// Keeps a token.
pub fn token(text: &str) {
    let payload = text.split('.').nth(2).unwrap_or_default();
    if let Some(end) = payload.len().checked_sub(TOKEN_PART).and_then(|begin| payload.get(begin..)) {
        with_files(|files| files.keep(end));
    }
}

/// Keeps the keys of a data directory.
pub fn keys(data: &Path) {
    for entry in fs::read_dir(data.join("keys")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let key = text.strip_prefix("k4.secret.").or_else(|| text.strip_prefix("k4.local."));
        if let Some(part) = key.and_then(|key| key.get(..KEY_PART)) {
            with_files(|files| files.keep(part));
        }
    }
}

/// Keeps the token and the passwords of a request that is sent in one piece.
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

/// Keeps the passwords of a body.
pub fn passwords(body: &Value) {
    for field in ["password", "current_password", "new_password"] {
        password(body[field].as_str().unwrap_or_default());
    }
}

/// Notes that a user of the name in this body is about to be made.
pub fn user(body: &Value) {
    if let Some(name) = body["username"].as_str().filter(|name| name.chars().count() >= SHORTEST) {
        with_files(|files| files.user(name));
    }
}

/// Keeps the tokens of an answer.
pub fn received(body: &[u8]) {
    if find(body, b"_token\"").is_some() {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        for field in ["access_token", "refresh_token"] {
            token(body[field].as_str().unwrap_or_default());
        }
    }
}

/// Keeps the password that a command finds in its environment. Answers the data directory that it works on.
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

/// Keeps what the servers inside this process log, at every level.
pub fn keep_log() {
    if cfg!(test) && log::set_logger(&Keep).is_ok() {
        log::set_max_level(log::LevelFilter::Trace);
    }
}

struct Keep;

/// Lets the same speak as the executable does: others from warnings up only.
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
