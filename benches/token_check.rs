//! Compares `GET /user/me` with a token to the cheapest possible warp route. `cargo bench --bench token_check`
//!
//! That is a bare route under warp's own server that answers the same bytes, checks nothing and logs nothing. Each
//! server is a process of its own; they take turns under the same load of keep-alive connections. The output is requests
//! per second, and the server's processor time per request, user and system: requests per second alone flatter the
//! slower server where the client limits both. So the client is one thread that does as little as possible, and its
//! processor time is printed too. The log goes to `/dev/null`, because a reader of the log would cost processor time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{Client, Tokens, credentials, request, serve, temporary};
use tempfile::TempDir;
use warp::Filter;

const CONNECTIONS: usize = 32;
const TURN: Duration = Duration::from_secs(2);
const TURNS: usize = 5;

fn main() {
    if std::env::args().any(|arg| arg == "bare") {
        return serve_bare();
    }
    let mut servers =
        vec![Server::start("bare warp", Command::new(std::env::current_exe().unwrap()).arg("bare"))];
    for (name, log) in [("log at info", "info"), ("log at warn", "warn")] {
        let dir = temporary();
        let mut server = Server::start(name, &mut serve(dir.path(), &["--log", log]));
        let mut client = Client::connect(server.address).unwrap();
        client.post("/register", &credentials("anna", "correct horse"));
        let tokens = Tokens::from_reply(&client.post("/login", &credentials("anna", "correct horse")));
        let authorization = format!("Bearer {}", tokens.access);
        server.ask = request("GET", "/user/me", &[("Authorization", &authorization)], None);
        server.dir = Some(dir);
        servers.push(server);
    }
    // The bare server gets a request of the same size.
    servers[0].ask = servers[1].ask.clone();

    println!("GET /user/me, {CONNECTIONS} connections, {TURNS} turns of {TURN:?} each");
    let mut turns: Vec<Vec<Load>> = servers.iter().map(|_| Vec::new()).collect();
    for turn in 1..=TURNS {
        print!("turn {turn}:");
        for (server, loads) in servers.iter().zip(&mut turns) {
            let load = server.load();
            print!("  {} {:.0}/s {:.2} µs", server.name, load.per_second, load.server);
            loads.push(load);
        }
        println!();
    }
    let [per_second, server, client] =
        [(|load: &Load| load.per_second) as fn(&Load) -> f64, |load| load.server, |load| load.client]
            .map(|figure| turns.iter().map(|loads| median(loads.iter().map(figure))).collect::<Vec<_>>());
    println!("medians     requests/s   ratio   server's CPU a request   ratio   client's CPU a request");
    for (number, Server { name, .. }) in servers.iter().enumerate() {
        println!(
            "{name:<11} {:>10.0}   {:>5.2}   {:>19.2} µs   {:>5.2}   {:>19.2} µs",
            per_second[number],
            per_second[number] / per_second[0],
            server[number],
            server[number] / server[0],
            client[number],
        );
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The results of a turn.
struct Load {
    per_second: f64,
    /// The server's processor time per request, in microseconds.
    server: f64,
    /// The same for the client.
    client: f64,
}

/// A measured server process.
struct Server {
    name: &'static str,
    address: SocketAddr,
    child: Child,
    ask: Vec<u8>,
    dir: Option<TempDir>,
}

impl Server {
    /// Starts a server whose first line of output ends with its address.
    fn start(name: &'static str, command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit('/').next().unwrap().parse().unwrap();
        Self { name, address, child, ask: Vec::new(), dir: None }
    }

    /// Keeps one request in progress on each connection: waits for the oldest answer, then reuses its connection.
    #[allow(clippy::cast_precision_loss)]
    fn load(&self) -> Load {
        let mut connections: Vec<_> = (0..CONNECTIONS).map(|_| Connection::open(self)).collect();
        connections.iter_mut().for_each(|connection| connection.send(&self.ask));
        let task = format!("/proc/{}/task", self.child.id());
        let (cpu, own) = (cpu(&task), cpu_of("/proc/thread-self/schedstat"));
        let (began, mut count) = (Instant::now(), 0_u32);
        while began.elapsed() < TURN {
            for connection in &mut connections {
                connection.receive();
                connection.send(&self.ask);
            }
            count += u32::try_from(CONNECTIONS).unwrap();
        }
        let micros = |nanos: u64| nanos as f64 / 1000.0 / f64::from(count);
        Load {
            per_second: f64::from(count) / began.elapsed().as_secs_f64(),
            server: micros(self::cpu(&task) - cpu),
            client: micros(cpu_of("/proc/thread-self/schedstat") - own),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        drop(self.dir.take());
    }
}

/// The processor time of the threads of a process, in nanoseconds.
fn cpu(task: &str) -> u64 {
    let threads = fs::read_dir(task).unwrap().flatten();
    threads.map(|thread| cpu_of(thread.path().join("schedstat").to_str().unwrap())).sum()
}

fn cpu_of(schedstat: &str) -> u64 {
    fs::read_to_string(schedstat).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// A connection whose answers are all as long as the first.
struct Connection {
    stream: TcpStream,
    length: usize,
    buffer: [u8; 4096],
}

impl Connection {
    fn open(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut connection = Self { stream, length: 0, buffer: [0; 4096] };
        connection.send(&server.ask);
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            let read = connection.stream.read(&mut connection.buffer).unwrap();
            answer.extend_from_slice(&connection.buffer[..read]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        connection.length = answer.len();
        connection
    }

    fn send(&mut self, ask: &[u8]) {
        self.stream.write_all(ask).unwrap();
    }

    fn receive(&mut self) {
        self.stream.read_exact(&mut self.buffer[..self.length]).unwrap();
        assert!(self.buffer.starts_with(b"HTTP/1.1 200 ") && self.buffer[self.length - 1] == b'}');
    }
}

fn serve_bare() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("http://{}", listener.local_addr().unwrap());
        let body = r#"{"id":"01a20372-975d-725c-94de-643218e68efc","username":"anna"}"#;
        let route = warp::path!("user" / "me")
            .and(warp::get())
            .map(move || warp::reply::with_header(body, "content-type", "application/json"));
        warp::serve(route).incoming(listener).run().await;
    });
}
