//! Clients: what `sse_core::client` decides, done over sockets and HTTP libraries.

mod blocking;
mod connect;
mod connector;
#[cfg(feature = "http")]
mod exchange;
mod follow;
mod link;

pub use blocking::{BlockingClient, BlockingConnection, BlockingConnector};
pub use connect::Connect;
pub use connector::{Connector, Direct};
pub use follow::Client;
