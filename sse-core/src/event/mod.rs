//! An event as a value, and its wire form.

mod convert;
pub(crate) mod encode;
mod error;
mod event_type;
mod id;
mod text;
mod value;

pub use convert::{Integer, IntoEventId, IntoEventType};
pub use error::{Fault, Field, FieldError, JsonError};
pub use event_type::EventType;
pub use id::EventId;
pub use value::Event;
