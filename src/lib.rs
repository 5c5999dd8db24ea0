//! Gatelet: accounts, logins and tokens for small systems, as one binary with its store inside.
//!
//! The map, from the edge inwards; an arrow never points back:
//!
//! ```text
//! main ─▶ command ─▶ server ─▶ http ─▶ service ─▶ {audit, backup}
//!      ─▶ {store, password, token, throttle} ─▶ {metrics, user, session, key, network, clock}
//! ```
//!
//! [`settings`] names the commands' arguments, and they read it.
//!
//! What holds everywhere:
//!
//! * An answer of 2xx that changed something is on stable storage before it is sent ([`store`]).
//! * No answer rests on what a power cut could still undo, unless it refuses.
//! * Nothing below [`http`] knows a status code; nothing outside [`store`] knows sled; only [`password`] names
//!   scrypt and its like, and only [`token`] names PASETO.
//! * Time is asked for in [`clock`] alone; it never runs backwards.
//! * Passwords, keys and hashes are types that cannot be printed.

pub mod audit;
pub mod backup;
pub mod clock;
pub mod command;
mod durable_file;
pub mod exit;
pub mod http;
pub mod key;
pub mod listen;
pub mod logging;
mod machine;
pub mod metrics;
pub mod network;
pub mod password;
mod random;
pub mod server;
pub mod service;
pub mod session;
pub mod settings;
pub mod signals;
pub mod store;
pub mod text;
pub mod throttle;
pub mod token;
pub mod user;
mod visible;
