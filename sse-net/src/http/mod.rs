//! Streams as the responses of an HTTP server: hyper, axum or another.

mod accepted;
mod admit;
#[cfg(feature = "axum")]
mod axum;
mod body;
mod events;
mod inner;
mod request;
mod responder;
mod stream_body;

pub use body::Body;
pub use events::{EventStream, IntoEvent};
pub use request::{LastEventId, NoRequest, RequestHead, last_event_id};
pub use responder::Responder;
