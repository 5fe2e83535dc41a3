//! The shape of Anthropic's streams: events whose type is also in their data.
//!
//! A stream is `message_start`; for each block `content_block_start`, `content_block_delta`s and
//! `content_block_stop`; then `message_delta` and `message_stop`, and `ping`s between them.
//!
//! ```
//! use serde_json::json;
//! use sse_core::Stream;
//! use sse_core::shapes::anthropic;
//!
//! let mut stream = Stream::new(Vec::new());
//! let delta = json!({"index": 0, "delta": {"type": "text_delta", "text": "hey"}});
//! stream.send(&anthropic::event("content_block_delta", &delta)?)?;
//! stream.send(&anthropic::message_stop())?;
//! let out = String::from_utf8(stream.into_parts().0)?;
//! assert!(out.starts_with(
//!     "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{"
//! ));
//! assert!(out.ends_with("\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::borrow::Cow;

use serde::Serialize;
use serde::ser::Error as _;
use serde_json::json;

use super::json_response;
use crate::event::{Event, EventType, JsonError};
use crate::http::{Rejection, Response};

/// Returns an event of this type, with `fields` and the type as its data.
///
/// # Errors
///
/// `fields` cannot be serialised, or not as a JSON object.
///
/// # Panics
///
/// As [`EventType::from_static`].
pub fn event(
    event_type: &'static str,
    fields: &(impl Serialize + ?Sized),
) -> Result<Event<'static>, JsonError> {
    let fields = serde_json::to_string(fields).map_err(JsonError)?;
    let Some(fields) = fields.strip_prefix('{') else {
        let error = serde_json::Error::custom("the fields are not an object");
        return Err(JsonError(error));
    };
    let comma = if fields == "}" { "" } else { "," };
    let data = format!("{{\"type\":\"{event_type}\"{comma}{fields}");
    Ok(Event::new()
        .event(EventType::from_static(event_type))
        .data(data))
}

/// Returns the event that keeps a silent stream alive.
#[must_use]
pub fn ping() -> Event<'static> {
    bare("ping")
}

/// Returns the last event of a complete stream.
#[must_use]
pub fn message_stop() -> Event<'static> {
    bare("message_stop")
}

fn bare(event_type: &'static str) -> Event<'static> {
    Event::new()
        .event(EventType::from_static(event_type))
        .data(format!("{{\"type\":\"{event_type}\"}}"))
}

/// An error: a response before the first event, and an event after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Rejection);

impl Error {
    /// Creates an error with this status code, such as 529 for an overload, and message.
    ///
    /// # Panics
    ///
    /// As [`Rejection::new`].
    #[must_use]
    #[track_caller]
    pub fn new(status: u16, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Rejection::new(status, message))
    }

    /// Returns the response, with the headers of the rejection.
    #[must_use]
    pub fn to_response(&self) -> Response {
        json_response(&self.0, self.json())
    }

    /// Returns the event `error`, after which the stream ends.
    #[must_use]
    pub fn to_event(&self) -> Event<'static> {
        const ERROR: EventType = EventType::from_static("error");
        Event::new().event(ERROR).data(self.json())
    }

    fn json(&self) -> String {
        let kind = match self.0.status() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            503 | 529 => "overloaded_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        };
        let error = json!({"type": kind, "message": self.0.reason()});
        json!({"type": "error", "error": error}).to_string()
    }
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        Self(rejection)
    }
}
