//! Flags and variables.

use std::process::Command;

use crate::support::{CHEAP, Process, gatelet, serve, temporary};
use crate::{get, log_in, refused, register, run, stop_well};

/// Flag, variable, and values that are wrong for it.
const SETTINGS: &[(&str, Option<&str>, &[&str])] = &[
    ("--listen", Some("GATELET_LISTEN"), &["nowhere", "127.0.0.1", "127.0.0.1:70000", ""]),
    ("--data-dir", Some("GATELET_DATA_DIR"), &[""]),
    ("--access-ttl", Some("GATELET_ACCESS_TTL"), &["15", "0s", "200y", "soon", ""]),
    ("--refresh-ttl", Some("GATELET_REFRESH_TTL"), &["30", "-1d", "999999999999999999999d"]),
    ("--scrypt", Some("GATELET_SCRYPT"), &["ln=30,r=8,p=1", "ln=15", "ln=0,r=8,p=1", "fast", ""]),
    ("--hash-slots", Some("GATELET_HASH_SLOTS"), &["0", "-1", "two", ""]),
    ("--max-connections", Some("GATELET_MAX_CONNECTIONS"), &["0", "many", "99999999999"]),
    ("--metrics-listen", Some("GATELET_METRICS_LISTEN"), &["9100", "nowhere:1", "127.0.0.1:70000", ""]),
    ("--issuer", Some("GATELET_ISSUER"), &["", "a\nb"]),
    ("--cache-mib", Some("GATELET_CACHE_MIB"), &["0", "65537", "16M"]),
    ("--min-free-mib", Some("GATELET_MIN_FREE_MIB"), &["0", "3", "-16"]),
    ("--password-min-length", Some("GATELET_PASSWORD_MIN_LENGTH"), &["0", "257", "eight"]),
    ("--password-blocklist", Some("GATELET_PASSWORD_BLOCKLIST"), &["no", "true", "1", "ON", ""]),
    ("--dev", Some("GATELET_DEV"), &["maybe"]),
    ("--dev-anywhere", Some("GATELET_DEV_ANYWHERE"), &["maybe"]),
    ("--log", Some("RUST_LOG"), &["gatelet=loud", "verbose", "warning", "info,hyper"]),
    ("--log-format", Some("GATELET_LOG_FORMAT"), &["xml", "JSON", ""]),
    ("--accept-clock", None, &["maybe"]),
    ("--replace-keys", None, &["maybe"]),
];

/// In a directory of its own, in case it starts after all.
fn bare(args: &[&str]) -> (tempfile::TempDir, Command) {
    let dir = temporary();
    let mut command = gatelet();
    command.current_dir(dir.path()).args(args);
    (dir, command)
}

