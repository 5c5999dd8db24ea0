//! The bodies of requests: read as they are described here, and shown so in the document.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};
use zeroize::Zeroizing;

use super::error::ApiError;
use super::fields::{Field, NewPassword, NewUsername, Rules};
use super::request::RequestBody;
use crate::domain::user::Role;

/// A body that is an object of fields.
pub(super) trait Body: Sized {
    /// Takes all fields; `None` if one was refused.
    fn take(body: &mut RequestBody, rules: Rules<'_>) -> Option<Self>;

    /// Reads the body, or says all that is wrong with it.
    fn read(mut body: RequestBody, rules: Rules<'_>) -> Result<Self, ApiError> {
        let taken = Self::take(&mut body, rules);
        body.finish(taken)
    }
}

macro_rules! bodies {
    ($(
        $(#[$about:meta])*
        $body:ident { $($(#[$about_field:meta])* $field:ident: $type:ident $(<$inner:ident>)?,)+ }
    )+) => {$(
        $(#[$about])*
        #[derive(ToSchema)]
        pub(super) struct $body {
            $($(#[$about_field])* pub(super) $field: $type $(<$inner>)?,)+
        }

        impl Body for $body {
            fn take(body: &mut RequestBody, mut rules: Rules<'_>) -> Option<Self> {
                $(let $field = Field::take(body, stringify!($field), &mut rules);)+
                Some(Self { $($field: $field?),+ })
            }
        }
    )+};
}

bodies! {
    /// Name and password of a user.
    Credentials {
        #[schema(value_type = String, example = "anna")]
        username: Zeroizing<String>,
        #[schema(value_type = String, example = "correct horse", format = Password)]
        password: Zeroizing<String>,
    }

    /// A new user.
    NewUser {
        username: NewUsername,
        password: NewPassword,
    }

    /// A new user of any role.
    NewUserOfRole {
        username: NewUsername,
        password: NewPassword,
        /// `user` unless it says otherwise.
        #[schema(nullable = false)]
        role: Option<Role>,
    }

    /// A new password of one's own.
    OwnPassword {
        /// Of users who change their own; administrators who set another's leave it out.
        #[schema(value_type = String, example = "correct horse", format = Password)]
        current_password: Zeroizing<String>,
        new_password: NewPassword,
    }

    /// A new password of another's.
    OthersPassword {
        new_password: NewPassword,
    }

    /// The fields to change; a missing field stays as it is.
    UserUpdate {
        #[schema(nullable = false)]
        role: Option<Role>,
        /// A disabled user's sessions end, and there are no new ones.
        #[schema(nullable = false)]
        disabled: Option<bool>,
    }
}

/// [`OwnPassword`] or [`OthersPassword`], depending on the path, as the document shows them: in one.
pub(super) struct PasswordChange;

impl PartialSchema for PasswordChange {
    fn schema() -> RefOr<Schema> {
        let mut both = OwnPassword::schema();
        if let (RefOr::T(Schema::Object(both)), RefOr::T(Schema::Object(others))) =
            (&mut both, OthersPassword::schema())
        {
            both.required = others.required;
            both.description = Some("A new password.".to_owned());
        }
        both
    }
}

impl ToSchema for PasswordChange {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        OwnPassword::schemas(schemas);
    }
}
