//! Server-Sent Events over any writer: the format of [WHATWG HTML, 9.2], and the way from a
//! bare connection to a stream of it.
//!
//! An event is encoded once into bytes, and those bytes are what a socket, a file or a
//! buffer gets. This crate ends at bytes in memory and at [`std::io`]: it has no runtime,
//! opens no socket and no file, starts no thread and never asks what time it is. It is no
//! HTTP server either; it answers one request on a connection and owns it from then on.
//!
//! ```text
//!   Event ──encode──> Outbox ──> Stream<W: Write>           any writer
//!                                    ^
//!   conn ──HeadReader──> Head ──> Upgrader                  any Read + Write
//!   conn ──ResponseHeadReader──> ResponseHead ──> BodyReader ──> Decoder
//!
//!   input ──Decoder──> MessageEvent ──> Events<R: BufRead>  any reader
//!
//!   bytes, times ──> Recorder<W> ──file──> Replayer<R> ──> events, times
//! ```
//!
//! # Writing
//!
//! [`Stream`] sends [`Event`]s, or their fields one at a time.
//!
//! ```
//! use sse_core::{Event, EventType, Stream};
//!
//! const TICK: EventType = EventType::from_static("tick");
//!
//! let mut stream = Stream::new(Vec::new());
//! stream.set_id(54)?;
//! stream.write_str("hey there")?;
//! stream.send(&Event::new().id(55).event(TICK).data("two\nlines"))?;
//! assert_eq!(
//!     stream.into_parts().0,
//!     b"id: 54\ndata: hey there\n\nid: 55\nevent: tick\ndata: two\ndata: lines\n\n",
//! );
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Reading
//!
//! [`Events`] reads them back from any reader; [`Decoder`] is fed by hand.
//!
//! ```
//! use sse_core::Events;
//!
//! let input = &b"id: 54\ndata: hey there\n\n"[..];
//! for event in Events::new(input) {
//!     assert_eq!(event?.data(), "hey there");
//! }
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Taking over a connection
//!
//! [`Upgrader`] reads the request head from a TCP, TLS or Unix connection, refuses what is
//! wrong, and hands over a [`Stream`]; its documentation has a server in ten lines.
//!
//! # Bodies of messages
//!
//! [`Framing`] decides how the body of a request or a response is delimited, and
//! [`BodyReader`] takes it out of its framing. [`ResponseHeadReader`] reads what a client
//! receives first.
//!
//! # Recording
//!
//! [`Recorder`] writes an event stream with the times of its events, as comments that any
//! reader skips; [`Replayer`] reads it back, at any [`Pace`]. [`Tee`] records what a
//! [`Stream`]'s client gets. What tests need to assert on streams is in [`testing`].
//!
//! # Features
//!
//! All are on by default. Without them, the crate has the encoder, the decoder, [`Stream`] and
//! [`Log`], with few dependencies.
//!
//! - `http`: request and response heads, bodies, and [`Upgrader`].
//! - `json`: event data serialised as JSON.
//! - `recording`: [`Recorder`], [`Replayer`], and the [`Segment`]s of a journal.
//!
//! # What can be relied on
//!
//! - **Nothing injects.** IDs and event types are judged when they are made; line breaks in
//!   data and comments become further lines; headers are checked.
//! - **No event is torn**, whatever a writer does: an event is accepted whole or refused,
//!   and what was accepted goes out in order, from where the writer stopped.
//! - **Nothing grows without bound.** Each limit is a setting with a default.
//! - **An error is one sentence** that says what, where and what to do: [`FieldError`] for
//!   the caller's text, [`SendError`] for an event, [`DecodeError`] for the input, and
//!   [`Rejection`], which is its own HTTP answer.
//!
//! [WHATWG HTML, 9.2]: https://html.spec.whatwg.org/multipage/server-sent-events.html

#![cfg_attr(docsrs, feature(doc_cfg))]

mod decode;
mod event;
#[cfg(feature = "http")]
mod http;
mod line_ends;
mod log;
#[cfg(feature = "recording")]
mod recording;
#[cfg(feature = "recording")]
mod segment;
mod stream;
pub mod testing;

pub use decode::{DecodeError, Decoded, Decoder, Events, MessageEvent};
pub use event::{Event, EventId, EventType, Fault, Field, FieldError};
#[cfg(feature = "http")]
pub use http::{
    BodyError, BodyLimits, BodyReader, Framing, Head, HeadReader, MEDIA_TYPE, Rejection, Reply,
    Request, Response, ResponseHead, ResponseHeadError, ResponseHeadReader, UpgradeError, Upgrader,
};
pub use log::{
    Appended, Begun, Cursor, Encoded, Evicted, Lagged, Log, LogId, Now, Restored, Resume,
    Retention, Slice,
};
#[cfg(feature = "recording")]
pub use recording::{Pace, Recorded, Recorder, Replayer, Tee};
#[cfg(feature = "recording")]
pub use segment::{Damage, Record, Segment, UnknownVersion};
pub use stream::{CloseError, Outbox, SendError, Stream};
