//! The decoder of event streams.
//!
//! ```text
//!   bytes ──utf8──> text, line ends ──common_event, or else interpret──> Found ──> Decoded
//!     └──────────────────── common_event, if it is large ────────────────────────────^
//! ```
//!
//! The steps are those of the standard: the input is decoded as UTF-8, split into lines, and
//! interpreted. For small events, the fixed cost of each step is nearly all of the cost. So each
//! step is done for as much input as possible at once:
//!
//! - *UTF-8* (`utf8`) is validated for 2 KiB at once, not for each field, and the text is copied
//!   to follow the unfinished line before it. So a line is always in one piece, and everything
//!   below works on `&str`. The copy is a few percent of the time.
//! - *Line ends* (`line_ends`) are listed for at least twenty small events at once.
//! - *An event of the commonest form* (`common_event`) is taken from the text without the buffers
//!   of the standard, which `interpret` fills for any other.
//!
//! Of 100-byte events in chunks of 16 KiB, each takes 1.4 times as long as `memchr` searching for
//! its line ends; a decoder that searched for each line end and validated each field took 4 times
//! as long as `memchr`.
//!
//! A long line that comes in several chunks passes through the cache three times: validated, copied
//! and searched, 2 to 8 KiB at a time. That takes 2.1 times as long as `memchr` even without the
//! rest of the decoder; the data of such an event has to be copied. A single pass that copies and
//! searches takes 1.4 times as long, but only a validation of the copy, which adds another 0.7,
//! turns it into a `&str` without `unsafe`. An event of 2 KiB or more that lies whole in a chunk is
//! lent from there, without the copy.

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
#[cfg(any(feature = "client", feature = "recording"))]
pub(crate) use interpret::Found;
pub use message::{Decoded, MessageEvent};

/// The capacity that a buffer keeps after a larger event.
pub(crate) const MAX_IDLE: usize = 1 << 20;
