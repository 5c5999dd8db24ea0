//! The API page in a real browser without a network: server and browser share a network namespace that has only a
//! loopback interface. This test also takes the picture in docs/integrate.md.

use std::process::Command;

use crate::installed;
use crate::support::{Process, serve, temporary};

/// A server in a network namespace of its own.
fn start_alone(dir: &std::path::Path) -> Process {
    let serve = serve(dir, &["--listen", "127.0.0.1:5000"]); // free in a new namespace
    let mut alone = Command::new("unshare");
    alone.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    alone.args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
    alone.arg(serve.get_program()).args(serve.get_args());
    Process::spawn(&mut alone).unwrap_or_else(|ended| panic!("{ended:?}"))
}

#[test]
#[ignore = "needs root, chromium from Debian and selenium from PyPI: .ci/run installs them"]
fn the_api_page_works_in_a_browser_without_a_network() {
    let (data, home) = (temporary(), temporary());
    let server = start_alone(data.path());
    let mut browser = Command::new("nsenter");
    browser.args(["--net", &format!("--target={}", server.id())]);
    browser.arg(installed("venv/bin/python"));
    browser.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/api_page.py"));
    browser.arg(format!("http://{}", server.address));
    browser.arg(concat!(env!("CARGO_TARGET_TMPDIR"), "/api-page.png"));
    let output = browser.env("HOME", home.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // The server cannot be reached from here, so the browser could reach nothing else either.
    assert!(std::net::TcpStream::connect(server.address).is_err());
    let log = server.stop().log;
    assert!(log.contains("POST /login 200") && log.contains("GET /user/<id> 401"), "{log}");
}
