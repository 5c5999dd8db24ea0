//! Whose a data directory is: its owner's, and nobody else's, not even root's.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::backup_command::{backup, fails, restore, succeeds};
use crate::support::fill::filled;
use crate::support::{CHEAP, Process, gatelet, temporary};
use crate::{does_not_start, log_in, register, stop_well};

const NOBODY: u32 = 65534;

/// A user without a name.
const NAMELESS: u32 = 54321;

/// A directory of `owner`'s, and the executable in it: where it was built may be root's alone.
fn home(owner: u32) -> (TempDir, PathBuf) {
    let dir = temporary();
    let program = dir.path().join("gatelet");
    fs::copy(env!("CARGO_BIN_EXE_gatelet"), &program).unwrap();
    chown(dir.path(), Some(owner), Some(owner)).unwrap();
    (dir, program)
}

fn start_as(owner: u32, program: &Path, data: &Path) -> Process {
    let mut serve = Command::new(program);
    serve.env_clear().args(["--listen", "127.0.0.1:0", "--scrypt", CHEAP, "--data-dir"]).arg(data);
    Process::spawn(serve.uid(owner).gid(owner)).unwrap()
}

fn user(data: &Path, args: &[&str]) -> Command {
    let mut command = gatelet();
    command.arg("user").args(args).arg("--data-dir").arg(data);
    command
}

/// What lies in a directory, by name, owner and size.
fn listing(dir: &Path) -> String {
    succeeds(Command::new("find").arg(dir).args(["-printf", "%P %U %s\n"]))
}

#[test]
#[ignore = "needs root: acts as two users"]
fn root_uses_the_directory_of_another_user_through_its_server_alone() {
    for (owner, become_them) in
        [(NOBODY, "runuser -u nobody --"), (NAMELESS, "setpriv --reuid=54321 --clear-groups")]
    {
        let (dir, program) = home(owner);
        let data = dir.path().join("data");
        let server = start_as(owner, &program, &data);
        let id = register(&server, "anna");
        succeeds(&mut user(&data, &["disable", "anna"]));
        assert!(succeeds(&mut user(&data, &["list"])).contains(&id));
        succeeds(&mut user(&data, &["enable", "anna"]));
        stop_well(server);

        let before = listing(&data);
        let told = [
            does_not_start(&data, 73),
            fails(&mut user(&data, &["list"]), 73),
            fails(&mut user(&data, &["delete", "anna", "--yes"]), 73),
            fails(&mut backup(&data, &dir.path().join("backup")), 73),
        ];
        for text in told {
            assert!(text.contains("belongs to another user") && text.contains(become_them), "{text}");
        }
        assert_eq!(listing(&data), before);

        // As the message says.
        let mut words = become_them.split(' ');
        let mut list = Command::new(words.next().unwrap());
        list.args(words).arg(&program).args(["user", "list", "--data-dir"]).arg(&data);
        assert!(succeeds(&mut list).contains(&id));
        let server = start_as(owner, &program, &data);
        log_in(&server, "anna");
        stop_well(server);
    }
}

#[test]
#[ignore = "needs root: acts as two users"]
fn root_makes_nothing_in_the_directory_of_another_user() {
    let (other, out) = (temporary(), temporary());
    chown(other.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let file = out.path().join("backup.jsonl.gz");
    succeeds(&mut backup(filled(1).path(), &file));
    for text in [does_not_start(other.path(), 73), fails(&mut restore(&file, other.path()), 73)] {
        assert!(text.contains("belongs to another user (nobody)"), "{text}");
    }
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
}

#[test]
#[ignore = "needs root: acts as two users"]
fn links_that_the_owner_of_a_directory_has_put_there_lead_root_nowhere() {
    let dir = filled(1);
    let victim = temporary();
    let victim = victim.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let lock = dir.path().join("lock");
    fs::remove_file(&lock).unwrap();
    symlink(&victim, &lock).unwrap();
    let attempts = || {
        for text in [does_not_start(dir.path(), 73), fails(&mut user(dir.path(), &["list"]), 73)] {
            assert!(text.contains(dir.path().to_str().unwrap()), "{text}");
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    };
    attempts(); // the link is root's
    std::os::unix::fs::lchown(&lock, Some(NOBODY), Some(NOBODY)).unwrap();
    attempts();
    chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    attempts();
}

#[test]
#[ignore = "needs root: acts as two users"]
fn a_volume_of_roots_that_is_lent_by_group_is_its_users() {
    let (dir, program) = home(0);
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let volume = dir.path().join("volume");
    fs::create_dir(&volume).unwrap();
    chown(&volume, None, Some(NOBODY)).unwrap();
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o2770)).unwrap();
    for _ in 0..2 {
        stop_well(start_as(NOBODY, &program, &volume));
        assert!(does_not_start(&volume, 73).contains("belongs to another user (nobody)"));
    }
}
