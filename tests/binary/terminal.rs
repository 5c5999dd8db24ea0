//! Commands at a terminal.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::CHEAP;
use crate::{WATCHDOG, watched};

/// The only child of a process.
fn child_of(id: &str) -> String {
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    children.trim().to_owned()
}

/// A command at a terminal: `script` makes one and passes on what is typed.
pub(crate) struct Terminal {
    script: Child,
    shown: String,
}

impl Terminal {
    /// Runs `gatelet` with these arguments on the data directory `dir`.
    pub(crate) fn open(dir: &Path, args: &[&str]) -> Self {
        Self::open_with(dir, args, &[])
    }

    /// The same with further variables in the environment.
    pub(crate) fn open_with(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let typed = format!("exec {} {}", env!("CARGO_BIN_EXE_gatelet"), args.join(" "));
        Self::run(dir, &typed, variables)
    }

    /// The same in a shell that shows how the terminal is when the command has ended.
    pub(crate) fn open_in_shell(dir: &Path, args: &[&str]) -> Self {
        let gatelet = env!("CARGO_BIN_EXE_gatelet");
        // The caller of the tests may have signals ignored, which is passed on.
        let gatelet = format!("env --default-signal {gatelet}");
        Self::run(dir, &format!("{gatelet} {}; code=$?; stty -a; exit $code", args.join(" ")), &[])
    }

    fn run(dir: &Path, typed: &str, variables: &[(&str, &str)]) -> Self {
        let script = Command::new("script")
            .args(["--quiet", "--return", "--flush", "--command", typed, "/dev/null"])
            .env_clear()
            .env("GATELET_DATA_DIR", dir)
            .env("GATELET_SCRYPT", CHEAP)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { script, shown: String::new() }
    }

    /// Waits for a prompt and for the terminal to show no longer what is typed, and types a line.
    pub(crate) fn answer_unseen(&mut self, prompt: &str, line: &str) {
        self.await_unseen(prompt);
        self.type_line(line);
    }

    /// Waits for a prompt and for the terminal to show no longer what is typed, and presses Ctrl-C.
    pub(crate) fn interrupt_unseen(&mut self, prompt: &str) {
        self.await_unseen(prompt);
        self.script.stdin.as_mut().unwrap().write_all(b"half a\x03").unwrap();
    }

    /// Waits for a prompt and for the terminal to show no longer what is typed, and ends the command in the shell.
    pub(crate) fn kill_unseen(&mut self, prompt: &str, signal: Signal) {
        self.await_unseen(prompt);
        let command = child_of(&child_of(&self.script.id().to_string()));
        kill_process(Pid::from_raw(command.parse().unwrap()).unwrap(), signal).unwrap();
    }

    fn await_unseen(&mut self, prompt: &str) {
        self.await_prompt(prompt);
        let begun = Instant::now();
        while self.echoes() {
            assert!(begun.elapsed() < WATCHDOG, "the terminal goes on showing what is typed");
            thread::yield_now();
        }
    }

    /// Waits for a prompt and types a line.
    pub(crate) fn answer(&mut self, prompt: &str, line: &str) {
        self.await_prompt(prompt);
        self.type_line(line);
    }

    pub(crate) fn await_prompt(&mut self, prompt: &str) {
        while !self.shown.ends_with(prompt) {
            let mut byte = [0];
            self.script.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap_or_else(|_| self.fail());
            self.shown.push(char::from(byte[0]));
        }
    }

    pub(crate) fn type_line(&mut self, line: &str) {
        let input = self.script.stdin.as_mut().unwrap();
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn fail(&self) -> ! {
        panic!("it ended and had shown {:?}", self.shown);
    }

    fn echoes(&self) -> bool {
        let child = child_of(&self.script.id().to_string());
        // What it has open is root's alone to see; the number of its terminal is not: field 7 of proc(5).
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap();
        let device: u32 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(4).unwrap().parse().unwrap();
        let terminal = format!("/dev/pts/{}", device & 0xff | device >> 12 & 0xf_ff00);
        let output = Command::new("stty").args(["-a", "-F", &terminal]).output().unwrap();
        let settings = String::from_utf8_lossy(&output.stdout);
        assert!(settings.contains("echo"), "{output:?}");
        !settings.split_whitespace().any(|setting| setting == "-echo")
    }

    /// Waits for the end. Answers the exit code and all that has been on the screen.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        self.script.stdout.take().unwrap().read_to_string(&mut self.shown).unwrap();
        let status =
            watched(Pid::from_child(&self.script), move || self.script.wait().map(|s| (s, self.shown)));
        let (status, shown) = status.unwrap();
        (status.code(), shown)
    }
}
