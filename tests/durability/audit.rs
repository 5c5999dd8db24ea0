//! Holds a server that was cut off and started again against the ledger.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use gatelet::clock::Clock;
use gatelet::store::{Store, StoreOptions};
use serde_json::json;

use crate::client::is_revoked;
use crate::ledger::{Account, End, Session, Standing};
use crate::support::{Client, Random, Tokens, credentials};

/// Clients that check at the same time.
const AUDITORS: usize = 4;

/// What has been found.
#[derive(Default)]
pub struct Findings {
    pub checked: usize,
    pub lost: Vec<String>,
}

/// Checks every account, finds out what became of those that were in doubt and settles them in the ledger.
pub fn audit(
    address: SocketAddr,
    accounts: &mut [Account],
    let_in: &HashSet<(String, String)>,
    random: &mut Random,
) -> Findings {
    let share = accounts.len().div_ceil(AUDITORS).max(1);
    let auditors: Vec<_> = accounts.chunks_mut(share).map(|accounts| (accounts, random.branch())).collect();
    let mut all = Findings::default();
    thread::scope(|scope| {
        let running: Vec<_> = auditors
            .into_iter()
            .map(|(accounts, random)| {
                scope.spawn(move || {
                    let client = Client::connect(address).unwrap();
                    let mut auditor = Auditor { client, random, findings: Findings::default() };
                    for account in accounts {
                        let let_in = let_in.contains(&(account.name.clone(), account.password.clone()));
                        auditor.check(account, let_in);
                    }
                    auditor.findings
                })
            })
            .collect();
        for auditor in running {
            let findings = auditor.join().unwrap();
            all.checked += findings.checked;
            all.lost.extend(findings.lost);
        }
    });
    all
}

struct Auditor {
    client: Client,
    random: Random,
    findings: Findings,
}

impl Auditor {
    fn expect(&mut self, holds: bool, complaint: impl FnOnce() -> String) {
        if !holds {
            self.findings.lost.push(complaint());
        }
    }

    fn check(&mut self, account: &mut Account, let_in: bool) {
        self.findings.checked += 1;
        let reply = self.client.post("/login", &credentials(&account.name, &account.password));
        let name = &account.name;
        match reply.status {
            200 => {
                self.expect(account.standing != Standing::Gone, || format!("{name}: deleted, yet logs in"));
                let tokens = Tokens::from_reply(&reply);
                account.standing = Standing::Exists;
                self.check_identity(account, &tokens);
                self.check_name_is_taken(account);
            }
            401 => {
                self.expect(account.standing != Standing::Exists, || {
                    format!("{name}: registered, yet cannot log in")
                });
                let rumoured = account.standing == Standing::PerhapsCreated && let_in;
                self.expect(!rumoured, || format!("{name}: was let in, yet never existed"));
                let settled = account.standing == Standing::Gone;
                account.standing = Standing::Gone;
                account.end_sessions();
                if !settled || self.random.once_in(4) {
                    self.take_name_again(account);
                }
            }
            _ => self.expect(false, || format!("{name}: login answers {reply:?}")),
        }
        for session in &mut account.sessions {
            self.check_session(&account.name, session);
        }
    }

    /// The name leads to a user who bears it.
    fn check_identity(&mut self, account: &mut Account, tokens: &Tokens) {
        let reply = self.client.call("GET", "/user/me", Some(&tokens.access), None);
        let id = match &account.id {
            Some(id) => json!(id),
            None => reply.json()["id"].clone(),
        };
        account.id = id.as_str().map(str::to_owned);
        let body = json!({ "id": id, "username": account.name });
        self.expect(reply.status == 200 && reply.json() == body, || {
            format!("{}: is somebody else: {reply:?}", account.name)
        });
    }

    fn check_name_is_taken(&mut self, account: &Account) {
        let reply = self.client.post("/register", &credentials(&account.name, "another one"));
        self.expect(reply.status == 409, || format!("{}: registered twice: {reply:?}", account.name));
    }

    /// The name of nobody is free: it does not point at a user who is not there.
    fn take_name_again(&mut self, account: &mut Account) {
        account.password = format!("another password {}", self.random.number());
        account.id = None;
        let body = credentials(&account.name, &account.password);
        let registered = self.client.post("/register", &body);
        self.expect(registered.status == 201, || {
            format!("{}: nobody's name, yet not free: {registered:?}", account.name)
        });
        let reply = self.client.post("/login", &body);
        self.expect(reply.status == 200, || format!("{}: cannot log in: {reply:?}", account.name));
        if reply.status == 200 {
            account.standing = Standing::Exists;
            self.check_identity(account, &Tokens::from_reply(&reply));
        }
    }

    fn check_session(&mut self, name: &str, session: &mut Session) {
        self.findings.checked += 1;
        let mut replies: Vec<_> = session
            .access
            .iter()
            .map(|token| self.client.call("GET", "/user/me", Some(token), None))
            .collect();
        replies.push(self.client.call("POST", "/refresh", Some(&session.refresh), None));
        let accepted = replies.iter().all(|reply| reply.status == 200);
        let refused = replies.iter().all(is_revoked);
        self.expect(accepted || refused, || format!("{name}: half a session: {replies:?}"));
        match session.end {
            End::Open => self.expect(!refused, || format!("{name}: a session was ended by nobody")),
            End::Final => self.expect(!accepted, || format!("{name}: an ended session goes on")),
            End::InDoubt => {}
        }
        session.end = if accepted { End::Open } else { End::Final };
    }
}

/// Looks into a store that no server uses: exactly those of the ledger are there, each under their own name.
pub fn audit_store(dir: &Path, ledger: &[Account]) {
    let options = StoreOptions { cache: 16 << 20, min_free: 0, accept_clock: false };
    let store = Store::open(dir, &options, Arc::new(Clock::system())).unwrap();
    let mut expected: HashMap<&str, &Account> = ledger
        .iter()
        .filter(|account| account.standing == Standing::Exists)
        .map(|account| (account.name.as_str(), account))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for user in store.users_after(None, usize::MAX).await.unwrap() {
            let account = expected.remove(user.name.as_str());
            let account = account.unwrap_or_else(|| panic!("{user:?} is in no ledger, or twice"));
            assert_eq!(account.id, Some(user.id.to_string()));
            assert_eq!(store.user_named(&user.name).await.unwrap().unwrap().0, user);
        }
        for account in ledger.iter().filter(|account| account.standing == Standing::Gone) {
            assert_eq!(store.user_named(&account.name.parse().unwrap()).await.unwrap(), None);
        }
    });
    assert!(expected.is_empty(), "{} users are missing", expected.len());
    store.close().unwrap();
}
