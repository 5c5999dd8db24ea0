//! Compares a server that was cut off and restarted with the ledger.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use gatelet::domain::clock::Clock;
use gatelet::domain::user::{NewName, Role, Usernames};
use gatelet::store::{Store, StoreOptions};
use serde_json::json;

use crate::client::{Gossip, is_revoked};
use crate::keys::key_ids;
use crate::ledger::{Account, Change, End, GRACE, Keys, Session, Standing};
use crate::support::{Client, Random, Reply, Tokens, admin_socket, credentials};
use crate::trial::ADMIN;

/// Clients that check in parallel.
const AUDITORS: usize = 4;

/// The audit's results.
#[derive(Default)]
pub struct Findings {
    pub checked: usize,
    pub lost: Vec<String>,
}

/// Checks every account, determines the outcome of changes in doubt, and records it in the ledger.
pub fn audit(
    dir: &Path,
    address: SocketAddr,
    accounts: &mut [Account],
    gossip: &Gossip,
    random: &mut Random,
) -> Findings {
    let share = accounts.len().div_ceil(AUDITORS).max(1);
    let auditors: Vec<_> = accounts.chunks_mut(share).map(|accounts| (accounts, random.branch())).collect();
    let mut all = Findings::default();
    let let_in = &*gossip.let_in.lock().unwrap();
    let admin = &*gossip.admin;
    thread::scope(|scope| {
        let running: Vec<_> = auditors
            .into_iter()
            .map(|(accounts, random)| {
                scope.spawn(move || {
                    let client = Client::connect(address).unwrap();
                    let mut auditor =
                        Auditor { dir, client, random, admin, let_in, findings: Findings::default() };
                    for account in accounts {
                        auditor.check(account);
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

struct Auditor<'a> {
    dir: &'a Path,
    client: Client,
    random: Random,
    admin: &'a str,
    /// Names and passwords that logged a client in while they were being set.
    let_in: &'a HashSet<(String, String)>,
    findings: Findings,
}

impl Auditor<'_> {
    fn expect(&mut self, holds: bool, complaint: impl FnOnce() -> String) {
        if !holds {
            self.findings.lost.push(complaint());
        }
    }

    fn check(&mut self, account: &mut Account) {
        self.findings.checked += 1;
        self.settle(account);
        if let Some(old) = account.former.last() {
            let status = self.log_in(account, old).status;
            self.expect(status == 401, || {
                format!("{}: a password that was replaced still works: {status}", account.name)
            });
        }
        let let_in = self.was_let_in(account, &account.password);
        let reply = self.log_in(account, &account.password);
        let name = &account.name;
        match reply.status {
            200 => {
                self.expect(account.standing != Standing::Gone, || format!("{name}: deleted, yet logs in"));
                self.expect(!account.disabled, || format!("{name}: disabled, yet logs in"));
                let tokens = Tokens::from_reply(&reply);
                account.standing = Standing::Exists;
                self.check_identity(account, &tokens);
                self.check_name_is_taken(account);
            }
            401 if account.standing == Standing::Exists && account.disabled => {
                let state = self.ask_admin(account);
                self.expect(state == Some((account.role, true)), || {
                    format!("{name}: disabled, and an administrator sees {state:?}")
                });
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

    /// Determines whether an unanswered change was made. Its effects are checked afterwards: all of them are
    /// there, or none.
    fn settle(&mut self, account: &mut Account) {
        let Some(change) = account.doubt.take() else {
            return;
        };
        let name = &account.name;
        let was_made = match &change {
            Change::Password { new, .. } => {
                let was_made = self.log_in(account, new).status == 200;
                let rumoured = self.was_let_in(account, new);
                self.expect(was_made || !rumoured, || {
                    format!("{name}: was let in by a password that is gone")
                });
                was_made
            }
            Change::AllSessionsEnded => {
                let token = &account.sessions[account.open_session().unwrap()].access[0];
                is_revoked(&self.client.call("GET", "/user/me", Some(token), None))
            }
            Change::Role(new) => self.ask_admin(account).is_some_and(|(role, _)| role == *new),
            Change::Disabled(new) => self.ask_admin(account).is_some_and(|(_, disabled)| disabled == *new),
        };
        if was_made {
            account.apply(change);
        }
    }

    fn log_in(&mut self, account: &Account, password: &str) -> Reply {
        self.client.post("/login", &credentials(&account.name, password))
    }

    fn was_let_in(&self, account: &Account, password: &str) -> bool {
        self.let_in.contains(&(account.name.clone(), password.to_owned()))
    }

    /// A user as administrators see it: role, and whether disabled. Changes nothing.
    fn ask_admin(&mut self, account: &Account) -> Option<(Role, bool)> {
        let path = format!("/user/{}", account.id.as_deref().unwrap());
        let reply = self.client.call("PATCH", &path, Some(self.admin), Some(&json!({})));
        let body = reply.json();
        Some((serde_json::from_value(body["role"].clone()).ok()?, body["disabled"].as_bool()?))
    }

    /// The name leads to a user with that name.
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
        let reply = self.client.call("GET", "/session", Some(&tokens.access), None);
        self.expect(reply.json()["user"]["role"] == json!(account.role), || {
            format!("{}: is not {}: {reply:?}", account.name, account.role)
        });
    }

    fn check_name_is_taken(&mut self, account: &Account) {
        let reply = self.client.post("/register", &credentials(&account.name, "another one"));
        self.expect(reply.status == 409, || format!("{}: registered twice: {reply:?}", account.name));
    }

    /// A deleted user's name can be freed: it does not point at a missing user.
    fn take_name_again(&mut self, account: &mut Account) {
        let password = format!("another password {}", self.random.number());
        account.former.push(std::mem::replace(&mut account.password, password));
        account.id = None;
        account.role = Role::User;
        account.disabled = false;
        admin_socket::ask(self.dir, &json!({ "free_name": { "username": account.name } }));
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
        // First, because presenting the newest token settles the session: if the last step had been lost, the
        // token before would be current, and the newest unknown.
        let replaced = session.replaced.as_ref().filter(|replaced| replaced.asked.elapsed() < GRACE / 2);
        if let Some(replaced) = replaced {
            replies.push(self.client.call("POST", "/refresh", Some(&replaced.token), None));
        }
        let asked = Instant::now();
        let reply = self.client.call("POST", "/refresh", Some(&session.refresh), None);
        let successor = successor(&reply);
        // The newest may have an unreported successor; on a machine that stalls, the grace may have passed.
        let sent_before = [session.unanswered, replaced.map(|replaced| replaced.asked)];
        if is_revoked(&reply) && sent_before.into_iter().flatten().any(|sent| sent.elapsed() >= GRACE) {
            session.end = End::Final;
            return;
        }
        replies.push(reply);
        let accepted = replies.iter().all(|reply| reply.status == 200);
        let refused = replies.iter().all(is_revoked);
        self.expect(accepted || refused, || {
            let replies: Vec<_> = replies.iter().map(brief).collect();
            format!("{name}: half a session: {}", replies.join(", "))
        });
        match session.end {
            End::Open => self.expect(!refused, || format!("{name}: a session was ended by nobody")),
            End::Final => self.expect(!accepted, || format!("{name}: an ended session goes on")),
            End::InDoubt => {}
        }
        session.end = if accepted { End::Open } else { End::Final };
        session.unanswered = None;
        match successor {
            Some(successor) => session.advance(&successor, asked),
            None => self.expect(!accepted || session.replaced.is_none(), || {
                format!("{name}: the refresh tokens rotate no more")
            }),
        }
    }
}

/// The status and the problem.
fn brief(reply: &Reply) -> String {
    format!("{} {}", reply.status, reply.json()["error"].as_str().unwrap_or_default())
}

fn successor(reply: &Reply) -> Option<String> {
    if reply.status != 200 {
        return None;
    }
    reply.json()["refresh_token"].as_str().map(str::to_owned)
}

/// Whether the keys that the admin socket told of are there.
pub fn audit_keys(dir: &Path, keys: &mut Keys) -> Vec<String> {
    let Some(Ok(body)) = admin_socket::ask(dir, &json!({ "list_keys": {} })) else {
        return vec!["the admin socket does not answer".into()];
    };
    let (ids, active) = key_ids(&body);
    let ids: HashSet<_> = ids.into_iter().collect();
    let mut lost: Vec<_> = keys.ids.difference(&ids).map(|id| format!("the key {id} is gone")).collect();
    if let Some(known) = keys.active.replace(active.clone()).filter(|known| *known != active) {
        lost.push(format!("the key {active} signs instead of {known}"));
    }
    keys.ids.extend(ids);
    lost
}

/// Opens a store that no server uses: it holds exactly the ledger's users, each under their own name, and the
/// administrator.
pub fn audit_store(dir: &Path, ledger: &[Account], keys: &Keys) {
    let options = StoreOptions { cache: 16 << 20, min_free: 0, accept_clock: None };
    Store::free_when_dropped();
    let store = Store::open(dir, &options, Arc::new(Clock::system())).unwrap();
    let mut expected: HashMap<&str, &Account> = ledger
        .iter()
        .filter(|account| account.standing == Standing::Exists)
        .map(|account| (account.name.as_str(), account))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut users = store.users_after(None, usize::MAX).await.unwrap();
        assert_eq!(users.remove(0).name.as_str(), ADMIN);
        for user in users {
            let account = expected.remove(user.name.as_str());
            let account = account.unwrap_or_else(|| panic!("{user:?} is in no ledger, or twice"));
            assert_eq!(account.id, Some(user.id.to_string()));
            assert_eq!((account.role, account.disabled), (user.role, user.disabled), "{user:?}");
            assert_eq!(store.user_named(&user.name, Usernames::Folded).await.unwrap().unwrap().0, user);
        }
        for account in ledger.iter().filter(|account| account.standing == Standing::Gone) {
            let name: NewName = account.name.parse().unwrap();
            assert_eq!(store.user_named(&name, Usernames::Folded).await.unwrap(), None);
            assert_eq!(store.is_taken(&name, Clock::system().reading()).await, Ok(true), "{name:?}");
        }
        let stored: HashSet<_> = store.keys().await.unwrap().iter().map(|key| key.id.to_string()).collect();
        assert_eq!(stored, keys.ids);
    });
    assert!(expected.is_empty(), "{} users are missing", expected.len());
    store.close().unwrap();
}
