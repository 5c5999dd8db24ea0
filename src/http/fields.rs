//! The fields of bodies that more than one request has.

use serde_json::Value;

use super::request::Document;
use crate::domain::user::{NewName, Role, UnknownRole, Username, Usernames};
use crate::password::{Password, Policy};

/// `username`: a name for a new user.
pub(super) fn username(body: &mut Document, rule: Usernames) -> Option<NewName> {
    match rule.new_name(&body.text("username")?) {
        Ok(name) => Some(name),
        Err(error) => {
            body.refuse("username", error.to_string());
            None
        }
    }
}

/// A password to be set, for the user of that name.
pub(super) fn new_password(
    body: &mut Document,
    field: &'static str,
    policy: &Policy,
    name: Option<&Username>,
) -> Option<Password> {
    let password = Password::typed(&body.text(field)?);
    match policy.check(&password, name) {
        Ok(()) => Some(password),
        Err(error) => {
            body.refuse(field, error.to_string());
            None
        }
    }
}

/// `role`, which may be left out.
pub(super) fn role(body: &mut Document) -> Option<Role> {
    match body.optional("role")? {
        Value::String(text) => match text.parse() {
            Ok(role) => Some(role),
            Err(UnknownRole) => refuse(body, "role", "Must be one of: user, admin."),
        },
        Value::Null => refuse(body, "role", "Field may not be null."),
        _ => refuse(body, "role", "Not a valid string."),
    }
}

/// A field that is true or false and may be left out.
pub(super) fn flag(body: &mut Document, field: &'static str) -> Option<bool> {
    match body.optional(field)? {
        Value::Bool(flag) => Some(flag),
        Value::Null => refuse(body, field, "Field may not be null."),
        _ => refuse(body, field, "Not a valid boolean."),
    }
}

fn refuse<T>(body: &mut Document, field: &'static str, text: &str) -> Option<T> {
    body.refuse(field, text.to_owned());
    None
}
