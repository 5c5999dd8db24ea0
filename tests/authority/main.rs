//! What somebody may do is decided in the step that writes: nothing takes effect after the right to it was taken away.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod race;
mod step;
