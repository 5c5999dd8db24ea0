//! The rooms of the map in src/lib.rs: each uses only rooms below it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::collections::BTreeSet;
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
fn what_an_engine_is_made_of_is_named_in_its_folder_alone() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&src, &mut all);
    for (name, folder) in
        [("sled::", "store/sled"), ("bincode", "store/record.rs"), ("prometheus_client", "metrics")]
    {
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
