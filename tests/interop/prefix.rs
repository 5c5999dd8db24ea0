//! Gatelet below a path of another application's host, behind nginx as the guide configures it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

use crate::installed;
use crate::proxies::guide_block;
use crate::support::{CHEAP, Client, Process, credentials, gatelet, temporary};

const PASSWORD: &str = "correct horse";

/// Long enough for nginx to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Gatelet at `/auth/`, and another application at all other paths.
struct Site {
    _gatelet: Process,
    nginx: Child,
    address: SocketAddr,
    dir: TempDir,
    _data: TempDir,
}

impl Site {
    fn start() -> Self {
        let (data, dir) = (temporary(), temporary());
        let mut command = gatelet();
        command.env("GATELET_SCRYPT", CHEAP);
        command.args(["user", "add", "--admin", "root", "--data-dir"]).arg(data.path());
        let mut root = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        std::io::Write::write_all(&mut root.stdin.take().unwrap(), PASSWORD.as_bytes()).unwrap();
        assert!(root.wait().unwrap().success());
        let gatelet = Process::start(data.path(), &["--trusted-proxies", "127.0.0.1"]);
        // A port that was free a moment ago: nginx does not report the port that it chose.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temp: String = temp.iter().map(|name| format!("{name}_temp_path {};\n", at(name))).collect();
        let config = format!(
            "daemon off;\nuser root;\npid {};\nerror_log stderr;\nevents {{}}\n\
             http {{\naccess_log off;\n{temp}upstream gatelet {{ server {}; }}\n\
             server {{\nlisten {address};\n{}\n\
             location / {{ access_log {}; return 200 'another application'; }}\n}}\n}}\n",
            at("pid"),
            gatelet.address,
            guide_block(1),
            at("another"),
        );
        fs::write(at("nginx.conf"), config).unwrap();
        let mut nginx = Command::new("nginx");
        nginx.args(["-p", &at(""), "-e", "stderr", "-c", &at("nginx.conf")]);
        let nginx = nginx.stdin(Stdio::null()).spawn().unwrap();
        let site = Self { _gatelet: gatelet, nginx, address, dir, _data: data };
        let begun = Instant::now();
        while Client::connect(address).is_err() {
            assert!(begun.elapsed() < PATIENCE, "nginx does not start");
            thread::sleep(Duration::from_millis(20));
        }
        site
    }

    fn client(&self) -> Client {
        Client::connect(self.address).unwrap().unchecked()
    }

    /// The requests that reached the other application.
    fn elsewhere(&self) -> String {
        fs::read_to_string(self.dir.path().join("another")).unwrap_or_default()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.nginx), Signal::TERM);
        let _ = self.nginx.wait();
    }
}

/// Resolves a relative reference against `base` (RFC 3986, section 5.2), for the forms that Gatelet uses.
fn resolved(base: &str, reference: &str) -> String {
    if reference.starts_with('/') {
        return reference.to_owned();
    }
    let mut folder = base[..base.rfind('/').unwrap()].to_owned();
    let mut reference = reference;
    while let Some(rest) = reference.strip_prefix("../") {
        folder.truncate(folder.rfind('/').unwrap());
        reference = rest;
    }
    if reference == "." { folder } else { format!("{folder}/{reference}") }
}

#[test]
#[ignore = "needs nginx: .ci/run installs it"]
fn below_a_path_prefix_every_link_of_gatelet_works() {
    let site = Site::start();
    let mut client = site.client();
    for (path, place) in [("/auth/", "/auth/swagger-ui"), ("/auth/swagger-ui/", "/auth/swagger-ui")] {
        let reply = client.send("GET", path, &[("Accept", "text/html")], None);
        assert_eq!(resolved(path, reply.header("location").unwrap()), place, "{reply:?}");
    }
    let document = client.call("GET", "/auth/openapi.json", None, None).json();
    let servers = document["servers"].as_array().unwrap();
    assert_eq!(servers.len(), 1);
    assert_eq!(resolved("/auth/openapi.json", servers[0]["url"].as_str().unwrap()), "/auth");
    let index = client.call("GET", "/auth/", None, None).json();
    for link in index["links"].as_object().unwrap().values() {
        let place = resolved("/auth/", link.as_str().unwrap());
        assert_eq!(client.call("GET", &place, None, None).status, 200, "{place}");
    }
    let reply = client.post("/auth/register", &credentials("anna", PASSWORD));
    let place = reply.header("location").unwrap().to_owned();
    let login = client.post("/auth/login", &credentials("root", PASSWORD)).json();
    let token = login["access_token"].as_str().unwrap().to_owned();
    // nginx turns it into an absolute URL.
    let path = place.split_once("://").map_or(&*place, |(_, rest)| &rest[rest.find('/').unwrap()..]);
    let anna = client.call("GET", path, Some(&token), None);
    assert_eq!(anna.json()["username"], json!("anna"), "{place}");
    let mut place = "/auth/user?limit=1".to_owned();
    let mut names = Vec::new();
    loop {
        let page = client.call("GET", &place, Some(&token), None);
        names.push(page.json()[0]["username"].as_str().unwrap().to_owned());
        let Some(link) = page.header("link") else { break };
        place = resolved(&place, link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap());
    }
    assert_eq!(names, ["root", "anna"]);
    assert_eq!(site.elsewhere(), "");
    // Without stripping the prefix, Gatelet knows no such path.
    let reply = client.post("/auth/auth/login", &credentials("root", PASSWORD));
    assert_eq!(reply.status, 404, "{reply:?}");
}

#[test]
#[ignore = "needs nginx and chromium from Debian and selenium from PyPI: .ci/run installs them"]
fn below_a_path_prefix_the_api_page_sends_passwords_to_gatelet_only() {
    let site = Site::start();
    let home = temporary();
    let mut browser = Command::new(installed("venv/bin/python"));
    browser.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/api_page.py"));
    browser.arg(format!("http://{}/auth", site.address));
    browser.arg(PathBuf::from(home.path()).join("picture.png"));
    let output = browser.env("HOME", home.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(site.elsewhere(), "");
}
