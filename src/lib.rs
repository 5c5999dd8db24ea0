//! Gatelet: accounts, logins and tokens for small systems, as one binary with its store inside.
//!
//! The map, from the edge inwards. A room uses only rooms that stand below it; `tests/arrows.rs` reads the imports.
//!
//! ```text
//! main
//! cli
//! app
//! config
//! http
//! service
//! audit
//! backup
//! machine
//! store, throttle, token
//! password
//! logging
//! metrics
//! domain
//! durable_file
//! exit, listen, random, signals, text, visible
//! ```
//!
//! What holds everywhere:
//!
//! * An answer of 2xx that changed something is on stable storage before it is sent ([`store`]).
//! * No answer rests on what a power cut could still undo, unless it refuses.
//! * Nothing below [`http`] knows a status code; nothing outside `store/sled` knows sled; only [`password`] names
//!   scrypt and its like, and only [`token`] names PASETO.
//! * Time is asked for in [`domain::clock`] alone; it never runs backwards.
//! * Passwords, keys and hashes are types that cannot be printed.

pub mod app;
pub mod audit;
pub mod backup;
pub mod cli;
pub mod config;
pub mod domain;
mod durable_file;
pub mod exit;
pub mod http;
pub mod listen;
pub mod logging;
mod machine;
pub mod metrics;
pub mod password;
mod random;
pub mod service;
pub mod signals;
pub mod store;
pub mod text;
pub mod throttle;
pub mod token;
mod visible;
