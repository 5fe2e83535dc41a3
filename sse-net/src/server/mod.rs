//! Accepts connections, reads requests, and calls the handler.

mod acceptor;
mod answer;
mod body;
mod connection;
mod handle;
mod handler;
mod inner;
mod per_client;
mod request;
mod routes;

use std::fmt;
use std::sync::Arc;

use tokio::task::JoinHandle;

pub use answer::Answer;
pub use handle::ServerHandle;
pub use handler::Handler;
pub use request::Request;
pub use routes::Routes;

use self::acceptor::Acceptor;
use self::inner::Inner;
use crate::config::Config;
use crate::transport::Listener;

/// Accepts connections and passes their requests to a handler.
///
/// ```no_run
/// use std::time::Duration;
/// use sse_net::{Config, Event, Retention, Routes, Server, Topic};
/// use tokio::net::TcpListener;
///
/// # async fn run() -> std::io::Result<()> {
/// let ticks = Topic::new(Retention::events(10_000));
/// let server = Server::new(Config::default())
///     .listen(TcpListener::bind("127.0.0.1:31337").await?)
///     .serve(Routes::new().topic("/ticks", &ticks));
/// ticks.publish(&Event::new().data("hey"))?;
/// server.drain(Duration::from_secs(5)).await;
/// # Ok(())
/// # }
/// ```
#[must_use = "a server does nothing until it serves"]
pub struct Server {
    config: Config,
    acceptors: Vec<Box<StartAcceptor>>,
}

/// Starts the task that accepts the connections of one listener.
type StartAcceptor = dyn FnOnce(Arc<Inner>) -> JoinHandle<()>;

impl Server {
    /// Creates a server without listeners.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            acceptors: Vec::new(),
        }
    }

    /// Adds a listener.
    pub fn listen(mut self, listener: impl Listener) -> Self {
        self.acceptors.push(Box::new(|inner| {
            tokio::spawn(Acceptor::new(listener, inner).run())
        }));
        self
    }

    /// Starts the server on the current Tokio runtime.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn serve(self, handler: impl Handler) -> ServerHandle {
        let inner = Arc::new(Inner::start(self.config, handler));
        let acceptors = self
            .acceptors
            .into_iter()
            .map(|start| start(Arc::clone(&inner)))
            .collect();
        ServerHandle::new(inner, acceptors)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
