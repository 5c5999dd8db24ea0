//! `gatelet import` and `gatelet export`: users of another service, whether a server runs or not.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde_json::{Value, json};

use crate::support::{CHEAP, Process, Tokens, credentials, gatelet, secrets, temporary};
use crate::terminal::Terminal;
use crate::{PASSWORD, Said, end, get, register, stop_well};

/// Of `PASSWORD`, by passlib 1.7.4, argon2-cffi 25.1.0 and bcrypt 5.0.0.
const PBKDF2: &str = "$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o";
const ARGON2: &str =
    "$argon2id$v=19$m=64,t=2,p=1$AOC8lxLivNfa27sXYowxRg$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM";
const BCRYPT: &str = "$2b$04$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu";
const SCRYPT: &str =
    "$scrypt$ln=4,r=8,p=1$AYAQIkQoxVirNUZorVXKWQ$nSe7pDQPABHeyZ/Nh5hi4lwQjl3cVQqGPRnsdGG7vNI";

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Added, there already, there with another hash, refused.
    pub(crate) fn counts(&self) -> [u64; 4] {
        let report = self.json();
        ["added", "present", "taken", "refused"].map(|field| report[field].as_u64().unwrap())
    }
}

pub(crate) fn command(what: &str, dir: &Path, args: &[&str]) -> Command {
    let mut command = gatelet();
    command.env("GATELET_SCRYPT", CHEAP).args([what, "--data-dir"]).arg(dir).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Imports from standard input. It never says a hash.
pub(crate) fn import(dir: &Path, args: &[&str], users: &str) -> Said {
    [PBKDF2, ARGON2, BCRYPT, SCRYPT].iter().for_each(|hash| secrets::password(hash)); // no log may hold them
    let mut child = command("import", dir, args).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let users = users.to_owned();
    // It may end before it has read all.
    let writer = thread::spawn(move || drop(input.write_all(users.as_bytes())));
    let said = end(child);
    writer.join().unwrap();
    assert!(!format!("{}{}", said.out, said.err).contains("$argon2id$v"), "{said:?}");
    assert!(!format!("{}{}", said.out, said.err).contains("3KdTRR2NGqbYJnQQ"), "{said:?}");
    said
}

fn export(dir: &Path, args: &[&str]) -> String {
    let mut child = command("export", dir, args).spawn().unwrap();
    drop(child.stdin.take());
    let said = end(child);
    assert_eq!(said.code, Some(0), "{said:?}");
    said.out
}

pub(crate) fn names(dir: &Path) -> BTreeSet<String> {
    let lines = export(dir, &["--format", "jsonl"]);
    let user =
        |line: &str| serde_json::from_str::<Value>(line).unwrap()["username"].as_str().unwrap().to_owned();
    lines.lines().map(user).collect()
}

/// The kind of each user's hash.
pub(crate) fn kind(dir: &Path, name: &str) -> String {
    let users = export(dir, &[]);
    let line = users.lines().find(|line| line.starts_with(&format!("{name},"))).expect(name);
    line.split('$').nth(1).unwrap().to_owned()
}

pub(crate) fn status(server: &Process, name: &str, password: &str) -> u16 {
    server.client().post("/login", &credentials(name, password)).status
}

/// In a directory whose server runs, in one whose server is stopped, and in none at all.
fn everywhere(act: impl Fn(&Path)) {
    for place in ["running", "stopped", "new"] {
        println!("{place}");
        let dir = temporary();
        let data = dir.path().join("data");
        let server = (place != "new").then(|| Process::start(&data, &[]));
        let server = if place == "running" { server } else { server.map(stop_well).and(None) };
        act(&data);
        server.map(stop_well);
    }
}

fn one_of_each() -> String {
    format!("anna,{PBKDF2}\nbert,\"{ARGON2}\"\ncarla,{BCRYPT}\n\"d, \"\"e\"\"\",\"{SCRYPT}\"\n")
}

#[test]
fn without_apply_an_import_says_what_would_happen_and_changes_nothing() {
    everywhere(|data| {
        let files = || -> BTreeSet<_> {
            let all = ["", "keys", "store"].map(|folder| fs::read_dir(data.join(folder)).ok());
            let paths = all.into_iter().flatten().flatten().map(|entry| entry.unwrap().path());
            paths.filter(|path| !path.to_string_lossy().contains("/snap.")).collect() // sled makes these as it opens
        };
        let (existed, before) = (data.exists(), files());
        for _ in 0..2 {
            let said = import(data, &["--json"], &format!("{}x,plain\n", one_of_each()));
            assert_eq!((said.code, said.counts()), (Some(1), [4, 0, 0, 1]), "{said:?}");
            assert_eq!((data.exists(), files()), (existed, before.clone()));
        }
        let said = import(data, &[], &one_of_each());
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.out.contains("would be added           4") && said.out.contains("--apply"), "{said:?}");
        if existed {
            assert!(names(data).is_empty());
        }
    });
}

