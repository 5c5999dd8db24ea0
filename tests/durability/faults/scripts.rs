//! The operations that run while the disk fails.

use std::fs;
use std::thread;

use serde_json::{Value, json};

use super::template::{ADMIN, NEWCOMERS, Origin, PASSWORD, Template, newcomer, user};
use super::trial::{Trial, is_told};
use crate::support::{Client, Process, admin_socket, credentials};

/// A name and its operation.
pub type Script = (&'static str, fn(&mut Trial<'_>));

pub const SCRIPTS: [Script; 18] = [
    ("first start", first_start),
    ("start", |trial| start(trial, Origin::Stopped)),
    ("start after a kill", |trial| start(trial, Origin::Killed)),
    ("service", |trial| service(trial, Origin::Stopped)),
    ("service beyond the cache", |trial| service(trial, Origin::Large)),
    ("stop", |trial| {
        trial.copy(Origin::Stopped);
        trial.serve(false, &[], |trial, process| trial.register(process, "anna"));
    }),
    ("key rotation", |trial| rotate(trial, &["key", "rotate"])),
    ("key rotation that revokes", |trial| rotate(trial, &["key", "rotate", "--revoke"])),
    ("backup", |trial| backup(trial, false)),
    ("backup by a server", |trial| backup(trial, true)),
    ("automatic backup", automatic_backup),
    ("restore", |trial| restore(trial, false)),
    ("restore over half a restoration", |trial| restore(trial, true)),
    ("import", |trial| import(trial, true)),
    ("import into nothing", |trial| import(trial, false)),
    ("import by a server", import_by_a_server),
    ("verify", |trial| verify(trial, false)),
    ("verify by a server", |trial| verify(trial, true)),
];

fn first_start(trial: &mut Trial<'_>) {
    let env = [("GATELET_ADMIN_USERNAME", ADMIN), ("GATELET_ADMIN_PASSWORD", PASSWORD)];
    trial.perhaps.insert(ADMIN.into());
    trial.serve(true, &env, |trial, process| {
        trial.users.insert(ADMIN.into());
        trial.register(process, "anna");
        let token = trial.admin(process);
        trial.good.extend(token);
    });
}

fn start(trial: &mut Trial<'_>, origin: Origin) {
    trial.copy(origin);
    trial.serve(true, &[], |trial, process| {
        let token = trial.log_in(process, &user(3));
        trial.good.extend(token);
    });
}

fn service(trial: &mut Trial<'_>, origin: Origin) {
    trial.copy(origin);
    let before = trial.active_keys();
    let ids = trial.works(&["user", "list", "--json"]);
    let id_of = |name: &str| {
        let users = ids.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_default());
        let found = users.into_iter().find(|user| user["username"] == name).unwrap_or_default();
        found["id"].as_str().unwrap_or_default().to_owned()
    };
    let (disabled, deleted) = (id_of(&user(3)), id_of(&user(6)));
    trial.serve(false, &[("GATELET_CACHE_MIB", "1")], |trial, process| {
        trial.register(process, "anna");
        if let Some(token) = trial.log_in(process, &user(1)) {
            let ended = trial.ask(process, "POST", "/logout", Some(&token), None);
            if ended.is_some() {
                trial.ended.push(token);
            }
        }
        if let Some(token) = trial.log_in(process, &user(2)) {
            let body = json!({ "current_password": PASSWORD, "new_password": "wrong donkey" });
            let done = trial.ask(process, "POST", "/user/me/password", Some(&token), Some(&body)).is_some();
            trial.password = Some((user(2), "wrong donkey".into(), Some(done)));
        }
        if let Some(admin) = trial.admin(process) {
            let body = json!({ "disabled": true });
            let done = trial.ask(process, "PATCH", &format!("/user/{disabled}"), Some(&admin), Some(&body));
            trial.disabled = Some((user(3), Some(done.is_some())));
            trial.users.remove(&user(6));
            if trial.ask(process, "DELETE", &format!("/user/{deleted}"), Some(&admin), None).is_none() {
                trial.perhaps.insert(user(6));
            }
            list_all(trial, process, &admin, if origin == Origin::Large { 1000 } else { 20 });
        }
        rotate_by(trial, &before);
        together(trial, process);
        let token = trial.log_in(process, &user(4));
        trial.good.extend(token);
    });
}

