//! The step that writes a change decides whether it is allowed: no change takes effect after its right was revoked.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod race;
mod step;