#[test]
fn who_was_imported_logs_in_with_the_old_password_and_gets_a_hash_of_ours() {
    for running in [true, false] {
        let dir = temporary();
        let act = || {
            let said = import(dir.path(), &["--apply", "--json"], &one_of_each());
            assert_eq!((said.code, said.counts()), (Some(0), [4, 0, 0, 0]), "{said:?}");
        };
        let server = if running {
            let server = Process::start(dir.path(), &[]);
            act();
            server
        } else {
            act();
            Process::start(dir.path(), &[])
        };
        for (name, before) in [("anna", "pbkdf2-sha256"), ("bert", "argon2id"), ("carla", "2b")] {
            assert_eq!(status(&server, name, "correct hors"), 401);
            assert_eq!(kind(dir.path(), name), before);
            assert_eq!(status(&server, name, PASSWORD), 200);
            assert_eq!(kind(dir.path(), name), "scrypt");
            assert_eq!(status(&server, name, PASSWORD), 200);
            assert_eq!(status(&server, name, "correct hors"), 401);
        }
        assert_eq!(status(&server, "d, \"e\"", PASSWORD), 200);
        // Whoever has logged in since is left alone.
        let said = import(dir.path(), &["--apply", "--json"], &one_of_each());
        assert_eq!((said.code, said.counts()), (Some(1), [0, 0, 4, 0]), "{said:?}");
        stop_well(server);
    }
}

#[test]
fn an_import_can_be_made_again() {
    everywhere(|data| {
        let said = import(data, &["--apply", "--json"], &one_of_each());
        assert_eq!((said.code, said.counts()), (Some(0), [4, 0, 0, 0]), "{said:?}");
        let before = export(data, &[]);
        for args in [&["--apply", "--json"][..], &["--json"]] {
            let said = import(data, args, &one_of_each());
            assert_eq!((said.code, said.counts()), (Some(0), [0, 4, 0, 0]), "{said:?}");
        }
        let said = import(data, &["--apply", "--json"], &format!("{}eve,{PBKDF2}\n", one_of_each()));
        assert_eq!((said.code, said.counts()), (Some(0), [1, 4, 0, 0]), "{said:?}");
        assert!(export(data, &[]).starts_with(&before));
    });
}

#[test]
fn who_is_there_with_another_role_or_state_is_not_said_to_be_there_already() {
    let users = |bert: &str, carla: &str| {
        format!(
            "username,password_hash,role,disabled\nanna,{PBKDF2},user,false\nbert,{PBKDF2},user,{bert}\n\
             carla,{PBKDF2},{carla},false\n"
        )
    };
    everywhere(|data| {
        let first = import(data, &["--apply", "--json"], &users("false", "user"));
        assert_eq!((first.code, first.counts()), (Some(0), [3, 0, 0, 0]), "{first:?}");
        let before = export(data, &[]);
        for args in [&["--apply", "--json", "--allow-admins"][..], &["--json", "--allow-admins"]] {
            let said = import(data, args, &users("true", "admin"));
            assert_eq!((said.code, said.counts()), (Some(1), [0, 1, 0, 0]), "{said:?}");
            let problem = "a user of that name is there with another role or state, and is left alone";
            let [bert, carla] = [3, 4].map(|line| json!({ "line": line, "problem": problem }));
            assert_eq!(
                (&said.json()["altered"], &said.json()["problems"]),
                (&json!(2), &json!([bert, carla]))
            );
        }
        assert_eq!(export(data, &[]), before, "they are left alone");
    });
}

