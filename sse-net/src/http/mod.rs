//! Streams as the responses of an HTTP server: hyper, axum or another.

#[cfg(feature = "axum")]
mod axum;
mod body;
mod events;
mod responder;

pub use body::Body;
pub use events::EventStream;
pub use responder::{Declined, IntoEvent, LastEventId, Responder, last_event_id, upgrade_http};
