//! The format of backups: a backup reads back as written, and any other file is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods)] // an error fails the test; changes need no authority here

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flate2::read::GzDecoder;
use gatelet::backup::{
    Backup, BackupFile, BackupName, Checked, Checker, Flaw, NewFile, ReadError, Restored, compressed,
};
use gatelet::domain::clock::Clock;
use gatelet::domain::session::{Era, Sessions};
use gatelet::domain::user::{Role, User, Usernames};
use gatelet::password::PasswordHash;
use gatelet::store::{Authority, NewUser, Outcome, Store, StoreOptions, UserChange};
use gatelet::token::offline::PublicKeys;
use gatelet::token::{KeyRing, Lifetimes, LostKeys, Tokens};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use support::{start, temporary};

const LIFETIMES: Lifetimes =
    Lifetimes { access: Duration::from_secs(900), refresh: Duration::from_secs(3600) };

const NAMES: [&str; 6] = ["anna", "bert \"the quick\"", "名前", "👩‍🚀\\n", "{\"users\":", " "];

/// The name of a user who was deleted.
const GONE: &str = "{\"kept_name\":";

/// A store, its keys, and a backup of it.
struct Bench {
    dir: TempDir,
    users: Vec<(User, PasswordHash)>,
    keys: Arc<KeyRing>,
    store: Store,
    runtime: Runtime,
}

fn ring(dir: &Path) -> Arc<KeyRing> {
    Arc::new(KeyRing::open(&dir.join("keys"), &[], LostKeys::Replace, LIFETIMES, start()).unwrap())
}

fn public(ring: &KeyRing) -> PublicKeys {
    ring.signer().paserk.parse().unwrap()
}

impl Bench {
    fn new() -> Self {
        let dir = temporary();
        let options = StoreOptions { cache: 1 << 20, min_free: 0, accept_clock: None };
        Store::free_when_dropped();
        let store = Store::open(dir.path(), &options, Arc::new(Clock::manual(start()))).unwrap();
        let runtime = Runtime::new().unwrap();
        let mut users = Vec::new();
        for (n, name) in NAMES.into_iter().enumerate() {
            let hash =
                PasswordHash::from_stored(format!("$scrypt$ln=1,r=8,p=1$aaaaaaaaaaaaaaaaaaaaaA${n:042}A"));
            let role = if n == 1 { Role::Admin } else { Role::User };
            let created_at = start().after(Duration::from_millis(n as u64 * 1234));
            let name = Usernames::Exact.new_name(name).unwrap();
            let new = NewUser::new(name, role, hash.clone(), created_at).unwrap();
            let made = runtime.block_on(store.create_user(Authority::standing(), new));
            users.push((made.unwrap().unwrap(), hash));
        }
        let disable = UserChange { role: None, disabled: Some(true) };
        runtime.block_on(store.update_user(Authority::standing(), users[2].0.id, disable)).unwrap();
        users[2].0.disabled = true;
        let new = NewUser::new(GONE.parse().unwrap(), Role::User, users[0].1.clone(), start()).unwrap();
        let gone = runtime.block_on(store.create_user(Authority::standing(), new)).unwrap().unwrap();
        assert_eq!(
            runtime.block_on(store.delete_user(Authority::standing(), gone.id, start())),
            Ok(Outcome::Done(()))
        );
        Self { keys: ring(dir.path()), dir, users, store, runtime }
    }

    fn backup(&self, keys: &Arc<KeyRing>) -> Vec<u8> {
        let snapshot = self.runtime.block_on(self.store.snapshot()).unwrap();
        let mut file = compressed(Vec::new());
        Backup::new(snapshot, Arc::clone(keys), "gatelet", start()).write(&mut file).unwrap();
        file.finish().unwrap()
    }

