//! Support for tests of servers. More for tests of streams is in [`sse_core::testing`].

mod raw_client;

pub use raw_client::RawClient;
