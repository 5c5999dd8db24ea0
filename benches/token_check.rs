//! How far `GET /user/me` with a token is from the least that a warp route can cost.
//!
//! The limit is a bare warp route under warp's own server that answers the same bytes and checks nothing. Both
//! run as processes of their own, in turns, under the same load of keep-alive connections; what is printed is
//! requests per second and their ratio. `cargo bench --bench token_check`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::{Client, Process, Tokens, credentials, request, temporary};
use warp::Filter;

const CONNECTIONS: usize = 32;
const TURN: Duration = Duration::from_secs(2);
const TURNS: usize = 5;

fn main() {
    if std::env::args().any(|arg| arg == "bare") {
        return serve_bare();
    }
    let dir = temporary();
    let gatelet = Process::start(dir.path(), &[]);
    let mut client = gatelet.client();
    client.post("/register", &credentials("anna", "correct horse"));
    let tokens = Tokens::from_reply(&client.post("/login", &credentials("anna", "correct horse")));
    let bare = Bare::start();

    let authorization = format!("Bearer {}", tokens.access);
    let ask = request("GET", "/user/me", &[("Authorization", &authorization)], None);
    println!("GET /user/me, {CONNECTIONS} connections, {TURNS} turns of {TURN:?} each");
    let mut ratios = Vec::new();
    for turn in 1..=TURNS {
        let limit = load(bare.address, &ask);
        let ours = load(gatelet.address, &ask);
        ratios.push(ours / limit);
        println!("turn {turn}: bare warp {limit:.0}/s, gatelet {ours:.0}/s, ratio {:.2}", ours / limit);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio to the bare route: {:.2}", ratios[TURNS / 2]);
}

/// Requests per second that `address` answers.
#[allow(clippy::cast_precision_loss)]
fn load(address: SocketAddr, ask: &[u8]) -> f64 {
    let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut client = Client::connect(address).unwrap();
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    client.send_raw(ask).unwrap();
                    assert_eq!(client.receive(false).unwrap().status, 200);
                    count += 1;
                }
                done.fetch_add(count, Ordering::Relaxed);
            });
        }
        thread::sleep(TURN);
        stop.store(true, Ordering::Relaxed);
    });
    done.into_inner() as f64 / began.elapsed().as_secs_f64()
}

/// This program again, as the bare server.
struct Bare {
    address: SocketAddr,
    child: Child,
}

impl Bare {
    fn start() -> Self {
        use std::io::{BufRead, BufReader};
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("bare")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { address: line.trim().parse().unwrap(), child }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve_bare() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let body = r#"{"id":"01a20372-975d-725c-94de-643218e68efc","username":"anna"}"#;
        let route = warp::path!("user" / "me")
            .and(warp::get())
            .map(move || warp::reply::with_header(body, "content-type", "application/json"));
        warp::serve(route).incoming(listener).run().await;
    });
}