    /// Reads `bytes` as a file.
    fn read(&self, bytes: &[u8], known: Option<&PublicKeys>) -> Result<Checked, Flaw> {
        let path = self.dir.path().join("backup");
        fs::write(&path, bytes).unwrap();
        let (mut users, mut kept) = (Vec::new(), Vec::new());
        let read = BackupFile::open(&path).unwrap().read(known, |_, read| {
            match read {
                Restored::User(user, hash) => users.push((user, hash)),
                Restored::KeptName(name, until) => kept.push((name, until)),
            }
            Ok(())
        });
        match read {
            Ok(checked) => {
                assert!(users.len() == self.users.len(), "{users:?}");
                for ((user, hash), (other, other_hash)) in users.iter().zip(&self.users) {
                    assert!(hash == other_hash, "{user:?}");
                    // Backups hold no sessions.
                    assert_eq!(*user, User { sessions: Sessions::default(), ..other.clone() });
                }
                let until = start().after(Duration::from_secs(30 * 24 * 3600));
                assert_eq!(kept, [(GONE.parse().unwrap(), until)]);
                Ok(checked)
            }
            Err(ReadError::Flaw(flaw)) => Err(flaw),
            Err(ReadError::Io(error)) => panic!("{error}"),
        }
    }

    fn read_lines(&self, lines: &[String]) -> Result<Checked, Flaw> {
        self.read(&packed(&(lines.join("\n") + "\n")), None)
    }
}

fn packed(text: &str) -> Vec<u8> {
    let mut file = compressed(Vec::new());
    file.write_all(text.as_bytes()).unwrap();
    file.finish().unwrap()
}

