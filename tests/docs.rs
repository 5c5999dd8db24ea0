//! The README and docs/ are true: their commands answer as printed, their tables match the code, their links resolve,
//! and docs/troubleshoot.md explains all warnings and errors of the log and all reasons why a start fails.
//!
//! Commands are in blocks marked `console`. One shell runs all commands of a document, in a directory whose `data` a
//! running server uses. A comment `<!-- server: … -->` gives that server's flags. The test replaces the port of every
//! address `127.0.0.1:…` by a free one. In the expected output, `…` matches anything on its line.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods)] // an error fails the test

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory;
use gatelet::cli::args::{self, Cli, Command as Cmd};

use support::{CHEAP, Process, gatelet, temporary};

const README: &str = include_str!("../README.md");
const REFERENCE: &str = include_str!("../docs/reference.md");
const TROUBLESHOOT: &str = include_str!("../docs/troubleshoot.md");

/// A command of a console block, and the output printed below it.
struct Step {
    command: String,
    printed: String,
}

fn steps(document: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in document.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step { command: command.into(), printed: String::new() }),
                None => writeln!(steps.last_mut().unwrap().printed, "{line}").unwrap(),
            },
        }
    }
    steps.retain(|step| !step.command.starts_with("cargo ")); // the test itself has done that
    steps
}

/// The flags that a document's server has.
fn flags(document: &str) -> Vec<&str> {
    let comment = document.split("<!-- server: ").nth(1);
    comment.map(|rest| rest.split(" -->").next().unwrap().split(' ').collect()).unwrap_or_default()
}

/// Replaces the ports in the text by free ones.
fn with_free_ports(document: &str, ports: &mut BTreeMap<String, TcpListener>) -> String {
    const HOST: &str = "127.0.0.1:";
    let mut parts = document.split(HOST);
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        // Keep the port until the server starts, so that all are different.
        let free = ports
            .entry(part[..end].to_owned())
            .or_insert_with(|| TcpListener::bind((HOST.trim_end_matches(':'), 0)).unwrap());
        write!(text, "{}{}", free.local_addr().unwrap(), &part[end..]).unwrap();
    }
    text
}

/// Whether `text` matches `pattern`, in which `…` matches anything on its line.
fn fits(text: &str, pattern: &str) -> bool {
    let (lines, patterns): (Vec<_>, Vec<_>) = (text.lines().collect(), pattern.lines().collect());
    lines.len() == patterns.len()
        && lines.iter().zip(patterns).all(|(line, pattern)| line_fits(line.trim_end(), pattern.trim_end()))
}

fn line_fits(line: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// A `PATH` with the built executable first, as after an installation.
fn path_with_gatelet() -> OsString {
    let own = Path::new(env!("CARGO_BIN_EXE_gatelet")).parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap();
    std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&path))).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run_all(document: &str) {
    let dir = temporary();
    let mut ports = BTreeMap::new();
    let document = with_free_ports(document, &mut ports);
    let listen =
        ports.remove("5000").map_or("127.0.0.1:0".to_owned(), |port| port.local_addr().unwrap().to_string());
    drop(ports);
    let mut serve = gatelet();
    serve
        .args(["serve", "--data-dir", "data", "--scrypt", CHEAP, "--listen", &listen])
        .args(flags(&document));
    let _server = Process::spawn(serve.current_dir(dir.path())).unwrap();
    let steps = steps(&document);
    assert!(steps.len() > 2, "only {} commands found", steps.len());

    // A mark after each command separates the outputs.
    const MARK: &str = "==end of step==";
    let mut script = String::from("set -u\n");
    for step in &steps {
        writeln!(script, "{}\necho; echo '{MARK}'", step.command).unwrap();
    }
    let output = Command::new("bash")
        .arg("-c")
        .arg(script)
        .current_dir(dir.path())
        .env("PATH", path_with_gatelet())
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    let output = String::from_utf8(output.stdout).unwrap();
    let mut outputs = output.split(MARK);
    for step in &steps {
        let printed = outputs.next().unwrap().trim();
        assert!(
            fits(printed, step.printed.trim_end()),
            "{}\nanswered\n{printed}\nnot\n{}\nwith these complaints:\n{complaints}",
            step.command,
            step.printed
        );
    }
}

