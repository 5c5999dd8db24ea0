//! Bodies, for `fuzz/`.

use std::collections::BTreeMap;

use futures_util::{FutureExt, StreamExt, stream};

use super::error::ApiError;
use super::request::{self, RequestBody};

/// [`request::BODY_MAX`].
pub const BODY_MAX: usize = request::BODY_MAX;

/// Why a body was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It has too many bytes.
    TooLarge,
    /// It is no JSON.
    NotJson,
    /// What is wrong, by field.
    Fields(BTreeMap<String, Vec<String>>),
}

/// Takes these fields, and no others, from a body that arrives in `chunks`.
///
/// # Errors
/// [`Refused`].
pub fn texts(chunks: &[&[u8]], fields: &[&'static str]) -> Result<Vec<String>, Refused> {
    let body = stream::iter(chunks).map(|chunk| Ok::<_, warp::Error>(*chunk));
    let Some(body) = request::collect(body, BODY_MAX).now_or_never() else {
        return Err(Refused::NotJson); // all chunks are there
    };
    let taken = body.and_then(|body| {
        let mut body = RequestBody::parse(&body)?;
        let taken: Vec<_> = fields.iter().map(|field| body.text(*field)).collect();
        body.finish(taken.into_iter().collect::<Option<Vec<_>>>())
    });
    taken.map(|texts| texts.iter().map(|text| text.to_string()).collect()).map_err(|error| match error {
        ApiError::TooLarge { .. } => Refused::TooLarge,
        ApiError::Fields(errors) => {
            Refused::Fields(errors.into_iter().map(|(field, texts)| (field.into_owned(), texts)).collect())
        }
        _ => Refused::NotJson,
    })
}