#[test]
fn every_refusal_is_told_by_its_line_and_keeps_nobody_else_out() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    register(&server, "taken");
    let mut users = format!("username,password,role,disabled,mail\r\nanna,{PBKDF2},,,a@b\r\n\r\n");
    let mut expected = Vec::new();
    let long = "x".repeat(129);
    let half = &PBKDF2[..70];
    for (row, problem) in [
        (format!("anna,{PBKDF2},,,"), "the same name as in line 2"),
        (format!("taken,{PBKDF2},,,"), "a user of that name is there with another hash, and is left alone"),
        (format!("{long},{PBKDF2},,,"), "the name has more than 128 characters"),
        (format!(",{PBKDF2},,,"), "the name is empty"),
        (format!("a\tb,{PBKDF2},,,"), "the name holds a control character"),
        ("plain,correct horse,,,".into(), "this is no hash; passwords as they are cannot be taken over"),
        (
            "other,$6$salt$hash,,,".into(),
            "the hash is in no known form of PBKDF2 with SHA-256 or SHA-512, scrypt, Argon2 or bcrypt",
        ),
        (format!("cut,{half},,,"), "the hash is damaged or cut off"),
        (
            format!("dear,{},,,", BCRYPT.replace("$04$", "$31$")),
            "the hash costs too much: these parameters need more than 16 times the default's work",
        ),
        (
            format!("large,\"{}\",,,", ARGON2.replace("m=64", "m=4294967295")),
            "the hash costs too much: these parameters need more than 256 MiB per hash",
        ),
        (format!("boss,{PBKDF2},admin,,"), "an administrator: --allow-admins adds these too"),
        (format!("root,{PBKDF2},root,,"), "role: neither user nor admin"),
        (format!("perhaps,{PBKDF2},,maybe,"), "disabled: neither true nor false"),
        (
            format!("short,{PBKDF2}"),
            "5 columns are expected, 2 found: the separator is a comma, as in the first line",
        ),
        (format!("{},{PBKDF2},,,", "x".repeat(70_000)), "longer than 64 KiB"),
    ] {
        expected.push(json!({ "line": 4 + expected.len(), "problem": problem }));
        write!(users, "{row}\r\n").unwrap();
    }
    write!(users, "bert,{PBKDF2},user,true,").unwrap();
    for (args, after) in [(&["--json"][..], 1), (&["--json", "--apply"], 3)] {
        let said = import(dir.path(), args, &users);
        assert_eq!((said.code, said.counts()), (Some(1), [2, 0, 1, 14]), "{said:?}");
        assert_eq!(said.json()["problems"], json!(expected));
        assert_eq!(said.json()["ignored_columns"], json!(["mail"]));
        assert_eq!(names(dir.path()).len(), after);
    }
    assert_eq!(status(&server, "anna", PASSWORD), 200);
    assert_eq!(status(&server, "bert", PASSWORD), 401, "disabled");
    assert_eq!(status(&server, "taken", PASSWORD), 200);
    stop_well(server);
}

#[test]
fn a_text_lists_the_first_problems_and_counts_the_others() {
    let dir = temporary();
    let said = import(&dir.path().join("data"), &[], &"x,plain\n".repeat(1254));
    assert_eq!((said.code, said.out.lines().filter(|line| line.starts_with("line ")).count()), (Some(1), 20));
    assert!(said.out.contains("\nline 20: ") && said.out.contains("\n… and 1,234 more (--json lists all)"));
}

