//! Compares every answer with `/openapi.json`, taken from the first server that a test process starts.
//!
//! Left out: requests that the document does not describe, such as unknown paths, and answers to malformed
//! HTTP.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use jsonschema::Validator;
use serde_json::Value;

use super::Reply;

static DOCUMENT: OnceLock<Document> = OnceLock::new();

struct Document {
    text: Value,
    /// By the schema's JSON pointer.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

/// Takes the document, unless one has been taken.
pub fn learn(fetch: impl FnOnce() -> Value) {
    DOCUMENT.get_or_init(|| Document { text: fetch(), validators: Mutex::default() });
}

/// Fails if the document does not describe the answer to the request.
pub fn check(method: &str, target: &str, reply: &Reply) {
    let Some(document) = DOCUMENT.get() else {
        return;
    };
    let case = || format!("{method} {target}: {reply:?}");
    let path = target.split('?').next().unwrap_or_default();
    let Some(template) = document.template(path) else {
        return;
    };
    let operations = &document.text["paths"][template];
    // `/verify` answers all methods like GET.
    let name = if method == "HEAD" || path == "/verify" { "get" } else { &*method.to_ascii_lowercase() };
    if operations.get(name).is_none() {
        assert_eq!(reply.status, if method == "OPTIONS" { 204 } else { 405 }, "{}", case());
        return;
    }
    let status = reply.status.to_string();
    let place = ["/paths/", &escape(template), "/", name, "/responses/", &status].concat();
    let described =
        document.text.pointer(&place).unwrap_or_else(|| panic!("not in the document: {}", case()));
    let place = described["$ref"].as_str().map_or(place, |shared| shared.trim_start_matches('#').to_owned());
    let described = document.text.pointer(&place).unwrap();
    let Some(content) = described["content"].as_object() else {
        assert!(reply.body.is_empty() && reply.header("content-type").is_none(), "{}", case());
        return;
    };
    let declared = reply.header("content-type").unwrap_or_default();
    let essence = declared.split(';').next().unwrap_or_default();
    assert!(content.contains_key(essence), "{}", case());
    if essence == "application/json" && method != "HEAD" {
        let errors = document.errors(&(place + "/content/application~1json/schema"), &reply.json());
        assert!(errors.is_empty(), "{errors:#?}: {}", case());
    }
}

/// A key escaped for a JSON pointer.
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

impl Document {
    /// The document's path for this one: paths without parameters come before those with some.
    fn template(&self, path: &str) -> Option<&str> {
        let segments = |path: &str| {
            path.strip_suffix('/').unwrap_or(path).split('/').map(str::to_owned).collect::<Vec<_>>()
        };
        let path = segments(path);
        let fits = |template: &str| {
            let template = segments(template);
            let mut pairs = template.iter().zip(&path);
            template.len() == path.len()
                && pairs.all(|(wanted, segment)| {
                    wanted == segment || wanted.starts_with('{') && !segment.is_empty()
                })
        };
        let templates = self.text["paths"].as_object().unwrap().keys().map(String::as_str);
        templates.filter(|template| fits(template)).min_by_key(|template| template.contains('{'))
    }

    fn errors(&self, schema: &str, body: &Value) -> Vec<String> {
        let mut validators = self.validators.lock().unwrap();
        let validator = Arc::clone(validators.entry(schema.to_owned()).or_insert_with(|| {
            let mut root = self.text.pointer(schema).unwrap().clone();
            root["components"] = self.text["components"].clone(); // the target of references
            Arc::new(jsonschema::options().should_validate_formats(true).build(&root).unwrap())
        }));
        drop(validators);
        validator.iter_errors(body).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }
}
