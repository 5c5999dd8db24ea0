//! `gatelet user …` but for `add`: the same whether a server runs or not, and in force at once.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Pid;
use serde_json::{Value, json};

use crate::support::fill::{self, filled};
use crate::support::{CHEAP, Process, Tokens, credentials, gatelet, memory_kib, temporary};
use crate::terminal::Terminal;
use crate::{PASSWORD, get, log_in, post, register, stop_well, watched, with};

const NEW_PASSWORD: &str = "tr0ub4dor-and-3";

/// What a command has said, its exit code, and its lines of the audit log.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: Option<i32>,
    out: String,
    /// Without log lines.
    err: String,
    audit: Vec<String>,
}

/// `gatelet user …`, with cheap hashes where it makes them itself.
fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = gatelet();
    command.env("GATELET_SCRYPT", CHEAP).env("GATELET_DATA_DIR", dir).arg("user").args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it with `input` on standard input. It never says a password back.
fn user(dir: &Path, args: &[&str], input: &str) -> Said {
    let mut child = command(dir, args).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()); // not every command reads it
    let crate::Said { code, out, err } = crate::end(child);
    assert!(!format!("{out}{err}").contains(NEW_PASSWORD), "{out}{err}");
    crate::support::secrets::password(input);
    let (log, err): (Vec<_>, Vec<_>) = err.lines().partition(|line| line.starts_with('['));
    let audit = log.into_iter().filter(|line| line.contains(" gatelet::audit] ")).map(str::to_owned);
    Said { code, out, err: err.join("\n"), audit: audit.collect() }
}

/// The same where it must succeed.
fn done(dir: &Path, args: &[&str], input: &str) -> String {
    let is_new = !dir.join("store").exists();
    let made = if is_new { format!("made a new store in {}", dir.display()) } else { String::new() };
    let said = user(dir, args, input);
    assert_eq!((said.code, &said.err), (Some(0), &made), "{args:?}: {said:?}");
    said.out
}

/// What `show` tells about a user.
fn shown(dir: &Path, who: &str) -> Value {
    serde_json::from_str(&done(dir, &["show", who, "--json"], "")).unwrap()
}

fn add_admin(dir: &Path, name: &str) {
    done(dir, &["add", "--admin", name], &format!("{PASSWORD}\n"));
}

fn expect_over(server: &Process, tokens: &Tokens, case: &str) {
    for reply in [get(server, "/user/me", &tokens.access), post(server, "/refresh", &tokens.refresh)] {
        assert_eq!((reply.status, &reply.json()["error"]), (401, &json!("token_revoked")), "{case}");
    }
}

const SHOWN: &str = "\
name      anna
id        {id}
role      user
state     enabled
created   {when}
password  scrypt ln=1,r=8,p=1
";

const LAST_ADMIN: &str = "gatelet: The last administrator cannot be demoted, disabled or deleted.";

/// Each command, what it reads, its exit code, and what it prints for people: on standard output if it succeeds and on
/// standard error if not. `{id}` is anna's id, `{when}` the moment she was made.
const STEPS: &[(&[&str], &str, i32, &str)] = &[
    (&["show", "anna"], "", 0, SHOWN),
    (&["show", "{id}"], "", 0, SHOWN),
    (&["set-role", "anna", "admin"], "", 0, "user \"anna\" is now admin\n"),
    (&["set-role", "anna", "admin"], "", 0, "admin \"anna\" is already admin\n"),
    (&["disable", "anna"], "", 1, LAST_ADMIN),
    (&["delete", "anna", "--yes"], "", 1, LAST_ADMIN),
    (&["set-role", "anna", "user"], "", 1, LAST_ADMIN),
    (&["set-role", "bert", "admin"], "", 0, "user \"bert\" is now admin\n"),
    (&["disable", "{id}"], "", 0, "admin \"anna\" is now disabled\n"),
    (&["disable", "anna"], "", 0, "admin \"anna\" is already disabled\n"),
    (&["enable", "anna"], "", 0, "admin \"anna\" is now enabled\n"),
    (&["enable", "anna"], "", 0, "admin \"anna\" is already enabled; wrong guesses are forgotten\n"),
    (&["set-role", "anna", "user"], "", 0, "admin \"anna\" is now user\n"),
    (&["set-password", "anna"], "short\n", 2, "gatelet: password: Shorter than minimum length 8."),
    (&["set-password", "anna"], "", 2, "gatelet: no password on standard input"),
    (
        &["set-password", "anna"],
        "tr0ub4dor-and-3\n",
        0,
        "password of user \"anna\" changed; all their sessions have ended\n",
    ),
    (&["end-sessions", "anna"], "", 0, "all sessions of user \"anna\" have ended\n"),
    (&["delete", "anna"], "y\n", 2, "gatelet: there is no terminal to ask at: give --yes if you mean it"),
    (&["delete", "anna", "--yes"], "", 0, "user \"anna\" deleted\n"),
    (&["show", "{id}"], "", 1, "gatelet: there is no user with the id {id}"),
    (&["show", "anna"], "", 1, "gatelet: there is no user \"anna\""),
];

