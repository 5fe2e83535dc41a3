//! A listener without sockets.

use std::future::{Ready, pending, ready};
use std::io;

use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

use crate::transport::{Listener, Peer, Transport};

/// Returns a listener whose connections are pipes in memory, and the side of its clients.
///
/// Nothing happens outside the program, so a test may pause Tokio's clock: it then moves on
/// whenever every task waits, and an hour of heartbeats takes a millisecond. Each pipe holds up to
/// 64 KiB that have not been read.
///
/// ```
/// use sse_net::testing::{RawClient, pipes};
/// use sse_net::{Config, Event, Retention, Routes, Server, Topic};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> std::io::Result<()> {
/// let ticks = Topic::new(Retention::events(100));
/// let (listener, clients) = pipes();
/// let server = Server::new(Config::default()).listen(listener);
/// let server = server.serve(Routes::new().topic("/ticks", &ticks));
///
/// let mut client = RawClient::new(clients.connect()?);
/// client.get("/ticks").await?;
/// ticks.publish(&Event::new().data("hey"))?;
/// assert_eq!(client.event().await?.data(), "hey");
/// # drop(server);
/// # Ok(())
/// # }
/// ```
///
/// A client of this library connects with a function:
///
/// ```
/// use sse_net::testing::pipes;
/// use sse_net::{Connect, EventSource};
///
/// let (listener, clients) = pipes();
/// let connect = move |_| std::future::ready(clients.connect());
/// let feed = EventSource::get("http://localhost/ticks")?.connect_with(connect);
/// # drop((listener, feed));
/// # Ok::<(), sse_net::FieldError>(())
/// ```
#[must_use]
pub fn pipes() -> (PipeListener, Pipes) {
    let (connect, accept) = mpsc::unbounded_channel();
    (PipeListener(accept), Pipes(connect))
}

/// The listener of [`pipes`].
#[derive(Debug)]
pub struct PipeListener(mpsc::UnboundedReceiver<DuplexStream>);

impl Listener for PipeListener {
    type Handshake = Ready<io::Result<Transport>>;

    async fn accept(&mut self) -> io::Result<(Self::Handshake, Peer)> {
        match self.0.recv().await {
            Some(pipe) => Ok((ready(Ok(Transport::new(pipe))), Peer::Local)),
            None => pending().await,
        }
    }
}

/// The side of the clients of [`pipes`].
#[derive(Debug, Clone)]
pub struct Pipes(mpsc::UnboundedSender<DuplexStream>);

impl Pipes {
    /// Opens a connection.
    ///
    /// # Errors
    ///
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) after the listener was dropped.
    pub fn connect(&self) -> io::Result<DuplexStream> {
        let (near, far) = duplex(CAPACITY);
        match self.0.send(far) {
            Ok(()) => Ok(near),
            Err(_) => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }
}

/// The bytes that a pipe holds in each direction.
const CAPACITY: usize = 64 << 10;
