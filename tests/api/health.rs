//! `GET /healthz`, `GET /readyz`

use serde_json::json;

use crate::refusal::expect;
use crate::support::TestServer;

#[test]
fn a_running_server_is_alive_and_ready() {
    let server = TestServer::in_memory();
    for _ in 0..3 {
        expect(&server.call("GET", "/healthz", None, None), 200, &json!({"status": "alive"}), "alive");
        expect(&server.call("GET", "/readyz", None, None), 200, &json!({"status": "ready"}), "ready");
    }
}

#[test]
fn a_token_is_neither_needed_nor_checked() {
    let server = TestServer::in_memory();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.call("GET", path, Some("garbage"), None).status, 200, "{path}");
    }
}
