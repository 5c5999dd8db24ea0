//! One of many clients: registers, logs in, changes, deletes and reads until the connection breaks, and
//! records the answers. A wrong answer is a panic.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use gatelet::domain::user::Role;
use serde_json::{Value, json};

use crate::keys::key_ids;
use crate::ledger::{Account, Change, End, Figures, GRACE, Keys, Session, Standing};
use crate::support::{Client, Random, Reply, Tokens, admin_socket, credentials};

/// Time limit of a load: a server that survives its disk by this much is a failure.
const WATCHDOG: Duration = Duration::from_secs(40);

/// The most key rotations in a round: each makes four files.
const KEY_ROTATIONS: usize = 2;

/// The kinds of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Registration,
    Refresh,
    Logout,
    Deletion,
    Password,
    AllSessions,
    Update,
    Keys,
}

/// State that all clients of a round share.
pub struct Gossip {
    data_dir: PathBuf,
    /// The kinds of change of this round.
    kinds: &'static [Kind],
    /// A fresh access token of an administrator who is never changed.
    pub admin: String,
    /// Names and passwords being set at present, newest last.
    under_way: Mutex<Vec<(String, String)>>,
    /// Those of them that logged a client in.
    pub let_in: Mutex<HashSet<(String, String)>>,
    /// What the admin socket said about keys.
    pub keys: Mutex<Keys>,
}

impl Gossip {
    pub fn begin(data_dir: PathBuf, kinds: &'static [Kind], admin: String, keys: Keys) -> Self {
        Self {
            data_dir,
            kinds,
            admin,
            under_way: Mutex::default(),
            let_in: Mutex::default(),
            keys: Mutex::new(keys),
        }
    }
}

