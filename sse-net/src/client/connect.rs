//! From an event source to a client.

use std::sync::Arc;

use sse_core::client::EventSource;

use super::blocking::{BlockingClient, BlockingConnector};
use super::connector::{Connector, Direct};
use super::follow::Client;
use super::link::Dialer;

/// Methods of an [`EventSource`] that return a client.
///
/// Clients open their first connection when the first item is asked for.
///
/// ```no_run
/// use sse_net::{Connect, EventSource};
///
/// # async fn follow() -> Result<(), Box<dyn std::error::Error>> {
/// let mut feed = EventSource::get("http://127.0.0.1:31337/sse")?.connect();
/// while let Some(event) = feed.next().await? {
///     println!("{}: {}", event.event(), event.data());
/// }
/// # Ok(())
/// # }
/// ```
pub trait Connect: Sized {
    /// Returns a client over TCP or a Unix socket.
    fn connect(self) -> Client;

    /// Returns a client over the connections of `connector`, for example with TLS.
    fn connect_with(self, connector: impl Connector) -> Client;

    /// Returns a client for programs without a runtime, over TCP or a Unix socket.
    fn connect_blocking(self) -> BlockingClient;

    /// Returns a client for programs without a runtime, over the connections of `connector`.
    fn connect_blocking_with(self, connector: impl BlockingConnector) -> BlockingClient;

    /// Returns a client over an HTTP library.
    ///
    /// `send` sends a request and resolves to the response head with its body. The client follows
    /// redirects itself, so the library should not: headers would follow to other origins. The
    /// deadline for the response head covers connecting.
    ///
    /// ```
    /// # use std::io;
    /// use bytes::Bytes;
    /// use http_body_util::Full;
    /// use sse_net::{Connect, EventSource};
    ///
    /// # async fn send(_: http::Request<Full<Bytes>>) -> io::Result<http::Response<Full<Bytes>>> {
    /// #     Err(io::ErrorKind::Other.into())
    /// # }
    /// # fn example() -> Result<(), sse_net::FieldError> {
    /// // With hyper-util: client.request(request.map(Full::new)).
    /// let source = EventSource::get("http://127.0.0.1:31337/sse")?;
    /// let feed = source.connect_over(|request| send(request.map(Full::new)));
    /// # let _ = feed;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "http")]
    fn connect_over<F, R, B, E>(self, send: F) -> Client
    where
        F: FnMut(http::Request<bytes::Bytes>) -> R + Send + 'static,
        R: Future<Output = Result<http::Response<B>, E>> + Send + 'static,
        B: http_body::Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static;
}

impl Connect for EventSource {
    fn connect(self) -> Client {
        self.connect_with(Direct)
    }

    fn connect_with(self, connector: impl Connector) -> Client {
        Client::new(self, Dialer::Wire(Arc::new(connector)))
    }

    fn connect_blocking(self) -> BlockingClient {
        BlockingClient::new(self, Direct)
    }

    fn connect_blocking_with(self, connector: impl BlockingConnector) -> BlockingClient {
        BlockingClient::new(self, connector)
    }

    #[cfg(feature = "http")]
    fn connect_over<F, R, B, E>(self, send: F) -> Client
    where
        F: FnMut(http::Request<bytes::Bytes>) -> R + Send + 'static,
        R: Future<Output = Result<http::Response<B>, E>> + Send + 'static,
        B: http_body::Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        Client::new(self, Dialer::Library(super::exchange::boxed(send)))
    }
}
