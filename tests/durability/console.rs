//! Asks the console of a running server, as `gatelet key rotate` does.

use std::path::Path;

use serde_json::Value;

/// Status and body. `None`: no answer.
pub fn ask(dir: &Path, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = gatelet::http::admin::connect(dir).await.ok()?;
        let reply = gatelet::http::admin::ask(stream, method.parse().unwrap(), path, body).await.ok()?;
        Some((reply.status.as_u16(), reply.body))
    })
}

/// The ids of the keys in an answer, and that of the one that signs new tokens.
pub fn key_ids(body: &Value) -> (Vec<String>, String) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let keys = body["keys"].as_array().unwrap();
    let active = keys.iter().find(|key| key["state"] == "active" && key["use"] == "access tokens").unwrap();
    (keys.iter().map(|key| text(&key["kid"])).collect(), text(&active["kid"]))
}
