//! Support for tests of servers and clients. More for tests of streams is in
//! [`sse_core::testing`].
//!
//! - [`RawClient`] shows what a server sends, and [`FlakyServer`] fails as a script says.
//! - [`pipes`] is a listener without sockets.

mod flaky;
mod pipes;
mod raw_client;

pub use flaky::{FlakyServer, Reply};
pub use pipes::{PipeListener, Pipes, pipes};
pub use raw_client::RawClient;
