//! The YAML files in `deploy/`. Compose checks its file. Traefik cannot be installed here, so its file is compared with
//! Gatelet's answers.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::installed;
use crate::support::{Process, Reply, Tokens, credentials, temporary};

/// A file of `deploy/`, parsed by PyYAML.
fn yaml(text: &str) -> Value {
    let mut python = Command::new(installed("venv/bin/python"));
    python.args(["-c", "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"]);
    let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
#[ignore = "needs docker-compose and PyYAML: .ci/run installs them"]
fn compose_accepts_the_file_and_limits_the_container() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/compose.yaml");
    let mut compose = Command::new("docker-compose");
    let output = compose.arg("--file").arg(file).arg("config").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let file = yaml(include_str!("../../deploy/compose.yaml"));
    let gatelet = &file["services"]["gatelet"];
    assert_eq!(gatelet["read_only"], true);
    assert_eq!(gatelet["cap_drop"], json!(["ALL"]));
    assert_eq!(gatelet["security_opt"], json!(["no-new-privileges:true"]));
    assert_eq!(gatelet["ulimits"]["core"], 0, "keys and passwords stay in memory");
    assert_eq!(gatelet["ports"], json!(["127.0.0.1:5000:5000"]), "on loopback alone");
    assert_eq!(gatelet["volumes"], json!(["data:/data"]));
    assert_eq!((&gatelet["mem_limit"], &gatelet["memswap_limit"]), (&json!("512m"), &json!("512m")));
    assert_eq!(gatelet["pids_limit"], 512);
    let network = &file["networks"]["default"]["ipam"]["config"][0];
    let trusted = &gatelet["environment"]["GATELET_TRUSTED_PROXIES"];
    assert_eq!(trusted, &network["gateway"], "no container is a trusted proxy");
}

/// The names of the headers that identify the user.
fn identity(reply: &Reply) -> BTreeSet<&str> {
    reply.headers.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("remote-")).collect()
}

#[test]
#[ignore = "needs PyYAML: .ci/run installs it"]
fn gatelet_understands_the_requests_that_traefik_is_configured_to_send() {
    let data = temporary();
    let server = Process::start(data.path(), &[]);
    let mut client = server.client();
    client.post("/register", &credentials("anna", "correct horse"));
    let tokens = Tokens::from_reply(&client.post("/login", &credentials("anna", "correct horse")));
    let http = &yaml(include_str!("../../deploy/traefik.yml"))["http"];
    let guards: Vec<_> = http["middlewares"]
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(name, middleware)| Some((name.as_str(), middleware.get("forwardAuth")?)))
        .collect();
    assert_eq!(guards.len(), 3);
    for (name, guard) in guards {
        let place = guard["address"].as_str().unwrap().strip_prefix("http://127.0.0.1:5000").unwrap();
        let reply = client.call("GET", place, Some(&tokens.access), None);
        if name == "guard-admin" {
            // An unknown demand is a 403 too, but with a message.
            assert_eq!((reply.status, reply.json()), (403, json!({"code": 403, "status": "Forbidden"})));
        } else {
            assert_eq!(reply.status, 200, "{name}");
            let handed_on = guard["authResponseHeaders"].as_array().unwrap();
            let handed_on = handed_on.iter().map(|header| header.as_str().unwrap().to_lowercase()).collect();
            assert_eq!(identity(&reply).into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), handed_on);
        }
        for header in guard["authResponseHeaders"].as_array().unwrap() {
            let forgotten = &http["middlewares"]["forget-identity"]["headers"]["customRequestHeaders"];
            assert_eq!(forgotten[header.as_str().unwrap()], "", "{header}");
        }
        assert_eq!(guard["authRequestHeaders"], json!(["Authorization"]), "{name}");
        assert_eq!(guard.get("trustForwardHeader"), None, "{name}: clients could name any address");
    }
    let routers =
        http["routers"].as_object().unwrap().iter().filter(|(_, router)| router["service"] != "gatelet");
    for (name, router) in routers {
        let middlewares: Vec<_> =
            router["middlewares"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let ["forget-identity", "clear-path", guard, "forget-token"] = middlewares[..] else {
            panic!("{name}: {middlewares:?}");
        };
        assert!(http["middlewares"][guard].get("forwardAuth").is_some(), "{name}: {guard}");
    }
}
