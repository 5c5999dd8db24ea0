//! Acknowledged changes survive kill -9, power cuts and interrupted starts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods)] // a failed check fails the test
#![allow(unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod backup;
mod client;
mod disk;
mod faults;
mod first_start;
mod keys;
mod kill;
mod ledger;
mod power_cut;
mod trial;
