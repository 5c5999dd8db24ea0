//! `POST /register`

use std::sync::Arc;

use http::HeaderValue;
use http::header::LOCATION;
use serde_json::json;
use warp::reply::Response;

use super::App;
use super::answer::{self, ApiError};
use super::request::Document;
use crate::audit::Origin;
use crate::password::{PASSWORD_MAX_BYTES, Password, PasswordError};
use crate::user::{USERNAME_MAX_CHARS, Username, UsernameError};

pub(super) async fn create(
    origin: Arc<Origin>,
    app: Arc<App>,
    body: Result<Document, ApiError>,
) -> Result<Response, ApiError> {
    let (name, password) = parse(body?, app.min_password_chars)?;
    let id = app.service.register(&origin, name, password).await?;
    let mut response = answer::created(&json!({ "message": "User created successfully." }));
    if let Ok(location) = HeaderValue::try_from(format!("/user/{id}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

fn parse(mut body: Document, min_chars: usize) -> Result<(Username, Password), ApiError> {
    let name = body.text("username").and_then(|text| match text.parse() {
        Ok(name) => Some(name),
        Err(error) => {
            body.refuse("username", username_text(error));
            None
        }
    });
    let password = body.text("password").and_then(|text| {
        let password = Password::typed(&text);
        match password.check_length(min_chars) {
            Ok(()) => Some(password),
            Err(error) => {
                body.refuse("password", password_text(error, min_chars));
                None
            }
        }
    });
    body.finish()?;
    name.zip(password).ok_or(ApiError::NotJson) // finish has refused what is missing
}

fn username_text(error: UsernameError) -> String {
    match error {
        UsernameError::Empty => "Shorter than minimum length 1.".to_owned(),
        UsernameError::TooLong => format!("Longer than maximum length {USERNAME_MAX_CHARS}."),
        UsernameError::ControlCharacter => "Not a valid string.".to_owned(),
    }
}

fn password_text(error: PasswordError, min_chars: usize) -> String {
    match error {
        PasswordError::TooShort => format!("Shorter than minimum length {min_chars}."),
        PasswordError::TooLong => format!("Longer than maximum length {PASSWORD_MAX_BYTES}."),
    }
}
