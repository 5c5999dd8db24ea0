//! Schemathesis reads `/openapi.json` and asks the real server whatever follows from it, with data that fits and data
//! that does not, and along the links from one answer to the next request. All its checks are on.

use std::process::Command;

use crate::installed;
use crate::support::{Process, temporary};

/// What it finds in half a minute or so, it finds nearly always; what it has not found then, rarely.
const EXAMPLES: &str = "50";

/// Nothing else but what the schemas cannot say: how common a password is, how many came before, what folds to what.
const SETTINGS: [&str; 10] = [
    "--usernames",
    "exact",
    "--password-blocklist",
    "off",
    "--account-limit",
    "off",
    "--network-limit",
    "off",
    "--registration-limit",
    "off",
];

fn no_deviation_is_found_for(role: &str) {
    let (data, dir) = (temporary(), temporary());
    let password = data.path().join("password");
    std::fs::write(&password, "correct horse").unwrap();
    let server = Process::start(
        &data.path().join("data"),
        &[&SETTINGS[..], &["--admin-username", "root", "--admin-password-file", password.to_str().unwrap()]]
            .concat(),
    );
    let address = format!("http://{}", server.address);
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop");
    let output = Command::new(installed("venv/bin/schemathesis"))
        .args([
            "--config-file",
            &format!("{tests}/schemathesis.toml"),
            "--no-color",
            "run",
            &format!("{address}/openapi.json"),
        ])
        .args(["--checks", "all", "--max-examples", EXAMPLES])
        .envs([
            ("SERVER", &*address),
            ("ROLE", role),
            ("PYTHONPATH", tests),
            ("PYTHONDONTWRITEBYTECODE", "1"),
        ])
        .current_dir(dir.path()) // it keeps notes where it runs
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}{}", String::from_utf8_lossy(&output.stderr));
    for phase in ["Examples", "Coverage", "Fuzzing", "Stateful"] {
        assert!(report.contains(&format!("✅ {phase}")), "{report}");
    }
}

#[test]
#[ignore = "needs schemathesis from PyPI: .ci/run installs it"]
fn schemathesis_finds_no_deviation_as_a_user() {
    no_deviation_is_found_for("user");
}

#[test]
#[ignore = "needs schemathesis from PyPI: .ci/run installs it"]
fn schemathesis_finds_no_deviation_as_an_administrator() {
    no_deviation_is_found_for("admin");
}
