//! Server-Sent Events over any reader or writer, without a runtime: encoder, decoder, HTTP
//! upgrade, event log and recordings.
//!
//! The format is that of [WHATWG HTML, 9.2]. An event is encoded once, and the same bytes go to
//! sockets, files and buffers.
//!
//! This crate deliberately has no runtime, opens no socket and no file, starts no thread and
//! reads no clock: time is an argument. It is not an HTTP server either. It responds to one
//! request per connection and owns the connection from then on. A server with many clients is
//! in the crate `sse-net`. Whole programs for common tasks are in the repository's cookbook,
//! `examples/cookbook`.
//!
//! # Writing
//!
//! A [`Stream`] sends [`Event`]s, or data with fields that were set before.
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
//! [`Events`] iterates over the events of a reader. A [`Decoder`] takes input in chunks of any
//! size, and also returns comments and reconnection times.
//!
//! ```
//! use sse_core::Events;
//!
//! let input = &b"id: 54\ndata: hey there\n\n"[..];
//! for event in Events::new(input) {
//!     let event = event?;
//!     assert_eq!((event.last_event_id(), event.data()), ("54", "hey there"));
//! }
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Contents
//!
//! | to | use |
//! | --- | --- |
//! | write events | [`Event`], [`EventId`], [`EventType`], [`Stream`], [`Outbox`] |
//! | read events | [`Events`], [`Decoder`], [`Chunk`], [`MessageEvent`] |
//! | turn a connection into a stream | [`Upgrader`], [`Request`], [`Response`], [`Rejection`] |
//! | read heads and bodies of HTTP/1 | [`HeadReader`], [`RequestBody`], [`ResponseHeadReader`], [`Framing`], [`BodyReader`] |
//! | follow a stream across failures | [`client::EventSource`], [`client::Machine`] |
//! | stream as OpenAI or Anthropic do | [`shapes`] |
//! | retain the newest event of each key | [`KeyedLog`], [`KeyedRetention`] |
//! | retain events for many readers | [`Log`], [`Retention`], [`Cursor`], [`Slice`] |
//! | record and replay streams | [`Recorder`], [`Replayer`], [`Tee`], [`Pace`] |
//! | test programs | [`testing`] |
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
//! # Guarantees
//!
//! - **No injection.** IDs and event types are checked at construction; line breaks in data and
//!   comments become further lines; headers are checked.
//! - **No torn events**, whatever a writer does: an event is accepted whole or rejected, and
//!   accepted bytes are sent in order, from where the writer stopped.
//! - **No unbounded growth.** Every limit is a setting with a default.
//! - **Errors in one sentence** that says what, where and what to do: [`FieldError`] for the
//!   caller's text, [`SendError`] for an event, [`DecodeError`] for the input, and
//!   [`Rejection`] for a request, which is also its HTTP response.
//!
//! # Features
//!
//! All are on by default. Without them, the crate has the encoder, the decoder, [`Stream`] and
//! [`Log`], with few dependencies.
//!
//! - `client`: what a client does when a stream ends, fails or redirects; it includes `http` and
//!   `json`.
//! - `http`: request and response heads, bodies, and [`Upgrader`].
//! - `json`: event data serialised as JSON.
//! - `recording`: [`Recorder`], [`Replayer`], and the [`Segment`]s of a journal.
//!
//! # Glossary
//!
//! - **Event**: what a server sends and a page's listeners receive, as a block of lines.
//! - **Event type**: selects the listeners; `message` by default.
//! - **Event ID**: names an event, so that a client can resume after it.
//! - **Last event ID**: the latest ID that a client has received; it sends this as
//!   `Last-Event-ID` when it reconnects.
//! - **Data**: the text of an event, in one or more lines.
//! - **Comment**: a line that starts with a colon, which browsers skip.
//! - **Heartbeat**: a comment that is sent on an idle connection to keep it open.
//! - **Reconnection time** (`retry`): how long a client waits before it reconnects.
//! - **Head**: the first lines of an HTTP request or response, up to the blank line.
//! - **Upgrade**: to read a request head and respond to it with an event stream.
//! - **Log**: encoded events in order, of which the oldest are evicted.
//! - **Cursor**: a reader's position in a log.
//! - **Resume**: to continue a stream after the last event ID.
//!
//! [WHATWG HTML, 9.2]: https://html.spec.whatwg.org/multipage/server-sent-events.html

#![cfg_attr(docsrs, feature(doc_cfg))]

// An event as a value, and its wire form.
mod event;
#[cfg(feature = "json")]
pub use event::JsonError;
pub use event::{
    Event, EventId, EventType, Fault, Field, FieldError, Integer, IntoEventId, IntoEventType,
};

// Events to any writer.
mod stream;
pub use stream::{CloseError, Outbox, SendError, Stream};

// Events from any reader.
mod decode;
pub use decode::{Chunk, DecodeError, Decoded, Decoder, Events, MessageEvent};

// Heads and bodies of HTTP/1, and the upgrade of a connection.
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http")]
pub use http::{
    BodyError, BodyLimits, BodyReader, Framing, Head, HeadReader, Headers, MEDIA_TYPE, Rejection,
    Reply, Request, RequestBody, Response, ResponseHead, ResponseHeadError, ResponseHeadReader,
    UpgradeError, Upgrader,
};

// Streams from servers that come and go.
#[cfg(feature = "client")]
pub mod client;

// The shapes that clients of model endpoints expect.
#[cfg(all(feature = "http", feature = "json"))]
pub mod shapes;

// Encoded events in memory.
mod log;
pub use log::{
    Appended, Batch, Begun, Cursor, Encoded, Epoch, Epochs, Evicted, Ids, KnownId, Lagged, Log,
    LogCount, LogId, Now, Restored, Resume, Retention, Slice,
};

// Encoded events in memory, the newest of each key.
mod keyed;
pub use keyed::{EventKey, KeyedFull, KeyedLog, KeyedRetention, KeyedSlice};

// Encoded events on disk.
#[cfg(feature = "recording")]
mod segment;
#[cfg(feature = "recording")]
pub use segment::{Finish, Record, Segment, SegmentEntry};

// Event streams with the times of their events.
#[cfg(feature = "recording")]
mod recording;
#[cfg(feature = "recording")]
pub use recording::{Pace, Recorded, Recorder, Replayer, Tee};

pub mod testing;

// The search for line ends that encoder and decoder share.
mod decimal;
mod line_ends;

#[cfg(all(doctest, feature = "http", feature = "json", feature = "recording"))]
#[doc = include_str!("../README.md")]
struct Readme;
