//! Tests with other programs. Each names the programs that it needs; `.ci/run` installs them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods)] // an error fails the test

#[path = "../support/mod.rs"]
mod support;

mod api_page;
mod cors;
mod migration;
mod prefix;
mod promtool;
mod proxies;
mod schemathesis;
mod tokens;
mod yaml;

use std::path::{Path, PathBuf};

/// The path of a program installed by `.ci/run`: `venv/bin/…` from PyPI, `node_modules/…` from npm.
fn installed(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("interop").join(path);
    assert!(path.exists(), "{} is missing: .ci/run installs it", path.display());
    path
}
