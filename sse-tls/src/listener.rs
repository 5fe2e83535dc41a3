//! A listener that performs TLS handshakes.

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

/// The session's send buffer: one record (RFC 8446, section 5.1). Clients that do not read would
/// occupy a larger buffer, and writes into it would hide a stall from the write deadline.
const BUFFER: usize = 16 << 10;

/// The write deadline for the response or alert to a refused peer. Not a setting: both fit into the
/// send buffer of any socket, so only a connection that is broken takes this long.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// A listener whose connections are TLS sessions over those of another listener.
///
/// A handler gets the [`TlsInfo`] of a request's connection, and what the other listener attached
/// to it.
///
/// A peer that sends plain HTTP gets a response of 400 that names `https://`.
///
#[cfg_attr(feature = "ring", doc = "```no_run")]
#[cfg_attr(not(feature = "ring"), doc = "```ignore")]
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
    /// Wraps `listener`.
    ///
    /// `config` is a [`TlsConfig`], whose clones can be reloaded later, or an
    /// `Arc<rustls::ServerConfig>`.
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
        let handshake = async move {
            let perform = |transport| perform_handshake(transport, &config);
            inner.await?.wrap(perform).await
        };
        Ok((Box::pin(handshake), peer))
    }
}

async fn perform_handshake(mut transport: Transport, config: &TlsConfig) -> io::Result<Transport> {
    let first = transport.read_u8().await?;
    if is_plain_http(first) {
        let now = Some(SystemTime::now());
        let reply = Upgrader::new().reply(Rejection::BAD_REQUEST.because(PLAIN_HTTP), None, now);
        let _ = transport.finish(&reply.encode(), WRITE_TIMEOUT).await;
        return Err(invalid("the client sent plain HTTP to a TLS port"));
    }
    let mut first_read = Ok(0);
    let accepting = TlsAcceptor::from(config.current()).accept_with(transport, |session| {
        session.set_buffer_limit(Some(BUFFER));
        first_read = session.read_tls(&mut &[first][..]);
    });
    first_read?;
    match accepting.into_fallible().await {
        Ok(session) => {
            let info = TlsInfo::new(session.get_ref().1);
            Ok(Transport::new(Session(session))
                .with_extension(info)
                .https())
        }
        Err((error, transport)) => {
            // rustls has written the alert.
            let _ = transport.finish(b"", WRITE_TIMEOUT).await;
            Err(error)
        }
    }
}

const PLAIN_HTTP: &str = "this port requires TLS; use https://";

/// Returns whether a request can begin with this byte: a method, or a blank line before it (RFC
/// 9112, sections 2.2 and 3). A TLS session begins with 0x16, SSLv2 with a high bit.
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
    fn plain_http_is_recognized_by_its_first_byte() {
        for first in 0..=u8::MAX {
            let expected = matches!(first, b'A'..=b'Z' | b'a'..=b'z' | b'\r' | b'\n');
            assert_eq!(is_plain_http(first), expected, "{first:#x}");
        }
    }
}
