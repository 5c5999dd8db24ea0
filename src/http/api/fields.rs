//! The kinds of fields that bodies have: how each is read, by what rule, and its schema.

use std::borrow::Cow;

use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};
use zeroize::Zeroizing;

use super::App;
use super::request::RequestBody;
use super::wire;
use crate::domain::user::{NewName, Role, USERNAME_MAX_CHARS, UnknownRole, Username, Usernames};
use crate::password::{Password, Policy};

/// The rules for names and passwords.
pub(super) struct Rules<'a> {
    usernames: Usernames,
    policy: &'a Policy,
    /// Whose password will be set: known beforehand, or read from the field before it.
    name: Option<Username>,
}

impl<'a> Rules<'a> {
    pub(super) fn of(app: &'a App) -> Self {
        Self { usernames: app.service.accounts.usernames(), policy: &app.policy, name: None }
    }

    /// The rules for a password of the user of that name.
    pub(super) fn with_name(self, name: &Username) -> Self {
        Self { name: Some(name.clone()), ..self }
    }
}

/// A kind of field.
pub(super) trait Field: Sized {
    /// Takes the field of that name out of `body`; `None` if it was refused there.
    fn take(body: &mut RequestBody, name: &'static str, rules: &mut Rules<'_>) -> Option<Self>;
}

/// Any text.
impl Field for Zeroizing<String> {
    fn take(body: &mut RequestBody, name: &'static str, _: &mut Rules<'_>) -> Option<Self> {
        body.text(name)
    }
}

/// A name for a new user.
pub(super) struct NewUsername(pub(super) NewName);

impl Field for NewUsername {
    fn take(body: &mut RequestBody, name: &'static str, rules: &mut Rules<'_>) -> Option<Self> {
        let username = rules.usernames.new_name(&body.text(name)?);
        let username = username.map_err(|error| body.refuse(name, wire::name_refused(error))).ok()?;
        rules.name = Some(Username::clone(&username));
        Some(Self(username))
    }
}

impl PartialSchema for NewUsername {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("Normalised (NFC). Letters of one script; spaces, digits, symbols and emoji; nothing that cannot be seen, and no \
                 space at its ends. Spellings that differ in case count as one name; `--usernames exact` asks for less."))
            .min_length(Some(1))
            .max_length(Some(USERNAME_MAX_CHARS))
            .pattern(Some(r"^[^\u0000-\u001f\u007f-\u009f]*$"))
            .examples(["anna"])
            .into()
    }
}

impl ToSchema for NewUsername {}

/// A password to be set. The document gets its least length from the settings (`openapi::finish`).
pub(super) struct NewPassword(pub(super) Password);

impl NewPassword {
    pub(super) const NAME: &str = "NewPassword";
}

impl Field for NewPassword {
    fn take(body: &mut RequestBody, name: &'static str, rules: &mut Rules<'_>) -> Option<Self> {
        let password = Password::typed(&body.text(name)?);
        let checked = rules.policy.check(&password, rules.name.as_ref());
        checked.map_err(|error| body.refuse(name, wire::password_refused(error))).ok()?;
        Some(Self(password))
    }
}

impl PartialSchema for NewPassword {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Password)))
            .description(Some("At most 1,024 bytes; no common one, and not the username."))
            .max_length(Some(Policy::MAX_BYTES))
            .examples(["correct horse"])
            .into()
    }
}

impl ToSchema for NewPassword {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed(Self::NAME)
    }
}

/// A value that may be left out, but not be null.
trait Choice: Sized {
    fn of(value: &Value) -> Result<Self, &'static str>;
}

impl<T: Choice> Field for Option<T> {
    fn take(body: &mut RequestBody, name: &'static str, _: &mut Rules<'_>) -> Option<Self> {
        let chosen = match body.optional(name) {
            None => return Some(None),
            Some(Value::Null) => Err("Field may not be null."),
            Some(value) => T::of(&value),
        };
        chosen.map(Some).map_err(|problem| body.refuse(name, problem.to_owned())).ok()
    }
}

impl Choice for bool {
    fn of(value: &Value) -> Result<Self, &'static str> {
        value.as_bool().ok_or("Not a valid boolean.")
    }
}

impl Choice for Role {
    fn of(value: &Value) -> Result<Self, &'static str> {
        let role = value.as_str().ok_or("Not a valid string.")?;
        role.parse().map_err(|UnknownRole| "Must be one of: user, admin.")
    }
}
