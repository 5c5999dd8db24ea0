//! One client of many: registers, logs in, refreshes, logs out, deletes and reads until the line goes dead, and
//! writes down what it was told. A wrong answer is a panic.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::ledger::{Account, End, Figures, Session, Standing};
use crate::support::{Client, Random, Reply, Tokens, credentials};

/// How long a load may go on at most: a server that survives its disk by this much is a failure.
const WATCHDOG: Duration = Duration::from_secs(40);

/// What all clients of a round share.
#[derive(Default)]
pub struct Gossip {
    /// The registrations that are being tried right now, newest last.
    under_way: Mutex<Vec<(String, String)>>,
    /// Those of them that somebody was let in with.
    pub let_in: Mutex<HashSet<(String, String)>>,
}

pub struct Worker<'a> {
    client: Client,
    random: Random,
    /// Begins every name that this worker makes up.
    prefix: String,
    gossip: &'a Gossip,
    pub accounts: Vec<Account>,
    made_up: usize,
    begun: Instant,
    /// The line is dead.
    pub cut_off: bool,
    pub figures: Figures,
}

impl<'a> Worker<'a> {
    pub fn connect(
        address: SocketAddr,
        random: Random,
        prefix: String,
        accounts: Vec<Account>,
        gossip: &'a Gossip,
    ) -> Self {
        Self {
            client: Client::connect(address).unwrap(),
            random,
            prefix,
            gossip,
            accounts,
            made_up: 0,
            begun: Instant::now(),
            cut_off: false,
            figures: Figures::default(),
        }
    }

    /// Does one thing or another.
    pub fn work(&mut self) {
        assert!(self.begun.elapsed() < WATCHDOG, "the server goes on as if nothing had happened");
        match self.random.below(100) {
            0..30 => self.register(),
            30..50 => self.log_in(),
            50..62 => self.refresh(),
            62..74 => self.log_out(),
            74..80 => self.delete(),
            80..94 => self.read(),
            _ => self.register_a_taken_name(),
        }
    }

    /// Tries to log in as those whom others are registering at this moment.
    pub fn eavesdrop(&mut self) {
        assert!(self.begun.elapsed() < WATCHDOG, "the server goes on as if nothing had happened");
        let newest = self.gossip.under_way.lock().unwrap().last().cloned();
        let Some((name, password)) = newest else {
            self.call("GET", "/healthz", None, None); // is the line dead?
            return;
        };
        let reply = self.call("POST", "/login", None, Some(&credentials(&name, &password)));
        match reply.as_ref().map(|reply| reply.status) {
            Some(200) => {
                self.gossip.let_in.lock().unwrap().insert((name, password));
            }
            Some(401) | None => {}
            _ => panic!("{reply:?}"),
        }
    }

