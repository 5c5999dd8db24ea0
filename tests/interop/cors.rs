//! Chromium decides whether a page of another origin may read Gatelet's answers.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::thread;

use serde_json::{Value, json};

use crate::support::{Process, credentials, temporary};

const PASSWORD: &str = "correct horse";

/// Logs in, reads the account and logs out, as an application in a browser does, and records what it could read.
const PAGE: &str = r"<!doctype html><title>waits</title><body><script type=module>
const said = {}
const ask = async (method, path, headers, body) => {
    try {
        const answer = await fetch('http://GATELET' + path, { method, headers, body })
        const names = ['WWW-Authenticate', 'X-Request-Id', 'Retry-After', 'Location', 'Link', 'ETag']
        const read = Object.fromEntries(names.map(name => [name, answer.headers.get(name)]))
        return { status: answer.status, headers: read, body: answer.status == 204 ? null : await answer.json() }
    } catch (error) {
        return { blocked: String(error) }
    }
}
const anna = JSON.stringify({ username: 'anna', password: 'correct horse' })
said.login = await ask('POST', '/login', { 'Content-Type': 'application/json' }, anna)
const token = { Authorization: 'Bearer ' + said.login.body?.access_token, 'X-Request-Id': 'page-1' }
const traced = { ...token, traceparent: '00-x', baggage: 'a=b', 'sentry-trace': 'x', 'X-Other': 'x' }
said.me = await ask('GET', '/user/me', traced)
said.sessions = await ask('DELETE', '/user/me/sessions', token)
said.refused = await ask('GET', '/user/me', token)
said.keys = await ask('GET', '/.well-known/paseto-keys')
said.unknown = await ask('GET', '/nothing')
delete said.login.body
document.body.textContent = JSON.stringify(said)
</script>";

/// A server of the page, whose address is the page's origin.
struct Page {
    address: SocketAddr,
    listener: TcpListener,
}

impl Page {
    fn bind() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Self { address: listener.local_addr().unwrap(), listener }
    }

    /// The parts of the server's answers that the page could read.
    fn read(self, gatelet: SocketAddr) -> Value {
        let page = PAGE.replace("GATELET", &gatelet.to_string());
        thread::spawn(move || {
            for stream in self.listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                // A browser may open connections without using them.
                if stream.read_line(&mut String::new()).unwrap_or(0) > 0 {
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n";
                    let _ = write!(stream.get_mut(), "{head}Content-Length: {}\r\n\r\n{page}", page.len());
                }
            }
        });
        let profile = temporary();
        let mut chromium = Command::new("chromium");
        chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"]);
        // Virtual time advances while no request is in progress; the page is dumped at its end.
        chromium.arg("--virtual-time-budget=30000");
        chromium.arg(format!("--user-data-dir={}", profile.path().display()));
        let output = chromium.arg(format!("http://{}/", self.address)).output().unwrap();
        let dom = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = dom.split_once("<body>").and_then(|(_, rest)| rest.split_once("</body>"));
        let said = said.unwrap_or_else(|| panic!("{output:?}")).0.trim();
        serde_json::from_str(said).unwrap_or_else(|error| panic!("{error}: {dom}"))
    }
}

#[test]
#[ignore = "needs chromium: .ci/run installs it"]
fn a_browser_lets_only_pages_of_listed_origins_read_answers() {
    let (listed, foreign) = (Page::bind(), Page::bind());
    let origin = format!("http://{}", listed.address);
    let data = temporary();
    let server = Process::start(data.path(), &["--cors-origins", &origin]);
    let reply = server.client().post("/register", &credentials("anna", PASSWORD));
    let id = reply.header("location").unwrap().strip_prefix("/user/").unwrap().to_owned();

    let said = listed.read(server.address);
    assert_eq!(said["login"]["status"], 200, "{said:#}");
    assert_eq!(said["me"]["body"], json!({"id": id, "username": "anna"}), "{said:#}");
    assert_eq!(said["me"]["headers"]["X-Request-Id"], "page-1", "{said:#}");
    assert_eq!(said["sessions"]["status"], 200, "{said:#}");
    assert_eq!(said["refused"]["status"], 401, "{said:#}");
    let challenge = r#"Bearer error="invalid_token""#;
    assert_eq!(said["refused"]["headers"]["WWW-Authenticate"], challenge, "{said:#}");
    assert!(said["keys"]["headers"]["ETag"].is_string(), "{said:#}");
    assert_eq!(said["unknown"]["status"], 404, "{said:#}");

    let said = foreign.read(server.address);
    for (what, answer) in said.as_object().unwrap() {
        assert!(answer["blocked"].is_string(), "{what}: {said:#}");
    }
}