#[test]
fn every_command_says_the_same_whether_a_server_runs_or_not() {
    let dir = temporary();
    let (running, stopped) = (dir.path().join("running"), dir.path().join("stopped"));
    let server = Process::start(&running, &[]);
    let id = register(&server, "anna");
    register(&server, "bert");
    stop_well(server);
    // The same users, to the last byte.
    assert!(Command::new("cp").arg("-a").args([&running, &stopped]).status().unwrap().success());
    let when = shown(&stopped, "anna")["created_at"].as_str().unwrap().to_owned();
    let fill_in = |text: &str| text.replace("{id}", &id).replace("{when}", &when);
    let server = Process::start(&running, &[]);
    for (args, input, code, expected) in STEPS {
        let args: Vec<_> = args.iter().map(|arg| fill_in(arg)).collect();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        for dir in [&running, &stopped] {
            let said = user(dir, &args, input);
            let (printed, other) = if *code == 0 { (&said.out, &said.err) } else { (&said.err, &said.out) };
            assert_eq!((said.code, printed), (Some(*code), &fill_in(expected)), "{args:?} {dir:?}");
            assert_eq!(other, "", "{args:?} {dir:?}");
        }
    }
    for args in [&["list"][..], &["list", "--json"]] {
        assert_eq!(done(&running, args, ""), done(&stopped, args, ""));
    }
    stop_well(server);
}

#[test]
fn the_list_is_a_table_of_all_or_of_those_asked_for() {
    let dir = temporary();
    for (name, flag) in [("root", "--admin"), ("anna", "--json"), ("Zoë Müller", "--json")] {
        done(dir.path(), &["add", flag, name], &format!("{PASSWORD}\n"));
    }
    done(dir.path(), &["disable", "anna"], "");
    let row = |name: &str| {
        let user = shown(dir.path(), name);
        let text = |field: &str| user[field].as_str().unwrap().to_owned();
        let state = if user["disabled"] == true { "disabled" } else { "enabled" };
        [text("username"), text("id"), text("role"), state.to_owned(), text("created_at")]
    };
    for (args, widths, names) in [
        (&["list"][..], [10, 36, 5, 8], &["root", "anna", "Zoë Müller"][..]),
        (&["list", "--role", "user"], [10, 36, 4, 8], &["anna", "Zoë Müller"]),
        (&["list", "--role", "admin"], [4, 36, 5, 7], &["root"]),
        (&["list", "--disabled"], [4, 36, 4, 8], &["anna"]),
    ] {
        let head = ["NAME", "ID", "ROLE", "STATE", "CREATED"].map(str::to_owned);
        let lines = std::iter::once(head).chain(names.iter().map(|name| row(name)));
        let lines = lines.map(|cells| {
            let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  "));
            format!("{}{}\n", padded.collect::<String>(), cells[4])
        });
        assert_eq!(done(dir.path(), args, ""), lines.collect::<String>(), "{args:?}");
        let json = done(dir.path(), &[args, &["--json"]].concat(), "");
        let json: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let listed: Vec<_> = json.iter().map(|user| user["username"].as_str().unwrap()).collect();
        assert_eq!(listed, names, "{args:?}");
    }
    assert_eq!(user(dir.path(), &["list", "--role", "admin", "--disabled"], "").err, "no users");
}