#[test]
fn what_is_exported_is_imported_as_it_was_in_either_format() {
    let dir = temporary();
    let old = dir.path().join("old");
    let server = Process::start(&old, &[]);
    for number in 0..520 {
        register(&server, &format!("user \"{number}\", Zoë"));
    }
    let admin = format!(
        "username,role,disabled,password_hash\nboss,admin,false,\"{ARGON2}\"\nex,user,true,{BCRYPT}\n"
    );
    assert_eq!(import(&old, &["--apply", "--allow-admins"], &admin).code, Some(0));
    let csv = export(&old, &[]);
    assert_eq!(csv.lines().count(), 523);
    for (format, running) in [("csv", true), ("jsonl", false), ("csv", false)] {
        let users = export(&old, &["--format", format, "-"]);
        let new = dir.path().join(format!("{format}-{running}"));
        let server = running.then(|| Process::start(&new, &[]));
        let said = import(&new, &["--apply", "--json"], &users);
        assert_eq!((said.code, said.counts()), (Some(1), [521, 0, 0, 1]), "{said:?}");
        let said = import(&new, &["--apply", "--json", "--allow-admins"], &users);
        assert_eq!((said.code, said.counts()), (Some(0), [1, 521, 0, 0]), "{said:?}");
        let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(sorted(&export(&new, &[])), sorted(&csv));
        let server = server.unwrap_or_else(|| Process::start(&new, &[]));
        let boss = Tokens::from_reply(&server.client().post("/login", &credentials("boss", PASSWORD)));
        assert_eq!(get(&server, "/user", &boss.access).status, 200);
        assert_eq!(status(&server, "ex", PASSWORD), 401);
        assert_eq!(status(&server, "user \"519\", Zoë", PASSWORD), 200);
        stop_well(server);
    }
    stop_well(server);
}

#[test]
fn an_export_to_a_file_is_whole_and_its_owners_alone() {
    let dir = temporary();
    let data = dir.path().join("data");
    assert_eq!(import(&data, &["--apply"], &one_of_each()).code, Some(0));
    let (file, elsewhere) = (dir.path().join("users.jsonl"), dir.path().join("elsewhere"));
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&elsewhere, "").unwrap();
    symlink(&elsewhere, dir.path().join("users.jsonl.new")).unwrap();
    let path = file.to_str().unwrap();
    assert_eq!(export(&data, &[path]), format!("4 users written to {path}\n"));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&file).unwrap(), export(&data, &["--format", "jsonl"]));
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "");
    assert!(dir.path().join("users.jsonl.new").is_symlink(), "that is somebody's");

    // Imported by name, too; and if the store is not there, what was exported stays.
    let said = import(&dir.path().join("new"), &["--apply", "--json", path], "");
    assert_eq!((said.code, said.counts()), (Some(0), [4, 0, 0, 0]), "{said:?}");
    let before = fs::read(&file).unwrap();
    let link = dir.path().join("link");
    symlink("/dev/null", &link).unwrap();
    for no_file in [link.as_path(), dir.path()] {
        let said = end(command("export", &data, &[no_file.to_str().unwrap()]).spawn().unwrap());
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains("is no file"), "{said:?}");
    }
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("/dev/null"));
    for to in [path, "-"] {
        let said = end(command("export", &dir.path().join("nowhere"), &[to]).spawn().unwrap());
        assert_eq!((said.code, &*said.out), (Some(73), ""), "{said:?}");
    }
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn hashes_are_not_shown_on_a_terminal_unless_asked_for() {
    let dir = temporary();
    assert_eq!(import(dir.path(), &["--apply"], &one_of_each()).code, Some(0));
    for (to, code) in [("", 2), (" -", 0)] {
        let typed =
            format!("exec {} export --data-dir {}{to}", env!("CARGO_BIN_EXE_gatelet"), dir.path().display());
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &typed, "/dev/null"]).env_clear();
        let output = crate::run(&mut script);
        let shown = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{shown}");
        assert_eq!(shown.contains(PBKDF2), code == 0, "{shown}");
    }
}

