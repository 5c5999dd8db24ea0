//! The first administrator, made at a start.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Process, Reply, Tokens, credentials, gatelet, serve, temporary};
use crate::{does_not_start, refused, register, run, stop_well};

const NAME: &str = "GATELET_ADMIN_USERNAME";
const PASSWORD: &str = "GATELET_ADMIN_PASSWORD";
const PASSWORD_FILE: &str = "GATELET_ADMIN_PASSWORD_FILE";
const SECRET: &str = "tr0ub4dor-and-3";

/// The command for a server in `dir` with these variables.
fn with(dir: &Path, variables: &[(&str, &str)]) -> Command {
    let mut command = serve(dir, &[]);
    command.envs(variables.iter().copied());
    command
}

fn start(dir: &Path, variables: &[(&str, &str)]) -> Process {
    Process::spawn(&mut with(dir, variables)).unwrap_or_else(|ended| panic!("{ended:?}"))
}

fn try_log_in(server: &Process, name: &str, password: &str) -> Reply {
    server.client().post("/login", &credentials(name, password))
}

fn log_in(server: &Process, name: &str, password: &str) -> Tokens {
    Tokens::from_reply(&try_log_in(server, name, password))
}

fn call(server: &Process, method: &str, path: &str, tokens: &Tokens, body: Option<&Value>) -> Reply {
    server.client().call(method, path, Some(&tokens.access), body)
}

