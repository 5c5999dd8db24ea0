//! The programs in examples/ work against a real server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods)] // an error fails the test

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::thread;

use support::{Process, credentials, temporary};

const PAGE: &str = include_str!("../examples/page/index.html");

/// The server's address in the page as shipped.
const SHIPPED_ADDRESS: &str = "content=\"http://127.0.0.1:5000\"";

/// A script that fills in and submits the form.
const LOGS_IN: &str = "<script type=module>
const { elements } = document.forms[0]
elements.username.value = 'anna'
elements.password.value = 'PASSWORD'
document.forms[0].requestSubmit()
</script>";

#[test]
#[ignore = "needs python3: .ci/run installs it"]
fn the_client_registers_logs_in_refreshes_reads_itself_and_logs_out() {
    let data = temporary();
    let server = Process::start(data.path(), &[]);
    let mut python = Command::new("python3");
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/client.py"));
    python.arg(format!("http://{}", server.address));
    let output = python.env("no_proxy", "*").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = "fresh after the login: True\n\
                    fresh after the refresh: False\n\
                    own name: True\n\
                    after the logout: 401 token_revoked\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

/// Serves the page to any number of connections.
fn serve_page(listener: TcpListener, page: String) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            // A browser may open connections without using them.
            if stream.read_line(&mut String::new()).unwrap_or(0) > 0 {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n";
                let _ = write!(stream.get_mut(), "{head}Content-Length: {}\r\n\r\n{page}", page.len());
            }
        }
    });
}

/// The page in a browser after a login with this password.
fn shown_after_a_login(password: &str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let data = temporary();
    let server = Process::start(data.path(), &["--cors-origins", &origin]);
    let reply = server.client().post("/register", &credentials("anna", "correct horse"));
    assert_eq!(reply.status, 201, "{reply:?}");

    let page = PAGE.replace(SHIPPED_ADDRESS, &format!("content=\"http://{}\"", server.address));
    serve_page(listener, page + &LOGS_IN.replace("PASSWORD", password));
    let profile = temporary();
    let mut chromium = Command::new("chromium");
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"]);
    // Virtual time advances while no request is in progress; the page is dumped at its end.
    chromium.arg("--virtual-time-budget=30000");
    chromium.arg(format!("--user-data-dir={}", profile.path().display()));
    let output = chromium.arg(origin).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("</form>"), "{output:?}");
    shown
}

#[test]
#[ignore = "needs chromium: .ci/run installs it"]
fn the_page_logs_in_and_shows_the_user() {
    assert!(PAGE.contains(SHIPPED_ADDRESS));
    let shown = shown_after_a_login("correct horse");
    assert!(shown.contains("<span>Logged in as anna (user).</span>"), "{shown}");
    assert!(shown.contains("<form method=\"post\" hidden=\"\">"), "{shown}");
}

#[test]
#[ignore = "needs chromium: .ci/run installs it"]
fn the_page_shows_why_a_login_is_refused() {
    let shown = shown_after_a_login("wrong horse");
    assert!(shown.contains(">Invalid credentials"), "{shown}");
    assert!(shown.contains("<p id=\"who\" hidden=\"\">"), "{shown}");
}
