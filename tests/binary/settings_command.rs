//! `gatelet settings`: what is set, and where.

use std::process::{Command, Output};

use clap::CommandFactory;
use gatelet::cli::args::Cli;
use serde_json::Value;

use crate::support::{CHEAP, Process, gatelet, serve, temporary};
use crate::{refused, run, stop_well};

const SECRET: &str = "seven wild horses";

/// `gatelet settings …` in an empty directory, which it leaves empty.
fn settings(args: &[&str], variables: &[(&str, &str)]) -> Output {
    let dir = temporary();
    let mut command = gatelet();
    command.current_dir(dir.path()).arg("settings").args(args).envs(variables.iter().copied());
    let output = run(&mut command);
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "{args:?} made something");
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    assert!(!String::from_utf8_lossy(&said).contains(SECRET), "{output:?}");
    output
}

/// The lines of the table, as cells.
fn rows(args: &[&str], variables: &[(&str, &str)]) -> Vec<[String; 3]> {
    let output = settings(args, variables);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.lines().all(|line| line.starts_with("warning: --dev")), "{said}");
    let table = String::from_utf8(output.stdout).unwrap();
    let cells = |line: &str| {
        let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        cells.map(str::to_owned).collect::<Vec<_>>().try_into().unwrap()
    };
    let mut rows: Vec<[String; 3]> = table.lines().map(cells).collect();
    assert_eq!(rows.remove(0), ["SETTING", "VALUE", "FROM"]);
    rows
}

fn row(rows: &[[String; 3]], setting: &str) -> [String; 2] {
    let row = rows.iter().find(|row| row[0] == setting).unwrap_or_else(|| panic!("{setting}: {rows:?}"));
    [row[1].clone(), row[2].clone()]
}

#[test]
fn every_setting_has_its_value_and_where_it_comes_from() {
    let variables = [
        ("GATELET_REFRESH_TTL", "12h"),
        ("GATELET_ACCESS_TTL", "1h"),
        ("GATELET_DEV", "yes"),
        ("RUST_LOG", "warn"),
    ];
    let rows = rows(&["--access-ttl", "5m", "--dev-anywhere"], &variables);
    for (setting, value, from) in [
        ("access-ttl", "5m", "flag"),
        ("refresh-ttl", "12h", "environment"),
        ("issuer", "gatelet", "default"),
        ("scrypt", "ln=15,r=8,p=3", "default"),
        ("account-limit", "40,36m", "default"),
        ("registration", "open", "default"),
        ("trusted-proxies", "-", "default"),
        ("admin-username", "-", "default"),
        ("dev", "on", "environment"),
        ("dev-anywhere", "on", "flag"),
        ("log", "warn", "environment"),
    ] {
        assert_eq!(row(&rows, setting), [value, from], "{setting}");
    }
    // Whatever has a variable is a setting; what has none is done once.
    let command = Cli::command();
    let known = command.get_arguments().filter(|arg| arg.get_env().is_some());
    let known: Vec<_> = known.filter_map(|arg| arg.get_long()).chain(["admin-password"]).collect();
    assert_eq!(rows.iter().map(|row| row[0].as_str()).collect::<Vec<_>>(), known);
}

#[test]
fn json_says_the_same() {
    let output = settings(&["--json", "--issuer", "somebody"], &[("GATELET_CACHE_MIB", "8")]);
    let list: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let find = |setting: &str| {
        let row = list.iter().find(|row| row["setting"] == setting).unwrap();
        (row["value"].clone(), row["from"].clone())
    };
    assert_eq!(find("issuer"), ("somebody".into(), "flag".into()));
    assert_eq!(find("cache-mib"), ("8".into(), "environment".into()));
    assert_eq!(find("trusted-proxies"), (Value::Null, "default".into()));
    assert_eq!(list.len(), rows(&[], &[]).len());
}

