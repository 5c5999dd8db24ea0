//! The store that most scripts start from, and files made of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::fill::{fill, name};
use crate::support::{CHEAP, Process, Tokens, credentials, gatelet, temporary};

pub const ADMIN: &str = "root";
pub const PASSWORD: &str = "correct horse";

/// Users of the template besides the administrator.
pub const USERS: usize = 40;

/// Further users of the large store, most of whom are not in a cache of a mebibyte.
pub const CROWD: u64 = 6000;

/// Users that imports add.
pub const NEWCOMERS: usize = 60;

/// The store that a script starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Cleanly stopped.
    Stopped,
    /// Killed: the last changes are only in sled's log.
    Killed,
    /// With many more users.
    Large,
}

pub struct Template {
    dir: TempDir,
    /// An access token from before any fault.
    pub token: String,
}

/// `gatelet` with the settings of all scripts.
pub fn command(args: &[&str], data: &Path) -> Command {
    let mut command = gatelet();
    command.args(args);
    command.env("GATELET_DATA_DIR", data).env("GATELET_LISTEN", "127.0.0.1:0");
    for (name, value) in [
        ("GATELET_SCRYPT", CHEAP),
        ("GATELET_HASH_SLOTS", "1"),
        ("GATELET_ACCESS_TTL", "12h"),
        ("GATELET_ACCOUNT_LIMIT", "off"),
        ("GATELET_NETWORK_LIMIT", "off"),
        ("GATELET_REGISTRATION_LIMIT", "off"),
    ] {
        command.env(name, value);
    }
    command
}

/// The name of a user of the template.
pub fn user(n: usize) -> String {
    format!("member {n}")
}

/// The name of a user that imports add.
pub fn newcomer(n: usize) -> String {
    format!("newcomer {n}")
}

impl Template {
    pub fn make() -> Self {
        let dir = temporary();
        let data = dir.path().join("stopped");
        let mut first = command(&["serve"], &data);
        first.env("GATELET_ADMIN_USERNAME", ADMIN).env("GATELET_ADMIN_PASSWORD", PASSWORD);
        Process::spawn(&mut first).unwrap().stop();
        let out = command(&["export", "-"], &data).output().unwrap();
        let csv = String::from_utf8(out.stdout).unwrap();
        let hash = csv.lines().find_map(|line| line.strip_prefix(ADMIN)?.split('"').nth(1)).unwrap();
        let users = |name: fn(usize) -> String, count| {
            let lines = (0..count).map(|n| format!("{},\"{hash}\"\n", name(n)));
            format!("username,password_hash\n{}", lines.collect::<String>())
        };
        let template = Self { token: String::new(), dir };
        fs::write(template.path("users.csv"), users(user, USERS)).unwrap();
        fs::write(template.newcomers(), users(newcomer, NEWCOMERS)).unwrap();
        let import = ["import", "--apply", template.path("users.csv").to_str().unwrap()].map(str::to_owned);
        run(&mut command(&import.each_ref().map(String::as_str), &data));
        run(&mut command(&["backup", template.backup().to_str().unwrap()], &data));
        let server = Process::spawn(&mut command(&["serve"], &data)).unwrap();
        let token =
            Tokens::from_reply(&server.client().post("/login", &credentials(&user(5), PASSWORD))).access;
        server.stop();
        // Killed: its last changes are only in the log.
        let killed = template.path("killed");
        copy(&data, &killed);
        let server = Process::spawn(&mut command(&["serve"], &killed)).unwrap();
        for n in 0..5 {
            let name = format!("late {n}");
            assert_eq!(server.client().post("/register", &credentials(&name, PASSWORD)).status, 201);
        }
        server.kill();
        let large = template.path("large");
        copy(&data, &large);
        fill(&large, CROWD);
        Self { token, ..template }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn backup(&self) -> PathBuf {
        self.path("backup.jsonl.gz")
    }

    pub fn newcomers(&self) -> PathBuf {
        self.path("newcomers.csv")
    }

    /// A copy of a store.
    pub fn copy(&self, origin: Origin, to: &Path) {
        let name = match origin {
            Origin::Stopped => "stopped",
            Origin::Killed => "killed",
            Origin::Large => "large",
        };
        copy(&self.path(name), to);
    }

    /// The names of all its users.
    pub fn names(origin: Origin) -> impl Iterator<Item = String> {
        let late = if origin == Origin::Killed { 5 } else { 0 };
        let crowd = if origin == Origin::Large { CROWD } else { 0 };
        let known = std::iter::once(ADMIN.to_owned()).chain((0..USERS).map(user));
        known.chain((0..late).map(|n| format!("late {n}"))).chain((0..crowd).map(name))
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// Copies a data directory. The ballast is never modified in place, so it is hard-linked.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_name() == "ballast" {
            fs::hard_link(entry.path(), target).unwrap();
        } else if kind.is_file() {
            fs::copy(entry.path(), target).unwrap(); // keeps the mode
        }
    }
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
}
