//! A listener of connections in memory, for the models.

use std::future::{Ready, pending, ready};
use std::io;

use sse_net::{Listener, Peer, Transport};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

pub(crate) struct Pipes(mpsc::UnboundedReceiver<DuplexStream>);

impl Pipes {
    pub(crate) const fn new(connections: mpsc::UnboundedReceiver<DuplexStream>) -> Self {
        Self(connections)
    }
}

impl Listener for Pipes {
    type Handshake = Ready<io::Result<Transport>>;

    async fn accept(&mut self) -> io::Result<(Self::Handshake, Peer)> {
        match self.0.recv().await {
            Some(pipe) => Ok((ready(Ok(Transport::new(pipe))), Peer::Local)),
            None => pending().await,
        }
    }
}
