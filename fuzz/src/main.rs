//! Fuzz targets over the parsers that read what strangers write. `GATELET_FUZZ` names the target.
//!
//! Each target compares the program with an oracle. `GATELET_FUZZ_BREAK` names a target whose oracle is given a program
//! with a bug instead, and must notice it: `.ci/fuzz --prove`.

#![no_main]

mod backup;
mod body;
mod forwarded;
mod hash;
mod input;
mod keys;
mod record;
mod token;
mod users;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

use input::Input;

/// What a target does with one input. The flag asks for the program with the bug.
type Target = fn(Input<'_>, bool);

const TARGETS: [(&str, Target); 7] = [
    ("backup", backup::run),
    ("body", body::run),
    ("forwarded", forwarded::run),
    ("hash", hash::run),
    ("record", record::run),
    ("token", token::run),
    ("users", users::run),
];

static CHOSEN: OnceLock<(Target, bool)> = OnceLock::new();

fn chosen() -> (Target, bool) {
    let wanted = std::env::var("GATELET_FUZZ").unwrap_or_default();
    let broken = std::env::var("GATELET_FUZZ_BREAK").is_ok_and(|name| name == wanted);
    match TARGETS.into_iter().find(|(name, _)| *name == wanted) {
        Some((_, target)) => (target, broken),
        None => panic!("GATELET_FUZZ must be one of {:?}", TARGETS.map(|(name, _)| name)),
    }
}

fuzz_target!(|data: &[u8]| {
    let (target, broken) = *CHOSEN.get_or_init(chosen);
    target(Input::new(data), broken);
});