#[test]
fn with_json_every_change_prints_the_user_as_they_are_then() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    add_admin(dir.path(), "root");
    let mut expected = json!({
        "id": register(&server, "anna"),
        "username": "anna",
        "role": "user",
        "disabled": false,
        "created_at": shown(dir.path(), "anna")["created_at"],
        "password_scheme": "scrypt ln=1,r=8,p=1",
    });
    for running in [true, false] {
        if !running {
            server.terminate();
        }
        for (args, input, field, value) in [
            (&["show", "anna"][..], "", "role", json!("user")),
            (&["disable", "anna"], "", "disabled", json!(true)),
            (&["enable", "anna"], "", "disabled", json!(false)),
            (&["set-role", "anna", "admin"], "", "role", json!("admin")),
            (&["set-password", "anna"], "a quiet pony\n", "role", json!("admin")),
            (&["end-sessions", "anna"], "", "role", json!("admin")),
            (&["set-role", "anna", "user"], "", "role", json!("user")),
        ] {
            expected[field] = value;
            let printed = done(dir.path(), &[args, &["--json"]].concat(), input);
            assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), expected, "{args:?} {running}");
        }
    }
    let printed = done(dir.path(), &["delete", "anna", "--yes", "--json"], "");
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), expected, "as they were");
    let printed = done(dir.path(), &["add", "carla", "--json"], "a quiet pony\n");
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), shown(dir.path(), "carla"));
}

#[test]
fn whoever_is_disabled_logged_out_or_deleted_from_the_console_has_no_session_left() {
    for running in [true, false] {
        for (args, input) in [
            (&["disable", "anna"][..], ""),
            (&["set-password", "anna"], "tr0ub4dor-and-3\n"),
            (&["end-sessions", "anna"], ""),
            (&["delete", "--yes", "anna"], ""),
        ] {
            let case = format!("{args:?}, running: {running}");
            let dir = temporary();
            let server = Process::start(dir.path(), &[]);
            register(&server, "anna");
            register(&server, "bert");
            let (anna, bert) = (log_in(&server, "anna"), log_in(&server, "bert"));
            let (server, _) = with(server, dir.path(), running, || done(dir.path(), args, input));
            expect_over(&server, &anna, &case);
            assert_eq!(get(&server, "/user/me", &bert.access).status, 200, "{case}");
            let logs_in =
                |password: &str| server.client().post("/login", &credentials("anna", password)).status == 200;
            assert_eq!(logs_in(PASSWORD), args[0] == "end-sessions", "{case}");
            assert_eq!(logs_in(NEW_PASSWORD), args[0] == "set-password", "{case}");
            stop_well(server);
        }
    }
}

#[test]
fn a_change_of_role_from_the_console_counts_for_tokens_that_there_are() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    register(&server, "anna");
    let tokens = log_in(&server, "anna");
    for (role, status) in [("admin", 200), ("user", 403)] {
        if role == "user" {
            add_admin(dir.path(), "root");
        }
        done(dir.path(), &["set-role", "anna", role], "");
        assert_eq!(get(&server, "/user", &tokens.access).status, status, "{role}");
    }
    stop_well(server);
}

#[test]
fn every_change_has_its_line_in_the_audit_log_of_whoever_made_it() {
    let steps: [(&[&str], &str, &str); 6] = [
        (&["set-role", "anna", "admin"], "", "updated user=ID role=admin disabled=false by=console"),
        (&["disable", "anna"], "", "updated user=ID role=admin disabled=true by=console"),
        (&["enable", "anna"], "", "updated user=ID role=admin disabled=false by=console"),
        (&["set-password", "anna"], "tr0ub4dor-and-3\n", "password_changed user=ID by=console"),
        (&["end-sessions", "anna"], "", "sessions_ended user=ID by=console"),
        (&["delete", "anna", "--yes"], "", "deleted user=ID by=console"),
    ];
    for running in [true, false] {
        let dir = temporary();
        add_admin(dir.path(), "root");
        let mut server = Process::start(dir.path(), &["--log", "trace"]);
        let id = register(&server, "anna");
        let mut audit = Vec::new();
        (server, audit) = with(server, dir.path(), running, || {
            for (args, input, _) in steps {
                let said = user(dir.path(), args, input);
                assert_eq!(said.code, Some(0), "{said:?}");
                audit.extend(said.audit);
                done(dir.path(), &["show", "root"], ""); // looking leaves no line
            }
            // What changes nothing has none either.
            assert_eq!(user(dir.path(), &["enable", "root"], "").audit, [""; 0]);
            audit
        });
        let log = stop_well(server);
        assert!(!log.contains(NEW_PASSWORD) && !log.contains("$scrypt$"), "{log}");
        if running {
            assert!(audit.is_empty(), "{audit:?}");
            audit = log.lines().filter(|line| line.contains("by=console")).map(str::to_owned).collect();
        }
        assert_eq!(audit.len(), steps.len(), "{audit:#?}");
        for (line, (_, _, expected)) in audit.iter().zip(steps) {
            assert!(line.contains(&expected.replace("ID", &id)), "{line}");
        }
    }
}