#[test]
fn input_that_cannot_be_read_ends_with_2_and_makes_no_store() {
    let dir = temporary();
    let data = dir.path().join("data");
    let directory = dir.path().to_str().unwrap();
    for (args, input, text) in [
        (&["/nowhere/at/all.csv"][..], "", "/nowhere/at/all.csv: "),
        (&[directory], "", directory),
        (&[], "", "there are no users in the input"),
        (&[], "\u{feff}\n\r\n", "there are no users in the input"),
        (&["-"], "username,password\n", "there are no users in the input"),
        (&[], "\"anna,$2b$04$x\nbert", "line 1: a quote is opened that nothing closes"),
        (&["--format", "xml"], "", "--format"),
    ] {
        let said = import(&data, &[args, &["--apply"]].concat(), input);
        assert_eq!((said.code, &*said.out), (Some(2), ""), "{said:?}");
        assert!(said.err.contains(text), "{said:?}");
        assert!(!data.exists());
    }
}

#[test]
fn what_comes_before_an_open_quote_is_added_and_reported() {
    let dir = temporary();
    let said = import(dir.path(), &["--apply", "--json"], &format!("{}\"eve,{PBKDF2}\n", one_of_each()));
    assert_eq!((said.code, said.counts()), (Some(2), [4, 0, 0, 0]), "{said:?}");
    assert!(said.err.contains("line 5: a quote is opened"), "{said:?}");
    assert_eq!(names(dir.path()).len(), 4);
}

#[test]
fn names_of_columns_and_files_cannot_speak_to_a_terminal() {
    let dir = temporary();
    let header = "username,password_hash,\u{1b}]0;a title\u{7},mail";
    let said = import(dir.path(), &[], &format!("{header}\nanna,{PBKDF2},,\n"));
    let shown = r#"columns that are not looked at: "\u{1b}]0;a title\u{7}", mail"#;
    assert!(said.code == Some(0) && said.out.contains(shown), "{said:?}");
    let (data, no_file) = (dir.path().join("data"), dir.path().join("\u{1b}]0;a title\u{7}"));
    fs::create_dir(&no_file).unwrap();
    for what in ["import", "export", "backup", "restore"] {
        let said = end(command(what, &data, &[no_file.to_str().unwrap()]).spawn().unwrap());
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains(r"\u{1b}]0;a title\u{7}") && !said.err.contains('\u{1b}'), "{said:?}");
    }
}

#[test]
fn a_terminal_is_not_flooded_with_the_audit_log_of_an_import() {
    let dir = temporary();
    let file = dir.path().join("users.csv");
    fs::write(&file, one_of_each()).unwrap();
    let terminal = Terminal::open(&dir.path().join("data"), &["import", "--apply", file.to_str().unwrap()]);
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("added                    4") && !shown.contains("gatelet::audit"), "{shown}");
}

/// Feeds a pipe that is read by its name for more than the two seconds after which there is something to show.
fn feed_slowly(pipe: &Path) -> thread::JoinHandle<()> {
    assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
    let pipe = pipe.to_owned();
    thread::spawn(move || {
        let mut input = fs::OpenOptions::new().write(true).open(pipe).unwrap();
        let users = many();
        let (before, after) = users.split_at(users.len() / 2);
        input.write_all(before.as_bytes()).unwrap();
        thread::sleep(Duration::from_secs(3));
        input.write_all(after.as_bytes()).unwrap();
    })
}

#[test]
fn progress_is_shown_at_a_terminal_while_it_takes_long_and_nowhere_else() {
    let dir = temporary();
    let [at_terminal, elsewhere] = ["a", "b"].map(|name| dir.path().join(name));
    let feeders = [&at_terminal, &elsewhere].map(|pipe| feed_slowly(pipe));
    let data = dir.path().join("data");
    let args = ["import", at_terminal.to_str().unwrap()];
    let terminal = Terminal::open_with(&data, &args, &[("TERM", "xterm")]);
    let piped = command("import", &data, &[elsewhere.to_str().unwrap()]).spawn().unwrap();

    let said = end(piped);
    assert_eq!((said.code, &*said.err), (Some(0), ""), "{said:?}");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown:?}");
    let (bars, report) = shown.split_once("RESULT").unwrap();
    let (_, rate) = bars.rsplit_once(" lines, ").expect(bars);
    let (rate, rest) = rate.split_once("/s").unwrap();
    assert!(rate.chars().all(|c| c.is_ascii_digit() || c == ','), "{bars:?}");
    assert!(rest.contains("\u{1b}[2K"), "it is taken away: {bars:?}");
    assert!(report.contains("would be added           6,000"), "{report}");
    for feeder in feeders {
        feeder.join().unwrap();
    }
}

