//! Sources of connections.

use std::net::{IpAddr, SocketAddr};
use std::{fmt, io};

use super::Transport;

/// A source of connections.
///
/// A listener that wraps another, as TLS does, performs its handshake in the future that
/// `accept` returns, and [wraps](Transport::wrap) the connection there. The task of the connection
/// awaits it, before the deadline of the request head, so a client that never completes it delays
/// no other.
///
/// ```
/// use std::{fmt, io};
/// use sse_net::{Listener, Peer, Transport};
/// use tokio::io::DuplexStream;
/// use tokio::sync::mpsc;
///
/// /// Connections within the process, for tests.
/// struct Pipes(mpsc::Receiver<DuplexStream>);
///
/// impl Listener for Pipes {
///     type Handshake = std::future::Ready<io::Result<Transport>>;
///
///     async fn accept(&mut self) -> io::Result<(Self::Handshake, Peer)> {
///         match self.0.recv().await {
///             Some(pipe) => Ok((std::future::ready(Ok(Transport::new(pipe))), Peer::Local)),
///             None => std::future::pending().await, // There is no end to accepting.
///         }
///     }
/// }
/// ```
pub trait Listener: Send + 'static {
    /// A future that resolves to the connection.
    type Handshake: Future<Output = io::Result<Transport>> + Send + 'static;

    /// Waits for the next connection. Cancelling this must not lose a connection.
    ///
    /// # Errors
    ///
    /// If no connection can be accepted, for example because too many files are open. The
    /// server counts the error, waits for 5 ms to 1 s, and calls this again. After
    /// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted), `ConnectionRefused` and
    /// `ConnectionReset`, which concern one connection, it does not wait.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Handshake, Peer)>> + Send;
}

/// The address of a peer, which is the proxy's behind a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// The address of a TCP connection.
    Tcp(SocketAddr),
    /// The same machine, over a Unix socket or within the process.
    Local,
}

impl fmt::Display for Peer {
    /// Writes the address and port, or `local`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Local => f.write_str("local"),
        }
    }
}

impl Peer {
    /// Returns the IP address, if there is one.
    pub(crate) const fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Local => None,
        }
    }
}