#[test]
fn every_command_of_the_readme_answers_as_printed() {
    run_all(README);
}

#[test]
fn every_command_of_reference_answers_as_printed() {
    run_all(REFERENCE);
}

#[test]
fn every_command_of_operate_answers_as_printed() {
    run_all(include_str!("../docs/operate.md"));
}

#[test]
fn every_command_of_integrate_answers_as_printed() {
    run_all(include_str!("../docs/integrate.md"));
}

#[test]
fn every_command_of_migrate_answers_as_printed() {
    run_all(include_str!("../docs/migrate.md"));
}

#[test]
fn every_command_of_troubleshoot_answers_as_printed() {
    run_all(TROUBLESHOOT);
}

#[test]
fn the_table_of_settings_is_that_of_the_help() {
    let command = Cli::command();
    let mut rows = 0;
    for arg in command.get_arguments() {
        let Some(flag) = arg.get_long().filter(|flag| !["help", "version"].contains(flag)) else {
            continue;
        };
        let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}` ") };
        let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let switch = !arg.get_action().takes_values();
        let default = match arg.get_default_values().first() {
            _ if switch && variable.is_empty() => String::new(), // a flag of an action, not a setting
            _ if switch => "off".to_owned(),
            Some(value) => value.to_string_lossy().into_owned(),
            None => String::new(),
        };
        let help = arg.get_help().unwrap();
        let row = format!("| `--{flag}` | {}| {}| {help} |", code(&variable), code(&default));
        assert!(REFERENCE.contains(&row), "docs/reference.md has no row\n{row}");
        rows += 1;
    }
    let written = REFERENCE.lines().filter(|line| line.starts_with("| `--")).count();
    assert_eq!(written, rows, "docs/reference.md has rows for unknown settings");
}

#[test]
fn every_exit_code_is_explained() {
    use gatelet::exit::Exit;
    for exit in [Exit::Stopped, Exit::Other, Exit::Usage, Exit::Damaged, Exit::Unavailable, Exit::StoreFailed]
    {
        assert!(REFERENCE.contains(&format!("\n| {} | ", exit.code())), "{exit:?}");
        assert!(TROUBLESHOOT.contains(&format!("\n## Exit code {}", exit.code())), "{exit:?}");
    }
}

/// All files below `folder` whose names end in `.extension`.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
    }
    files
}

/// All files of the source, without their unit tests.
fn sources() -> Vec<(PathBuf, String)> {
    let with_code = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text.split("#[cfg(test)]").next().unwrap().to_owned())
    };
    files("src", "rs").into_iter().map(with_code).collect()
}

/// The first string literal after `call`, as the source has it.
fn literal(call: &str) -> String {
    let literal = call.split_once('"').unwrap().1.replace("\\\"", "\u{1}");
    let literal = literal.split('"').next().unwrap().replace('\u{1}', "\"");
    // A backslash at the end of a line swallows the next one's indentation.
    literal.split("\\\n").map(str::trim_start).collect()
}

/// The longest part of a text without placeholders.
fn constant_part(literal: &str) -> &str {
    let parts = literal.split('{').map(|part| part.rsplit('}').next().unwrap());
    parts.max_by_key(|part| part.len()).unwrap().trim()
}

/// The description in an error text, without the advice: up to the first colon behind a constant part, with `…` for
/// placeholders.
fn complaint(literal: &str) -> String {
    let clause = literal.split(": ").find(|clause| !constant_part(clause).is_empty()).unwrap();
    let mut parts = clause.split('{');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| text + "…" + part.split_once('}').unwrap().1)
}