#[test]
fn who_is_not_there_is_named_and_ends_with_1() {
    let dir = temporary();
    add_admin(dir.path(), "root");
    let id = "01a204a4-b1ca-7000-8c9e-b200c589e3c1";
    for (who, named) in [
        ("anna", "\"anna\""),
        ("ro\u{202e}op", r#""ro\u{202e}op""#),
        ("root&username=root", "\"root&username=root\""),
        ("", "\"\""),
        ("a\nb", r#""a\nb""#),
        (id, &format!("with the id {id}")),
    ] {
        for (args, input) in [
            (&["show"][..], ""),
            (&["set-role"], ""),
            (&["disable"], ""),
            (&["enable"], ""),
            (&["set-password"], "tr0ub4dor-and-3\n"),
            (&["delete", "--yes"], ""),
            (&["end-sessions"], ""),
        ] {
            let role = if args == ["set-role"] { &["user"][..] } else { &[] };
            let said = user(dir.path(), &[args, &[who], role].concat(), input);
            assert_eq!((said.code, &*said.out), (Some(1), ""), "{args:?} {who:?}: {said:?}");
            assert_eq!(said.err, format!("gatelet: there is no user {named}"), "{args:?}");
        }
        if who == "anna" {
            // The rest goes the same way; once is enough to see it over the socket, too.
            let server = Process::start(dir.path(), &[]);
            let said = user(dir.path(), &["show", who], "");
            assert_eq!((said.code, said.err), (Some(1), format!("gatelet: there is no user {named}")));
            stop_well(server);
        }
    }
}

#[test]
fn what_has_the_form_of_an_id_is_never_taken_for_a_name() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    let anna = register(&server, "anna");
    let impostor = register(&server, &anna);
    assert_eq!(shown(dir.path(), &anna)["username"], "anna");
    done(dir.path(), &["delete", "anna", "--yes"], "");
    let said = user(dir.path(), &["delete", &anna, "--yes"], "");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(shown(dir.path(), &impostor)["username"], anna.as_str());
    stop_well(server);
}

#[test]
fn names_are_found_as_they_were_normalised_and_with_any_character() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    for (name, typed) in
        [("Zo\u{eb}", "Zoe\u{308}"), ("a&b=c+d%20#?/ e", "a&b=c+d%20#?/ e"), ("me", "me"), ("名前", "名前")]
    {
        let id = register(&server, name);
        assert_eq!(shown(dir.path(), typed)["id"], id.as_str(), "{name}");
    }
    stop_well(server);
}

#[test]
fn names_that_could_fool_the_eye_are_escaped_wherever_people_read_them_and_not_in_json() {
    let dir = temporary();
    let name = "ad\u{200b}min\u{202e}";
    let escaped = r#""ad\u{200b}min\u{202e}""#;
    let server = Process::start(dir.path(), &["--usernames", "exact"]); // as earlier versions were
    let said = done(dir.path(), &["add", name], &format!("{PASSWORD}\n"));
    assert_eq!(said, format!("user {escaped} added\n"));
    stop_well(server);
    for args in [&["list"][..], &["show", name], &["disable", name], &["end-sessions", name]] {
        let said = done(dir.path(), args, "");
        assert!(said.contains(escaped) && !said.contains('\u{202e}'), "{args:?}: {said}");
    }
    assert_eq!(shown(dir.path(), name)["username"], name);
}