fn output(args: &[&str]) -> String {
    let output = run(gatelet().args(args));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_wrong_flag_is_named() {
    for (flag, _, values) in SETTINGS {
        for value in *values {
            for arg in [&[][..], &["serve"]] {
                let text = refused(bare(arg).1.arg(format!("{flag}={value}")), 2);
                assert!(text.contains(flag), "{flag}={value}: {text}");
            }
        }
    }
}

#[test]
fn a_wrong_variable_is_named() {
    for (flag, variable, values) in SETTINGS {
        let Some(variable) = variable else { continue };
        for value in *values {
            let text = refused(bare(&["serve"]).1.env(variable, value), 2);
            assert!(text.contains(variable) && !text.contains(flag), "{variable}={value}: {text}");
        }
    }
}

#[test]
fn a_wrong_variable_is_named_by_commands_that_have_no_flag_for_it_and_a_wrong_flag_beside_one_is_not_blamed_on_it()
 {
    let text = refused(bare(&["user", "list"]).1.env("GATELET_HASH_SLOTS", "many"), 2);
    assert!(text.contains("'GATELET_HASH_SLOTS'") && !text.contains("--hash-slots"), "{text}");
    for flag in [&["--hash-slots", "many"][..], &["--hash-slots=many"]] {
        let text = refused(bare(flag).1.env("GATELET_HASH_SLOTS", "many"), 2);
        assert!(text.contains("'--hash-slots <N>'"), "{text}");
    }
}

#[test]
fn a_flag_in_front_of_the_command_is_refused_with_its_place() {
    let text = refused(&mut bare(&["--data-dir", "data", "user", "list"]).1, 2);
    assert!(text.contains("gatelet user list --data-dir DIR"), "{text}");
}

#[test]
fn unknown_settings_are_refused() {
    for args in [
        &["--colour"][..],
        &["serve", "--colour=always"],
        &["--access_ttl", "15m"],
        &["healthcheck", "--cache-mib", "16"],
        &["frobnicate"],
        &["serve", "now"],
    ] {
        let text = refused(&mut bare(args).1, 2);
        assert!(args.iter().any(|arg| text.contains(arg.split('=').next().unwrap())), "{args:?}: {text}");
    }
}

#[test]
fn unknown_variables_are_refused_unless_they_are_somebody_elses() {
    // What is done once must not stick to an environment.
    for (name, value) in [
        ("GATELET_ACESS_TTL", "1"),
        ("GATELET_REPLACE_KEYS", "1"),
        ("GATELET_LISTEN_FILE", "1"),
        // As in the names of a service's variables, but not in their values.
        ("GATELET_PORT", "5000"),
        ("GATELET_LISTEN_PORT", "5000"),
        ("GATELET_SERVICE_HOST", "gatelet"),
    ] {
        let text = refused(bare(&[]).1.env(name, value), 2);
        assert!(text.contains(name), "{text}");
    }
    let dir = temporary();
    let mut command = serve(dir.path(), &[]);
    // What Kubernetes writes for services named gatelet and gatelet-metrics.
    command.envs([
        ("GATELET_SERVICE_HOST", "10.0.0.1"),
        ("GATELET_PORT", "tcp://10.0.0.1:5000"),
        ("GATELET_METRICS_SERVICE_HOST", "fd00::1"),
        ("GATELET_METRICS_SERVICE_PORT", "9100"),
        ("GATELET_METRICS_SERVICE_PORT_HTTP", "9100"),
        ("GATELET_METRICS_PORT", "tcp://[fd00::1]:9100"),
        ("GATELET_METRICS_PORT_9100_TCP", "tcp://[fd00::1]:9100"),
        ("GATELET_METRICS_PORT_9100_TCP_PROTO", "tcp"),
        ("GATELET_METRICS_PORT_9100_TCP_PORT", "9100"),
        ("GATELET_METRICS_PORT_9100_TCP_ADDR", "fd00::1"),
    ]);
    stop_well(Process::spawn(command.env("SOMETHING_ELSE", "x")).unwrap());
}

#[test]
fn a_flag_beats_its_variable_which_beats_the_default() {
    let short = "1234567";
    let dir = temporary();
    for (flag, variable, long_enough) in
        [(None, None, false), (None, Some("7"), true), (Some("8"), Some("7"), false), (Some("7"), None, true)]
    {
        let mut command = serve(dir.path(), &[]);
        command.args(flag.map(|length| format!("--password-min-length={length}")));
        command.envs(variable.map(|length| ("GATELET_PASSWORD_MIN_LENGTH", length)));
        let server = Process::spawn(&mut command).unwrap();
        let body = crate::support::credentials(&format!("{flag:?}{variable:?}"), short);
        let status = server.client().post("/register", &body).status;
        assert_eq!(status == 201, long_enough, "{flag:?} {variable:?}: {status}");
        stop_well(server);
    }
}

#[test]
fn every_setting_can_come_from_the_environment() {
    let dir = temporary();
    let mut command = gatelet();
    command.envs([
        ("GATELET_LISTEN", "127.0.0.1:0"),
        ("GATELET_ACCESS_TTL", "1h"),
        ("GATELET_REFRESH_TTL", "2d"),
        ("GATELET_SCRYPT", CHEAP),
        ("GATELET_HASH_SLOTS", "1"),
        ("GATELET_MAX_CONNECTIONS", "10"),
        ("GATELET_ISSUER", "somebody"),
        ("GATELET_CACHE_MIB", "8"),
        ("GATELET_MIN_FREE_MIB", "4"),
        ("GATELET_PASSWORD_MIN_LENGTH", "4"),
        ("GATELET_PASSWORD_BLOCKLIST", "off"),
        ("GATELET_DEV", "no"),
        ("GATELET_DEV_ANYWHERE", "false"),
        ("RUST_LOG", "gatelet=debug"),
    ]);
    let server = Process::spawn(command.env("GATELET_DATA_DIR", dir.path())).unwrap();
    register(&server, "anna");
    let tokens = log_in(&server, "anna");
    assert_eq!(get(&server, "/user", &tokens.access).status, 403); // GATELET_DEV=no is no
    assert!(dir.path().join("store/db").exists());
    let log = stop_well(server);
    assert!(log.contains("password hashes: 1 at once at ln=1,r=8,p=1"), "{log}");
}

#[test]
fn dev_listens_beyond_loopback_only_when_told_twice() {
    for (name, value) in [("--listen", "0.0.0.0:0"), ("--listen", "[::]:0"), ("--listen", "192.0.2.1:0")] {
        let text = refused(&mut bare(&["serve", "--dev", name, value]).1, 2);
        assert!(text.contains("--dev-anywhere"), "{text}");
    }
    let text = refused(bare(&[]).1.envs([("GATELET_DEV", "1"), ("GATELET_LISTEN", "0.0.0.0:0")]), 2);
    assert!(text.contains("--dev-anywhere"), "{text}");

    let dir = temporary();
    let anywhere = ["--dev", "--dev-anywhere", "--listen", "0.0.0.0:0"];
    let mut server = Process::start(dir.path(), &anywhere);
    server.address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    assert_eq!(server.client().call("GET", "/user", None, None).status, 200);
    let log = stop_well(server);
    assert!(log.contains("WARN") && log.contains("--dev"), "{log}");
}

#[test]
fn dev_on_loopback_starts_with_a_warning() {
    let dir = temporary();
    let server = Process::start(dir.path(), &["--dev"]);
    let reply = server.client().post("/register", &crate::support::credentials("anna", "x"));
    assert_eq!(reply.status, 201, "{reply:?}");
    let log = stop_well(server);
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains("--dev")), "{log}");
}

