//! Keys, as the admin socket tells of them.

use serde_json::Value;

/// The ids of the keys in an answer, and that of the one that signs new tokens.
pub fn key_ids(body: &Value) -> (Vec<String>, String) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let keys = body["keys"].as_array().unwrap();
    let active = keys.iter().find(|key| key["state"] == "active" && key["use"] == "access tokens").unwrap();
    (keys.iter().map(|key| text(&key["kid"])).collect(), text(&active["kid"]))
}
