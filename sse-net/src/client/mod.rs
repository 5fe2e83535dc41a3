//! Clients: what `sse_core::client` decides, done over sockets and HTTP libraries.

mod blocking;
#[cfg(feature = "http")]
mod body_events;
mod connect;
mod connector;
#[cfg(feature = "http")]
mod exchange;
mod follow;
mod link;

pub use blocking::{BlockingClient, BlockingConnection, BlockingConnector};
#[cfg(feature = "http")]
pub use body_events::BodyEvents;
pub use connect::Connect;
pub use connector::{Connector, Direct};
pub use follow::Client;
