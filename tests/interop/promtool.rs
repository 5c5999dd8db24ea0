//! Prometheus's own tool checks the metrics, the scrape configuration and the alerts.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::{Client, Process, credentials, temporary};

const ALERTS: &str = include_str!("../../deploy/alerts.yml");

/// The metrics page of a server after some requests.
fn page() -> String {
    let dir = temporary();
    let address = TcpListener::bind("127.9.2.0:0").unwrap().local_addr().unwrap();
    let server = Process::start(dir.path(), &["--metrics-listen", &address.to_string()]);
    server.client().post("/register", &credentials("anna", "correct horse"));
    server.client().post("/login", &credentials("anna", "correct horse"));
    let reply = Client::connect(address).unwrap().call("GET", "/metrics", None, None);
    String::from_utf8(reply.body).unwrap()
}

fn promtool(args: &[&str], dir: &Path, input: &str) -> Output {
    let mut child = Command::new("promtool")
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
#[ignore = "needs promtool: .ci/run installs it"]
fn promtool_accepts_the_metrics() {
    let output = promtool(&["check", "metrics"], Path::new("."), &page());
    assert!(output.status.success(), "{output:?}");
    assert_eq!((&*output.stdout, &*output.stderr), (&b""[..], &b""[..]), "{output:?}");
}

#[test]
#[ignore = "needs promtool: .ci/run installs it"]
fn promtool_accepts_the_alerts_and_the_example_that_loads_them() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    for what in [["check", "rules", "alerts.yml"], ["check", "config", "prometheus.yml"]] {
        let output = promtool(&what, &deploy, "");
        assert!(output.status.success(), "{what:?}: {output:?}");
    }
}

#[test]
#[ignore = "needs promtool: .ci/run installs it"]
fn the_alerts_fire_on_faults_and_not_otherwise() {
    let dir = temporary();
    fs::write(dir.path().join("alerts.yml"), ALERTS).unwrap();
    fs::write(dir.path().join("tests.yml"), include_str!("alerts_test.yml")).unwrap();
    let output = promtool(&["test", "rules", "tests.yml"], dir.path(), "");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_alerts_use_existing_metrics() {
    let page = page();
    let names: BTreeSet<_> = ALERTS
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("gatelet_"))
        .collect();
    assert!(names.len() >= 6, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("\n# TYPE {name} ")), "{name}");
    }
}
