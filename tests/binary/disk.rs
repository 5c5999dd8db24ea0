//! Disks that are full, nearly full or read-only.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::backup_command::{backup, fails, restore, succeeds};
use crate::support::fill::filled;
use crate::support::{Process, Reply, credentials, gatelet, mounts, serve, temporary};
use crate::{PASSWORD, does_not_start, get, log_in, post, refused, register, run, stop_well, try_register};

/// More than any disk has free, in MiB.
const MORE_THAN_THERE_IS: [&str; 2] = ["--min-free-mib", "4294967295"];

fn assert_refused_for_space(reply: &Reply) {
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(reply.header("retry-after"), Some("60"));
    assert_eq!(
        reply.json(),
        serde_json::json!({
            "code": 503, "status": "Service Unavailable", "message": "The disk is nearly full."
        })
    );
}

#[test]
fn on_a_nearly_full_disk_only_writes_are_refused() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    register(&server, "anna");
    let tokens = log_in(&server, "anna");
    stop_well(server);

    let server = Process::start(dir.path(), &MORE_THAN_THERE_IS);
    assert_refused_for_space(&try_register(&server, "bert"));
    assert_refused_for_space(&server.client().call("GET", "/readyz", None, None));
    assert_eq!(server.client().call("GET", "/healthz", None, None).status, 200);
    assert_eq!(get(&server, "/user/me", &tokens.access).status, 200);
    assert_eq!(post(&server, "/refresh", &tokens.refresh).status, 200);
    log_in(&server, "anna");
    assert_refused_for_space(&post(&server, "/logout", &tokens.access));
    assert_refused_for_space(&server.client().call("DELETE", "/user/me", Some(&tokens.access), None));
    assert_eq!(get(&server, "/user/me", &tokens.access).status, 200); // refused means unchanged
    let log = stop_well(server);
    assert_eq!(log.matches("the disk is nearly full").count(), 1, "{log}");
    assert!(log.contains(" and 4294967295 MiB must be (--min-free-mib)"), "{log}");

    // Room is to be left for the ballast, too.
    fs::remove_file(dir.path().join("ballast")).unwrap();
    let log = stop_well(Process::start(dir.path(), &MORE_THAN_THERE_IS));
    assert!(log.contains(" and 4294967303 MiB must be (--min-free-mib and the ballast)"), "{log}");

    let server = Process::start(dir.path(), &[]);
    assert_eq!(server.client().call("GET", "/readyz", None, None).status, 200);
    register(&server, "bert");
    assert_eq!(post(&server, "/logout", &tokens.access).status, 200);
    stop_well(server);
}

#[test]
fn logins_work_on_a_nearly_full_disk_even_where_the_hash_should_be_renewed() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    register(&server, "anna");
    stop_well(server);
    let server =
        Process::start(dir.path(), &[&MORE_THAN_THERE_IS[..], &["--scrypt", "ln=2,r=8,p=1"]].concat());
    log_in(&server, "anna");
    log_in(&server, "anna");
    stop_well(server);
}

#[test]
fn a_first_start_without_room_says_so() {
    let dir = temporary();
    let text = refused(&mut serve(dir.path(), &MORE_THAN_THERE_IS), 73);
    assert!(text.contains("free some space and start again"), "{text}");
    let server = Process::start(dir.path(), &[]);
    register(&server, "anna");
    stop_well(server);
}

/// A small disk. Unmounted when dropped.
struct Disk(TempDir);

