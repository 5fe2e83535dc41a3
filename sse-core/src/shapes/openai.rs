//! The shape of OpenAI's streams: events without a type, and `[DONE]` at the end.
//!
//! The clients take every block for an event, so the stream should have none with a
//! reconnection time: `Request::without_retry` of `sse-net` leaves that out. Comments do no harm.
//!
//! ```
//! use serde_json::json;
//! use sse_core::shapes::openai;
//! use sse_core::{Event, Stream};
//!
//! let mut stream = Stream::new(Vec::new());
//! stream.write_json(&json!({"choices": [{"index": 0, "delta": {"content": "hey"}}]}))?;
//! stream.send(&openai::done())?;
//! let out = String::from_utf8(stream.into_parts().0)?;
//! assert_eq!(
//!     out,
//!     "data: {\"choices\":[{\"delta\":{\"content\":\"hey\"},\"index\":0}]}\n\ndata: [DONE]\n\n",
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::borrow::Cow;

use serde_json::json;

use super::json_response;
use crate::event::Event;
use crate::http::{Rejection, Response};

/// Returns the last event of a complete stream: `data: [DONE]`.
#[must_use]
pub fn done() -> Event<'static> {
    Event::new().data("[DONE]")
}

/// An error: a response before the first event, and an event after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    rejection: Rejection,
    code: Option<Cow<'static, str>>,
}

impl Error {
    /// Creates an error with this status code and message.
    ///
    /// # Panics
    ///
    /// As [`Rejection::new`].
    #[must_use]
    #[track_caller]
    pub fn new(status: u16, message: impl Into<Cow<'static, str>>) -> Self {
        Rejection::new(status, message).into()
    }

    /// Sets the code, such as `model_not_found`. Default: null.
    #[must_use]
    pub fn code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Returns the response, with the headers of the rejection.
    #[must_use]
    pub fn to_response(&self) -> Response {
        json_response(&self.rejection, self.json())
    }

    /// Returns the event, after which the stream ends without `[DONE]`.
    #[must_use]
    pub fn to_event(&self) -> Event<'static> {
        Event::new().data(self.json())
    }

    fn json(&self) -> String {
        let kind = match self.rejection.status() {
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        json!({"error": {
            "message": self.rejection.reason(),
            "type": kind,
            "param": null,
            "code": self.code,
        }})
        .to_string()
    }
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        Self {
            rejection,
            code: None,
        }
    }
}
