//! Programs in other languages check tokens with only the URL of the published keys and the code of docs/integrate.md.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::installed;
use crate::support::{Process, Tokens, credentials, gatelet, secrets, temporary};

const GUIDE: &str = include_str!("../../docs/integrate.md");
const PYTHON: &str = include_str!("verify.py");
const JAVASCRIPT: &str = include_str!("verify.mjs");

/// A server with a user.
struct Server {
    process: Process,
    data: tempfile::TempDir,
    user: String,
}

impl Server {
    fn start(args: &[&str]) -> Self {
        let data = temporary();
        let process = Process::start(data.path(), args);
        let reply = process.client().post("/register", &credentials("anna", "correct horse"));
        let user = reply.header("location").unwrap().strip_prefix("/user/").unwrap().to_owned();
        Self { process, data, user }
    }

    fn log_in(&self) -> Tokens {
        Tokens::from_reply(&self.process.client().post("/login", &credentials("anna", "correct horse")))
    }

    fn rotate_keys(&self, args: &[&str]) {
        let mut command = gatelet();
        command.args(["key", "rotate", "--data-dir"]).arg(self.data.path()).args(args);
        let output = command.output().unwrap();
        secrets::logged(&String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{output:?}");
    }

    /// Both programs accept the token and name its user.
    fn assert_accepted(&self, token: &str) {
        for output in self.verify(token) {
            assert!(output.status.success(), "{output:?}");
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), self.user);
        }
    }

    /// Both programs refuse the token, and still accept a good one.
    fn assert_refused(&self, token: &str) {
        self.assert_accepted(&self.log_in().access);
        for output in self.verify(token) {
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert!(output.stdout.is_empty(), "{output:?}");
            assert!(output.stderr.starts_with(b"refused: "), "{output:?}");
        }
    }

    fn verify(&self, token: &str) -> [Output; 2] {
        let keys = format!("http://{}/.well-known/paseto-keys", self.process.address);
        let mut python = Command::new(installed("venv/bin/python"));
        python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/verify.py"));
        // Node.js looks for packages beside the script.
        installed("node_modules/paseto");
        let script = installed("").join(format!("verify-{}.mjs", self.process.id()));
        fs::write(&script, JAVASCRIPT).unwrap();
        let mut javascript = Command::new("node");
        javascript.arg(&script);
        let outputs = [python, javascript].map(|mut command| run(command.arg(&keys), token));
        fs::remove_file(script).unwrap();
        outputs
    }
}

fn run(command: &mut Command, input: &str) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
#[ignore = "needs pyseto and paseto from PyPI and npm: .ci/run installs them"]
fn an_access_token_is_accepted_in_python_and_javascript() {
    let server = Server::start(&[]);
    let tokens = server.log_in();
    server.assert_accepted(&tokens.access);
    let reply = server.process.client().call("POST", "/refresh", Some(&tokens.refresh), None);
    server.assert_accepted(reply.json()["access_token"].as_str().unwrap());
}

#[test]
#[ignore = "needs pyseto and paseto from PyPI and npm: .ci/run installs them"]
fn other_tokens_are_refused_in_python_and_javascript() {
    let (server, other) = (Server::start(&[]), Server::start(&[]));
    let tokens = server.log_in();
    server.assert_refused(&other.log_in().access);
    server.assert_refused(&tokens.refresh);
    server.assert_refused("");
    // The signature covers every byte: a changed claim, another token's footer.
    let parts: Vec<_> = tokens.access.split('.').collect();
    let other = if parts[2].as_bytes()[40] == b'A' { "B" } else { "A" };
    let changed = [&parts[2][..40], other, &parts[2][41..]].concat();
    server.assert_refused(&[parts[0], parts[1], &changed, parts[3]].join("."));
    server.assert_refused(&parts[..3].join("."));
}

#[test]
#[ignore = "needs pyseto and paseto from PyPI and npm: .ci/run installs them"]
fn a_token_of_another_issuer_is_refused_in_python_and_javascript() {
    let server = Server::start(&["--issuer", "another issuer"]);
    for output in server.verify(&server.log_in().access) {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("iss"), "{output:?}");
    }
}

#[test]
#[ignore = "needs pyseto and paseto from PyPI and npm: .ci/run installs them"]
fn tokens_survive_a_key_rotation_but_not_a_revocation_of_keys() {
    let server = Server::start(&[]);
    let before = server.log_in().access;
    server.rotate_keys(&[]);
    let after = server.log_in().access;
    assert_ne!(before.rsplit('.').next(), after.rsplit('.').next(), "the footers name the same key");
    server.assert_accepted(&before);
    server.assert_accepted(&after);
    server.rotate_keys(&["--revoke"]);
    server.assert_refused(&before);
    server.assert_refused(&after);
}

#[test]
fn the_guide_shows_the_programs_that_are_tested() {
    for (language, program) in [("python", PYTHON), ("js", JAVASCRIPT)] {
        let block = format!("\n```{language}\n{program}```\n");
        assert!(GUIDE.contains(&block), "the guide has another program in {language} than tests/interop");
    }
    for pinned in include_str!("requirements.txt").lines().filter(|line| line.starts_with("pyseto")) {
        assert!(GUIDE.contains(&format!("pip install {pinned}")), "{pinned}");
    }
    let package: serde_json::Value = serde_json::from_str(include_str!("package.json")).unwrap();
    let version = package["dependencies"]["paseto"].as_str().unwrap();
    assert!(GUIDE.contains(&format!("npm install paseto@{version}")), "{version}");
}