/// Enough that a kill comes in the middle.
const MANY: usize = 6000;

fn many() -> String {
    (0..MANY).fold(String::new(), |mut users, number| {
        writeln!(users, "user-{number},{PBKDF2}").unwrap();
        users
    })
}

/// Run again, the import completes what a kill has left, and what the audit log had told of was there.
fn expect_completion(dir: &Path, told: &BTreeSet<String>) {
    let there = names(dir);
    assert!(there.len() < MANY, "the kill came too late");
    assert!(told.is_subset(&there), "{:?}", told.difference(&there).next());
    let said = import(dir, &["--apply", "--json"], &many());
    let there = there.len() as u64;
    assert_eq!((said.code, said.counts()), (Some(0), [MANY as u64 - there, there, 0, 0]));
    assert_eq!(names(dir).len(), MANY);
    assert_eq!(said.err.matches("registered ").count() as u64, MANY as u64 - there, "a line each");
}

/// While nobody reads standard error, some 9,000 lines fit: in our memory and in the pipe.
#[test]
fn an_import_waits_for_whoever_reads_its_audit_log() {
    let dir = temporary();
    let file = dir.path().join("users.csv");
    fs::write(&file, many() + &many().replace("user", "other")).unwrap();
    let data = dir.path().join("data");
    let mut child = command("import", &data, &["--apply", file.to_str().unwrap()]).spawn().unwrap();
    let begun = Instant::now();
    // Long enough to have made them all.
    while begun.elapsed() < Duration::from_secs(3) {
        assert!(child.try_wait().unwrap().is_none(), "it has not waited");
        thread::sleep(Duration::from_millis(5));
    }
    let said = end(child);
    assert_eq!(said.code, Some(0), "{:?}", said.out);
    assert_eq!(said.err.matches("registered ").count(), 2 * MANY);
    assert!(!said.err.contains("lost"));
}

#[test]
fn an_import_that_is_killed_is_completed_by_the_next() {
    let dir = temporary();
    let file = dir.path().join("users.csv");
    fs::write(&file, many()).unwrap();
    let data = dir.path().join("data");
    for kill_after in [1, 1500] {
        let mut child = command("import", &data, &["--apply", file.to_str().unwrap()]).spawn().unwrap();
        let mut told = BTreeSet::new();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        while told.len() < kill_after {
            let line = log.next().expect("it ended").unwrap();
            if let Some((_, rest)) = line.split_once("registered user=") {
                told.insert(rest.split('"').nth(1).unwrap().to_owned());
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let there = names(&data);
        assert!(told.is_subset(&there), "{:?}", told.difference(&there).next());
        if kill_after > 1 {
            expect_completion(&data, &told);
        }
    }
}

#[test]
fn an_import_whose_server_is_killed_is_completed_by_the_next() {
    let dir = temporary();
    let file = dir.path().join("users.csv");
    fs::write(&file, many()).unwrap();
    let data = dir.path().join("data");
    let server = Process::start(&data, &[]);
    let mut child = command("import", &data, &["--apply", file.to_str().unwrap()]).spawn().unwrap();
    while names(&data).len() < 1000 {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
    }
    // First the one who would go on alone.
    rustix::process::kill_process(Pid::from_child(&child), rustix::process::Signal::STOP).unwrap();
    let log = server.kill().log;
    let told = log.lines().filter_map(|line| line.split_once("registered user=")?.1.split('"').nth(1));
    let told = told.map(str::to_owned).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    expect_completion(&data, &told);
}
