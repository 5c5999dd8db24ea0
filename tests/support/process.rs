//! The real executable.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{CHEAP, Client, secrets};

/// A running `gatelet serve`. Killed on drop.
pub struct Process {
    pub address: SocketAddr,
    child: Child,
    log: Option<JoinHandle<String>>,
    data: Option<PathBuf>,
}

/// A `gatelet` that has exited.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    /// Standard error.
    pub log: String,
}

impl Ended {
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }
}

/// The executable, with a clean environment.
pub fn gatelet() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatelet"));
    command.env_clear();
    command
}

/// The command for `serve` on a port of the system's choice, with cheap hashes.
pub fn serve(dir: &Path, args: &[&str]) -> Command {
    let mut command = gatelet();
    command.args(["serve", "--data-dir"]).arg(dir);
    for (flag, value) in [("--listen", "127.0.0.1:0"), ("--scrypt", CHEAP)] {
        if !args.contains(&flag) {
            command.args([flag, value]);
        }
    }
    command.args(args);
    command
}

impl Process {
    /// Starts a server and waits until it says that it is ready.
    pub fn start(dir: &Path, args: &[&str]) -> Self {
        Self::spawn(&mut serve(dir, args)).unwrap_or_else(|ended| panic!("{ended:?}"))
    }

    /// Starts `command`; the error is a server that exited before it was ready.
    pub fn spawn(command: &mut Command) -> Result<Self, Ended> {
        let data = secrets::command(command);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = thread::spawn(move || {
            let mut log = Vec::new();
            stderr.read_to_end(&mut log).unwrap();
            let log = String::from_utf8_lossy(&log).into_owned();
            secrets::logged(&log);
            log
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        match line.trim_end().strip_prefix("gatelet listening on http://") {
            Some(address) => {
                data.iter().for_each(|data| secrets::keys(data));
                Ok(Self { address: address.parse().unwrap(), child, log: Some(log), data })
            }
            None => Err(Ended { status: child.wait().unwrap(), log: log.join().unwrap() }),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address).unwrap()
    }

    /// Kills the process.
    pub fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.wait_for_end()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Sends SIGTERM and waits.
    pub fn stop(mut self) -> Ended {
        self.terminate();
        self.wait_for_end()
    }

    /// Waits for the process to exit.
    pub fn wait(mut self) -> Ended {
        self.wait_for_end()
    }

    /// Waits for the process to exit, within a time limit.
    pub fn wait_within(mut self, patience: Duration) -> Ended {
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if begun.elapsed() > patience {
                panic!("still running after {patience:?}: {:?}", self.kill());
            }
            thread::sleep(Duration::from_millis(2));
        }
        self.wait_for_end()
    }

    fn wait_for_end(&mut self) -> Ended {
        let status = self.child.wait().unwrap();
        if status.success() {
            self.data.iter().for_each(|data| secrets::keys(data)); // without a clean exit the disk may hang
        }
        Ended { status, log: self.log.take().unwrap().join().unwrap() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(log) = self.log.take() {
            let _ = log.join(); // the log is saved then
        }
    }
}

/// A directory for one test.
pub fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// The path of the store's log in a data directory.
pub fn log_file(dir: &Path) -> PathBuf {
    dir.join("store/db")
}

/// Damages the pages on disk that hold these texts.
pub fn spoil_pages(dir: &Path, texts: &[String]) {
    let path = log_file(dir);
    let bytes = fs::read(&path).unwrap();
    let log = fs::File::options().write(true).open(&path).unwrap();
    let length = texts[0].len();
    let wanted: HashSet<&[u8]> = texts.iter().map(String::as_bytes).collect();
    for (place, _) in bytes.windows(length).enumerate().filter(|(_, text)| wanted.contains(text)) {
        log.write_all_at(&[0xa5], place as u64).unwrap();
    }
}

/// The memory of a process by this field of its `status`: `VmRSS` is the present, `VmHWM` the peak.
pub fn memory_kib(id: u32, line: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'))?;
    Some(value.trim().strip_suffix(" kB")?.parse().unwrap())
}