impl Disk {
    fn new(size: &str) -> Self {
        mounts::make_private();
        let disk = Self(temporary());
        disk.mount(&["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "gatelet-test"]);
        disk
    }

    fn mount(&self, args: &[&str]) {
        let output = run(Command::new("mount").args(args).arg(self.path()));
        assert!(output.status.success(), "{output:?}");
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn data(&self) -> std::path::PathBuf {
        self.path().join("data")
    }

    /// Takes all space but `left` MiB.
    fn fill(&self, left: u64) {
        let stat = rustix::fs::statvfs(self.path()).unwrap();
        let mut bytes = (stat.f_bavail * stat.f_frsize).saturating_sub(left << 20);
        let mut file = File::options().create(true).append(true).open(self.filler()).unwrap();
        let block = vec![1; 4096];
        while bytes > 0 {
            let part = usize::try_from(bytes.min(4096)).unwrap();
            match file.write_all(&block[..part]) {
                Ok(()) => bytes -= part as u64,
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn filler(&self) -> std::path::PathBuf {
        self.path().join("filler")
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[test]
#[ignore = "needs root: mounts a tmpfs"]
fn writes_resume_by_themselves_when_there_is_room_again() {
    let disk = Disk::new("64m");
    let server = Process::start(&disk.data(), &[]);
    register(&server, "anna");
    let tokens = log_in(&server, "anna");
    for left in [15, 0] {
        disk.fill(left);
        assert_refused_for_space(&try_register(&server, "bert"));
        assert_refused_for_space(&server.client().call("GET", "/readyz", None, None));
        assert_eq!(get(&server, "/user/me", &tokens.access).status, 200);
        log_in(&server, "anna");
        disk.make_room();
        register(&server, &format!("with {left} left"));
        assert_eq!(server.client().call("GET", "/readyz", None, None).status, 200);
    }
    let log = stop_well(server);
    assert_eq!(log.matches("there is room on the disk again").count(), 2, "{log}");
    let server = Process::start(&disk.data(), &[]);
    log_in(&server, "with 15 left");
    log_in(&server, "with 0 left");
    stop_well(server);
}

#[test]
#[ignore = "needs root: mounts a tmpfs"]
fn thanks_to_its_ballast_a_server_starts_on_a_full_disk() {
    let disk = Disk::new("64m");
    let server = Process::start(&disk.data(), &[]);
    register(&server, "anna");
    let tokens = log_in(&server, "anna");
    disk.fill(0);
    assert_refused_for_space(&try_register(&server, "bert"));
    stop_well(server);

    disk.fill(0);
    let server = Process::start(&disk.data(), &[]);
    log_in(&server, "anna");
    assert_eq!(get(&server, "/user/me", &tokens.access).status, 200);
    assert_refused_for_space(&try_register(&server, "bert"));
    assert!(!disk.data().join("ballast").exists());
    disk.make_room();
    register(&server, "bert");
    assert!(disk.data().join("ballast").exists());
    let log = stop_well(server);
    assert!(log.contains("gave back 8 MiB of ballast"), "{log}");

    // The same after a crash on a full disk, when the log must be read through.
    let server = Process::start(&disk.data(), &[]);
    register(&server, "carl");
    disk.fill(0);
    server.kill();
    disk.fill(0);
    let server = Process::start(&disk.data(), &[]);
    log_in(&server, "carl");
    stop_well(server);
}

#[test]
#[ignore = "needs root: mounts a tmpfs"]
fn a_disk_that_fills_up_under_load_costs_nothing_that_was_acknowledged() {
    let disk = Disk::new("64m");
    let server = Process::start(&disk.data(), &[]);
    let filling = AtomicBool::new(true);
    let acknowledged: Vec<String> = thread::scope(|scope| {
        let writers = [0, 1, 2].map(|writer| {
            let (server, filling) = (&server, &filling);
            scope.spawn(move || {
                let mut client = server.client();
                let mut acknowledged = Vec::new();
                let mut refused = 0;
                while filling.load(Ordering::Relaxed) || refused == 0 {
                    let name = format!("{writer}-{}", acknowledged.len());
                    let reply = client.post("/register", &credentials(&name, PASSWORD));
                    match reply.status {
                        201 => acknowledged.push(name),
                        503 => refused += 1,
                        _ => panic!("{reply:?}"),
                    }
                }
                acknowledged
            })
        });
        for left in (0..40).rev() {
            disk.fill(left);
            thread::sleep(Duration::from_millis(20));
        }
        filling.store(false, Ordering::Relaxed);
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    assert!(acknowledged.len() > 3);
    server.kill();
    let server = Process::start(&disk.data(), &[]);
    for name in &acknowledged {
        log_in(&server, name);
    }
    stop_well(server);
}

#[test]
#[ignore = "needs root: mounts a tmpfs"]
fn a_read_only_disk_is_named() {
    let disk = Disk::new("64m");
    let server = Process::start(&disk.data(), &[]);
    register(&server, "anna");
    stop_well(server);
    disk.mount(&["-o", "remount,ro"]);
    let text = does_not_start(&disk.data(), 73);
    assert!(text.contains(disk.data().to_str().unwrap()) && text.contains("Read-only"), "{text}");
}

#[test]
#[ignore = "needs root: mounts a tmpfs"]
fn users_are_rescued_from_a_disk_that_has_gone_read_only() {
    let (disk, out) = (Disk::new("64m"), temporary());
    let server = Process::start(&disk.data(), &[]);
    register(&server, "anna");
    server.kill();
    disk.mount(&["-o", "remount,ro"]);
    let backup = out.path().join("backup");
    for command in
        [gatelet().arg("verify"), gatelet().args(["user", "list"]), gatelet().arg("backup").arg(&backup)]
    {
        let output = run(command.arg("--data-dir").arg(disk.data()).env("TMPDIR", out.path()));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    let restored = out.path().join("restored");
    let output = run(gatelet().arg("restore").arg(&backup).arg("--data-dir").arg(&restored));
    assert!(output.status.success(), "{output:?}");
    let server = Process::start(&restored, &[]);
    log_in(&server, "anna");
    stop_well(server);
    let left = fs::read_dir(out.path()).unwrap().count();
    assert_eq!(left, 2, "the copies are gone");
}

#[test]
#[ignore = "needs root: mounts a tmpfs"]
fn a_backup_or_a_restore_that_does_not_fit_leaves_nothing_behind() {
    let (disk, dir, out) = (Disk::new("96m"), filled(40_000), temporary());
    let (file, target) = (disk.path().join("backup.jsonl.gz"), disk.data());
    disk.fill(15); // 16 are left free
    let text = fails(&mut backup(dir.path(), &file), 73);
    assert!(text.contains("backup.jsonl.gz") && text.contains("--min-free-mib"), "{text}");
    let entries = |dir: &Path| fs::read_dir(dir).unwrap().count();
    assert_eq!(entries(disk.path()), 1, "the filler");
    disk.make_room();

    let file = out.path().join("backup.jsonl.gz");
    succeeds(&mut backup(dir.path(), &file));
    for left in [20, 30, 36] {
        disk.fill(left);
        let text = fails(&mut restore(&file, &target), 73);
        assert!(text.contains("the disk is full"), "{text}");
        assert_eq!(entries(&target), 1, "the lock");
        disk.make_room();
    }
    succeeds(&mut restore(&file, &target));
    stop_well(Process::start(&target, &[]));
}

#[test]
#[ignore = "needs root: mounts a tmpfs"]
fn a_backup_that_does_not_fit_takes_no_room_from_the_store() {
    let disk = Disk::new("96m");
    let dir = filled(40_000);
    assert!(run(Command::new("cp").arg("-a").arg(dir.path()).arg(disk.data())).status.success());
    let server = Process::start(&disk.data(), &[]);
    register(&server, "first"); // the ballast is there
    for left in [17, 18, 20, 26] {
        disk.fill(left);
        let backing_up = AtomicBool::new(true);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for n in 0.. {
                    register(&server, &format!("{n} with {left} left")); // or 503
                    if !backing_up.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
            let text = fails(&mut backup(&disk.data(), &disk.path().join("backup.jsonl.gz")), 73);
            backing_up.store(false, Ordering::Relaxed);
            assert!(text.contains("--min-free-mib"), "{text}");
            writer.join().unwrap();
        });
        disk.make_room();
    }
    let log = stop_well(server);
    assert!(!log.contains("the disk is nearly full"), "{log}");
}
