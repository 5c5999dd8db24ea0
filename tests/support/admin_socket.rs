//! The admin socket, asked as the commands of the executable ask it.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::secrets;

/// What is granted, or the refusal. `None`: no answer.
pub fn ask(dir: &Path, request: &Value) -> Option<Result<Value, Value>> {
    exchange(UnixStream::connect(dir.join("control.sock")).ok()?, request)
}

/// The same on a connection.
pub fn exchange(mut stream: UnixStream, request: &Value) -> Option<Result<Value, Value>> {
    let user = &request["add_user"];
    if user.is_object() {
        secrets::user(user);
        secrets::passwords(user);
    }
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    send(&mut stream, request.to_string().as_bytes()).ok()?;
    let answer: Value = serde_json::from_slice(&receive(&mut stream).ok()?).unwrap();
    Some(match answer.get("Err") {
        Some(refusal) => Err(refusal.clone()),
        None => Ok(answer["Ok"].clone()),
    })
}

/// Sends a message.
pub fn send(stream: &mut UnixStream, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length, message].concat())
}

/// Receives a message.
pub fn receive(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// A request to add a user.
pub fn add_user(name: &str, password: &str, role: &str) -> Value {
    json!({ "add_user": { "username": name, "password": password, "role": role } })
}

/// A request to rotate the keys.
pub fn rotate_keys() -> Value {
    json!({ "rotate_keys": { "revoke": false } })
}
