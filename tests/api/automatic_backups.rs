//! Automatic backups, and their state in `GET /readyz` and in the metrics.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use gatelet::backup::{BackupFile, BackupName, ReadError, Restored};
use gatelet::domain::clock::{Clock, Timestamp};
use serde_json::{Value, json};

use crate::support::{Client, TestServer, admin_socket, fill, spoil_pages, start, temporary};

const HOUR: Duration = Duration::from_secs(3600);

/// Longer than the interval at which a server checks whether a backup is due.
const LOOKED: Duration = Duration::from_millis(1500);

fn server(dir: &Path, more: &[&str]) -> TestServer {
    let dir = dir.to_str().unwrap();
    TestServer::start_with(
        &[&["--backup-dir", dir, "--backup-every", "2h", "--backup-keep", "3"], more].concat(),
    )
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn own_name(server: &TestServer, moment: Timestamp) -> String {
    let id = fs::read_to_string(server.data_dir().join("store-id")).unwrap();
    BackupName::new(id.trim().parse().unwrap(), moment).to_string()
}

fn own_names(server: &TestServer, hours: &[u32]) -> Vec<String> {
    hours.iter().map(|&hour| own_name(server, start().after(HOUR * hour))).collect()
}

fn until(holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "never");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The metrics: the time of the last good backup, and whether the last one failed.
fn metrics(server: &TestServer) -> (String, String) {
    let reply = Client::connect(server.metrics.unwrap()).unwrap().call("GET", "/metrics", None, None);
    let page = String::from_utf8(reply.body).unwrap();
    let value = |name: &str| {
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap().to_owned()
    };
    (value("gatelet_backup_last_success_timestamp_seconds"), value("gatelet_backup_failed"))
}

fn state(server: &TestServer) -> Value {
    let reply = server.call("GET", "/readyz", None, None);
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["status"], "ready");
    reply.json()["backup"].clone()
}

