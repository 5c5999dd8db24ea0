//! Addresses that come later than the server.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Process, gatelet, serve, temporary};
use crate::{refused, register, run, stop_well, watched};

/// An address of nobody's (RFC 5737).
const NOT_THERE: &str = "203.0.113.77:0";

/// A server that waits for its address, and what follows in its log.
fn waiting(command: &mut Command, setting: &str) -> (Child, BufReader<ChildStderr>) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("waiting for it") {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "it does not wait");
    }
    assert!(line.contains(" WARN ") && line.contains("203.0.113.77 is no address"), "{line}");
    assert!(line.contains(&format!("({setting})")), "{line}");
    (child, log)
}

fn stop(mut child: Child, signal: Signal) -> Option<i32> {
    let pid = Pid::from_child(&child);
    kill_process(pid, signal).unwrap();
    watched(pid, move || child.wait().unwrap()).code()
}

fn rest(log: BufReader<ChildStderr>) -> String {
    log.lines().map_while(Result::ok).map(|line| line + "\n").collect()
}

#[test]
fn an_address_that_is_not_there_is_waited_for_which_is_said_once_until_the_server_is_told_to_stop() {
    for (setting, args) in
        [("--listen", &["--listen", NOT_THERE][..]), ("--metrics-listen", &["--metrics-listen", NOT_THERE])]
    {
        let dir = temporary();
        let server = Process::start(dir.path(), &[]);
        register(&server, "anna");
        stop_well(server);

        let (child, log) = waiting(&mut serve(dir.path(), args), setting);
        // Meanwhile nobody is served, and commands have the store.
        let health = run(gatelet()
            .args(["healthcheck", "--data-dir"])
            .arg(dir.path())
            .env("GATELET_LISTEN", "127.0.0.1:1"));
        assert_eq!(health.status.code(), Some(1), "{health:?}");
        let list = run(gatelet().args(["user", "list", "--data-dir"]).arg(dir.path()));
        assert!(list.status.success() && String::from_utf8_lossy(&list.stdout).contains("anna"), "{list:?}");
        assert_eq!(stop(child, Signal::TERM), Some(0));
        let log = rest(log);
        assert!(log.contains("SIGTERM received before there was an address to listen on"), "{log}");
        assert!(!log.contains("waiting for it"), "{log}");
    }
}

#[test]
fn a_port_that_is_taken_is_not_waited_for() {
    let dir = temporary();
    let taken = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = refused(&mut serve(dir.path(), &["--listen", &address]), 73);
    assert!(text.contains(&format!("cannot listen on {address}: ")) && !text.contains("waiting"), "{text}");
}

/// The same in a network namespace of its own, where a test may do as it likes.
fn alone(dir: &Path, args: &[&str]) -> Command {
    let serve = serve(dir, args);
    let mut alone = Command::new("unshare");
    alone.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    alone.args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
    alone.arg(serve.get_program()).args(serve.get_args());
    alone
}

#[test]
#[ignore = "needs root"]
fn a_server_serves_as_soon_as_its_address_is_there() {
    let dir = temporary();
    let (mut child, log) = waiting(&mut alone(dir.path(), &["--listen", NOT_THERE]), "--listen");
    let target = format!("--target={}", child.id());
    let inside = |args: &[&str]| {
        let mut command = Command::new("nsenter");
        command.args(["--net", &target]).args(args);
        command
    };
    let added = inside(&["ip", "address", "add", "203.0.113.77/32", "dev", "lo"]).status().unwrap();
    assert!(added.success());
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert!(ready.starts_with("gatelet listening on http://203.0.113.77:"), "{ready}");
    let mut health = inside(&[env!("CARGO_BIN_EXE_gatelet"), "healthcheck", "--data-dir"]);
    let health = run(health.arg(dir.path()).env("GATELET_LISTEN", "127.0.0.1:1"));
    assert_eq!(health.status.code(), Some(0), "{health:?}");
    assert_eq!(stop(child, Signal::TERM), Some(0));
    assert!(rest(log).contains("203.0.113.77 is there"));
}