#[test]
fn where_there_is_no_store_nothing_is_made_and_where_there_is_nobody_it_says_so() {
    let dir = temporary();
    let data = dir.path().join("data");
    for args in [&["list"][..], &["show", "anna"], &["delete", "anna", "--yes"], &["disable", "anna"]] {
        let said = user(&data, args, "");
        assert_eq!((said.code, &*said.out), (Some(73), ""), "{args:?}: {said:?}");
        assert!(said.err.contains("there is no store"), "{said:?}");
    }
    assert!(!data.exists());
    stop_well(Process::start(&data, &[]));
    for args in [&["list"][..], &["list", "--role", "admin"]] {
        let said = user(&data, args, "");
        assert_eq!((said.code, &*said.out, &*said.err), (Some(0), "", "no users"), "{args:?}");
    }
    let said = user(&data, &["list", "--json"], "");
    assert_eq!((said.code, &*said.out, &*said.err), (Some(0), "", ""));
}

#[test]
fn at_a_terminal_deleting_is_asked_about_and_done_only_on_yes() {
    let dir = temporary();
    add_admin(dir.path(), "root");
    for (name, answer, deleted) in [
        ("anna", "", false),
        ("bert", "n", false),
        ("carla", "what", false),
        ("dora", "y", true),
        ("eve", "YES", true),
    ] {
        done(dir.path(), &["add", name], &format!("{PASSWORD}\n"));
        let mut terminal = Terminal::open(dir.path(), &["user", "delete", name]);
        terminal.answer(&format!("Delete the user \"{name}\" for good? [y/N] "), answer);
        let (code, shown) = terminal.end();
        assert_eq!(code, Some(if deleted { 0 } else { 1 }), "{shown}");
        let text =
            if deleted { format!("user \"{name}\" deleted") } else { "nothing was changed".to_owned() };
        assert!(shown.contains(&text), "{shown}");
        assert_eq!(user(dir.path(), &["show", name], "").code, Some(if deleted { 1 } else { 0 }), "{name}");
    }
}

#[test]
fn at_a_terminal_nobody_else_is_kept_from_the_store_while_somebody_thinks() {
    let dir = temporary();
    add_admin(dir.path(), "root");
    done(dir.path(), &["add", "anna"], &format!("{PASSWORD}\n"));
    let mut terminal = Terminal::open(dir.path(), &["user", "delete", "anna"]);
    terminal.await_prompt("[y/N] ");
    let server = Process::start(dir.path(), &[]);
    let tokens = log_in(&server, "anna");
    terminal.type_line("y");
    assert_eq!(terminal.end().0, Some(0));
    expect_over(&server, &tokens, "deleted by the server that came up meanwhile");
    stop_well(server);
}

#[test]
fn at_a_terminal_nobody_is_asked_about_somebody_whom_the_server_does_not_know() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    for args in [&["user", "set-password", "nobody"], &["user", "delete", "nobody"]] {
        let (code, shown) = Terminal::open(dir.path(), args).end();
        assert_eq!((code, shown.trim_end()), (Some(1), "gatelet: there is no user \"nobody\""));
    }
    stop_well(server);
}

#[test]
fn at_a_terminal_a_new_password_is_asked_for_twice_and_not_shown() {
    let dir = temporary();
    done(dir.path(), &["add", "anna"], &format!("{PASSWORD}\n"));
    let mut terminal = Terminal::open(dir.path(), &["user", "set-password", "anna"]);
    terminal.answer_unseen("Password: ", NEW_PASSWORD);
    terminal.answer_unseen("Again: ", NEW_PASSWORD);
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("password of user \"anna\" changed") && !shown.contains(NEW_PASSWORD), "{shown}");
    let server = Process::start(dir.path(), &[]);
    assert_eq!(server.client().post("/login", &credentials("anna", NEW_PASSWORD)).status, 200);
    stop_well(server);
}

#[test]
fn whom_guesses_have_locked_out_a_new_password_or_enabling_lets_in() {
    let dir = temporary();
    let server = Process::start(dir.path(), &["--account-limit", "3,36m"]);
    register(&server, "anna");
    let status = |password: &str| server.client().post("/login", &credentials("anna", password)).status;
    for (args, input, password) in [
        (["set-password", "anna"], format!("{NEW_PASSWORD}\n"), NEW_PASSWORD),
        (["enable", "anna"], String::new(), NEW_PASSWORD),
    ] {
        while status("wrong horse") != 429 {}
        assert_eq!(status(password), 429);
        done(dir.path(), &args, &input);
        assert_eq!(status(password), 200, "{args:?}");
    }
    done(dir.path(), &["enable", "anna"], ""); // nothing to forgive, nothing to tell
    let log = stop_well(server);
    assert_eq!(log.matches("updated user=").count(), 1, "{log}");
}

