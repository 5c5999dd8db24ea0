//! The rooms of the map in src/lib.rs: each uses only rooms below it; and no files use each other in a circle.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const LIB: &str = include_str!("../src/lib.rs");

/// The rooms of each line of the map, from the top.
fn map() -> Vec<Vec<&'static str>> {
    let block = LIB.split("```").nth(1).unwrap();
    let lines = block.lines().filter_map(|line| line.strip_prefix("//! "));
    let lines = lines.filter(|line| !line.is_empty());
    lines.map(|line| line.split(", ").map(str::trim).collect()).collect()
}

fn place(map: &[Vec<&str>], room: &str) -> usize {
    let place = map.iter().position(|line| line.contains(&room));
    place.unwrap_or_else(|| panic!("{room} is not on the map in src/lib.rs"))
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if fs::metadata(&path).unwrap().is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The rooms that a file uses, outside its unit tests.
fn used(code: &str) -> BTreeSet<&str> {
    let code = code.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let paths = lines.flat_map(|line| line.split("crate::").skip(1));
    paths.map(|path| path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap()).collect()
}

/// The paths that a file's `use` lines name, braces resolved.
fn imports(code: &str) -> Vec<String> {
    let code = code.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code: String = lines.map(|line| format!("{line}\n")).collect();
    let mut found = Vec::new();
    for statement in code.split(';') {
        let Some((before, path)) = statement.rsplit_once("use ") else { continue };
        let is_use =
            before.lines().last().is_none_or(|line| line.trim().is_empty() || line.trim().starts_with("pub"));
        if is_use {
            expand("", &path.split_whitespace().collect::<String>(), &mut found);
        }
    }
    found
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn expand(prefix: &str, path: &str, found: &mut Vec<String>) {
    let Some((before, inner)) = path.split_once('{') else {
        return found.push(format!("{prefix}{path}"));
    };
    let inner = inner.strip_suffix('}').unwrap();
    let (mut depth, mut begin) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if at > begin {
                    expand(&format!("{prefix}{before}"), &inner[begin..at], found);
                }
                begin = at + 1;
            }
            _ => {}
        }
    }
}

/// The module of a file, as the parts of its path.
fn module(path: &Path) -> Vec<String> {
    let mut parts: Vec<_> =
        path.iter().map(|part| part.to_str().unwrap().trim_end_matches(".rs").to_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    parts
}

/// Which file a path leads to, seen from a module.
fn target(path: &str, from: &[String], files: &BTreeMap<Vec<String>, PathBuf>) -> Option<Vec<String>> {
    let mut parts = path.split("::").peekable();
    let mut at = match parts.peek() {
        Some(&"crate") => Vec::new(),
        Some(&"super" | &"self") => from.to_vec(),
        _ => [from, &[parts.peek()?.to_string()]].concat(), // a child of this module, or a crate
    };
    for part in parts {
        match part {
            "crate" | "self" => {}
            "super" => drop(at.pop()),
            _ => {
                let next = [&at[..], &[part.to_owned()]].concat();
                if files.contains_key(&next) {
                    at = next;
                }
            }
        }
    }
    (files.contains_key(&at) && !at.is_empty()).then_some(at)
}

/// A module's face hands on what its children have; what a child uses of the face's own is not counted.
#[test]
fn no_files_use_each_other_in_a_circle() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&src, &mut all);
    let modules: BTreeMap<_, _> =
        all.into_iter().map(|file| (module(file.strip_prefix(&src).unwrap()), file)).collect();
    let mut uses: BTreeMap<&[String], BTreeSet<Vec<String>>> = BTreeMap::new();
    for (from, file) in &modules {
        let code = fs::read_to_string(file).unwrap();
        let targets = imports(&code).into_iter().filter_map(|path| target(&path, from, &modules));
        uses.insert(from, targets.filter(|to| to != from && !from.starts_with(to)).collect());
    }
    assert!(uses.values().map(BTreeSet::len).sum::<usize>() > 300, "the imports are not found");
    // What uses nothing that is left, or is used by nothing that is left, is taken away until only circles are left.
    loop {
        let left: BTreeSet<Vec<String>> = uses.keys().map(|from| from.to_vec()).collect();
        let before = uses.len();
        let used: BTreeSet<Vec<String>> = uses.values().flatten().cloned().collect();
        uses.retain(|from, targets| used.contains(*from) && targets.iter().any(|to| left.contains(to)));
        if uses.len() == before {
            break;
        }
    }
    let left: Vec<_> = uses.keys().map(|from| from.join("/")).collect();
    assert!(left.is_empty(), "circles among {left:#?}");
}

#[test]
fn every_room_is_on_the_map_and_on_it_once() {
    let map = map();
    let rooms: Vec<_> = map.iter().flatten().copied().collect();
    let modules = LIB.lines().filter_map(|line| line.strip_suffix(';')?.rsplit_once("mod "));
    let mut declared: Vec<_> = modules.map(|(_, name)| name).chain(["main"]).collect();
    let mut on_map = rooms.clone();
    declared.sort_unstable();
    on_map.sort_unstable();
    assert_eq!(on_map, declared);
}

#[test]
fn no_arrow_runs_back_and_there_is_no_circle() {
    let map = map();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&src, &mut all);
    let (mut back, mut arrows) = (Vec::new(), 0);
    for file in all {
        let path = file.strip_prefix(&src).unwrap();
        let room = path.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        if room == "lib" || room == "main" {
            continue;
        }
        let code = fs::read_to_string(&file).unwrap();
        for used in used(&code).into_iter().filter(|used| *used != room) {
            arrows += 1;
            // Strictly below: rooms of one line do not use each other.
            if place(&map, used) <= place(&map, room) {
                back.push(format!("{} uses {used}", path.display()));
            }
        }
    }
    assert!(arrows > 100, "{arrows}");
    assert!(back.is_empty(), "{}", back.join("\n"));
}

#[test]
fn each_crate_is_named_in_its_own_folder_alone() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&src, &mut all);
    for (name, folder) in [
        ("sled::", "store/sled"),
        ("bincode", "store/record.rs"),
        ("prometheus_client", "metrics"),
        ("pasetors::", "token"),
        ("warp::", "http"),
        ("hyper::", "http"),
        ("utoipa", "http/api"),
        ("ManuallyDrop", "store/sled"),
        ("mem::forget", "store/sled"),
    ] {
        for file in &all {
            let path = file.strip_prefix(&src).unwrap().to_str().unwrap();
            let code = fs::read_to_string(file).unwrap();
            let names = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            // `self::sled` and `super::sled` are our own folder.
            let names = names.map(|line| {
                let ours = ["self::sled::", "super::sled::", "sled::Resumed"];
                ours.iter().fold(line.to_owned(), |line, ours| line.replace(ours, ""))
            });
            let is_named = names.into_iter().any(|line| line.contains(name));
            assert!(!is_named || path.starts_with(folder), "{path} names {name}");
        }
    }
}