/// Names and roles, in order of creation.
fn users(server: &Process, tokens: &Tokens) -> Vec<(String, String)> {
    let reply = call(server, "GET", "/user", tokens, None);
    assert_eq!(reply.status, 200, "{reply:?}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = reply.json();
    list.as_array().unwrap().iter().map(|user| (text(&user["username"]), text(&user["role"]))).collect()
}

fn admin(name: &str) -> (String, String) {
    (name.to_owned(), "admin".to_owned())
}

#[test]
fn a_start_creates_the_administrator_that_the_variables_name() {
    let dir = temporary();
    let server = start(dir.path(), &[(NAME, "Zo\u{eb}"), (PASSWORD, SECRET)]);
    let tokens = log_in(&server, "Zo\u{eb}", SECRET);
    assert_eq!(users(&server, &tokens), [admin("Zo\u{eb}")]);
    let body = json!({"username": "anna", "password": "correct horse"});
    assert_eq!(call(&server, "POST", "/user", &tokens, Some(&body)).status, 201);
    stop_well(server);

    let server = start(dir.path(), &[]);
    log_in(&server, "Zo\u{eb}", SECRET);
}

#[test]
fn the_password_may_be_in_a_file_that_ends_with_its_line() {
    let files = temporary();
    for (n, text) in [SECRET.to_owned(), format!("{SECRET}\n"), format!("{SECRET}\r\n")].iter().enumerate() {
        let file = files.path().join(n.to_string());
        fs::write(&file, text).unwrap();
        let dir = temporary();
        let server = start(dir.path(), &[(NAME, "root"), (PASSWORD_FILE, file.to_str().unwrap())]);
        let tokens = log_in(&server, "root", SECRET);
        assert_eq!(users(&server, &tokens), [admin("root")], "{text:?}");
    }
    // As flags, and a password may have spaces around it.
    let file = files.path().join("flags");
    fs::write(&file, " correct horse \n").unwrap();
    let dir = temporary();
    let flags = ["--admin-username", "root", "--admin-password-file", file.to_str().unwrap()];
    let server = Process::start(dir.path(), &flags);
    log_in(&server, "root", " correct horse ");
    assert_eq!(try_log_in(&server, "root", "correct horse").status, 401);
}

#[test]
fn a_further_start_changes_neither_password_nor_sessions_nor_makes_another_administrator() {
    let dir = temporary();
    let server = start(dir.path(), &[(NAME, "root"), (PASSWORD, SECRET)]);
    let tokens = log_in(&server, "root", SECRET);
    stop_well(server);
    for (name, password) in
        [("root", SECRET), ("root", "battery staple"), ("ada", SECRET), ("ada", "battery staple")]
    {
        let case = format!("{name}, {password}");
        let server = start(dir.path(), &[(NAME, name), (PASSWORD, password)]);
        assert_eq!(users(&server, &tokens), [admin("root")], "{case}");
        log_in(&server, "root", SECRET);
        assert_eq!(try_log_in(&server, "root", "battery staple").status, 401, "{case}");
        assert_eq!(try_log_in(&server, "ada", password).status, 401, "{case}");
        stop_well(server);
    }
}

#[test]
fn what_the_administrator_changed_since_is_not_undone() {
    let dir = temporary();
    let server = start(dir.path(), &[(NAME, "root"), (PASSWORD, SECRET)]);
    let tokens = log_in(&server, "root", SECRET);
    let body = json!({"current_password": SECRET, "new_password": "battery staple"});
    assert_eq!(call(&server, "POST", "/user/me/password", &tokens, Some(&body)).status, 200);
    // Somebody else is the administrator by now, and root a user or nobody.
    let ada = json!({"username": "ada", "password": "correct horse", "role": "admin"});
    assert_eq!(call(&server, "POST", "/user", &tokens, Some(&ada)).status, 201);
    let reply = call(&server, "PATCH", "/user/me", &tokens, Some(&json!({"role": "user"})));
    assert_eq!(reply.status, 200, "{reply:?}");
    stop_well(server);

    let server = start(dir.path(), &[(NAME, "root"), (PASSWORD, SECRET)]);
    let root = log_in(&server, "root", "battery staple");
    assert_eq!(try_log_in(&server, "root", SECRET).status, 401);
    assert_eq!(call(&server, "GET", "/user", &root, None).status, 403, "still a user");
    assert_eq!(call(&server, "DELETE", "/user/me", &root, None).status, 200);
    stop_well(server);

    let server = start(dir.path(), &[(NAME, "root"), (PASSWORD, SECRET)]);
    assert_eq!(try_log_in(&server, "root", SECRET).status, 401, "not made again");
    let ada = log_in(&server, "ada", "correct horse");
    assert_eq!(users(&server, &ada), [admin("ada")]);
}

#[test]
fn a_store_with_users_but_no_administrator_gets_one() {
    let dir = temporary();
    let server = start(dir.path(), &[]);
    register(&server, "anna");
    stop_well(server);
    let server = start(dir.path(), &[(NAME, "root"), (PASSWORD, SECRET)]);
    let tokens = log_in(&server, "root", SECRET);
    assert_eq!(users(&server, &tokens), [("anna".to_owned(), "user".to_owned()), admin("root")]);
}

#[test]
fn settings_that_do_not_go_together_are_named() {
    let dir = temporary();
    let file = dir.path().join("password");
    fs::write(&file, SECRET).unwrap();
    let file = file.to_str().unwrap();
    let nowhere = dir.path().join("nowhere");
    let nowhere = nowhere.to_str().unwrap();
    let not_text = dir.path().join("not-text");
    fs::write(&not_text, b"tr0ub4dor-\xff-3").unwrap();
    let not_text = not_text.to_str().unwrap();
    let data = dir.path().join("data");
    for (variables, named) in [
        (&[(NAME, "root"), (PASSWORD, SECRET), (PASSWORD_FILE, file)][..], &[PASSWORD, PASSWORD_FILE][..]),
        (&[(PASSWORD, SECRET), (PASSWORD_FILE, file)], &[PASSWORD, PASSWORD_FILE]),
        (&[(NAME, "root")], &["--admin-username", PASSWORD]),
        (&[(PASSWORD, SECRET)], &[PASSWORD, "--admin-username"]),
        (&[(PASSWORD_FILE, file)], &["--admin-username"]),
        (&[(NAME, "root"), (PASSWORD_FILE, nowhere)], &["--admin-password-file", nowhere]),
        (&[(NAME, "root"), (PASSWORD_FILE, "/")], &["--admin-password-file"]),
        (&[(NAME, "root"), (PASSWORD_FILE, not_text)], &["--admin-password-file", "not-text"]),
    ] {
        let text = refused(&mut with(&data, variables), 2);
        for named in named {
            assert!(text.contains(named), "{variables:?}: {text}");
        }
        assert!(!text.contains(SECRET), "{variables:?}: {text}");
        assert!(!data.exists(), "{variables:?}");
    }
    let mut command = with(&data, &[(NAME, "root")]);
    command.env(PASSWORD, OsStr::from_bytes(b"tr0ub4dor-\xff-3"));
    let text = refused(&mut command, 2);
    assert!(text.contains(PASSWORD), "{text}");
}

#[test]
fn a_password_that_nobody_could_register_with_is_refused_and_its_setting_named() {
    let files = temporary();
    for (password, why) in [
        ("short", "Shorter than minimum length 8."),
        ("", "Shorter than minimum length 8."),
        ("password1", "This password is too common."),
        ("Gatelet-2026", "This password is too common."),
        ("Ada-Lovelace", "This password is too close to the username."),
        (&"x".repeat(1025), "Longer than maximum length 1024."),
    ] {
        let file = files.path().join("password");
        fs::write(&file, password).unwrap();
        for (variable, value) in [(PASSWORD, password), (PASSWORD_FILE, file.to_str().unwrap())] {
            let dir = temporary();
            let variables = [(NAME, "ada-lovelace"), (variable, value)];
            let text = refused(&mut with(dir.path(), &variables), 2);
            assert!(text.contains(why), "{password}: {text}");
            let said = text.to_lowercase().replace('_', "-");
            assert!(said.contains("admin-password"), "{password}: {text}");
            if variable == PASSWORD_FILE {
                assert!(text.contains(value), "{text}");
            }
            // `gatelet settings` says so as well.
            let mut settings = gatelet();
            settings.args(["settings", "--data-dir"]).arg(dir.path()).envs(variables);
            assert!(text.contains(refused(&mut settings, 2).trim_start_matches("gatelet: ")), "{text}");
            // Nothing has been made, and the next start is none the worse for it.
            assert_eq!(dir.path().read_dir().unwrap().count(), 0, "{password}");
            let server = start(dir.path(), &[(NAME, "ada-lovelace"), (PASSWORD, SECRET)]);
            log_in(&server, "ada-lovelace", SECRET);
        }
    }
}

#[test]
fn a_password_that_is_gone_is_refused_as_long_as_it_may_be_needed() {
    let dir = temporary();
    let (data, gone) = (dir.path().join("data"), dir.path().join("gone"));
    let variables = [(NAME, "root"), (PASSWORD_FILE, gone.to_str().unwrap())];
    let settings = || {
        let mut command = gatelet();
        command.args(["settings", "--data-dir"]).arg(&data).envs(variables);
        command
    };
    let text = refused(&mut settings(), 2);
    assert!(text.contains("--admin-password-file") && text.contains("gone"), "{text}");
    stop_well(start(&data, &[(NAME, "root"), (PASSWORD, SECRET)]));
    stop_well(start(&data, &variables));
    let output = run(&mut settings());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.starts_with("warning: ") && said.contains("gone"), "{said}");
}

