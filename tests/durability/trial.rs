//! Rounds of load, disaster and audit on one data directory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use crate::audit::{audit, audit_store};
use crate::client::{Gossip, Worker};
use crate::ledger::{Account, Figures};
use crate::support::{Process, Random};

/// Clients that work, and one that eavesdrops.
const WORKERS: usize = 7;

/// Accounts of earlier rounds that each worker goes on with.
const INHERITED: usize = 12;

/// Accounts of earlier rounds that are checked although nobody has touched them.
const SAMPLE: usize = 60;

/// Tokens outlive the slowest run; the log has no line for every request.
const ARGS: [&str; 4] = ["--access-ttl", "12h", "--log", "info,gatelet::access=warn,gatelet::audit=warn"];

pub struct Trial {
    dir: PathBuf,
    pub random: Random,
    pub ledger: Vec<Account>,
    pub figures: Figures,
}

impl Trial {
    /// A trial on a data directory that is not there yet.
    pub fn begin(test: &str, dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            random: Random::begin(test),
            ledger: Vec::new(),
            figures: Figures::default(),
        }
    }

    /// Starts the server; it must become ready.
    pub fn start(&self) -> Process {
        Process::start(&self.dir, &ARGS)
    }

    /// Sets the clients to work; at some moment between 50 and 400 ms later `disaster` strikes, and they go on
    /// until their lines are dead. Then `restart` brings the server back and everything that they touched, and
    /// some of what they did not, is checked.
    pub fn round(
        &mut self,
        process: Process,
        disaster: impl FnOnce(Process),
        restart: impl FnOnce(&Self) -> Process,
    ) -> Process {
        let gossip = Gossip::default();
        let touched = self.load(process, &gossip, disaster);
        let process = restart(self);
        let sample = self.draw(SAMPLE);
        let lost = self.check(process.address, touched.into_iter().chain(sample).collect(), &gossip);
        self.figures.rounds += 1;
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

    /// Checks everything once more, and looks into the store when the server has stopped.
    pub fn finish(mut self, process: Process) {
        let lost = self.check_everything(&process);
        assert!(lost.is_empty(), "{}\n{}", self.figures, lost.join("\n"));
        assert_eq!(process.stop().code(), 0);
        audit_store(&self.dir, &self.ledger);
        println!("{}", self.figures);
    }

    /// Answers what has been lost.
    pub fn check_everything(&mut self, process: &Process) -> Vec<String> {
        let everything = std::mem::take(&mut self.ledger);
        self.check(process.address, everything, &Gossip::default())
    }

    fn check(&mut self, address: SocketAddr, mut accounts: Vec<Account>, gossip: &Gossip) -> Vec<String> {
        let let_in = gossip.let_in.lock().unwrap();
        let findings = audit(address, &mut accounts, &let_in, &mut self.random);
        self.ledger.append(&mut accounts);
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