fn unpacked(file: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

fn lines(file: &[u8]) -> Vec<String> {
    unpacked(file).lines().map(ToOwned::to_owned).collect()
}

#[test]
fn a_backup_reads_back_as_written() {
    let bench = Bench::new();
    let file = bench.backup(&bench.keys);
    let checked = bench.read(&file, None).unwrap();
    assert_eq!((checked.header.users, checked.vouched), (NAMES.len() as u64, false));
    assert_eq!(checked.header.key.id, bench.keys.signer().id);
    let vouched = bench.read(&file, Some(&public(&bench.keys))).unwrap();
    assert!(vouched.vouched);
    assert_eq!(vouched.header, checked.header);
    assert!(!unpacked(&file).contains("k4.secret"), "a backup holds no key");
}

#[test]
fn a_backup_that_is_cut_anywhere_is_refused() {
    let bench = Bench::new();
    let file = bench.backup(&bench.keys);
    for length in 0..file.len() {
        assert!(bench.read(&file[..length], None).is_err(), "{length} of {} bytes", file.len());
    }
    let text = unpacked(&file);
    for (length, _) in text.char_indices() {
        assert!(bench.read(&packed(&text[..length]), None).is_err(), "{length} of {} bytes", text.len());
    }
}

#[test]
fn every_flipped_bit_that_changes_anything_is_detected() {
    let bench = Bench::new();
    let file = bench.backup(&bench.keys);
    let good = bench.read(&file, None).unwrap();
    let mut harmless = Vec::new();
    for place in 0..file.len() {
        let mut bytes = file.clone();
        bytes[place] ^= 1 << (place % 8);
        if let Ok(checked) = bench.read(&bytes, None) {
            assert_eq!(checked, good);
            harmless.push(place);
        }
    }
    // The time and system in the gzip header and the padding of its last byte have no meaning.
    assert!(harmless.len() <= 12, "{harmless:?}");
    let text = unpacked(&file).into_bytes();
    for place in 0..text.len() {
        let mut bytes = text.clone();
        bytes[place] ^= 1 << (place % 7);
        if let Ok(text) = String::from_utf8(bytes) {
            assert!(bench.read(&packed(&text), None).is_err(), "{place}: {text}");
        }
    }
}

#[test]
fn missing_doubled_swapped_and_added_lines_are_refused() {
    let bench = Bench::new();
    let good = lines(&bench.backup(&bench.keys));
    let last = good.len() - 1;
    for place in 0..=last {
        let mut missing = good.clone();
        missing.remove(place);
        assert!(bench.read_lines(&missing).is_err(), "without line {place}");
        let mut doubled = good.clone();
        doubled.insert(place, good[place].clone());
        assert!(bench.read_lines(&doubled).is_err(), "line {place} twice");
        for other in 0..place {
            let mut exchanged = good.clone();
            exchanged.swap(place, other);
            assert!(bench.read_lines(&exchanged).is_err(), "{place} and {other} exchanged");
        }
    }
    assert_eq!(bench.read_lines(&[&good[..], &good[1..2]].concat()), Err(Flaw::AfterEnd));
    let file = bench.backup(&bench.keys);
    for more in [&b"\0"[..], &file] {
        assert_eq!(bench.read(&[&file, more].concat(), None), Err(Flaw::AfterEnd));
    }
    assert_eq!(bench.read(b"something else", None), Err(Flaw::Compression));
    assert_eq!(bench.read(&packed("something else\n"), None), Err(Flaw::NoBackup));
    assert_eq!(bench.read(&packed(&"x".repeat(100_000)), None), Err(Flaw::NoBackup));
}

#[test]
fn every_kind_of_wrong_line_has_its_error() {
    let bench = Bench::new();
    let good = lines(&bench.backup(&bench.keys));
    let changed = |line: usize, from: &str, to: &str| {
        let mut lines = good.clone();
        assert!(lines[line].contains(from), "{}", lines[line]);
        lines[line] = lines[line].replace(from, to);
        bench.read_lines(&lines).unwrap_err()
    };
    assert_eq!(changed(0, "\"gatelet_backup\":2", "\"gatelet_backup\":3"), Flaw::Newer(3));
    assert_eq!(changed(0, "\"gatelet_backup\":2", "\"gatelet_backup\":0"), Flaw::NoBackup);
    assert_eq!(changed(0, "\"users\":6", "\"users\":7"), Flaw::Count);
    assert_eq!(changed(8, "\"users\":6", "\"users\":7"), Flaw::Count);
    assert_eq!(changed(8, "\"sha256\":\"", "\"sha256\":\"0"), Flaw::Checksum);
    assert_eq!(changed(1, "\"username\":\"anna\"", "\"username\":\"hanna\""), Flaw::Checksum);
    assert_eq!(changed(1, "\"role\":\"user\"", "\"role\":\"admin\""), Flaw::Checksum);
    for (from, to, what) in [
        ("\"username\":\"anna\"", "\"username\":\"\"", "the name is none that a user may have"),
        ("\"username\":\"anna\"", "\"username\":\"a\\u0000\"", "the name is none that a user may have"),
        ("\"username\":\"anna\"", "\"username\":\"Zoe\u{308}\"", "the name is not in its normal form"),
        ("\"role\":\"user\"", "\"role\":\"owner\"", "no user"),
        ("\"disabled\":false", "\"disabled\":false,\"more\":1", "no user"),
        ("\"created_at_millis\":", "\"created_at_millis\":999999", "the time of creation is none"),
        ("ln=1,", "ln=30,", "the password's hash cannot be read, or asks for too much"),
        ("$scrypt", "$plain", "the password's hash cannot be read, or asks for too much"),
    ] {
        assert_eq!(changed(1, from, to), Flaw::Line(2, what), "{to}");
    }
    let anna = "\"username\":\"anna\"";
    let id = good[1][7..43].to_owned();
    for wrong in [
        "00000000-0000-0000-0000-000000000000".to_owned(), // the nil UUID
        "ffffffff-ffff-7fff-bfff-ffffffffffff".to_owned(), // the last possible id
        "e6784f1b-8f00-7000-8000-000000000000".to_owned(), // from the year 10000
        format!("{}4{}", &id[..14], &id[15..]),
        format!("{}c{}", &id[..19], &id[20..]),
        format!("urn:uuid:{id}"),
        id.replace('-', ""),
    ] {
        assert_eq!(changed(1, &id, &wrong), Flaw::Line(2, "the id is none that a user may have"), "{wrong}");
    }
    let next = good[2][7..43].to_owned();
    assert_eq!(changed(2, &next, &id), Flaw::Line(3, "the user's id is not after the one before"));
    for (from, to, what) in [
        (":1769", ":999991769", "the time until which the name is kept is none"),
        ("\"until_millis\":", "\"more\":1,\"until_millis\":", "no name of a deleted user"),
        ("\"{\\\"", "\"\\u0000{\\\"", "the name is none that a user may have"),
        ("\"{\\\"", "\"e\u{308}{\\\"", "the name is not in its normal form"),
    ] {
        assert_eq!(changed(7, from, to), Flaw::Line(8, what), "{to}");
    }
    let kept = "{\"kept_name\":\"anna\",\"until_millis\":1}";
    assert_eq!(changed(7, &good[7], kept), Flaw::Line(8, "the name was there before"));
    assert_eq!(changed(2, &good[2], &good[7]), Flaw::Line(4, "a user follows the names of deleted users"));
    let mut first_format = good.clone();
    first_format[0] = first_format[0].replace("\"gatelet_backup\":2", "\"gatelet_backup\":1");
    assert_eq!(bench.read_lines(&first_format), Err(Flaw::Count), "which knew no such names");
    let name = "\"username\":\"名前\"";
    assert_eq!(changed(3, name, anna), Flaw::Line(4, "the user's name was there before"));
}

#[test]
fn one_user_too_many_is_detected_at_once() {
    let bench = Bench::new();
    let mut lines = lines(&bench.backup(&bench.keys));
    lines[0] = lines[0].replace("\"users\":6", "\"users\":1");
    let mut checker = Checker::new(None);
    assert!(lines[..2].iter().all(|line| checker.line(line.as_bytes()).is_ok()));
    assert_eq!(checker.line(lines[2].as_bytes()).unwrap_err(), Flaw::Count);
}

#[test]
fn a_new_backup_is_read_back_whole() {
    let bench = Bench::new();
    let path = bench.dir.path().join("backup");
    let file = bench.backup(&bench.keys);
    let read_back = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        BackupFile::open(&path).unwrap().read_back()
    };
    assert_eq!(read_back(&file).unwrap().header.users, NAMES.len() as u64);
    assert!(read_back(&file[..file.len() - 1]).is_err());
    let exchanged = unpacked(&file).replacen("anna", "nana", 1);
    assert!(matches!(read_back(&packed(&exchanged)), Err(ReadError::Flaw(Flaw::Checksum))));
}

