//! The real executable: started, stopped, misconfigured, damaged, and asked what it wrote to its log.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods)] // a look that fails fails the test

#[path = "../support/mod.rs"]
mod support;

mod address;
mod admin_socket;
mod backup_command;
mod completions;
mod disk;
mod first_admin;
mod healthcheck;
mod hostile_socket;
mod import_command;
mod import_files;
mod import_hashes;
mod key_command;
mod keys;
mod log;
mod log_flood;
mod log_json;
mod log_secrets;
mod metrics;
mod names;
mod owner;
mod settings;
mod settings_command;
mod start;
mod stop;
mod store;
mod terminal;
mod text_files;
mod token_command;
mod upgrade;
mod user_command;
mod users;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use support::{Ended, Process, Reply, Tokens, credentials, serve};

/// Far longer than anything here takes: whoever waits this long has failed.
const WATCHDOG: Duration = Duration::from_secs(60);

const PASSWORD: &str = "correct horse";

/// Waits for what `job` answers. If it takes too long, the process it waits for is ended.
fn watched<T: Send + 'static>(pid: Pid, job: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    thread::spawn(move || done.send(job()));
    wait.recv_timeout(WATCHDOG).unwrap_or_else(|_| {
        let _ = kill_process(pid, Signal::KILL);
        panic!("process {pid:?} does not end");
    })
}

/// What a command has said, and its exit code.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Waits for the end of a command that has its input.
fn end(child: Child) -> Said {
    let output = watched(Pid::from_child(&child), || child.wait_with_output().unwrap());
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    support::secrets::logged(&err);
    Said { code: output.status.code(), out, err }
}

/// Runs a command that ends by itself.
fn run(command: &mut Command) -> Output {
    support::secrets::command(command);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = watched(Pid::from_child(&child), || child.wait_with_output().unwrap());
    support::secrets::logged(&String::from_utf8_lossy(&output.stderr));
    output
}

/// What a command says on standard error, but for the audit log, which it keeps where no server does.
fn complaints(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.lines().filter(|line| !line.contains(" gatelet::audit] ")).collect()
}

/// Runs a command that ends with `code` before it is ready. Answers what it says.
fn refused(command: &mut Command, code: i32) -> String {
    let output = run(command);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{command:?}: {text}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{command:?}");
    text
}

/// A server in `dir` that does not start.
fn does_not_start(dir: &Path, code: i32) -> String {
    refused(&mut serve(dir, &[]), code)
}

fn pid(server: &Process) -> Pid {
    Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap()
}

/// Stops a server as a supervisor does.
fn stop(server: Process) -> Ended {
    server.terminate();
    end_of(server)
}

/// Waits for a server that has been told to stop.
fn end_of(server: Process) -> Ended {
    watched(pid(&server), || server.wait())
}

/// Stops a server and asserts that it ends well.
fn stop_well(server: Process) -> String {
    let ended = stop(server);
    assert_eq!(ended.code(), 0, "{ended:?}");
    ended.log
}

/// Runs `act` while the server runs, or while it is stopped.
fn with<T>(server: Process, dir: &Path, running: bool, act: impl FnOnce() -> T) -> (Process, T) {
    if running {
        let done = act();
        return (server, done);
    }
    stop_well(server);
    let done = act();
    (Process::start(dir, &[]), done)
}

fn register(server: &Process, name: &str) -> String {
    let reply = try_register(server, name);
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.header("location").unwrap().strip_prefix("/user/").unwrap().to_owned()
}

fn try_register(server: &Process, name: &str) -> Reply {
    server.client().post("/register", &credentials(name, PASSWORD))
}

fn log_in(server: &Process, name: &str) -> Tokens {
    Tokens::from_reply(&server.client().post("/login", &credentials(name, PASSWORD)))
}

fn get(server: &Process, path: &str, token: &str) -> Reply {
    server.client().call("GET", path, Some(token), None)
}

fn post(server: &Process, path: &str, token: &str) -> Reply {
    server.client().call("POST", path, Some(token), None)
}