/// Lists all users, page by page.
fn list_all(trial: &mut Trial<'_>, process: &Process, admin: &str, limit: usize) {
    let mut after = String::new();
    loop {
        let path = format!("/user?limit={limit}{after}");
        let Some(page) = trial.ask(process, "GET", &path, Some(admin), None) else { return };
        let users = page.as_array().cloned().unwrap_or_default();
        let Some(last) = users.last().filter(|_| users.len() == limit) else { return };
        after = format!("&after={}", last["id"].as_str().unwrap_or_default());
    }
}

/// Makes the server rotate its keys, as the command does.
fn rotate_by(trial: &mut Trial<'_>, before: &[String]) {
    match admin_socket::ask(&trial.data(), &admin_socket::rotate_keys()) {
        Some(Ok(_)) => trial.retired.extend(before.iter().cloned()),
        Some(Err(refusal)) if !refusal["unavailable"].is_string() => {
            trial.wrong.push(format!("key rotation: {refusal}"));
        }
        Some(Err(_)) | None => {}
    }
}

/// Four registrations that share syncs.
fn together(trial: &mut Trial<'_>, process: &Process) {
    let address = process.address;
    let register = |name: &str| {
        let mut client = Client::connect(address).ok()?;
        let reply = client.try_call("POST", "/register", None, Some(&credentials(name, PASSWORD))).ok()?;
        Some(reply.status)
    };
    let names = ["cora", "dora", "emma", "fay"];
    let statuses = thread::scope(|scope| {
        let running = names.map(|name| scope.spawn(move || register(name)));
        running.map(|thread| thread.join().unwrap())
    });
    for (name, status) in names.into_iter().zip(statuses) {
        let set = if status == Some(201) { &mut trial.users } else { &mut trial.perhaps };
        set.insert(name.into());
        trial.must(matches!(status, None | Some(201 | 503)), || format!("a registration: {status:?}"));
    }
}

fn rotate(trial: &mut Trial<'_>, args: &[&str]) {
    trial.copy(Origin::Stopped);
    let before = trial.active_keys();
    let done = trial.faulty(args);
    if args.contains(&"--revoke") {
        let token = trial.good.pop();
        if done {
            trial.ended.extend(token);
        }
    }
    if done {
        trial.retired.extend(before);
    }
}

fn backup(trial: &mut Trial<'_>, by_a_server: bool) {
    trial.copy(Origin::Stopped);
    let path = trial.path("backup.jsonl.gz");
    let file = path.to_str().unwrap();
    let whole = |trial: &mut Trial<'_>| {
        let (code, text) = trial.tries(&["verify", "--backup", file]);
        trial.must(code == 0, || format!("what is called a backup is none: {text}"));
    };
    let mut done = false;
    if by_a_server {
        trial.serve(false, &[], |trial, _| {
            let (code, text) = trial.tries(&["backup", file]);
            let right = [0, 73, 75, 1].contains(&code);
            trial.must(right && (code == 0 || !text.is_empty()), || {
                format!("the command ends with {code}: {text}")
            });
            done = code == 0;
        });
    } else {
        done = trial.faulty(&["backup", file]);
    }
    trial.must(!done || path.exists(), || "a backup was made and is not there".into());
    if path.exists() {
        whole(trial);
    }
    trial.works(&["backup", "--force", file]);
    whole(trial);
}

