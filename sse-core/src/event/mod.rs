//! An event as a value, and its wire form.

mod convert;
pub(crate) mod encode;
mod error;
mod event_type;
mod id;
#[cfg(feature = "json")]
mod json;
mod lines;
mod text;
mod value;

pub use convert::{Integer, IntoEventId, IntoEventType};
pub use error::{Fault, Field, FieldError};
pub use event_type::EventType;
pub use id::EventId;
#[cfg(feature = "json")]
pub use json::JsonError;
pub use value::Event;
