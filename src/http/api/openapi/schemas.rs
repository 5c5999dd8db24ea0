//! The schemas of the domain's types, which do not know the document.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::key::KeyState;
use crate::domain::user::Role;

impl PartialSchema for Role {
    fn schema() -> RefOr<Schema> {
        words("What a user is authorised to do.", [Self::User, Self::Admin])
    }
}

impl ToSchema for Role {}

impl PartialSchema for KeyState {
    fn schema() -> RefOr<Schema> {
        words("Where a key is in its life.", [Self::Active, Self::Retiring])
    }
}

impl ToSchema for KeyState {}

/// One of these, as they are serialised.
fn words<T: serde::Serialize>(about: &str, values: [T; 2]) -> RefOr<Schema> {
    let values = values.map(|value| serde_json::to_value(value).unwrap_or_default());
    ObjectBuilder::new().schema_type(Type::String).description(Some(about)).enum_values(Some(values)).into()
}