fn automatic_backup(trial: &mut Trial<'_>) {
    trial.copy(Origin::Stopped);
    let dir = trial.path("backups");
    let env = [("GATELET_BACKUP_DIR", dir.to_str().unwrap())];
    let copies = || -> Vec<_> {
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path());
        entries
            .filter(|path| {
                path.to_string_lossy().ends_with(".jsonl.gz") && !path.to_string_lossy().contains("/.")
            })
            .collect()
    };
    trial.serve(true, &env, |trial, process| {
        // The status says when a backup was made or has failed.
        for _ in 0..2000 {
            let Ok(mut client) = Client::connect(process.address) else { break };
            let Ok(reply) = client.try_call("GET", "/readyz", None, None) else { break };
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            if reply.status != 200 || !copies().is_empty() || text.contains("error") {
                break;
            }
            thread::sleep(std::time::Duration::from_millis(5));
        }
        trial.register(process, "anna");
    });
    for copy in copies() {
        let (code, text) = trial.tries(&["verify", "--backup", copy.to_str().unwrap()]);
        trial.must(code == 0, || format!("an automatic backup is none: {text}"));
    }
    for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().ends_with(".new") {
            let _ = fs::remove_file(entry.path()); // the next backup would, a day later
        }
    }
}

fn restore(trial: &mut Trial<'_>, over_half: bool) {
    trial.users.extend(Template::names(Origin::Stopped));
    let file = trial.template.backup();
    let args = ["restore", file.to_str().unwrap()];
    if over_half {
        trial.template.copy(Origin::Stopped, &trial.data());
        for entry in fs::read_dir(trial.data()).unwrap() {
            let entry = entry.unwrap();
            let restored =
                ["store", "keys", "commits", "store-id"].iter().any(|name| entry.file_name() == *name);
            if !restored {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        fs::write(trial.data().join("restoring"), "").unwrap();
    }
    let done = trial.faulty(&args);
    if done {
        return;
    }
    let marked = trial.data().join("restoring").exists();
    if marked {
        let (code, text) = trial.tries(&["user", "list"]);
        trial.must(code == 65 && text.contains("cut short"), || {
            format!("half a restoration opens: {code} {text}")
        });
    }
    let (code, text) = trial.tries(&args);
    // Refused, because the store exists already: then it is whole, which is checked below.
    let whole = code == 73 && !marked && text.contains("is not empty");
    trial.must(code == 0 || whole, || format!("restored again: {code} {text}"));
}

fn import(trial: &mut Trial<'_>, into_a_store: bool) {
    if into_a_store {
        trial.copy(Origin::Stopped);
    }
    let file = trial.template.newcomers();
    let args = ["import", "--apply", file.to_str().unwrap()];
    trial.faulty(&args);
    trial.users.extend((0..NEWCOMERS).map(newcomer));
    trial.works(&args); // adds the missing ones
}

fn import_by_a_server(trial: &mut Trial<'_>) {
    trial.copy(Origin::Stopped);
    let file = trial.template.newcomers();
    let args = ["import", "--apply", file.to_str().unwrap()];
    trial.serve(false, &[], |trial, _| {
        let (code, text) = trial.tries(&args);
        let right = [0, 1, 73, 75].contains(&code);
        trial.must(right && (code == 0 || !text.is_empty()), || {
            format!("the command ends with {code}: {text}")
        });
        let names = (0..NEWCOMERS).map(newcomer);
        if code == 0 { trial.users.extend(names) } else { trial.perhaps.extend(names) }
    });
}

fn verify(trial: &mut Trial<'_>, by_a_server: bool) {
    trial.copy(if by_a_server { Origin::Stopped } else { Origin::Killed });
    if by_a_server {
        trial.serve(false, &[], |trial, _| {
            let (code, text) = trial.tries(&["verify"]);
            let right = [0, 1, 73, 75].contains(&code) || (code == 65 && is_told(&text));
            trial.must(right, || format!("the command ends with {code}: {text}"));
        });
    } else {
        trial.faulty(&["verify"]);
    }
}