pub struct Worker<'a> {
    client: Client,
    random: Random,
    /// Prefix of every name that this worker makes up.
    prefix: String,
    gossip: &'a Gossip,
    pub accounts: Vec<Account>,
    made_up: usize,
    key_rotations: usize,
    begun: Instant,
    /// The connection is broken.
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
            key_rotations: 0,
            begun: Instant::now(),
            cut_off: false,
            figures: Figures::default(),
        }
    }

    /// Does a random operation.
    pub fn work(&mut self) {
        assert!(self.begun.elapsed() < WATCHDOG, "the server goes on as if nothing had happened");
        if self.somebody().is_none() {
            self.call("GET", "/healthz", None, None); // is the connection broken?
        }
        let kind = match self.random.below(100) {
            0..18 => return self.log_in(),
            18..31 => return self.read(),
            31..36 => return self.register_a_taken_name(),
            36..63 => Kind::Registration,
            63..75 => Kind::Refresh,
            75..85 => Kind::Logout,
            85..90 => Kind::Deletion,
            90..93 => Kind::Password,
            93..95 => Kind::AllSessions,
            _ => Kind::Update,
        };
        let kinds = self.gossip.kinds;
        let kind = if kinds.contains(&kind) { kind } else { kinds[self.random.below(kinds.len())] };
        match kind {
            Kind::Registration => self.register(),
            Kind::Refresh => self.refresh(),
            Kind::Logout => self.log_out(),
            Kind::Deletion => self.delete(),
            Kind::Password => self.change_password(),
            Kind::AllSessions => self.end_all_sessions(),
            Kind::Update => self.update(),
            Kind::Keys => self.read(), // one of the clients rotates keys
        }
    }

    /// Tries to log in with passwords that others are setting. Rotates keys now and then.
    pub fn eavesdrop(&mut self) {
        assert!(self.begun.elapsed() < WATCHDOG, "the server goes on as if nothing had happened");
        let may_rotate = self.gossip.kinds.contains(&Kind::Keys) && self.key_rotations < KEY_ROTATIONS;
        if may_rotate && self.random.once_in(25) {
            self.key_rotations += 1;
            self.rotate_keys();
        }
        let newest = self.gossip.under_way.lock().unwrap().last().cloned();
        let Some((name, password)) = newest else {
            self.call("GET", "/healthz", None, None); // is the connection broken?
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

    /// `None` if there is no answer, or an inconclusive one.
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
        if let Some(place) = place {
            let name = self.accounts[place].name.clone();
            if let Some(reply) = self.call("POST", "/register", None, Some(&credentials(&name, &password))) {
                assert_eq!(reply.status, 409, "{name:?} was a deleted user's: {reply:?}");
            }
            return;
        }
        let name = format!("{} {}", self.prefix, self.made_up);
        let mut account = Account::new(name, password, Vec::new(), Vec::new());
        let Account { name, password, .. } = &account;
        let (name, body) = (name.clone(), credentials(name, password));
        let rumour = (name.clone(), password.clone());
        match self.call_rumoured(rumour, "/register", None, &body) {
            Some(reply) if reply.status == 201 => {
                self.figures.registered += 1;
                account.standing = Standing::Exists;
                account.id = reply.header("location").map(|path| path["/user/".len()..].to_owned());
            }
            Some(reply) => panic!("registering {name:?}: {reply:?}"),
            None => self.figures.in_doubt += 1,
        }
        self.accounts.push(account);
    }

    /// Sets a password while others try it.
    fn call_rumoured(
        &mut self,
        rumour: (String, String),
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> Option<Reply> {
        self.gossip.under_way.lock().unwrap().push(rumour.clone());
        let reply = self.call("POST", path, token, Some(body));
        self.gossip.under_way.lock().unwrap().retain(|other| *other != rumour);
        reply
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

    fn log_in_as(&mut self, place: usize) {
        let Account { name, password, .. } = &self.accounts[place];
        let body = credentials(name, password);
        let Some(reply) = self.call("POST", "/login", None, Some(&body)) else {
            return;
        };
        let Tokens { access, refresh } = Tokens::from_reply(&reply);
        self.accounts[place].sessions.push(Session {
            access: vec![access],
            refresh,
            replaced: None,
            unanswered: None,
            end: End::Open,
        });
    }

    fn refresh(&mut self) {
        let Some((place, at)) = self.some_open_session() else {
            return;
        };
        // The answer was lost, or another tab was faster: the previous token works for a while.
        let again = self.random.once_in(6);
        let session = &mut self.accounts[place].sessions[at];
        let replaced =
            session.replaced.as_ref().filter(|replaced| again && replaced.asked.elapsed() < GRACE / 2);
        let is_replaced = replaced.is_some();
        let rotates = session.replaced.is_some();
        let token = replaced.map_or(&session.refresh, |replaced| &replaced.token).clone();
        let asked = Instant::now();
        let reply = self.call("POST", "/refresh", Some(&token), None);
        let session = &mut self.accounts[place].sessions[at];
        let Some(reply) = reply else {
            if !is_replaced {
                session.unanswered.get_or_insert(asked);
                self.figures.in_doubt += usize::from(rotates);
            }
            return;
        };
        // On a machine that stalls the grace may have passed.
        let before = session.replaced.as_ref().filter(|_| is_replaced);
        if is_revoked(&reply) && before.is_some_and(|replaced| replaced.asked.elapsed() >= GRACE) {
            session.end = End::Final;
            return;
        }
        assert_eq!(reply.status, 200, "{reply:?}");
        let body = reply.json();
        session.access.push(body["access_token"].as_str().unwrap().to_owned());
        match body["refresh_token"].as_str() {
            Some(successor) if is_replaced => session.refresh = successor.to_owned(),
            Some(successor) => {
                session.advance(successor, asked);
                self.figures.refreshed += 1;
            }
            None => assert!(!rotates, "the session's refresh tokens rotate no more"),
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

    /// By the owner, whose session stays live, or by an administrator.
    fn change_password(&mut self) {
        let Some(place) = self.somebody() else {
            return;
        };
        self.made_up += 1;
        let new = format!("new password {} {}", self.prefix, self.made_up);
        let (path, token, body, spared) = if self.random.once_in(3) {
            let path = format!("/user/{}/password", self.id(place));
            (path, self.gossip.admin.clone(), json!({ "new_password": new }), None)
        } else {
            let Some(at) = self.open_session(place) else {
                return;
            };
            let account = &self.accounts[place];
            let token = account.sessions[at].access.last().unwrap().clone();
            let body = json!({ "current_password": account.password, "new_password": new });
            ("/user/me/password".to_owned(), token, body, Some(at))
        };
        let rumour = (self.accounts[place].name.clone(), new.clone());
        let reply = self.call_rumoured(rumour, &path, Some(&token), &body);
        self.conclude(place, Change::Password { new, spared }, reply);
    }

    /// By the owner or by an administrator.
    fn end_all_sessions(&mut self) {
        let Some(place) = self.somebody() else {
            return;
        };
        let Some(at) = self.open_session(place) else {
            return;
        };
        let (path, token) = if self.random.once_in(3) {
            (format!("/user/{}/sessions", self.id(place)), &self.gossip.admin)
        } else {
            ("/user/me/sessions".to_owned(), &self.accounts[place].sessions[at].access[0])
        };
        let reply = self.call("DELETE", &path, Some(&token.clone()), None);
        self.conclude(place, Change::AllSessionsEnded, reply);
    }

    /// An administrator disables or enables a user, or changes the role.
    fn update(&mut self) {
        let Some(place) = self.random.place_of(&self.accounts, Account::is_known) else {
            return;
        };
        let account = &self.accounts[place];
        let (body, change) = if account.disabled || self.random.once_in(3) {
            (json!({ "disabled": !account.disabled }), Change::Disabled(!account.disabled))
        } else {
            let role = if account.role == Role::User { Role::Admin } else { Role::User };
            (json!({ "role": role }), Change::Role(role))
        };
        let path = format!("/user/{}", self.id(place));
        let reply = self.call("PATCH", &path, Some(&self.gossip.admin), Some(&body));
        self.conclude(place, change, reply);
    }

    fn conclude(&mut self, place: usize, change: Change, reply: Option<Reply>) {
        let account = &mut self.accounts[place];
        match reply {
            Some(reply) => {
                assert_eq!(reply.status, 200, "{change:?}: {reply:?}");
                self.figures.count(&change);
                account.apply(change);
            }
            None => {
                self.figures.in_doubt += 1;
                account.doubt = Some(change);
            }
        }
    }

    fn rotate_keys(&mut self) {
        let reply = admin_socket::ask(&self.gossip.data_dir, &admin_socket::rotate_keys());
        let mut keys = self.gossip.keys.lock().unwrap();
        match reply {
            Some(Ok(body)) => {
                let (ids, active) = key_ids(&body);
                keys.ids.extend(ids);
                keys.active = Some(active);
                self.figures.keys += 1;
            }
            // A key's file cannot be written, or the store has failed.
            Some(Err(_)) | None => {
                keys.active = None;
                self.figures.in_doubt += 1;
            }
        }
    }

    fn delete(&mut self) {
        let Some(place) = self.somebody() else {
            return;
        };
        let Some(at) = self.open_session(place) else {
            return;
        };
        let fresh = self.accounts[place].sessions[at].access[0].clone();
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
            !account.sessions.is_empty()
                && account.standing != Standing::PerhapsDeleted
                && account.doubt.is_none()
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
        self.random.place_of(&self.accounts, Account::is_able)
    }

    fn id(&self, place: usize) -> &str {
        self.accounts[place].id.as_deref().unwrap()
    }

    /// The index of a live session, a new one if there is none.
    fn open_session(&mut self, place: usize) -> Option<usize> {
        if self.accounts[place].open_session().is_none() {
            self.log_in_as(place);
        }
        self.accounts[place].open_session()
    }

    fn some_open_session(&mut self) -> Option<(usize, usize)> {
        let place = self
            .random
            .place_of(&self.accounts, |account| account.is_able() && account.open_session().is_some())?;
        Some((place, self.accounts[place].open_session()?))
    }
}

/// Whether this refuses a token of a revoked session or a deleted user.
pub fn is_revoked(reply: &Reply) -> bool {
    reply.status == 401 && reply.json()["error"] == "token_revoked"
}
