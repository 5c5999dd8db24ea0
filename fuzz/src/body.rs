//! Request bodies: the reader of JSON objects agrees with a model that finds the members of the text by itself.

use std::collections::{BTreeMap, BTreeSet};

use gatelet::http::fuzzing::{BODY_MAX, Refused, texts};
use serde_json::Value;

use crate::input::Input;

const FIELDS: [&str; 2] = ["username", "password"];

pub fn run(mut input: Input<'_>, broken: bool) {
    let chunk = usize::from(input.byte()) + 1;
    let padding = input.byte();
    let mut body = input.rest().to_vec();
    if padding >= 0x80 {
        // White space brings it near the limit.
        let missing = (BODY_MAX - 4 + usize::from(padding & 7)).saturating_sub(body.len());
        body.splice(0..0, std::iter::repeat_n(b' ', missing));
    }
    let seen = if broken { &without_repetitions(&body) } else { &body };
    let read = texts(&seen.chunks(chunk).collect::<Vec<_>>(), &FIELDS);
    assert_eq!(read, model(&body), "{:?}", String::from_utf8_lossy(&body));
}

/// The bug: of a name that comes again the last value counts, and nothing is said.
fn without_repetitions(body: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) if value.is_object() && body.len() <= BODY_MAX => value.to_string().into_bytes(),
        _ => body.to_vec(),
    }
}

fn model(body: &[u8]) -> Result<Vec<String>, Refused> {
    if body.len() > BODY_MAX {
        return Err(Refused::TooLarge);
    }
    let members = match body {
        [] => Vec::new(),
        _ => match serde_json::from_slice(body) {
            Ok(Value::Object(_)) => members(body),
            Ok(_) => {
                let errors = BTreeMap::from([("_schema".to_owned(), vec!["Invalid input type.".to_owned()])]);
                return Err(Refused::Fields(errors));
            }
            Err(_) => return Err(Refused::NotJson),
        },
    };
    let mut errors = BTreeMap::<String, Vec<String>>::new();
    let mut wrong = |name: &str, what: &str| errors.entry(name.to_owned()).or_default().push(what.to_owned());
    let names: BTreeSet<_> = members.iter().map(|(name, _)| name.as_str()).collect();
    for name in &names {
        if members.iter().filter(|(found, _)| found == name).count() > 1 {
            wrong(name, "Given more than once.");
        }
    }
    let mut taken = Vec::new();
    for field in FIELDS {
        match members.iter().find(|(name, _)| name == field).map(|(_, value)| value) {
            Some(Value::String(text)) => taken.push(text.clone()),
            Some(Value::Null) => wrong(field, "Field may not be null."),
            Some(_) => wrong(field, "Not a valid string."),
            None => wrong(field, "Missing data for required field."),
        }
    }
    for name in names.iter().filter(|name| !FIELDS.contains(name)) {
        wrong(name, "Unknown field.");
    }
    if errors.is_empty() { Ok(taken) } else { Err(Refused::Fields(errors)) }
}

/// The members of a JSON text that is an object, in order, those that come again included.
fn members(object: &[u8]) -> Vec<(String, Value)> {
    let (mut members, mut name, mut begin) = (Vec::new(), None, 0);
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    for (at, byte) in object.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                if depth == 1 {
                    begin = at + 1;
                }
            }
            b':' if depth == 1 => {
                name = Some(serde_json::from_slice(&object[begin..at]).expect("a name"));
                begin = at + 1;
            }
            b',' | b'}' | b']' => {
                if depth == 1
                    && let Some(name) = name.take()
                {
                    members.push((name, serde_json::from_slice(&object[begin..at]).expect("a value")));
                    begin = at + 1;
                }
                depth -= i32::from(*byte != b',');
            }
            _ => {}
        }
    }
    members
}
