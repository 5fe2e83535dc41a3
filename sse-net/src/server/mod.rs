//! Accepts connections, reads requests, and calls the handler.

mod acceptor;
mod answer;
mod body;
mod connection;
mod counters;
mod follow;
mod handle;
mod handler;
mod health;
mod inner;
mod per_client;
mod request;
mod routes;

use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::{fmt, io};

use tokio::task::JoinHandle;

pub use answer::Answer;
pub use handle::ServerHandle;
pub use handler::Handler;
pub use health::Readiness;
pub use request::Request;
pub use routes::Routes;

use self::acceptor::Acceptor;
use self::handler::WithState;
use self::inner::Inner;
use crate::config::Config;
use crate::transport::{Listener, Tcp};

/// Accepts connections and passes their requests to a handler.
///
/// ```no_run
/// use std::time::Duration;
/// use sse_net::{Event, Retention, Routes, Server, Topic};
///
/// # async fn run() -> std::io::Result<()> {
/// let ticks = Topic::new(Retention::events(10_000));
/// let server = Server::bind("127.0.0.1:31337")?.serve(Routes::new().topic("/ticks", &ticks));
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
    /// Creates a server with the default settings that listens at one TCP address.
    ///
    /// The same as [`new`](Self::new) and a listener of [`Tcp::bind`]. With port 0, for which the
    /// system chooses a free one, use those: the listener returns its address.
    ///
    /// # Errors
    ///
    /// Those of the system, for example that the address is in use.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn bind(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        let listener = Tcp::default().bind(addresses)?;
        Ok(Self::new(Config::default()).listen(listener))
    }

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

    /// Starts the server with a handler function that takes a clone of `state`.
    ///
    /// State that is expensive to clone belongs in an [`Arc`].
    ///
    /// ```no_run
    /// use std::collections::HashMap;
    /// use std::sync::Arc;
    /// use sse_net::{Answer, Rejection, Request, Server, ServerHandle, Topic};
    ///
    /// type Rooms = Arc<HashMap<String, Topic>>;
    ///
    /// async fn handle(rooms: Rooms, request: Request) -> Answer {
    ///     match rooms.get(request.path()) {
    ///         Some(room) => request.follow(room),
    ///         None => request.reject(Rejection::NOT_FOUND),
    ///     }
    /// }
    ///
    /// fn start(rooms: Rooms) -> std::io::Result<ServerHandle> {
    ///     Ok(Server::bind("127.0.0.1:31337")?.serve_with(rooms, handle))
    /// }
    /// ```
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn serve_with<S, F, A>(self, state: S, handler: F) -> ServerHandle
    where
        S: Clone + Send + Sync + 'static,
        F: Fn(S, Request) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send,
    {
        self.serve(WithState { state, handler })
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