#[test]
fn a_backup_is_written_when_due_and_the_oldest_are_removed() {
    let temporary = temporary();
    let dir = temporary.path().join("copies");
    let server = server(&dir, &[]);
    server.register("anna", "correct horse");
    until(|| names(&dir) == own_names(&server, &[0]));
    until(|| state(&server) == json!({ "last": start().to_string(), "error": null }));
    server.advance(2 * HOUR - Duration::from_secs(1));
    thread::sleep(LOOKED);
    assert_eq!(names(&dir), own_names(&server, &[0]), "none before it is due");
    server.advance(Duration::from_secs(1));
    until(|| names(&dir) == own_names(&server, &[0, 2]));
    let newest = dir.join(own_name(&server, start().after(2 * HOUR)));
    let mut users = Vec::new();
    let read = BackupFile::open(&newest).unwrap().read(None, |_, read| {
        let Restored::User(user, _) = read else { panic!("{read:?}") };
        users.push(user.name.as_str().to_owned());
        Ok::<_, ReadError>(())
    });
    assert_eq!((read.unwrap().header.users, users), (1, vec!["anna".to_owned()]));
    assert_eq!(fs::metadata(&newest).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    for (hours, kept) in [(4, &[0, 2, 4][..]), (6, &[2, 4, 6]), (9, &[4, 6, 9])] {
        server.clock.set(start().after(HOUR * hours));
        until(|| names(&dir) == own_names(&server, kept));
    }
}

#[test]
fn a_restart_neither_advances_nor_skips_a_backup() {
    let temporary = temporary();
    let mut server = server(temporary.path(), &[]);
    until(|| names(temporary.path()) == own_names(&server, &[0]));
    server.advance(HOUR);
    server = server.restart();
    assert_eq!(state(&server)["last"], start().to_string());
    thread::sleep(LOOKED);
    assert_eq!(names(temporary.path()), own_names(&server, &[0]));
    server.advance(HOUR);
    until(|| names(temporary.path()) == own_names(&server, &[0, 2]));
    server.advance(9 * HOUR);
    server = server.restart(); // one backup for all that were missed
    until(|| names(temporary.path()) == own_names(&server, &[0, 2, 11]));
}

#[test]
fn a_server_counts_its_complete_backups_and_removes_only_its_own_files() {
    let temporary = temporary();
    let server = TestServer::start();
    let later = own_name(&server, start().after(1000 * HOUR));
    let others =
        ["notes.txt", "gatelet-20200101T000000Z.jsonl", ".backup.jsonl.gz.0123456789abcdef.new", &later];
    let old: Vec<_> = (1..=5)
        .map(|hours| own_name(&server, Timestamp::from_unix_secs(start().unix_secs() - 9000 * hours)))
        .collect();
    for name in others.into_iter().chain(old.iter().map(String::as_str)) {
        fs::write(temporary.path().join(name), "").unwrap();
    }
    fs::write(temporary.path().join(format!(".{}.0123456789abcdef.new", old[0])), "").unwrap();
    let dir = temporary.path().to_str().unwrap();
    let args = ["--backup-dir", dir, "--backup-every", "2h", "--backup-keep", "3"];
    let server = server
        .restart_with(&args, Arc::new(Clock::manual(start())))
        .unwrap_or_else(|error| panic!("{error}"));
    let mut expected: Vec<String> = others.iter().map(ToString::to_string).collect();
    expected.extend([own_name(&server, start()), old[0].clone(), old[1].clone()]);
    expected.sort();
    until(|| names(temporary.path()) == expected);
}

#[test]
fn stores_that_share_a_folder_leave_each_others_backups_alone() {
    let temporary = temporary();
    let first = server(temporary.path(), &[]);
    until(|| names(temporary.path()) == own_names(&first, &[0]));
    let unfinished = format!(".{}.0123456789abcdef.new", own_name(&first, start()));
    fs::write(temporary.path().join(unfinished), "").unwrap();
    let kept = names(temporary.path());
    // A second store, as if the disk of the first were not mounted.
    let dir = temporary.path().to_str().unwrap();
    let second = TestServer::start_with(&["--backup-dir", dir, "--backup-every", "2h", "--backup-keep", "1"]);
    let both = |hours: &[u32]| {
        let mut both = [kept.clone(), own_names(&second, hours)].concat();
        both.sort();
        both
    };
    until(|| names(temporary.path()) == both(&[0]));
    assert_eq!(state(&second)["last"], start().to_string());
    second.advance(2 * HOUR);
    until(|| names(temporary.path()) == both(&[2]));
}

#[test]
fn a_failed_backup_is_reported_and_retried_until_it_succeeds() {
    let temporary = temporary();
    let dir = temporary.path().join("copies");
    let server = server(&dir, &["--metrics-listen", "127.0.0.1:0"]);
    until(|| names(&dir) == own_names(&server, &[0]));
    until(|| state(&server)["last"] == start().to_string());
    assert_eq!(metrics(&server), (start().unix_secs().to_string(), "0".to_owned()));
    let kept: PathBuf = temporary.path().join("kept");
    fs::rename(&dir, &kept).unwrap();
    fs::write(&dir, "no directory").unwrap();
    server.advance(2 * HOUR);
    until(|| state(&server)["error"].is_string());
    let failed = state(&server);
    assert_eq!(metrics(&server), (start().unix_secs().to_string(), "1".to_owned()));
    assert_eq!(failed["last"], start().to_string());
    assert!(!failed["error"].as_str().unwrap().contains("copies"), "clients do not learn paths: {failed}");
    // Once repaired, the retry comes after a minute and not before.
    fs::remove_file(&dir).unwrap();
    fs::rename(&kept, &dir).unwrap();
    server.advance(Duration::from_secs(59));
    thread::sleep(LOOKED);
    assert_eq!(names(&dir), own_names(&server, &[0]));
    server.advance(Duration::from_secs(1));
    let moment = start().after(2 * HOUR + Duration::from_secs(60));
    until(|| state(&server) == json!({ "last": moment.to_string(), "error": null }));
    assert_eq!(names(&dir).last(), Some(&own_name(&server, moment)));
    assert_eq!(metrics(&server), (moment.unix_secs().to_string(), "0".to_owned()));
    // A start finds the backups in the directory.
    let args = ["--backup-dir", dir.to_str().unwrap(), "--metrics-listen", "127.0.0.1:0"];
    let server =
        server.restart_with(&args, Arc::new(Clock::manual(moment))).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(metrics(&server), (moment.unix_secs().to_string(), "0".to_owned()));
}

#[test]
fn logins_go_on_without_the_backup_disk_which_is_used_once_mounted() {
    let temporary = temporary();
    let dir = temporary.path().join("mounted/later");
    let server = server(&dir, &["--metrics-listen", "127.0.0.1:0"]);
    server.register("anna", "correct horse");
    server.log_in("anna", "correct horse");
    assert!(state(&server)["error"].is_string());
    assert_eq!(metrics(&server), ("0".to_owned(), "1".to_owned()));
    fs::create_dir(dir.parent().unwrap()).unwrap();
    server.advance(Duration::from_secs(60));
    until(|| state(&server)["error"].is_null());
    assert_eq!(names(&dir), [own_name(&server, start().after(Duration::from_secs(60)))]);
}

#[test]
fn a_backup_succeeds_though_an_old_one_cannot_be_removed() {
    let temporary = temporary();
    let server = server(temporary.path(), &[]);
    until(|| state(&server) == json!({ "last": start().to_string(), "error": null }));
    let in_the_way = temporary.path().join(own_name(&server, Timestamp::from_unix_secs(1_000_000)));
    fs::create_dir(&in_the_way).unwrap();
    server.advance(2 * HOUR);
    until(|| state(&server)["last"] == start().after(2 * HOUR).to_string());
    assert!(in_the_way.exists());
}

#[test]
fn no_backup_is_written_while_the_clock_is_behind() {
    let temporary = temporary();
    let server = server(temporary.path(), &[]);
    until(|| names(temporary.path()) == own_names(&server, &[0]));
    let wrong = Arc::new(Clock::manual(Timestamp::from_unix_secs(1_000_000)));
    let args = ["--backup-dir", temporary.path().to_str().unwrap()];
    let server = server.restart_with(&args, wrong).unwrap_or_else(|error| panic!("{error}"));
    thread::sleep(LOOKED);
    assert_eq!(names(temporary.path()), own_names(&server, &[0]));
    server.clock.set(start().after(24 * HOUR));
    until(|| names(temporary.path()) == own_names(&server, &[0, 24]));
}

#[test]
fn an_unreadable_page_fails_the_backup_and_the_server_goes_on() {
    let temporary = temporary();
    let server = server(temporary.path(), &["--cache-mib", "1"])
        .restart_after(async |store| fill::create(store, 10_000).await);
    until(|| names(temporary.path()).len() == 1);
    let users: Vec<_> = (5000..10_000).step_by(100).map(fill::name).collect();
    spoil_pages(server.data_dir(), &users);
    server.advance(2 * HOUR);
    until(|| state(&server)["error"].is_string());
    let failed = state(&server);
    assert!(failed["error"].as_str().unwrap().contains("a page of the store cannot be read"), "{failed}");
    assert_eq!(names(temporary.path()).len(), 1);
}

#[test]
#[ignore = "takes half a minute"]
fn a_backup_for_a_reader_that_stalls_is_aborted_and_incomplete() {
    const USERS: u64 = 8000; // several times the size of all buffers
    let server = TestServer::start().restart_after(async |store| fill::create(store, USERS).await);
    let mut stream = UnixStream::connect(server.data_dir().join("control.sock")).unwrap();
    admin_socket::send(&mut stream, br#"{"backup":{}}"#).unwrap();
    thread::sleep(Duration::from_secs(33));
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains(r#"{"Ok":null}"#) && answer.contains(&fill::name(0)), "{answer:.200}");
    assert!(!answer.contains(&fill::name(USERS - 1)) && !answer.ends_with("\0\0\0\0"));
}
