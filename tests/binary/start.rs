//! Starting, starting again, and not starting because somebody else is in the way.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::support::{Process, log_file, serve, temporary};
use crate::{does_not_start, get, log_in, post, refused, register, run, stop_well, try_register};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn assert_private(folder: &Path) {
    assert_eq!(mode(folder), 0o700, "{}", folder.display());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_private(&path);
        } else {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
}

#[test]
fn a_first_start_makes_everything_for_its_owner_alone() {
    let above = temporary();
    let dir = above.path().join("deep/data");
    let server = Process::start(&dir, &[]);
    register(&server, "anna");
    for name in ["lock", "store-id", "commits", "store", "keys", "ballast"] {
        assert!(dir.join(name).exists(), "{name}");
    }
    assert!(log_file(&dir).exists());
    let keys: Vec<_> = fs::read_dir(dir.join("keys")).unwrap().map(|key| key.unwrap().file_name()).collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert_private(&dir);
    assert_private(&above.path().join("deep"));
    stop_well(server);
    assert_private(&dir);
}

#[test]
fn first_starts_never_trip_over_themselves() {
    for _ in 0..40 {
        let dir = temporary();
        stop_well(Process::start(dir.path(), &[]));
    }
}

#[test]
fn the_ready_line_is_all_there_is_on_standard_output() {
    let dir = temporary();
    // Held for as long as it takes to learn a port that is free.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let script = format!(
        "{} serve --data-dir {} --listen {address} & pid=$!; \
         until {} healthcheck --listen {address} 2>&-; do sleep 0.05; done; kill $pid; wait $pid",
        env!("CARGO_BIN_EXE_gatelet"),
        dir.path().display(),
        env!("CARGO_BIN_EXE_gatelet"),
    );
    let output = run(std::process::Command::new("sh").args(["-c", &script]));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("gatelet listening on http://{address}\n"));
}

#[test]
fn a_server_whose_output_nobody_reads_starts_all_the_same() {
    let dir = temporary();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = address.to_string();
    let script = format!(
        "{{ {gatelet} serve --data-dir {dir} --listen {listen} & pid=$!; \
         until {gatelet} healthcheck --listen {listen}; do sleep 0.05; done; kill $pid; wait $pid; }} \
         >&- 2>/dev/null",
        gatelet = env!("CARGO_BIN_EXE_gatelet"),
        dir = dir.path().display(),
    );
    let output = run(std::process::Command::new("sh").args(["-c", &script]));
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn users_and_refusals_are_there_after_a_restart() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    let anna = register(&server, "anna");
    register(&server, "bert");
    let bert = log_in(&server, "bert");
    let (ended, kept) = (log_in(&server, "anna"), log_in(&server, "anna"));
    assert_eq!(post(&server, "/logout", &ended.refresh).status, 200);
    assert_eq!(server.client().call("DELETE", "/user/me", Some(&bert.access), None).status, 200);
    stop_well(server);

    let server = Process::start(dir.path(), &[]);
    assert_eq!(get(&server, "/user/me", &kept.access).json()["id"], anna);
    assert_eq!(post(&server, "/refresh", &kept.refresh).status, 200);
    for token in [&ended.access, &bert.access] {
        assert_eq!(get(&server, "/user/me", token).json()["error"], "token_revoked");
    }
    for token in [&ended.refresh, &bert.refresh] {
        assert_eq!(post(&server, "/refresh", token).json()["error"], "token_revoked");
    }
    log_in(&server, "anna");
    assert_eq!(try_register(&server, "bert").status, 409, "the name stays taken for a while");
    stop_well(server);
}

#[test]
fn a_second_process_on_the_directory_is_told_who_has_it() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    register(&server, "anna");
    let text = does_not_start(dir.path(), 73);
    assert!(text.contains(dir.path().to_str().unwrap()), "{text}");
    assert!(text.contains(&format!("process {})", server.id())), "{text}");
    log_in(&server, "anna"); // the first goes on
    stop_well(server);
}

#[test]
fn a_killed_server_leaves_nothing_in_the_way_of_the_next() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    register(&server, "anna");
    server.kill();
    let server = Process::start(dir.path(), &[]);
    log_in(&server, "anna");
    stop_well(server);
}

