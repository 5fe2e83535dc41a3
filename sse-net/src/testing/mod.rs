//! Support for tests of servers and clients. More for tests of streams is in
//! [`sse_core::testing`].
//!
//! - [`RawClient`] shows what a server sends, and [`pipes`] is a listener without sockets.

mod pipes;
mod raw_client;

pub use pipes::{PipeListener, Pipes, pipes};
pub use raw_client::RawClient;
