//! The process is killed: the system still writes its dirty pages.

use std::collections::HashMap;
use std::fs;
use std::process::Command;

use gatelet::domain::user::Role;

use crate::ledger::{Account, End, Session, Standing};
use crate::support::temporary;
use crate::trial::Trial;

const ROUNDS: usize = 50;

#[test]
fn nothing_that_was_acknowledged_is_lost_by_kill_9() {
    let dir = temporary();
    let mut trial = Trial::begin("kill", dir.path());
    let mut process = trial.start();
    for _ in 0..ROUNDS {
        process = trial.round(process, |process| drop(process.kill()), Trial::start);
    }
    assert_eq!(trial.figures.unavailable, 0);
    trial.finish(process);
}

/// Proves that the audit detects losses; otherwise the tests here could pass without checking anything.
#[test]
fn a_store_that_was_set_back_is_found_out() {
    let dir = temporary();
    let (data, before) = (dir.path().join("data"), dir.path().join("before"));
    let mut trial = Trial::begin("set back", &data);
    let mut process = trial.start();
    let mut then = None;
    for n in 0.. {
        if n % 4 == 1 {
            // Accounts with every kind of change since are of no use here any more.
            process.kill();
            let _ = fs::remove_dir_all(&before);
            assert!(Command::new("cp").arg("-a").args([&data, &before]).status().unwrap().success());
            then = Some(Snapshot::of(&trial));
            process = trial.start();
        }
        process = trial.round(process, |process| drop(process.kill()), Trial::start);
        if then.as_ref().is_some_and(|then| then.differs_in_everything_from(&trial)) {
            break;
        }
    }
    process.kill();
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&before, &data).unwrap();

    let lost = trial.check_everything(&trial.start());
    for kind in [
        "registered, yet cannot log in",
        "deleted, yet logs in",
        "disabled, yet logs in",
        "a password that was replaced still works",
        "is not admin",
        "an ended session goes on",
        "the key k4.lid.",
    ] {
        assert!(lost.iter().any(|line| line.contains(kind)), "nobody noticed: {kind}\n{}", lost.join("\n"));
    }
}

/// Facts from an earlier moment about users who could log in.
struct Snapshot {
    /// Names are reused, passwords are not.
    roles: HashMap<String, Role>,
    /// The refresh tokens of live sessions, and how many access tokens those had.
    sessions: HashMap<String, usize>,
    keys: usize,
}

impl Snapshot {
    fn of(trial: &Trial) -> Self {
        let able = || trial.ledger.iter().filter(|account| account.is_able());
        let open = able().flat_map(|account| &account.sessions).filter(|session| session.end == End::Open);
        Self {
            roles: able().map(|account| (account.password.clone(), account.role)).collect(),
            sessions: open.map(|session| (session.refresh.clone(), session.access.len())).collect(),
            keys: trial.keys.ids.len(),
        }
    }

    /// Whether every kind of change was made to a user who would be unchanged if the store were set back.
    fn differs_in_everything_from(&self, trial: &Trial) -> bool {
        let any = |changed: &dyn Fn(&Account) -> bool| trial.ledger.iter().any(changed);
        let role = |account: &Account| self.roles.get(&account.password).copied();
        let was_ended = |session: &Session| {
            session.end == End::Final && self.sessions.get(&session.refresh) == Some(&session.access.len())
        };
        any(&|account| account.standing == Standing::Gone && role(account).is_some())
            && any(&|account| account.disabled && role(account).is_some())
            && any(&|account| account.former.last().is_some_and(|former| self.roles.contains_key(former)))
            && any(&|account| account.role == Role::Admin && role(account) == Some(Role::User))
            && any(&|account| account.sessions.iter().any(was_ended))
            && trial.keys.ids.len() > self.keys
    }
}