    /// `None`: no answer, or none that says anything.
    fn call(&mut self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Option<Reply> {
        match self.client.try_call(method, path, token, body) {
            Ok(reply) if reply.status == 503 => {
                self.figures.unavailable += 1;
                None
            }
            Ok(reply) => Some(reply),
            Err(_) => {
                self.cut_off = true;
                None
            }
        }
    }

    fn register(&mut self) {
        let freed = self.random.place_of(&self.accounts, |account| account.standing == Standing::Gone);
        let place = freed.filter(|_| self.random.once_in(4));
        self.made_up += 1;
        let password = format!("password {} {}", self.prefix, self.made_up);
        let (name, sessions) = match place {
            Some(place) => {
                let account = self.accounts.swap_remove(place);
                (account.name, account.sessions)
            }
            None => (format!("{} {}", self.prefix, self.made_up), Vec::new()),
        };
        let rumour = (name.clone(), password.clone());
        self.gossip.under_way.lock().unwrap().push(rumour.clone());
        let reply = self.call("POST", "/register", None, Some(&credentials(&name, &password)));
        self.gossip.under_way.lock().unwrap().retain(|other| *other != rumour);
        let (standing, id) = match reply {
            Some(reply) if reply.status == 201 => {
                self.figures.registered += 1;
                (Standing::Exists, reply.header("location").map(|path| path["/user/".len()..].to_owned()))
            }
            Some(reply) => panic!("registering {name:?}: {reply:?}"),
            None => {
                self.figures.in_doubt += 1;
                (Standing::PerhapsCreated, None)
            }
        };
        self.accounts.push(Account { name, password, id, standing, sessions });
    }

    fn register_a_taken_name(&mut self) {
        let Some(place) = self.somebody() else {
            return;
        };
        let name = self.accounts[place].name.clone();
        if let Some(reply) = self.call("POST", "/register", None, Some(&credentials(&name, "another one"))) {
            assert_eq!(reply.status, 409, "{name:?} is taken: {reply:?}");
        }
    }

    fn log_in(&mut self) {
        if let Some(place) = self.somebody() {
            self.log_in_as(place);
        }
    }

    fn log_in_as(&mut self, place: usize) -> Option<Tokens> {
        let Account { name, password, .. } = &self.accounts[place];
        let body = credentials(name, password);
        let tokens = Tokens::from_reply(&self.call("POST", "/login", None, Some(&body))?);
        self.accounts[place].sessions.push(Session {
            access: vec![tokens.access.clone()],
            refresh: tokens.refresh.clone(),
            end: End::Open,
        });
        Some(tokens)
    }

    fn refresh(&mut self) {
        let Some((place, at)) = self.some_open_session() else {
            return;
        };
        let token = self.accounts[place].sessions[at].refresh.clone();
        if let Some(reply) = self.call("POST", "/refresh", Some(&token), None) {
            assert_eq!(reply.status, 200, "{reply:?}");
            let access = reply.json()["access_token"].as_str().unwrap().to_owned();
            self.accounts[place].sessions[at].access.push(access);
        }
    }

    fn log_out(&mut self) {
        let Some((place, at)) = self.some_open_session() else {
            return;
        };
        let session = &self.accounts[place].sessions[at];
        let token = if self.random.once_in(2) { session.access.last() } else { Some(&session.refresh) };
        let token = token.unwrap().clone();
        self.accounts[place].sessions[at].end = match self.call("POST", "/logout", Some(&token), None) {
            Some(reply) => {
                assert_eq!(reply.status, 200, "{reply:?}");
                self.figures.logged_out += 1;
                End::Final
            }
            None => {
                self.figures.in_doubt += 1;
                End::InDoubt
            }
        };
    }

    fn delete(&mut self) {
        let Some(place) = self.somebody() else {
            return;
        };
        let fresh = match self.accounts[place].open_session() {
            Some(at) => self.accounts[place].sessions[at].access[0].clone(),
            None => match self.log_in_as(place) {
                Some(tokens) => tokens.access,
                None => return,
            },
        };
        let reply = self.call("DELETE", "/user/me", Some(&fresh), None);
        let account = &mut self.accounts[place];
        account.standing = match reply {
            Some(reply) => {
                assert_eq!(reply.status, 200, "{reply:?}");
                self.figures.deleted += 1;
                account.end_sessions();
                Standing::Gone
            }
            None => {
                self.figures.in_doubt += 1;
                Standing::PerhapsDeleted
            }
        };
    }

    fn read(&mut self) {
        let Some(place) = self.random.place_of(&self.accounts, |account| {
            !account.sessions.is_empty() && account.standing != Standing::PerhapsDeleted
        }) else {
            return;
        };
        let account = &self.accounts[place];
        let session = &account.sessions[self.random.below(account.sessions.len())];
        let end = session.end;
        let token = session.access[self.random.below(session.access.len())].clone();
        let Some(reply) = self.call("GET", "/user/me", Some(&token), None) else {
            return;
        };
        let account = &self.accounts[place];
        match end {
            End::Open => {
                assert_eq!(reply.status, 200, "{reply:?}");
                assert_eq!(reply.json(), json!({ "id": account.id, "username": account.name }));
            }
            End::Final => assert!(is_revoked(&reply), "{reply:?}"),
            End::InDoubt => {}
        }
    }

    fn somebody(&mut self) -> Option<usize> {
        self.random.place_of(&self.accounts, |account| account.standing == Standing::Exists)
    }

    fn some_open_session(&mut self) -> Option<(usize, usize)> {
        let place = self.random.place_of(&self.accounts, |account| {
            account.standing == Standing::Exists && account.open_session().is_some()
        })?;
        Some((place, self.accounts[place].open_session()?))
    }
}

/// Whether this is the refusal of a token whose session or user has been ended.
pub fn is_revoked(reply: &Reply) -> bool {
    reply.status == 401 && reply.json()["error"] == "token_revoked"
}
