//! Rounds of load, disaster and audit on one data directory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use crate::audit::{audit, audit_keys, audit_store};
use crate::client::{Gossip, Kind, Worker};
use crate::ledger::{Account, Figures, Keys};
use crate::support::{Process, Random, Tokens, admin_socket, credentials};

/// Workers, besides one eavesdropping client.
const WORKERS: usize = 7;

/// Accounts of earlier rounds that each worker continues with.
const INHERITED: usize = 12;

/// Untouched accounts of earlier rounds that are checked.
const SAMPLE: usize = 60;

/// Tokens outlive the slowest run; no client is throttled; requests are not logged.
#[rustfmt::skip] // one line a setting
const ARGS: [&str; 10] = [
    "--access-ttl", "12h",
    "--account-limit", "off",
    "--network-limit", "off",
    "--registration-limit", "off",
    "--log", "info,gatelet::access=warn,gatelet::audit=warn",
];

/// The kinds of change of a round: all of them, or in every other round one kind in turn. When several kinds
/// mix, a missing sync of one is hidden by the syncs of others.
#[rustfmt::skip] // one line a round
const ALL: &[Kind] = &[
    Kind::Registration, Kind::Refresh, Kind::Logout, Kind::Deletion, Kind::Password, Kind::AllSessions, Kind::Update,
    Kind::Keys,
];
const IN_TURN: [&[Kind]; 7] = [
    &[Kind::Refresh],
    &[Kind::Keys],
    &[Kind::Password],
    &[Kind::AllSessions],
    &[Kind::Update],
    &[Kind::Logout],
    &[Kind::Registration, Kind::Deletion],
];

/// Refresh tokens rotate in one of this many rounds, and when nothing else changes.
const ROTATING: usize = 3;

/// The administrator who disables others and is never changed.
pub const ADMIN: &str = "root";

pub struct Trial {
    dir: PathBuf,
    pub random: Random,
    pub ledger: Vec<Account>,
    pub keys: Keys,
    /// The administrator's access token from the first start, so signed by the first key.
    admin: Option<String>,
    pub figures: Figures,
}

impl Trial {
    /// A trial on a new data directory.
    pub fn begin(test: &str, dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            random: Random::begin(test),
            ledger: Vec::new(),
            keys: Keys::default(),
            admin: None,
            figures: Figures::default(),
        }
    }

    /// Starts the server; it must become ready.
    pub fn start(&self) -> Process {
        let rotating = self.kinds() == [Kind::Refresh] || self.figures.rounds % ROTATING == 1;
        let rotation = if rotating { "on" } else { "off" };
        Process::start(&self.dir, &[&ARGS[..], &["--refresh-rotation", rotation]].concat())
    }

    /// The kinds of change of the next round.
    fn kinds(&self) -> &'static [Kind] {
        let round = self.figures.rounds;
        if round.is_multiple_of(2) { ALL } else { IN_TURN[round / 2 % IN_TURN.len()] }
    }

    /// The administrator's access token.
    fn admin(&mut self, process: &Process) -> String {
        let dir = &self.dir;
        let add_and_log_in = || {
            let body = admin_socket::add_user(ADMIN, "correct horse", "admin");
            admin_socket::ask(dir, &body).unwrap().unwrap();
            let login = credentials(ADMIN, "correct horse");
            Tokens::from_reply(&process.client().post("/login", &login)).access
        };
        self.admin.get_or_insert_with(add_and_log_in).clone()
    }

    fn gossip(&mut self, process: &Process) -> Gossip {
        let admin = self.admin(process);
        Gossip::begin(self.dir.clone(), self.kinds(), admin, std::mem::take(&mut self.keys))
    }

    /// Runs the clients; between 50 and 400 ms later `disaster` strikes, and they continue until their
    /// connections break. Then `restart` brings the server back, and everything they touched is checked, with
    /// a sample of the rest.
    pub fn round(
        &mut self,
        process: Process,
        disaster: impl FnOnce(Process),
        restart: impl FnOnce(&Self) -> Process,
    ) -> Process {
        let gossip = self.gossip(&process);
        let touched = self.load(process, &gossip, disaster);
        self.figures.rounds += 1;
        let process = restart(self);
        let sample = self.draw(SAMPLE);
        let lost = self.check(process.address, touched.into_iter().chain(sample).collect(), gossip);
        assert!(lost.is_empty(), "{}\n{}", self.figures, lost.join("\n"));
        process
    }

    fn load(&mut self, process: Process, gossip: &Gossip, disaster: impl FnOnce(Process)) -> Vec<Account> {
        let round = self.figures.rounds;
        let workers: Vec<_> = (0..=WORKERS)
            .map(|n| {
                let accounts = if n == 0 { Vec::new() } else { self.draw(INHERITED) };
                let prefix = format!("r{round} w{n}");
                Worker::connect(process.address, self.random.branch(), prefix, accounts, gossip)
            })
            .collect();
        let moment = Duration::from_micros(50_000 + self.random.below(350_000) as u64);
        let ready = Barrier::new(workers.len() + 1);
        thread::scope(|scope| {
            let running: Vec<_> = workers
                .into_iter()
                .enumerate()
                .map(|(n, mut worker)| {
                    let ready = &ready;
                    scope.spawn(move || {
                        ready.wait();
                        while !worker.cut_off {
                            if n == 0 { worker.eavesdrop() } else { worker.work() }
                        }
                        (worker.accounts, worker.figures)
                    })
                })
                .collect();
            ready.wait();
            thread::sleep(moment);
            disaster(process);
            let mut touched = Vec::new();
            for worker in running {
                let (accounts, figures) = worker.join().unwrap();
                touched.extend(accounts);
                self.figures += figures;
            }
            touched
        })
    }

    /// Checks everything again, and opens the store when the server has stopped.
    pub fn finish(mut self, process: Process) {
        let lost = self.check_everything(&process);
        assert!(lost.is_empty(), "{}\n{}", self.figures, lost.join("\n"));
        assert_eq!(process.stop().code(), 0);
        audit_store(&self.dir, &self.ledger, &self.keys);
        println!("{}", self.figures);
    }

    /// Returns the losses.
    pub fn check_everything(&mut self, process: &Process) -> Vec<String> {
        let everything = std::mem::take(&mut self.ledger);
        let gossip = self.gossip(process);
        self.check(process.address, everything, gossip)
    }

    fn check(&mut self, address: SocketAddr, mut accounts: Vec<Account>, gossip: Gossip) -> Vec<String> {
        let mut findings = audit(&self.dir, address, &mut accounts, &gossip, &mut self.random);
        self.ledger.append(&mut accounts);
        self.keys = gossip.keys.into_inner().unwrap();
        findings.lost.extend(audit_keys(&self.dir, &mut self.keys));
        self.figures.checked += findings.checked;
        self.figures.lost += findings.lost.len();
        findings.lost
    }

    /// Takes some accounts out of the ledger.
    fn draw(&mut self, count: usize) -> Vec<Account> {
        let count = count.min(self.ledger.len());
        (0..count).map(|_| self.ledger.swap_remove(self.random.below(self.ledger.len()))).collect()
    }
}