#[test]
fn only_a_signature_by_the_given_key_over_this_content_is_accepted() {
    let bench = Bench::new();
    let other = ring(temporary().path());
    let (good, theirs) = (lines(&bench.backup(&bench.keys)), lines(&bench.backup(&other)));
    let id = bench.keys.signer().id;

    // Intact, but signed with another key.
    let keys = public(&bench.keys);
    assert_eq!(
        bench.read(&bench.backup(&other), Some(&keys)),
        Err(Flaw::UnknownKey(Some(other.signer().id)))
    );
    let signature = |lines: &[String]| {
        let trailer: serde_json::Value = serde_json::from_str(&lines[8]).unwrap();
        trailer["signature"].as_str().unwrap().to_owned()
    };
    let signed = |text: &str| {
        let mut lines = good.clone();
        lines[8] = lines[8].replace(&signature(&good), text);
        packed(&(lines.join("\n") + "\n"))
    };
    let tokens = Tokens::new(
        KeyRing::open(
            &bench.dir.path().join("keys"),
            &bench.keys.records(),
            LostKeys::Refuse,
            LIFETIMES,
            start(),
        )
        .unwrap(),
        "gatelet".into(),
        LIFETIMES,
    );
    assert_eq!(tokens.ring().signer().id, id);
    let session = tokens.begin_session(&bench.users[0].0, start(), Era::default()).unwrap();
    let token = serde_json::to_value(&session.access).unwrap();
    let elsewhere = {
        let mut shorter = Bench::new();
        shorter.keys = Arc::clone(&bench.keys);
        lines(&shorter.backup(&bench.keys))
    };
    for (what, text) in [
        ("nothing", String::new()),
        ("another key's", signature(&theirs)),
        ("an access token", token.as_str().unwrap().to_owned()),
        ("that of another backup", signature(&elsewhere)),
    ] {
        let flaw = bench.read(&signed(&text), None).unwrap_err();
        assert_eq!(flaw, Flaw::Signature, "{what}");
        assert!(bench.read(&signed(&text), Some(&keys)).is_err(), "{what}");
    }
    // A backup's signature is no access token either.
    assert!(tokens.verify_access(&signature(&good), start()).is_err());
}