#[test]
fn a_taken_port_is_named() {
    let (dir, other) = (temporary(), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = other.local_addr().unwrap().to_string();
    let text = refused(&mut serve(dir.path(), &["--listen", &address]), 73);
    assert!(text.contains(&address) && text.contains("--listen"), "{text}");
    assert!(text.contains("in use"), "{text}");
    // Nothing is spoilt by it.
    stop_well(Process::start(dir.path(), &[]));
}

#[test]
fn a_data_directory_that_cannot_be_made_is_named() {
    let dir = temporary();
    let file = dir.path().join("file");
    fs::write(&file, "not a folder").unwrap();
    for data_dir in [file.clone(), file.join("below")] {
        let text = does_not_start(&data_dir, 73);
        assert!(text.contains(data_dir.to_str().unwrap()), "{text}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"not a folder");
}

#[test]
fn a_refusal_is_told_even_when_nothing_is_logged() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    let text = refused(&mut serve(dir.path(), &["--log", "off"]), 73);
    assert!(text.contains("in use by another gatelet"), "{text}");
    stop_well(server);
}

#[test]
fn a_first_start_that_was_cut_short_is_begun_again() {
    let dir = temporary();
    fs::create_dir(dir.path().join("store.new")).unwrap();
    fs::write(dir.path().join("store.new/db"), "half a store").unwrap();
    let server = Process::start(dir.path(), &[]);
    register(&server, "anna");
    let log = stop_well(server);
    assert!(log.contains("store.new, left over from a start that was cut short"), "{log}");
    assert!(!dir.path().join("store.new").exists());
    log_in(&Process::start(dir.path(), &[]), "anna");
}

#[test]
fn a_first_start_that_lacks_only_its_marker_is_completed() {
    let dir = temporary();
    stop_well(Process::start(dir.path(), &[]));
    let marker = dir.path().join("store-id");
    let id = fs::read(&marker).unwrap();
    fs::remove_file(&marker).unwrap();
    let server = Process::start(dir.path(), &[]);
    register(&server, "anna");
    stop_well(server);
    assert_eq!(fs::read(&marker).unwrap(), id);
    log_in(&Process::start(dir.path(), &[]), "anna");
}

/// The niceness of the threads that hash, and of all others.
fn niceness(server: &Process) -> (Vec<i32>, Vec<i32>) {
    let (mut hashing, mut others) = (Vec::new(), Vec::new());
    for task in fs::read_dir(format!("/proc/{}/task", server.id())).unwrap() {
        let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
        let (name, fields) = stat.split_once('(').unwrap().1.rsplit_once(") ").unwrap();
        let nice = fields.split(' ').nth(16).unwrap().parse().unwrap(); // field 19 of proc(5)
        if name.starts_with("hash-") { hashing.push(nice) } else { others.push(nice) }
    }
    (hashing, others)
}

#[test]
fn hashes_run_at_a_lower_priority_than_everything_else_wherever_the_process_starts() {
    const STEP: i32 = 10;
    const NICEST: i32 = 19; // there is none lower
    for nicer in [0, 5, 10] {
        let dir = temporary();
        let plain = serve(dir.path(), &["--hash-slots", "3"]);
        let mut command = Command::new("nice");
        command.arg("-n").arg(nicer.to_string()).arg(plain.get_program()).args(plain.get_args()).env_clear();
        let server = Process::spawn(&mut command).unwrap();
        // A thread says so itself, once it runs.
        let lowered = (0..1000).any(|_| {
            let (hashing, others) = niceness(&server);
            let expected = |others: i32| (others + STEP).min(NICEST);
            let is_lower = hashing.len() == 3
                && hashing.iter().all(|hashing| others.iter().all(|others| *hashing == expected(*others)));
            if !is_lower {
                thread::sleep(Duration::from_millis(10));
            }
            is_lower
        });
        assert!(lowered, "{nicer} nicer: hashing and others: {:?}", niceness(&server));
    }
}

#[test]
fn a_start_waits_for_a_command_that_uses_the_store() {
    let dir = temporary();
    stop_well(Process::start(dir.path(), &[]));
    let lock = fs::File::open(dir.path().join("lock")).unwrap();
    lock.lock().unwrap();
    let command = thread::spawn(move || {
        thread::sleep(Duration::from_millis(500)); // what it does takes a while
        drop(lock);
    });
    register(&Process::start(dir.path(), &[]), "anna");
    command.join().unwrap();
}