#[test]
fn a_name_that_is_none_is_refused_and_its_setting_named() {
    for (name, why) in [
        ("", "Shorter than minimum length 1."),
        ("a\nb", "Not a valid string."),
        (&"x".repeat(129), "Longer than maximum length 128."),
    ] {
        let dir = temporary();
        let text = refused(&mut with(dir.path(), &[(NAME, name), (PASSWORD, SECRET)]), 2);
        assert!(text.contains("--admin-username") && text.contains(why), "{name:?}: {text}");
    }
}

#[test]
fn a_name_that_an_ordinary_user_has_is_refused_and_they_stay_what_they_are() {
    let dir = temporary();
    let server = start(dir.path(), &[]);
    register(&server, "root");
    stop_well(server);
    // Not even with their own password.
    for password in [SECRET, crate::PASSWORD] {
        let text = refused(&mut with(dir.path(), &[(NAME, "root"), (PASSWORD, password)]), 2);
        assert!(text.contains("--admin-username") && text.contains("no administrator"), "{text}");
    }
    let server = start(dir.path(), &[]);
    let tokens = crate::log_in(&server, "root");
    assert_eq!(call(&server, "GET", "/user", &tokens, None).status, 403);
    assert_eq!(try_log_in(&server, "root", SECRET).status, 401);
}

#[test]
fn a_refused_start_leaves_the_directory_to_the_next() {
    let dir = temporary();
    refused(&mut with(dir.path(), &[(NAME, "root"), (PASSWORD, "short")]), 2);
    let server = start(dir.path(), &[]);
    register(&server, "anna");
    stop_well(server);
    refused(&mut with(dir.path(), &[(NAME, "anna"), (PASSWORD, SECRET)]), 2);
    let server = start(dir.path(), &[]);
    crate::log_in(&server, "anna");
    assert!(does_not_start(dir.path(), 73).contains("use"), "one at a time, as ever");
}

#[test]
fn the_password_is_in_no_log_and_no_argument_list() {
    let dir = temporary();
    let file = dir.path().join("password");
    fs::write(&file, SECRET).unwrap();
    for variable in [(PASSWORD, SECRET), (PASSWORD_FILE, file.to_str().unwrap())] {
        let data = temporary();
        let mut command = serve(data.path(), &["--log", "trace"]);
        command.env(NAME, "root").env(variable.0, variable.1);
        let server = Process::spawn(&mut command).unwrap();
        let arguments = fs::read(format!("/proc/{}/cmdline", server.id())).unwrap();
        assert!(!String::from_utf8_lossy(&arguments).contains(SECRET));
        log_in(&server, "root", SECRET);
        let log = stop_well(server);
        assert!(log.contains("gatelet::audit") && log.contains("root"), "{log}");
        assert!(!log.contains(SECRET), "{}", log.lines().find(|line| line.contains(SECRET)).unwrap());
    }
    // There is no flag that would show it to everybody on the machine.
    let text = refused(&mut serve(dir.path(), &["--admin-username", "root", "--admin-password", SECRET]), 2);
    assert!(text.contains("--admin-password"), "{text}");
    // Nor when a start is refused after the password was read.
    for name in ["", SECRET] {
        let data = temporary();
        let mut command = serve(data.path(), &["--log", "trace"]);
        command.env(NAME, name).env(PASSWORD, SECRET);
        let text = refused(&mut command, 2);
        assert!(!text.contains(SECRET), "{text}");
    }
}
