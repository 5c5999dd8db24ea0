//! Faults at chosen calls, whose outcome is known more exactly than that nothing is lost.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::Lab;
use super::injector::{Fault, Injector, Plan, Rule};
use super::scripts::SCRIPTS;
use super::template::{ADMIN, CROWD, Origin, PASSWORD, Template, command};
use crate::support::{Process, Tokens, admin_socket, credentials, temporary};

/// Far more calls than any test here makes.
const ENOUGH: usize = 200;

fn rule(class: &'static str, number: usize, fault: Fault) -> Rule {
    Rule { class, number, fault, on: false }
}

fn keys(data: &Path) -> BTreeSet<String> {
    let body = admin_socket::ask(data, &json!({ "list_keys": {} })).unwrap().unwrap();
    body["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn files(data: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(data.join("keys")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
#[ignore = "needs root: looks into processes that keep others out"]
fn a_rotation_whose_key_file_fails_is_undone_and_the_server_goes_on() {
    let template = Template::make();
    for revoke in [false, true] {
        let undone = (1..ENOUGH).map_while(|number| rotate_with_fault(&template, revoke, number));
        let undone: Vec<bool> = undone.collect();
        assert!(undone.iter().any(|undone| *undone) && undone.iter().any(|undone| !undone), "{undone:?}");
    }
}

/// Rotates while this call on the key folder fails. Returns whether the rotation was undone; `None` if there
/// is no such call.
fn rotate_with_fault(template: &Template, revoke: bool, number: usize) -> Option<bool> {
    let root = temporary();
    let data = root.path().join("data");
    template.copy(Origin::Stopped, &data);
    let folder = data.join("keys");
    let injector = Injector { root: &folder, log: root.path().join("calls") };
    injector.wait();
    let plan = Plan::one(rule("any", number, Fault::Eio));
    let server = Process::spawn(&mut injector.wrap(&command(&["serve"], &data), &plan)).unwrap();
    let before = keys(&data);
    injector.begin();
    let answer = admin_socket::ask(&data, &json!({ "rotate_keys": { "revoke": revoke } })).unwrap();
    injector.wait();
    let (after, left) = (keys(&data), files(&data));
    let ended = server.stop();
    let hit = injector.calls().iter().any(|call| call.hit);
    if !hit {
        assert_eq!((answer.is_ok(), ended.code()), (true, 0), "{ended:?}");
        return None;
    }
    let case = format!("call {number}: {ended:?}");
    assert_eq!(ended.code(), 0, "{case}");
    let is_undone = answer.as_ref().is_err_and(|refusal| refusal["unavailable"].is_string());
    if is_undone {
        assert!(ended.log.contains("Input/output error") && !ended.log.contains("tell us"), "{case}");
        assert_eq!((&after, &left), (&before, &before), "{case}");
    } else {
        // What is left to be done then is done by the next start.
        assert!(answer.is_ok(), "{case}: {answer:?}");
        assert!(after.is_superset(
            &left.iter().map(|name| name.replace(".new", "")).filter(|id| !before.contains(id)).collect()
        ));
        let server = Process::spawn(&mut command(&["serve"], &data)).unwrap();
        assert_eq!((keys(&data), files(&data)), (after.clone(), after), "{case}");
        server.stop();
    }
    Some(is_undone)
}

#[test]
#[ignore = "needs root: looks into processes that keep others out; takes a minute"]
fn a_restoration_that_fails_at_its_end_stays_whole_or_can_be_repeated() {
    let lab = Lab { template: Template::make() };
    let script = SCRIPTS.into_iter().find(|(name, _)| *name == "restore").unwrap();
    let calls = lab.trial(script, &Plan::none()).calls.len();
    for first in calls - 1..=calls {
        for second in 1..ENOUGH {
            let plan = Plan(vec![rule("any", first, Fault::Eio), rule("any", second, Fault::Kill)]);
            let outcome = lab.trial(script, &plan);
            assert!(outcome.wrong.is_empty(), "{plan}: {:?}", outcome.wrong);
            if outcome.calls.iter().filter(|call| call.hit).count() < 2 {
                break;
            }
        }
    }
}

#[test]
#[ignore = "needs root: looks into processes that keep others out"]
fn a_page_that_cannot_be_read_answers_503_and_all_others_are_served() {
    let template = Template::make();
    let root = temporary();
    let data = root.path().join("data");
    template.copy(Origin::Large, &data);
    let log = data.join("store/db");
    let injector = Injector { root: &log, log: root.path().join("calls") };
    injector.wait();
    let plan = Plan::one(Rule { on: true, ..rule("read", 1, Fault::Eio) });
    let mut serve = command(&["serve"], &data);
    serve.env("GATELET_CACHE_MIB", "1");
    let server = Process::spawn(&mut injector.wrap(&serve, &plan)).unwrap();
    let mut client = server.client();
    let admin = Tokens::from_reply(&client.post("/login", &credentials(ADMIN, PASSWORD))).access;
    let list = |client: &mut crate::support::Client| {
        let mut path = "/user?limit=500".to_owned();
        let (mut users, mut refused) = (0, 0);
        for _ in 0..CROWD {
            let reply = client.call("GET", &path, Some(&admin), None);
            if reply.status == 503 {
                assert!(reply.header("retry-after").is_some());
                assert_eq!(reply.json()["message"], "The disk cannot be read.");
                refused += 1;
                break;
            }
            let page: Value = reply.json();
            users += page.as_array().unwrap().len();
            let Some(link) = reply.header("link") else { break };
            path = format!("/{}", link.split(['<', '>']).nth(1).unwrap()); // relative to /user
        }
        (users, refused)
    };
    let (all, _) = list(&mut client);
    injector.begin();
    let (some, refused) = list(&mut client);
    assert!(refused == 1 && some < all, "{some} of {all}: the cache holds everything");
    assert_eq!(client.call("GET", "/healthz", None, None).status, 200);
    injector.wait();
    assert_eq!(list(&mut client), (all, 0));
    assert_eq!(client.call("GET", "/readyz", None, None).status, 200);
    assert_eq!(client.post("/register", &credentials("anna", PASSWORD)).status, 201);
    let ended = server.stop();
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert_eq!(ended.log.matches("a page of the store cannot be read").count(), 1, "{ended:?}");
}
