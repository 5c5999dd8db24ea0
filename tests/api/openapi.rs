//! `GET /openapi.json` is true. `support::conformance` compares every answer of these tests with it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::TestServer;

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

fn document(server: &TestServer) -> Value {
    let reply = server.call("GET", "/openapi.json", None, None);
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    reply.json()
}

fn paths(document: &Value) -> impl Iterator<Item = (&str, &Value)> {
    document["paths"].as_object().unwrap().iter().map(|(path, operations)| (path.as_str(), operations))
}

/// Every operation: path, method, object.
fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    paths(document).flat_map(|(path, operations)| {
        operations.as_object().unwrap().iter().map(move |(method, it)| (path, method.as_str(), it))
    })
}

/// Calls `look` at every object inside.
fn walk(value: &Value, look: &mut impl FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            look(object);
            object.values().for_each(|value| walk(value, look));
        }
        Value::Array(values) => values.iter().for_each(|value| walk(value, look)),
        _ => {}
    }
}

#[test]
fn every_path_of_the_document_accepts_its_methods_and_no_others() {
    let server = TestServer::in_memory();
    let document = document(&server);
    let mut client = server.client();
    // `/verify` takes any method: see tests/api/verify.rs.
    for (template, operations) in paths(&document).filter(|(template, _)| *template != "/verify") {
        let mut methods: BTreeSet<_> =
            operations.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        methods.insert("OPTIONS".to_owned());
        if methods.contains("GET") {
            methods.insert("HEAD".to_owned());
        }
        let path = template.replace("{id}", "me").replace("{file}", "start.js");
        let allow = client.call("OPTIONS", &path, None, None).header("allow").unwrap().to_owned();
        assert_eq!(allow.split(", ").map(str::to_owned).collect::<BTreeSet<_>>(), methods, "{template}");
        for method in METHODS {
            let status = client.call(method, &path, None, None).status;
            assert_eq!(status != 405, methods.contains(method), "{method} {path}: {status}");
            assert_ne!(status, 404, "{method} {path}");
        }
    }
}

#[test]
fn every_operation_describes_the_parameters_of_its_path_and_no_others() {
    let server = TestServer::in_memory();
    for (path, method, operation) in operations(&document(&server)) {
        let in_path: BTreeSet<_> = path.split(['{', '}']).skip(1).step_by(2).collect();
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let described = parameters.filter(|parameter| parameter["in"] == "path");
        let described: BTreeSet<_> = described.map(|parameter| parameter["name"].as_str().unwrap()).collect();
        assert_eq!(described, in_path, "{method} {path}");
    }
}

#[test]
fn the_document_is_openapi_3_1_and_whole() {
    let server = TestServer::in_memory();
    let document = document(&server);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut references = 0;
    walk(&document, &mut |object| {
        if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
            let place = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(place).is_some(), "{reference} leads nowhere");
            references += 1;
        }
    });
    assert!(references > 50, "only {references}");

    let ids: Vec<_> = operations(&document).map(|(_, _, it)| it["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an id twice: {ids:?}");
    let mut links = 0;
    for (path, method, operation) in operations(&document) {
        assert!(operation["summary"].is_string() && operation["tags"][0].is_string(), "{method} {path}");
        for response in operation["responses"].as_object().unwrap().values() {
            for link in response["links"].as_object().into_iter().flat_map(|links| links.values()) {
                let target = link["operationId"].as_str().unwrap();
                assert!(ids.contains(&target), "{method} {path}: a link to {target}");
                links += 1;
            }
        }
    }
    assert!(links > 5, "only {links}");
}

/// Behind a proxy's path prefix, an absolute path would lead to another application.
#[test]
fn the_document_names_its_server_by_a_relative_url() {
    let document = document(&TestServer::in_memory());
    assert_eq!(document["servers"], serde_json::json!([{"url": "."}]));
    walk(&document, &mut |object| {
        assert!(!object.contains_key("url") || object["url"] == ".", "{object:?}");
    });
}

#[test]
fn every_example_fits_its_schema() {
    let server = TestServer::in_memory();
    let document = document(&server);
    let mut examples = 0;
    walk(&document, &mut |object| {
        let Some(schema) = object.get("schema") else {
            return;
        };
        let several =
            object.get("examples").and_then(Value::as_object).into_iter().flat_map(|named| named.values());
        for example in several.map(|example| &example["value"]).chain(object.get("example")) {
            let mut schema = schema.clone();
            schema["components"] = document["components"].clone();
            let errors: Vec<_> = jsonschema::validator_for(&schema)
                .unwrap()
                .iter_errors(example)
                .map(|error| error.to_string())
                .collect();
            assert!(errors.is_empty(), "{example}: {errors:?}");
            examples += 1;
        }
    });
    assert!(examples > 30, "only {examples}");
}

#[test]
fn operations_that_need_a_token_say_so_and_refuse_without_one() {
    let server = TestServer::in_memory();
    let document = document(&server);
    let mut client = server.client();
    for (template, method, operation) in operations(&document) {
        let path = template.replace("{id}", "me").replace("{file}", "start.js");
        let status = client.call(&method.to_uppercase(), &path, None, None).status;
        assert_eq!(status == 401, operation["security"].is_array(), "{method} {path}: {status}");
    }
}

#[test]
fn the_document_gives_the_minimum_length_of_passwords() {
    for (args, shortest) in [(&[][..], 8), (&["--password-min-length", "15"], 15)] {
        let document = document(&TestServer::in_memory_with(args));
        assert_eq!(document["components"]["schemas"]["NewPassword"]["minLength"], shortest);
    }
}

#[test]
fn an_unchanged_document_is_not_sent_again() {
    let server = TestServer::in_memory();
    let mut client = server.client();
    let first = client.call("GET", "/openapi.json", None, None);
    let tag = first.header("etag").unwrap();
    let again = client.send("GET", "/openapi.json", &[("If-None-Match", tag)], None);
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(tag)));
    assert_eq!(again.header("cache-control"), Some("no-cache"));
}
