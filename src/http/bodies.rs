//! What the bodies of requests look like: shown in the document, never read into. Handlers take a body's fields one
//! by one, so that all that is wrong with them can be said at once.

#![expect(dead_code, reason = "see above")]

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::user::{Role, USERNAME_MAX_CHARS};
use crate::password::Policy;

/// Name and password of a user.
#[derive(ToSchema)]
pub(super) struct Credentials {
    #[schema(example = "anna")]
    username: String,
    #[schema(example = "correct horse", format = Password)]
    password: String,
}

/// A new user.
#[derive(ToSchema)]
pub(super) struct NewUser {
    username: NewUsername,
    password: NewPassword,
}

/// A new user of any role.
#[derive(ToSchema)]
pub(super) struct NewUserOfRole {
    username: NewUsername,
    password: NewPassword,
    /// `user` unless it says otherwise.
    #[schema(nullable = false)]
    role: Option<Role>,
}

/// A new password.
#[derive(ToSchema)]
pub(super) struct PasswordChange {
    /// Of users who change their own; administrators who set another's leave it out.
    #[schema(nullable = false, format = Password, example = "correct horse")]
    current_password: Option<String>,
    new_password: NewPassword,
}

/// What to change; what is left out stays.
#[derive(ToSchema)]
pub(super) struct UserUpdate {
    #[schema(nullable = false)]
    role: Option<Role>,
    /// A disabled user's sessions end, and there are no new ones.
    #[schema(nullable = false)]
    disabled: Option<bool>,
}

/// What a proxy may demand of a token.
#[derive(ToSchema)]
pub(super) enum DemandedFreshness {
    #[schema(rename = "1")]
    Fresh,
}

/// What a proxy may demand of a user.
#[derive(ToSchema)]
pub(super) enum DemandedRole {
    #[schema(rename = "admin")]
    Admin,
}

/// A name that somebody may take.
pub(super) struct NewUsername;

impl PartialSchema for NewUsername {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("Normalised (NFC). Letters of one script; spaces, digits, symbols and emoji; nothing that cannot be seen, and no \
                 space at its ends. The same for all who register, whatever its case; `--usernames exact` asks for less."))
            .min_length(Some(1))
            .max_length(Some(USERNAME_MAX_CHARS))
            .pattern(Some(r"^[^\u0000-\u001f\u007f-\u009f]*$"))
            .examples(["anna"])
            .into()
    }
}

impl ToSchema for NewUsername {}

/// A password that may be set. How short it may be is a setting: see [`super::openapi::finish`].
pub(super) struct NewPassword;

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

impl NewPassword {
    pub(super) const NAME: &str = "NewPassword";
}
