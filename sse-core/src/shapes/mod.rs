//! Streams and errors in the shapes that clients of model endpoints expect.
//!
//! The names of events and the fields around them are here; the tokens are the application's.

pub mod anthropic;
pub mod openai;

use crate::http::{Rejection, Response};

/// Returns the response of a rejection, with JSON as its body.
fn json_response(rejection: &Rejection, json: String) -> Response {
    rejection
        .clone()
        .into_response()
        .with_body("application/json", json)
}
