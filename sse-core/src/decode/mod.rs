//! The decoder of event streams.

mod decoder;
mod error;
mod events;
mod interpret;
mod line;
mod message;
mod utf8;

pub use decoder::Decoder;
pub use error::DecodeError;
pub use events::Events;
#[cfg(feature = "recording")]
pub(crate) use interpret::MAX_IDLE;
pub use message::{Decoded, MessageEvent};
