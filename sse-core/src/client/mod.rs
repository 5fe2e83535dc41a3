//! A client that follows an event source across failures, without sockets and without a clock.
//!
//! An [`EventSource`] is a request with its settings, and a [`Machine`] decides what to do next:
//! when to connect, what to send, what a response means, when a stream is dead. The crate
//! `sse-net` has the shells that connect, for Tokio, for threads and for HTTP libraries.
//!
//! ```text
//!   EventSource ──> Machine ── Step: wait, connect, exchange, over ──> shell
//!                      ^ │
//!                      │ └──── Item: opened, event, gap, comment, closed ──> application
//!                      └────── connected, bytes, end, failure, the time ──── shell
//! ```

mod backoff;
mod ending;
mod error;
mod exchange;
mod inbox;
mod inputs;
mod item;
mod machine;
mod request;
mod response;
mod settings;
mod source;
mod terminal;
mod url;

pub use error::{ClientError, Deadline, ErrorResponse, RedirectError};
pub use item::{Closed, Item, Opened};
pub use machine::{Machine, Step};
pub use source::EventSource;
pub use url::Url;
