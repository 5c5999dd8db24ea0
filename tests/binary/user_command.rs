//! `gatelet user add`: the same whether a server runs or not.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{CHEAP, Process, Reply, Tokens, credentials, gatelet, temporary};
use crate::terminal::Terminal;
use crate::{Said, get, register, stop_well};

const PASSWORD: &str = "tr0ub4dor-and-3";

/// `gatelet user add …`, with cheap hashes where it makes them itself.
fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = gatelet();
    command.env("GATELET_SCRYPT", CHEAP).args(["user", "add", "--data-dir"]).arg(dir).args(args);
    command
}

fn spawn(dir: &Path, args: &[&str]) -> Child {
    let mut command = command(dir, args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Runs it with `input` on standard input. It never says the password back.
fn add(dir: &Path, args: &[&str], input: &[u8]) -> Said {
    let mut child = spawn(dir, args);
    let _ = child.stdin.take().unwrap().write_all(input); // wrong usage may end it before
    end(child)
}

/// Waits for its end. It never says the password back.
fn end(child: Child) -> Said {
    let said = crate::end(child);
    assert!(!format!("{}{}", said.out, said.err).contains(PASSWORD), "{said:?}");
    said
}

fn added(dir: &Path, args: &[&str], said: &str) {
    let answer = add(dir, args, format!("{PASSWORD}\n").as_bytes());
    assert_eq!((answer.code, answer.out), (Some(0), format!("{said}\n")), "{}", answer.err);
}

fn log_in(server: &Process, name: &str, password: &str) -> Reply {
    server.client().post("/login", &credentials(name, password))
}

/// The user can log in and has that role, in the token as in the store.
fn expect_user(server: &Process, name: &str, role: &str) {
    let tokens = Tokens::from_reply(&log_in(server, name, PASSWORD));
    let session = get(server, "/session", &tokens.access).json();
    assert_eq!((&session["user"]["username"], &session["user"]["role"]), (&name.into(), &role.into()));
    let expected = if role == "admin" { 200 } else { 403 };
    assert_eq!(get(server, "/user", &tokens.access).status, expected, "{name}");
}

/// Runs `act` in a directory whose server runs, and in one whose server is stopped. Answers the server, and
/// whether it ran.
fn both(act: impl Fn(&Path)) -> Vec<(tempfile::TempDir, Process, bool)> {
    [true, false]
        .map(|running| {
            let dir = temporary();
            let server = Process::start(dir.path(), &[]);
            register(&server, "anna");
            let server = if running {
                act(dir.path());
                server
            } else {
                stop_well(server);
                act(dir.path());
                Process::start(dir.path(), &[])
            };
            (dir, server, running)
        })
        .into()
}

#[test]
fn a_user_or_administrator_is_added_and_can_log_in() {
    for (_dir, server, _) in both(|dir| {
        added(dir, &["bert"], "user \"bert\" added");
        added(dir, &["--admin", "carla"], "admin \"carla\" added");
        added(dir, &["Zoë Müller", "--admin"], "admin \"Zoë Müller\" added");
    }) {
        expect_user(&server, "bert", "user");
        expect_user(&server, "carla", "admin");
        expect_user(&server, "Zoë Müller", "admin");
        stop_well(server);
    }
}

#[test]
fn the_first_administrator_is_there_before_the_first_start() {
    let dir = temporary();
    let data = dir.path().join("var/gatelet");
    added(&data, &["--admin", "root"], "admin \"root\" added");
    // The owner's alone, as if a server had made it.
    for (path, mode) in [("", 0o700), ("keys", 0o700), ("store", 0o700), ("store-id", 0o600)] {
        use std::os::unix::fs::PermissionsExt;
        let meta = fs::metadata(data.join(path)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, mode, "{path}");
    }
    assert!(!data.join("control.sock").exists());
    let keys = || {
        let names = fs::read_dir(data.join("keys")).unwrap().map(|entry| entry.unwrap().file_name());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    let before = keys();
    assert_eq!(before.len(), 2);
    for _ in 0..2 {
        let server = Process::start(&data, &[]);
        expect_user(&server, "root", "admin");
        stop_well(server);
    }
    assert_eq!(keys(), before);
}

#[test]
fn a_new_store_is_spoken_of_with_its_whole_path_and_not_made_for_somebody_who_is_refused() {
    let dir = temporary();
    let run = |args: &[&str], variables: &[(&str, &str)], input: &str| {
        let mut command = gatelet();
        command.current_dir(dir.path()).args(["user"]).args(args).env("GATELET_SCRYPT", CHEAP);
        command.envs(variables.iter().copied());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        end(child)
    };
    let data = dir.path().canonicalize().unwrap().join("data");
    let said = run(&["list"], &[], "");
    assert!(said.code == Some(73) && said.err.contains(data.to_str().unwrap()), "{said:?}");
    for (args, variables, input, why) in [
        (&["add", "anna"][..], &[][..], "short", "password: Shorter than minimum length 8."),
        (
            &["add", "anna"],
            &[("GATELET_PASSWORD_MIN_LENGTH", "20")],
            PASSWORD,
            "Shorter than minimum length 20.",
        ),
        (&["add", ""], &[], PASSWORD, "username: Shorter than minimum length 1."),
    ] {
        let said = run(args, variables, input);
        assert!(said.code == Some(2) && said.err.contains(why), "{said:?}");
        assert!(!data.exists(), "{args:?}");
    }
    let said = run(&["add", "anna"], &[], PASSWORD);
    assert_eq!(said.code, Some(0), "{said:?}");
    let made = format!("made a new store in {}\n", data.display());
    assert!(said.err.contains(&made), "{said:?}");
    let said = run(&["add", "bert"], &[], PASSWORD);
    assert!(said.code == Some(0) && !said.err.contains("new store"), "{said:?}");
}

#[test]
fn what_a_registration_would_refuse_ends_with_2_and_the_text() {
    let long = "x".repeat(1025);
    let longer = "ä".repeat(8000);
    // The longest lines that are read, and what JSON makes longer.
    let (quotes, controls) = ("\"".repeat(8180), "\u{1}".repeat(8180));
    let (long_name, endless_name) = ("n".repeat(129), "n".repeat(17_000));
    let refuse = |dir: &Path| {
        for (name, password, text) in [
            ("bert", "short", "Shorter than minimum length 8."),
            ("bert", "password1", "This password is too common."),
            ("bert", "Gatelet-2026", "This password is too common."),
            ("bertbertbert", "BertBertBert", "This password is too close to the username."),
            ("bert", &long, "Longer than maximum length 1024."),
            ("bert", &longer, "Longer than maximum length 1024."),
            ("bert", &quotes, "Longer than maximum length 1024."),
            ("bert", &controls, "Longer than maximum length 1024."),
            ("", PASSWORD, "Shorter than minimum length 1."),
            (&long_name, PASSWORD, "Longer than maximum length 128."),
            (&endless_name, PASSWORD, "Longer than maximum length 128."),
        ] {
            let said = add(dir, &["--admin", "--", name], format!("{password}\n").as_bytes());
            assert_eq!((said.code, &*said.out), (Some(2), ""), "{name:.20} {password:.20}: {}", said.err);
            let (field, error) = said.err.lines().last().unwrap().rsplit_once(": ").unwrap();
            assert_eq!(error, text, "{}", said.err);
            let expected = if password == PASSWORD { "username" } else { "password" };
            assert_eq!(field, format!("gatelet: {expected}"), "{}", said.err);
        }
    };
    for (_dir, server, running) in both(refuse) {
        // Nobody was made: the name is still free.
        assert_eq!(log_in(&server, "bert", "password1").status, 401, "{running}");
        register(&server, "bert");
        stop_well(server);
    }
}

#[test]
fn a_name_that_is_taken_ends_with_1_and_changes_nobody() {
    for (_dir, server, _) in both(|dir| {
        for args in [&["anna"][..], &["--admin", "anna"]] {
            let said = add(dir, args, format!("{PASSWORD}\n").as_bytes());
            assert_eq!((said.code, &*said.out), (Some(1), ""), "{}", said.err);
            let text = "gatelet: A user with that username already exists.";
            assert_eq!(said.err.lines().last(), Some(text));
        }
    }) {
        assert_eq!(log_in(&server, "anna", PASSWORD).status, 401);
        let tokens = crate::log_in(&server, "anna");
        assert_eq!(get(&server, "/user", &tokens.access).status, 403, "no administrator");
        stop_well(server);
    }
}

#[test]
fn without_a_password_it_ends_with_2_before_anything_is_made() {
    let dir = temporary();
    let data = dir.path().join("data");
    for input in [&b""[..], b"\n", b"\r\n", b"\ncorrect horse\n"] {
        let said = add(&data, &["anna"], input);
        assert_eq!((said.code, &*said.out), (Some(2), ""), "{input:?}: {}", said.err);
        assert_eq!(said.err, "gatelet: no password on standard input\n", "{input:?}");
    }
    let output = crate::run(&mut command(&data, &["anna"])); // /dev/null
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(!data.exists());
}

#[test]
fn a_password_that_is_no_text_ends_with_2_before_anything_is_made() {
    let dir = temporary();
    let data = dir.path().join("data");
    let said = add(&data, &["anna"], b"correct \xff horse\n");
    assert_eq!((said.code, &*said.out), (Some(2), ""), "{}", said.err);
    assert!(!data.exists());
}

#[test]
fn the_password_is_the_first_line_whole_and_nothing_else() {
    let dir = temporary();
    for (name, input, password) in [
        ("one", "correct horse\nanother line\n", "correct horse"),
        ("two", "correct horse", "correct horse"),
        ("three", "correct horse\r\n", "correct horse"),
        ("four", "  correct horse \n", "  correct horse "),
        ("five", "pässwörter\n", "pässwörter"),
    ] {
        let said = add(dir.path(), &[name], input.as_bytes());
        assert_eq!(said.code, Some(0), "{name}: {}", said.err);
        let server = Process::start(dir.path(), &[]);
        assert_eq!(log_in(&server, name, password).status, 200, "{name}");
        if password.trim() != password {
            assert_eq!(log_in(&server, name, password.trim()).status, 401, "{name}");
        }
        stop_well(server);
    }
}

#[test]
fn what_comes_after_the_first_line_need_not_be_text() {
    let dir = temporary();
    let input = [PASSWORD.as_bytes(), b"\n\xff\xff\n"].concat();
    let said = add(dir.path(), &["anna"], &input);
    assert_eq!(said.code, Some(0), "{}", said.err);
}

#[test]
fn the_first_line_is_enough_while_standard_input_stays_open() {
    let dir = temporary();
    let mut child = spawn(dir.path(), &["anna"]);
    let mut input = child.stdin.take().unwrap();
    input.write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > Duration::from_secs(15) {
            child.kill().unwrap();
            panic!("it waits for the end of standard input");
        }
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(end(child).code, Some(0));
    drop(input);
}

#[test]
fn the_settings_of_the_running_server_count_and_those_of_the_environment_where_there_is_none() {
    let dir = temporary();
    let server = Process::start(dir.path(), &["--password-min-length", "20"]);
    register_is_refused(&server);
    let said = add(dir.path(), &["anna"], format!("{PASSWORD}\n").as_bytes());
    assert!(said.err.contains("Shorter than minimum length 20."), "{said:?}");
    stop_well(server);

    let mut longer = command(dir.path(), &["anna"]);
    longer.env("GATELET_PASSWORD_MIN_LENGTH", "30");
    let mut child =
        longer.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
    let said = end(child);
    assert!(said.err.contains("Shorter than minimum length 30."), "{said:?}");
    assert_eq!(said.code, Some(2));

    added(dir.path(), &["anna"], "user \"anna\" added");
}

fn register_is_refused(server: &Process) {
    let reply = server.client().post("/register", &credentials("anna", PASSWORD));
    assert_eq!(reply.status, 422, "{reply:?}");
}

#[test]
fn closed_registration_does_not_concern_the_console() {
    let dir = temporary();
    let server = Process::start(dir.path(), &["--registration", "closed"]);
    let reply = server.client().post("/register", &credentials("bert", PASSWORD));
    assert_eq!(reply.status, 403);
    added(dir.path(), &["bert"], "user \"bert\" added");
    expect_user(&server, "bert", "user");
    stop_well(server);
}

#[test]
fn the_audit_log_says_who_was_added_and_no_log_with_which_password() {
    let dir = temporary();
    let server = Process::start(dir.path(), &["--log", "trace"]);
    register(&server, "zoe");
    added(dir.path(), &["--admin", "anna"], "admin \"anna\" added");
    add(dir.path(), &["anna"], format!("{PASSWORD}\n").as_bytes());
    add(dir.path(), &[PASSWORD, "--colour"], b"");
    let log = stop_well(server);
    let line = log.lines().find(|line| line.contains("name=\"anna\"")).unwrap();
    assert!(line.contains("registered ") && line.contains("role=admin by=console"), "{line}");
    assert!(!log.contains(PASSWORD) && !log.contains("$scrypt$"), "{log}");
}

#[test]
fn without_a_server_the_command_itself_keeps_the_audit_logs_line() {
    let dir = temporary();
    let data = dir.path().join("data");
    let said = add(&data, &["--admin", "root"], format!("{PASSWORD}\n").as_bytes());
    assert_eq!(said.code, Some(0), "{}", said.err);
    let line = said.err.lines().find(|line| line.contains(" gatelet::audit] "));
    let line = line.unwrap_or_else(|| panic!("{}", said.err));
    assert!(line.contains(r#"name="root" role=admin by=console"#), "{line}");
}

#[test]
fn wrong_usage_ends_with_2_and_names_what_is_wrong() {
    let dir = temporary();
    let data = dir.path().join("data");
    for (args, named) in [
        (&["user"][..], "Usage"),
        (&["user", "frobnicate"], "frobnicate"),
        (&["user", "add"], "<NAME>"),
        (&["user", "add", "anna", "bert"], "bert"),
        (&["user", "add", "anna", "--password", "x"], "--password"),
        (&["user", "add", "anna", "--role", "admin"], "--role"),
    ] {
        let mut command = gatelet();
        command.env("GATELET_DATA_DIR", &data).args(args);
        let said = crate::refused(&mut command, 2);
        assert!(said.contains(named), "{args:?}: {said}");
    }
    assert!(!data.exists());
}

#[test]
fn a_directory_whose_server_cannot_be_reached_is_in_use() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    register(&server, "anna"); // it has answered, so its socket is there
    fs::remove_file(dir.path().join("control.sock")).unwrap();
    let said = add(dir.path(), &["bert"], format!("{PASSWORD}\n").as_bytes());
    assert_eq!((said.code, &*said.out), (Some(73), ""), "{}", said.err);
    let text = said.err;
    assert!(text.contains("in use") && text.contains("try again") && !text.contains("--data-dir"), "{text}");
    assert_eq!(log_in(&server, "bert", PASSWORD).status, 401);
    stop_well(server);
}

#[test]
fn at_a_terminal_the_password_is_asked_for_twice_and_not_shown() {
    let dir = temporary();
    let mut terminal = Terminal::open(dir.path(), &["user", "add", "anna"]);
    terminal.answer_unseen("Password: ", PASSWORD);
    terminal.answer_unseen("Again: ", PASSWORD);
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("user \"anna\" added") && !shown.contains(PASSWORD), "{shown}");
    let server = Process::start(dir.path(), &[]);
    expect_user(&server, "anna", "user");
    stop_well(server);
}

#[test]
fn at_a_terminal_ctrl_c_ends_it_as_a_signal_does_and_leaves_the_terminal_as_it_was() {
    let dir = temporary();
    for (answered, prompt) in [(None, "Password: "), (Some("Password: "), "Again: ")] {
        let mut terminal = Terminal::open_in_shell(dir.path(), &["user", "add", "anna"]);
        answered.into_iter().for_each(|prompt| terminal.answer_unseen(prompt, PASSWORD));
        terminal.interrupt_unseen(prompt);
        let (code, shown) = terminal.end();
        assert_eq!(code, Some(130), "{shown}");
        assert!(!shown.contains("half a") && !shown.contains("added"), "{shown}");
        let modes: Vec<_> = shown.split_whitespace().collect();
        assert!(["echo", "isig", "icanon"].iter().all(|mode| modes.contains(mode)), "{shown}");
    }
    assert!(!dir.path().join("store").exists());
}

#[test]
fn at_a_terminal_a_signal_ends_it_and_leaves_the_terminal_as_it_was() {
    let dir = temporary();
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::QUIT, 131)] {
        let mut terminal = Terminal::open_in_shell(dir.path(), &["user", "add", "anna"]);
        terminal.kill_unseen("Password: ", signal);
        let (ended, shown) = terminal.end();
        assert_eq!(ended, Some(code), "{shown}");
        let modes: Vec<_> = shown.split_whitespace().collect();
        assert!(["echo", "isig", "icanon"].iter().all(|mode| modes.contains(mode)), "{shown}");
    }
    assert!(!dir.path().join("store").exists());
}

#[test]
fn at_a_terminal_two_passwords_that_differ_end_with_2_before_anything_is_made() {
    let dir = temporary();
    let data = dir.path().join("data");
    let mut terminal = Terminal::open(&data, &["user", "add", "anna"]);
    terminal.answer_unseen("Password: ", PASSWORD);
    terminal.answer_unseen("Again: ", "something else");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(2), "{shown}");
    assert!(shown.contains("the passwords differ"), "{shown}");
    assert!(!shown.contains(PASSWORD) && !shown.contains("something else"), "{shown}");
    assert!(!data.exists());
}