/// The page without its line breaks.
fn explained() -> String {
    TROUBLESHOOT.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_warning_and_error_in_the_log_is_explained() {
    let explained = explained();
    let mut missing = Vec::new();
    let mut found = 0;
    for (path, code) in sources() {
        for macro_call in ["log::warn!(", "log::error!("] {
            for call in code.split(macro_call).skip(1) {
                let literal = literal(call);
                let text = constant_part(&literal);
                found += 1;
                if text.len() > 3 && !explained.contains(text) {
                    missing.push(format!("{}: {text}", path.display()));
                }
            }
        }
    }
    assert!(found > 20, "{found}");
    assert!(missing.is_empty(), "docs/troubleshoot.md does not explain\n{}", missing.join("\n"));
}

#[test]
fn every_warning_about_settings_is_explained() {
    let page = explained();
    let lines: Vec<_> = page.split('`').collect();
    let (weak, dev) = (&["--password-min-length=4", "--scrypt=ln=5,r=8,p=1"][..], &["--dev"][..]);
    for (flags, warnings) in [(weak, 2), (dev, 1)] {
        let args = std::iter::once(&"gatelet").chain(flags).map(OsString::from);
        let Ok(Cmd::Serve(settings)) = args::parse(args, std::iter::empty()) else { panic!("{flags:?}") };
        assert_eq!(settings.warnings().len(), warnings, "{flags:?}");
        for warning in settings.warnings() {
            assert!(lines.iter().any(|line| line_fits(&warning, line)), "not explained: {warning}");
        }
    }
}

#[test]
fn every_reason_not_to_start_is_explained() {
    let explained = explained();
    let files = ["src/app/mod.rs", "src/store/open_error.rs", "src/token/key_files.rs"];
    let (mut missing, mut found) = (Vec::new(), 0);
    for (path, code) in
        sources().into_iter().filter(|(path, _)| files.iter().any(|file| path.ends_with(file)))
    {
        for macro_call in
            ["write!(", "f.write_str(", "#[error(", "return format!(", "=> format!(", "\n    format!("]
        {
            let texts = code.split(macro_call).skip(1).map(literal);
            // Some are put together by a function, and found there.
            for text in texts.filter(|text| !constant_part(text).is_empty()).map(|text| complaint(&text)) {
                found += 1;
                if !explained.contains(&text) {
                    missing.push(format!("{}: {text}", path.display()));
                }
            }
        }
    }
    assert!(found > 15, "{found}");
    assert!(missing.is_empty(), "docs/troubleshoot.md does not explain\n{}", missing.join("\n"));
}

#[test]
fn the_readme_has_at_most_a_thousand_words() {
    let words = README.split_whitespace().count();
    assert!(words <= 1000, "{words}: details belong in docs/");
}

/// The pages whose links are followed: those of the project's folder, and all below docs/.
fn pages() -> Vec<PathBuf> {
    let mut pages = files("docs", "md");
    pages.extend(
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root().join(name)),
    );
    pages
}

/// The lines of a page outside its blocks of code.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    page.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        inside ^= is_fence;
        !inside && !is_fence
    })
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = prose(page).filter(|line| line.starts_with('#'));
    let texts = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase());
    let is_kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
    texts.map(|text| text.chars().filter(is_kept).collect::<String>().replace(' ', "-")).collect()
}

/// The targets of a page's links, except links to other hosts.
fn links(page: &str) -> Vec<&str> {
    let after = prose(page).flat_map(|line| line.split("](").skip(1));
    after.map(|rest| rest.split(')').next().unwrap()).filter(|target| !target.contains("://")).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut followed = 0;
    for path in pages() {
        let page = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for link in links(&page) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
            assert!(target.exists(), "{} links to {link}, which does not exist", path.display());
            if !anchor.is_empty() {
                let there = anchors(&fs::read_to_string(&target).unwrap());
                assert!(there.contains(anchor), "{} links to {link}: no such heading", path.display());
            }
            followed += 1;
        }
    }
    assert!(followed > 80, "only {followed} links found");
}