#[test]
fn a_checker_without_the_last_line_reports_it() {
    let bench = Bench::new();
    let mut checker = Checker::new(None);
    for line in &lines(&bench.backup(&bench.keys))[..8] {
        checker.line(line.as_bytes()).unwrap();
    }
    assert_eq!(checker.users(), 6);
    assert_eq!(checker.finish(), Err(Flaw::Cut));
}

#[test]
fn names_of_automatic_backups_give_store_and_time() {
    let store = "0f2a9c1e-0000-4000-8000-000000000000".parse().unwrap();
    let name = BackupName::new(store, start());
    assert_eq!(name.to_string(), "gatelet-0f2a9c1e-20260101T000000Z.jsonl.gz");
    assert_eq!(BackupName::read(&name.to_string()), Some(name));
    assert!(name.is_of(store) && !name.is_of(uuid::Uuid::nil()) && name.moment == start());
    for other in [
        "gatelet-0f2a9c1e-20260101T000000Z.jsonl.gz.new",
        "gatelet-0f2a9c1e-20261301T000000Z.jsonl.gz",
        "gatelet-0f2a9c1e-20260101000000Z.jsonl.gz",
        "gatelet-0f2a9c1e-20260101 000000Z.jsonl.gz",
        "my-gatelet-0f2a9c1e-20260101T000000Z.jsonl.gz",
        "gatelet-0f2a9c1e-2026é101T000000Z.jsonl.gz",
        "gatelet-0F2A9C1E-20260101T000000Z.jsonl.gz",
        "gatelet-f2a9c1e-20260101T000000Z.jsonl.gz",
        "gatelet-20260101T000000Z.jsonl.gz",
        "gatelet--20260101T000000Z.jsonl.gz",
        "gatelet-.jsonl.gz",
    ] {
        assert_eq!(BackupName::read(other), None, "{other}");
    }
}

#[test]
fn concurrent_writers_of_one_file_do_not_mix() {
    let dir = temporary();
    let path = dir.path().join("backup");
    let beside = dir.path().join("backup.new");
    fs::write(&beside, "precious").unwrap();
    let mut files = [(); 3].map(|()| NewFile::create(&path, 0).unwrap());
    for (n, file) in files.iter_mut().enumerate() {
        write!(file, "whole {n}").unwrap();
    }
    assert!(!path.exists());
    let [first, second, third] = files;
    first.finish().unwrap();
    assert_eq!(unpacked(&fs::read(&path).unwrap()), "whole 0");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(second.finish().is_err_and(|error| error.kind() == std::io::ErrorKind::AlreadyExists));
    assert_eq!(unpacked(&fs::read(&path).unwrap()), "whole 0");
    third.replace().unwrap();
    assert_eq!(unpacked(&fs::read(&path).unwrap()), "whole 2");
    let full = NewFile::create(&dir.path().join("full"), u64::MAX).unwrap().finish().unwrap_err();
    assert!(full.to_string().contains("--min-free-mib"), "{full}");
    assert_eq!(fs::read(&beside).unwrap(), b"precious");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left behind");
}
