//! More logins than the server can hash.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::addresses::post_from;
use crate::refusal::Refusal;
use crate::support::{TestServer, credentials, request};

/// Hashes that take a good part of a second, one at a time. The queue holds a handful of them.
const COSTLY: [&str; 4] = ["--hash-slots", "1", "--scrypt", "ln=15,r=8,p=3"];

#[test]
fn a_flood_of_logins_gets_503_while_tokens_are_checked() {
    let server = TestServer::in_memory_with(&COSTLY);
    server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");

    let logins =
        [("anna", "correct horse", 200), ("anna", "wrong horse!", 401), ("bert", "correct horse", 401)];
    let mut flood: Vec<_> = (0..60)
        .map(|n| {
            let (name, password, expected) = logins[n % logins.len()];
            let body = credentials(name, password).to_string();
            let mut client = server.client();
            client.send_raw(&request("POST", "/login", &[], Some(body.as_bytes()))).unwrap();
            (client, expected)
        })
        .collect();

    // No answer has been read yet.
    let reply = server.call("GET", "/user/me", Some(&tokens.access), None);
    assert_eq!(reply.status, 200, "{reply:?}");
    server.refresh(&tokens);
    assert_eq!(server.call("GET", "/readyz", None, None).status, 200);

    let (mut served, mut refused) = (0, 0);
    for (client, expected) in &mut flood {
        let reply = client.receive(false).unwrap();
        if reply.status == 503 {
            Refusal::Busy.expect(&reply, "one too many");
            refused += 1;
        } else {
            assert_eq!(reply.status, *expected, "{reply:?}");
            served += 1;
        }
    }
    assert!(served > 0 && refused > 0, "{served} served, {refused} refused");
    server.log_in("anna", "correct horse");
}

#[test]
fn a_refused_registration_of_a_flood_leaves_no_user() {
    let server = TestServer::in_memory_with(&COSTLY);
    let body = |n: usize| credentials(&format!("user {n}"), "correct horse");
    let mut flood: Vec<_> = (0..40)
        .map(|n| {
            let mut client = server.client();
            let body = body(n).to_string();
            client.send_raw(&request("POST", "/register", &[], Some(body.as_bytes()))).unwrap();
            client
        })
        .collect();
    // On a slow machine, the last in the queue exceed the deadline of a request.
    let replies: Vec<_> = flood.iter_mut().map(|client| client.receive(false).ok()).collect();
    let status = |n: &usize| replies[*n].as_ref().map(|reply| reply.status);
    let refused: Vec<_> = (0..replies.len()).filter(|n| ![Some(201), None].contains(&status(n))).collect();
    assert!(!refused.is_empty() && refused.len() < replies.len());
    for n in refused {
        Refusal::Busy.expect(replies[n].as_ref().unwrap(), "one too many");
        let user = server.admin_socket(&json!({ "find_user": { "name": format!("user {n}") } }));
        assert_eq!(user, Err(json!("not_found")), "the name is still free");
    }
}

#[test]
fn a_flood_of_right_passwords_gets_the_503_while_others_log_in() {
    /// Cheap enough for a queue of about forty.
    const LESS_COSTLY: [&str; 4] = ["--hash-slots", "1", "--scrypt", "ln=14,r=8,p=1"];
    const FLOOD: usize = 80;
    const VICTIMS: usize = 6;
    const OF_A_PROXY: [&str; 4] = ["--trusted-proxies", "127.0.0.1", "--account-limit", "off"];
    let server = &TestServer::in_memory_with(&[LESS_COSTLY, OF_A_PROXY].concat());
    server.register("mallory", "correct horse");
    (0..VICTIMS).for_each(|n| drop(server.register(&format!("victim {n}"), "correct horse")));
    let over = &AtomicBool::new(false);
    let [served, refused] = &[const { AtomicUsize::new(0) }; 2];
    thread::scope(|scope| {
        let _over = Over(over);
        // One account from many networks; each sends its next login on the answer.
        for n in 0..FLOOD {
            scope.spawn(move || {
                let address = format!("198.51.100.{n}");
                let body = credentials("mallory", "correct horse").to_string();
                let headers = [("X-Forwarded-For", &*address)];
                let login = request("POST", "/login", &headers, Some(body.as_bytes()));
                let mut client = server.client();
                while !over.load(Ordering::Relaxed) {
                    match client.send_raw(&login).and_then(|()| client.receive(false)) {
                        Ok(reply) if reply.status == 200 => served.fetch_add(1, Ordering::Relaxed),
                        Ok(reply) => {
                            Refusal::Busy.expect(&reply, "the flood");
                            // Without a pause, the flood's threads would take the cores from the hashes.
                            thread::sleep(Duration::from_millis(50));
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                        // The request has exceeded its deadline.
                        Err(_) => {
                            client = server.client();
                            0
                        }
                    };
                }
            });
        }
        while served.load(Ordering::Relaxed) < 3 || refused.load(Ordering::Relaxed) == 0 {
            thread::sleep(Duration::from_millis(10));
        }
        for n in 0..VICTIMS {
            let body = credentials(&format!("victim {n}"), "correct horse");
            let reply = post_from(&mut server.client(), &format!("192.0.2.{n}"), "/login", &body);
            assert_eq!(reply.status, 200, "{n}: {reply:?}");
        }
    });
}

/// Stops the flood, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