#[test]
fn there_are_colours_on_a_terminal_that_has_them_and_nowhere_else() {
    const BOLD: &str = "\u{1b}[1mNAME";
    const DIMMED: &str = "\u{1b}[2mbert";
    let dir = temporary();
    for name in ["anna", "bert"] {
        done(dir.path(), &["add", name], &format!("{PASSWORD}\n"));
    }
    done(dir.path(), &["disable", "bert"], "");
    for (variables, coloured) in [
        (&[("TERM", "xterm")][..], true),
        (&[("TERM", "xterm"), ("NO_COLOR", "1")], false),
        (&[("TERM", "xterm"), ("CLICOLOR", "0")], false),
        (&[("TERM", "dumb")], false),
    ] {
        let (code, shown) = Terminal::open_with(dir.path(), &["user", "list"], variables).end();
        assert_eq!(code, Some(0), "{shown}");
        assert_eq!(shown.contains(BOLD) && shown.contains(DIMMED), coloured, "{variables:?}: {shown:?}");
        assert_eq!(shown.contains('\u{1b}'), coloured, "{variables:?}: {shown:?}");
    }
    let mut piped = command(dir.path(), &["list"]);
    let output = crate::run(piped.env("TERM", "xterm"));
    assert!(!output.stdout.contains(&0x1b), "{output:?}");
}

#[test]
fn a_reader_who_has_read_enough_is_no_error_and_a_full_disk_is_one() {
    let dir = temporary();
    done(dir.path(), &["add", "anna"], &format!("{PASSWORD}\n"));
    for args in [&["list"][..], &["list", "--json"], &["show", "anna"], &["enable", "anna"]] {
        let closed = |command: &mut Command| {
            let mut child = command.spawn().unwrap();
            drop(child.stdout.take()); // before it writes: it opens the store first
            watched(Pid::from_child(&child), || child.wait_with_output().unwrap())
        };
        let output = closed(&mut command(dir.path(), args));
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {err}");
        assert!(err.lines().all(|line| line.starts_with('[')), "{args:?}: {err}");

        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command(dir.path(), args).stdout(full).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {err}");
        assert!(err.contains("gatelet: standard output: "), "{args:?}: {err}");
    }
}

#[test]
fn a_password_as_an_argument_is_refused_with_the_reason() {
    let dir = temporary();
    let data = dir.path().join("data");
    for args in [
        &["add", "anna", "--password", NEW_PASSWORD][..],
        &["set-password", "anna", "--password=tr0ub4dor-and-3"],
        &["set-password", "--password", NEW_PASSWORD, "anna"],
    ] {
        let said = user(&data, args, "");
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains("everybody on this machine can read arguments"), "{said:?}");
    }
    assert!(!data.exists());
}

#[test]
fn ten_thousand_users_are_listed_whole_in_order_and_in_the_memory_of_a_thousand() {
    const USERS: u64 = 10_000;
    let dir = filled(USERS);
    let names = |out: &str| {
        let users = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        users.map(|user| user["username"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let expected: Vec<_> = (0..USERS).map(fill::name).collect();
    assert!(names(&done(dir.path(), &["list", "--json"], "")) == expected, "without a server");

    let server = Process::start(dir.path(), &[]);
    assert!(names(&done(dir.path(), &["list", "--json"], "")) == expected, "with a server");
    let mut child = command(dir.path(), &["list"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    assert!(lines.next().unwrap().starts_with("NAME"));
    let peak = |child: &Child| memory_kib(child.id(), "VmHWM").unwrap();
    let mut early = 0;
    for index in 0..USERS {
        assert!(lines.next().unwrap().starts_with(&format!("{}  ", fill::name(index))), "{index}");
        // What is still to come does not fit into the pipe, so that the command is still there.
        match index {
            2_000 => early = peak(&child),
            8_000 => {
                let late = peak(&child);
                assert!(late < early + 1_000, "{early} KiB after 2,000 users, {late} KiB after 8,000");
            }
            _ => {}
        }
    }
    assert_eq!(lines.next(), None);
    assert!(watched(Pid::from_child(&child), move || child.wait()).unwrap().success());
    stop_well(server);
}
