//! The process is killed: what the system has not written yet, it still writes.

use std::collections::HashSet;
use std::fs;
use std::process::Command;

use crate::ledger::Standing;
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

/// Without this the tests here could pass because nobody looks.
#[test]
fn a_store_that_was_set_back_is_found_out() {
    let dir = temporary();
    let (data, before) = (dir.path().join("data"), dir.path().join("before"));
    let mut trial = Trial::begin("set back", &data);
    let process = trial.round(trial.start(), |process| drop(process.kill()), Trial::start);
    process.kill();
    assert!(Command::new("cp").arg("-a").args([&data, &before]).status().unwrap().success());

    // Names are used again, passwords are not.
    let those_who = |trial: &Trial, standing| -> HashSet<String> {
        let accounts = trial.ledger.iter().filter(|account| account.standing == standing);
        accounts.map(|account| account.password.clone()).collect()
    };
    let users = those_who(&trial, Standing::Exists);
    let mut process = trial.start();
    while users.is_disjoint(&those_who(&trial, Standing::Gone)) {
        process = trial.round(process, |process| drop(process.kill()), Trial::start);
    }
    process.kill();
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&before, &data).unwrap();

    let lost = trial.check_everything(&trial.start());
    for kind in ["registered, yet cannot log in", "deleted, yet logs in", "an ended session goes on"] {
        assert!(lost.iter().any(|line| line.contains(kind)), "nobody noticed: {kind}\n{lost:?}");
    }
}
