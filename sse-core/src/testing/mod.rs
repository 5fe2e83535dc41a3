//! Support for tests of programs that write or read event streams.
//!
//! - `decoded` returns the events of a stream as values, and `Comparison` finds the first
//!   difference between two streams (feature `recording`).
//! - [`Faulty`] is a writer that fails or stalls on purpose.
//!
//! ```
//! # #[cfg(feature = "recording")] mod example {
//! use std::io::{self, ErrorKind, Write};
//! use sse_core::testing::{Comparison, Faulty, decoded};
//! use sse_core::{Decoded, Stream};
//!
//! /// The function under test.
//! fn greet<W: Write>(stream: &mut Stream<W>) -> io::Result<()> {
//!     stream.comment("hello")?;
//!     stream.write_event(1, "greeting", "hey\nthere")?;
//!     Ok(())
//! }
//!
//! # pub fn main() -> io::Result<()> {
//! // The events that it writes:
//! let mut stream = Stream::new(Vec::new());
//! greet(&mut stream)?;
//! let (wire, _) = stream.into_parts();
//! let [Decoded::Comment(_), Decoded::Event(event)] = &decoded(&wire)[..] else {
//!     panic!("not a comment and an event");
//! };
//! assert_eq!((event.event(), event.data()), ("greeting", "hey\nthere"));
//!
//! // A comparison with a recording, such as one in a file:
//! let recording = b":T+0.250000000\nid: 1\nevent: greeting\ndata: hey\ndata: there\n\n";
//! Comparison::new().without_comments().assert_same(&recording[..], &wire[..]);
//!
//! // A writer that takes three bytes at a time, and fails once after ten:
//! let mut stream = Stream::new(Faulty::new().at_once(3).fails_at(10, ErrorKind::TimedOut));
//! assert_eq!(greet(&mut stream).unwrap_err().kind(), ErrorKind::TimedOut);
//! stream.flush()?;
//! assert_eq!(stream.writer().written(), b": hello\n", "accepted events are not lost");
//! # Ok(())
//! # }
//! # }
//! ```

#[cfg(feature = "recording")]
mod comparison;
#[cfg(feature = "recording")]
mod difference;
mod faulty;

#[cfg(feature = "recording")]
pub use comparison::{Comparison, decoded};
#[cfg(feature = "recording")]
pub use difference::Difference;
pub use faulty::Faulty;
