//! A server inside the test: the real store on a real disk behind a real socket, with a manual clock.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use gatelet::app::{MetricsListener, Server, StartError};
use gatelet::cli::args::{self, Command};
use gatelet::config::Settings;
use gatelet::domain::clock::{Clock, Timestamp};
use gatelet::exit::Exit;
use gatelet::metrics::Logs;
use gatelet::store::{Store, StoreOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;

use super::{CHEAP, Client, Reply, Tokens, admin_socket, conformance, credentials, secrets};

/// The time at which tests begin: 2026-01-01T00:00:00Z.
pub fn start() -> Timestamp {
    Timestamp::from_unix_secs(1_767_225_600)
}

pub struct TestServer {
    pub address: SocketAddr,
    /// The address of metrics, with `--metrics-listen`.
    pub metrics: Option<SocketAddr>,
    pub clock: Arc<Clock>,
    dir: Arc<TempDir>,
    args: Vec<String>,
    is_on_disk: bool,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Background tasks: housekeeping, and the watch over the store.
const IDLE_TASKS: usize = 2;

impl TestServer {
    /// A new server in a directory of its own.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A new server with further flags.
    pub fn start_with(args: &[&str]) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let clock = Arc::new(Clock::manual(start()));
        Self::open(dir, args, clock).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A new server on the engine in memory, for tests of what needs no disk. It cannot be restarted.
    pub fn in_memory() -> Self {
        Self::in_memory_with(&[])
    }

    /// A new server on the engine in memory with further flags.
    pub fn in_memory_with(args: &[&str]) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let clock = Arc::new(Clock::manual(start()));
        let store = Store::in_memory().unwrap_or_else(|error| panic!("{error}"));
        Self::serve(dir, args, clock, Some(store)).unwrap_or_else(|error| panic!("{error}"))
    }

    fn open(dir: Arc<TempDir>, args: &[&str], clock: Arc<Clock>) -> Result<Self, StartError> {
        Self::serve(dir, args, clock, None)
    }

    /// Serves `memory`, or the store in `dir`.
    fn serve(
        dir: Arc<TempDir>,
        args: &[&str],
        clock: Arc<Clock>,
        memory: Option<Store>,
    ) -> Result<Self, StartError> {
        secrets::keep_log();
        let settings = settings(dir.path(), args);
        let runtime = Runtime::new().unwrap();
        Store::free_when_dropped();
        let is_on_disk = memory.is_none();
        let server = runtime.block_on(async {
            match memory {
                Some(store) => Server::open_on(store, &settings, Arc::clone(&clock)).await,
                None => Server::open(&settings, Arc::clone(&clock)).await,
            }
        })?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = settings.metrics_listen.map(|address| {
            let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
            MetricsListener { listener, logs: Logs::default() }
        });
        let metrics_address = metrics.as_ref().map(|metrics| metrics.listener.local_addr().unwrap());
        secrets::keys(dir.path());
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                let ready = || ready.send(()).unwrap();
                server.run(listener, metrics, ready, async { drop(stopped.await) }).await;
                assert_eq!(server.close().await, Exit::Stopped);
            });
        });
        is_ready.recv().unwrap();
        conformance::learn(|| {
            Client::connect(address).unwrap().call("GET", "/openapi.json", None, None).json()
        });
        Ok(Self {
            address,
            metrics: metrics_address,
            clock,
            dir,
            args: args.iter().map(ToString::to_string).collect(),
            is_on_disk,
            runtime: handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Stops the server and opens another on the same directory, with the same clock.
    pub fn restart(self) -> Self {
        let args: Vec<_> = self.args.clone();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let clock = Arc::new(Clock::manual(self.clock.reading()));
        self.restart_with(&args, clock).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Stops the server and opens another on the same directory.
    pub fn restart_with(mut self, args: &[&str], clock: Arc<Clock>) -> Result<Self, StartError> {
        assert!(self.is_on_disk, "a store in memory ends with its server");
        self.end();
        let dir = Arc::clone(&self.dir);
        drop(self);
        Self::open(dir, args, clock)
    }

    /// Stops the server, lets `change` modify its store, and reopens it with the same clock.
    pub fn restart_after(mut self, change: impl AsyncFnOnce(&Store)) -> Self {
        assert!(self.is_on_disk, "a store in memory ends with its server");
        self.end();
        let options = StoreOptions { cache: 1 << 20, min_free: 1 << 20, accept_clock: None };
        let clock = Arc::new(Clock::manual(self.clock.reading()));
        Store::free_when_dropped();
        let store = Store::open(self.dir.path(), &options, clock).unwrap_or_else(|error| panic!("{error}"));
        Runtime::new().unwrap().block_on(change(&store));
        store.close().unwrap();
        drop(store);
        self.restart()
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
            secrets::keys(self.dir.path());
        }
    }

    pub fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    /// Moves the clock on.
    pub fn advance(&self, span: Duration) {
        self.clock.set(self.clock.reading().after(span));
    }

    /// Waits until no connection is open and no change outlives its connection. Not for servers with
    /// `--backup-dir` or `--metrics-listen`, which have further tasks.
    pub fn settle(&self) {
        while self.runtime.metrics().num_alive_tasks() > IDLE_TASKS {
            thread::yield_now();
        }
    }

    pub fn client(&self) -> Client {
        let client = Client::connect(self.address).unwrap();
        let is_dev = self.args.iter().any(|arg| arg == "--dev"); // the original's lists are shorter
        if is_dev { client.unchecked() } else { client }
    }

    /// One request on a connection of its own.
    pub fn call(&self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Reply {
        self.client().call(method, path, token, body)
    }

    /// Registers a user and returns the id.
    pub fn register(&self, name: &str, password: &str) -> String {
        let reply = self.client().post("/register", &credentials(name, password));
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.header("location").unwrap().strip_prefix("/user/").unwrap().to_owned()
    }

    /// Asks on the admin socket. Answers what is granted, or the refusal.
    pub fn admin_socket(&self, request: &Value) -> Result<Value, Value> {
        let answer = admin_socket::ask(self.data_dir(), request).unwrap();
        secrets::keys(self.data_dir());
        answer
    }

    /// Creates an administrator on the admin socket and answers the id.
    pub fn add_admin(&self, name: &str, password: &str) -> String {
        self.admin_socket(&admin_socket::add_user(name, password, "admin")).unwrap();
        let tokens = self.log_in(name, password);
        let session = self.call("GET", "/session", Some(&tokens.access), None).json();
        session["user"]["id"].as_str().unwrap().to_owned()
    }

    /// Logs a user in.
    pub fn log_in(&self, name: &str, password: &str) -> Tokens {
        Tokens::from_reply(&self.client().post("/login", &credentials(name, password)))
    }

    /// Another access token, which is not fresh.
    pub fn refresh(&self, tokens: &Tokens) -> String {
        let reply = self.call("POST", "/refresh", Some(&tokens.refresh), None);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["access_token"].as_str().unwrap().to_owned()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Settings as from a command line, with cheap hashes unless `args` say otherwise.
pub fn settings(dir: &Path, args: &[&str]) -> Settings {
    let mut line: Vec<OsString> = vec!["gatelet".into(), "--data-dir".into(), dir.into()];
    if !args.contains(&"--scrypt") {
        line.extend(["--scrypt".into(), CHEAP.into()]);
    }
    line.extend(args.iter().map(OsString::from));
    match args::parse(line.into_iter(), std::iter::empty()) {
        Ok(Command::Serve(settings)) => *settings,
        other => panic!("{other:?}"),
    }
}