#[test]
fn help_lists_every_setting_and_its_variable() {
    for args in [&["--help"][..], &["serve", "--help"], &["help", "serve"]] {
        let help = output(args);
        for (flag, variable, _) in SETTINGS {
            assert!(help.contains(flag), "{args:?} {flag}: {help}");
            assert!(variable.is_none_or(|name| help.contains(name)), "{args:?} {variable:?}: {help}");
        }
    }
    assert!(output(&["--help"]).contains("healthcheck"));
    assert!(output(&["healthcheck", "--help"]).contains("GATELET_LISTEN"));
}

#[test]
fn help_begins_with_the_commands_and_ends_with_examples() {
    for flag in ["-h", "--help"] {
        let help = output(&[flag]);
        let places = [
            "\nCommands:\n",
            "\nOptions:\n",
            "\nAddress and data:\n",
            "--listen <",
            "\nTokens:\n",
            "\nNetwork:\n",
            "\nBackups:\n",
            "\nLog:\n",
            "\nExamples:\n",
        ];
        let places = places.map(|part| help.find(part).unwrap_or_else(|| panic!("{part}: {help}")));
        assert!(places.is_sorted(), "{help}");
    }
    let commands = [&["user", "add"][..], &["user"], &["settings"], &["key", "prune"], &["completions"]];
    for command in commands {
        let asked = output(&[&["help"], command].concat());
        assert_eq!(asked, output(&[command, &["--help"]].concat()));
        assert!(asked.contains("Usage: gatelet "), "{asked}");
    }
}

#[test]
fn the_version_is_told() {
    assert_eq!(output(&["--version"]), format!("gatelet {}\n", env!("CARGO_PKG_VERSION")));
}
