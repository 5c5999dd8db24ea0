//! Schemathesis reads `/openapi.json` and sends the requests that follow from it to the real server: with valid and
//! invalid data, and along the links from one answer to the next request. All its checks are on.

use std::process::Command;

use crate::installed;
use crate::support::{Process, temporary};

/// It finds nearly all deviations within half a minute, and few after that.
const EXAMPLES: &str = "50";

/// These settings switch off only what schemas cannot express: common passwords, limits, folds of names.
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
        .current_dir(dir.path()) // it writes files to its working directory
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
