//! SECURITY.md names existing tests, and judges every requirement of ASVS 5.0.0, level 1, once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods)] // an error fails the test

use std::fs;
use std::path::{Path, PathBuf};

const SECURITY: &str = include_str!("../SECURITY.md");

/// The requirements of level 1, as chapters of ASVS 5.0.0 list them.
const LEVEL_1: &str = "
    1.2.1 1.2.2 1.2.3 1.2.4 1.2.5 1.3.1 1.3.2 1.5.1 2.1.1 2.2.1 2.2.2 2.3.1 3.2.1 3.2.2 3.3.1 3.4.1 3.4.2 3.5.1 3.5.2
    3.5.3 4.1.1 4.4.1 5.2.1 5.2.2 5.3.1 5.3.2 6.1.1 6.2.1 6.2.2 6.2.3 6.2.4 6.2.5 6.2.6 6.2.7 6.2.8 6.3.1 6.3.2 6.4.1
    6.4.2 7.2.1 7.2.2 7.2.3 7.2.4 7.4.1 7.4.2 8.1.1 8.2.1 8.2.2 8.3.1 9.1.1 9.1.2 9.1.3 9.2.1 10.4.1 10.4.2 10.4.3
    10.4.4 10.4.5 11.3.1 11.3.2 11.4.1 12.1.1 12.2.1 12.2.2 13.4.1 14.2.1 14.3.1 15.1.1 15.2.1 15.3.1";

/// The cells of all rows that begin with numbers of requirements.
fn rows() -> impl Iterator<Item = Vec<&'static str>> {
    let rows = SECURITY.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    cells.filter(|cells| cells[0].split('.').count() >= 3)
}

/// The texts between backticks.
fn code() -> impl Iterator<Item = &'static str> {
    SECURITY.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn file(name: &str) -> PathBuf {
    if name.starts_with("src/") { root().join(name) } else { root().join("tests").join(name) }
}

/// Whether `name` is a function below `#[test]`, with other attributes, comments and `async` in between or not.
fn has_test(source: &str, name: &str) -> bool {
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((_, rest)) = line.split_once("fn ") {
            if is_test && rest.strip_prefix(name).is_some_and(|rest| rest.starts_with('(')) {
                return true;
            }
            is_test = false;
        }
    }
    false
}

#[test]
fn every_named_test_exists() {
    let mut named = 0;
    for (path, test) in code().filter_map(|code| code.split_once("::")) {
        if !path.ends_with(".rs") {
            continue;
        }
        let source = fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(has_test(&source, test), "{path} has no test {test}");
        named += 1;
    }
    assert!(named > 80, "only {named} tests found");
}

#[test]
fn every_named_script_and_page_exists() {
    for path in code().filter(|code| [".ci/", "deploy/", "deny.toml"].iter().any(|at| code.starts_with(at))) {
        assert!(root().join(path).exists(), "{path}");
    }
}

#[test]
fn every_requirement_of_level_1_is_judged_once_and_in_order() {
    let judged: Vec<_> = rows().flat_map(|cells| cells[0].split(", ").collect::<Vec<_>>()).collect();
    assert_eq!(judged, LEVEL_1.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn every_requirement_has_a_verdict_and_what_shows_it() {
    for cells in rows() {
        assert_eq!(cells.len(), 5, "{cells:?}");
        assert!(["Met", "In part", "Proxy", "—"].contains(&cells[2]), "{cells:?}");
        assert!(!cells[3].is_empty() || !cells[4].is_empty(), "{cells:?}");
        // Only requirements that do not apply or are the proxy's need no test.
        assert!(!cells[4].is_empty() || ["Proxy", "—"].contains(&cells[2]), "{cells:?}");
    }
    assert!(!SECURITY.contains("TODO"));
}