#[test]
fn hash_slots_are_what_a_server_here_would_take() {
    let [value, from] = row(&rows(&[], &[]), "hash-slots");
    assert!(value.parse::<u32>().unwrap() >= 1);
    assert_eq!(from, "machine");
    // 256 MiB each: half of the memory is enough for fewer.
    let [fewer, _] = row(&rows(&["--scrypt", "ln=17,r=8,p=1"], &[]), "hash-slots");
    assert!(fewer.parse::<u32>().unwrap() <= value.parse().unwrap());
    assert_eq!(row(&rows(&["--hash-slots", "3"], &[]), "hash-slots"), ["3", "flag"]);
}

#[test]
fn the_administrators_password_is_set_and_not_shown() {
    let variables = [("GATELET_ADMIN_USERNAME", "root"), ("GATELET_ADMIN_PASSWORD", SECRET)];
    let rows = rows(&[], &variables);
    assert_eq!(row(&rows, "admin-password"), ["(set)", "environment"]);
    assert_eq!(row(&rows, "admin-username"), ["root", "environment"]);
}

#[test]
fn what_serve_refuses_is_refused_with_the_same_words() {
    let complaint = |command: &mut Command| {
        let text = refused(command, 2);
        text.lines().next().unwrap().to_owned()
    };
    let dir = temporary();
    for (args, variables) in [
        (&["--access-ttl", "5"][..], &[][..]),
        (&["--listen", "0.0.0.0:0", "--dev"], &[]),
        (&["--colour"], &[]),
        (&["--metrics-listen", "127.0.0.1:5000"], &[]),
        (&["--listen", "0.0.0.0:7", "--metrics-listen", "127.0.0.1:7"], &[]),
        (&["--listen", "[::]:7", "--metrics-listen", "127.0.0.1:7"], &[]),
        (&[], &[("GATELET_ACESS_TTL", "5m")]),
        (&[], &[("GATELET_SCRYPT", "fast")]),
        (&[], &[("GATELET_ADMIN_PASSWORD", SECRET)]),
        (&["--admin-username", "root"], &[]),
    ] {
        let [settings, serve] = ["settings", "serve"].map(|name| {
            let mut command = gatelet();
            command.current_dir(dir.path()).arg(name).args(args).envs(variables.iter().copied());
            complaint(&mut command)
        });
        assert_eq!(settings, serve, "{args:?} {variables:?}");
    }
}

#[test]
fn a_password_that_comes_through_a_pipe_is_left_to_the_start() {
    let dir = temporary();
    let pipe = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut command = gatelet();
    command.arg("settings").env("GATELET_ADMIN_USERNAME", "root").env("GATELET_ADMIN_PASSWORD_FILE", &pipe);
    let output = command.output().unwrap(); // nobody writes
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn values_that_could_fool_the_eye_are_escaped() {
    let rows = rows(&[], &[("GATELET_ISSUER", "gate\u{202e}let"), ("GATELET_DATA_DIR", "a\u{1b}[31mb")]);
    assert_eq!(row(&rows, "issuer")[0], r#""gate\u{202e}let""#);
    assert_eq!(row(&rows, "data-dir")[0], r#""a\u{1b}[31mb""#);
}

#[test]
fn what_is_allowed_but_no_good_idea_is_warned_of_here_and_at_the_start_and_nowhere_else() {
    let weak = [("GATELET_SCRYPT", CHEAP), ("GATELET_PASSWORD_MIN_LENGTH", "4")];
    for (variables, warnings) in
        [(&weak[..], ["--scrypt", "--password-min-length"]), (&[("GATELET_DEV", "1")], ["--dev"; 2])]
    {
        let said = String::from_utf8(settings(&[], variables).stderr).unwrap();
        assert!(warnings.iter().all(|warning| said.contains(warning)), "{said}");

        let dir = temporary();
        let mut command = serve(dir.path(), &[]);
        let log = stop_well(Process::spawn(command.envs(variables.iter().copied())).unwrap());
        assert!(warnings.iter().all(|warning| log.contains(warning)), "{log}");

        let mut command = gatelet();
        command.args(["user", "list", "--data-dir"]).arg(dir.path()).envs(variables.iter().copied());
        let said = String::from_utf8(run(&mut command).stderr).unwrap();
        assert_eq!(said, "no users\n");
    }
}
