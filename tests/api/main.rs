//! The wire contract, tested through a real socket: one file for each endpoint, bodies compared whole.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods)] // an error fails the test

#[path = "../support/mod.rs"]
mod support;

mod mint;
mod refusal;

mod addresses;
mod admin;
mod api_page;
mod automatic_backups;
mod blocklist;
mod bodies;
mod claims;
mod client_disconnect;
mod clock;
mod cors;
mod dev;
mod end_sessions;
mod forged_claims;
mod forgery;
mod generic;
mod health;
mod login;
mod logout;
mod matrix;
mod metrics;
mod openapi;
mod overload;
mod paseto_keys;
mod password;
mod password_rules;
mod refresh;
mod refresh_rotation;
mod register;
mod registration_closed;
mod session;
mod session_lifetime;
mod target;
mod throttle;
mod user;
mod usernames;
mod verify;
