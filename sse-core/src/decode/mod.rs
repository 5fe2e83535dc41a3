//! The decoder of event streams.

mod chunk;
mod common_event;
mod data;
mod decoder;
mod error;
mod events;
mod interpret;
mod line;
mod message;
mod text;
mod utf8;

pub use chunk::Chunk;
pub use decoder::Decoder;
pub use error::DecodeError;
pub use events::Events;
#[cfg(feature = "recording")]
pub(crate) use interpret::Found;
pub use message::{Decoded, MessageEvent};

/// The capacity that a buffer keeps after a larger event.
pub(crate) const MAX_IDLE: usize = 1 << 20;
