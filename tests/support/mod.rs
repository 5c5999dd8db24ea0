//! Shared test code: a client on a raw socket, a server inside the test with a manual clock, and the real
//! executable.

#![allow(dead_code, unused_imports)] // no test uses all of it
#![allow(unreachable_pub)]

pub mod admin_socket;
mod client;
pub mod conformance;
pub mod fill;
pub mod mounts;
mod process;
mod random;
pub mod secrets;
mod server;

pub use client::{Client, Reply, request};
pub use process::{Ended, Process, gatelet, log_file, memory_kib, serve, spoil_pages, temporary};
pub use random::Random;
pub use server::{TestServer, settings, start};

use serde_json::{Value, json};

/// Cheap hashes.
pub const CHEAP: &str = "ln=1,r=8,p=1";

/// The body of `/register` and `/login`.
pub fn credentials(name: &str, password: &str) -> Value {
    json!({ "username": name, "password": password })
}

/// The body of a login's answer.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub access: String,
    pub refresh: String,
}

impl Tokens {
    pub fn from_reply(reply: &Reply) -> Self {
        assert_eq!(reply.status, 200, "{reply:?}");
        let body = reply.json();
        Self {
            access: body["access_token"].as_str().unwrap().to_owned(),
            refresh: body["refresh_token"].as_str().unwrap().to_owned(),
        }
    }
}
