//! Connections, from their first byte to the end of the handshake.

use std::io;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use sse_core::{Rejection, Upgrader};
use sse_net::{Listener, Peer, Transport};
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsAcceptor;

use crate::config::TlsConfig;
use crate::info::TlsInfo;
use crate::session::Session;

/// What is buffered of a client that takes nothing: one record (RFC 8446, 5.1). More would
/// be memory that strangers hold, and progress that no deadline sees.
const BUFFER: usize = 16 << 10;

/// How long a peer that is refused may take nothing of why.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// A listener whose connections are TLS sessions over those of another.
///
/// It is a [`Listener`] itself. The application sees a connection's [`TlsInfo`].
///
/// ```no_run
/// use sse_net::{Config, Server, Tcp};
/// use sse_tls::{PemFiles, TlsListener};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = PemFiles::new("fullchain.pem", "privkey.pem").load()?;
/// let server = Server::new(Config::default())
///     .listen(Tcp::default().bind("0.0.0.0:80")?)
///     .listen(TlsListener::new(Tcp::default().bind("0.0.0.0:443")?, tls));
/// # let _ = server;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TlsListener<L> {
    listener: L,
    config: TlsConfig,
}

impl<L: Listener> TlsListener<L> {
    /// A listener for TLS over the connections of `listener`. A [`TlsConfig`] that is kept can
    /// be reloaded while this one listens; an `Arc<rustls::ServerConfig>` will do as well.
    pub fn new(listener: L, config: impl Into<TlsConfig>) -> Self {
        Self {
            listener,
            config: config.into(),
        }
    }
}

impl<L: Listener> Listener for TlsListener<L> {
    type Handshake = Pin<Box<dyn Future<Output = io::Result<Transport>> + Send>>;

    async fn accept(&mut self) -> io::Result<(Self::Handshake, Peer)> {
        let (inner, peer) = self.listener.accept().await?;
        let config = self.config.clone();
        let handshake = async move { shake_hands(inner.await?, &config).await };
        Ok((Box::pin(handshake), peer))
    }
}

async fn shake_hands(mut transport: Transport, config: &TlsConfig) -> io::Result<Transport> {
    let first = transport.read_u8().await?;
    if is_plain_http(first) {
        let now = Some(SystemTime::now());
        let reply = Upgrader::new().reply(Rejection::BAD_REQUEST.because(PLAIN_HTTP), None, now);
        let _ = transport.finish(&reply.encode(), WRITE_TIMEOUT).await;
        return Err(invalid("the client speaks plain HTTP to a port for TLS"));
    }
    let mut fed = Ok(0);
    let accepting = TlsAcceptor::from(config.current()).accept_with(transport, |session| {
        session.set_buffer_limit(Some(BUFFER));
        fed = session.read_tls(&mut &[first][..]);
    });
    fed?;
    match accepting.into_fallible().await {
        Ok(session) => {
            let info = TlsInfo::new(session.get_ref().1);
            Ok(Transport::new(Session(session))
                .with_extension(info)
                .https())
        }
        Err((error, transport)) => {
            // The alert that says why is written by now.
            let _ = transport.finish(b"", WRITE_TIMEOUT).await;
            Err(error)
        }
    }
}

const PLAIN_HTTP: &str = "this port speaks TLS; ask with https://";

/// Whether a request may begin with this: a method, or blank lines before it (RFC 9112, 2.2
/// and 3). A TLS session begins with 0x16, an SSLv2 one with a high bit.
const fn is_plain_http(first: u8) -> bool {
    first.is_ascii_alphabetic() || matches!(first, b'\r' | b'\n')
}

fn invalid(sentence: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_told_by_its_first_byte() {
        for first in 0..=u8::MAX {
            let expected = matches!(first, b'A'..=b'Z' | b'a'..=b'z' | b'\r' | b'\n');
            assert_eq!(is_plain_http(first), expected, "{first:#x}");
        }
    }
}
