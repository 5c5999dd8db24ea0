//! Values that all rooms share: time, users and their names, sessions, keys, networks.

pub mod clock;
pub mod key;
pub mod network;
pub mod session;
pub mod user;
