//! A connection of any kind.

mod listener;

#[cfg(unix)]
pub use listener::bind_unix;
pub use listener::{Listener, Peer, Tcp};

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::stream::write_all;

/// How long, and for how many bytes, a peer may go on sending after it has been answered.
const LINGER: (Duration, usize) = (Duration::from_secs(2), 256 << 10);

/// A connection on which requests come and streams go: TCP, Unix, or whatever reads and
/// writes.
///
/// TCP sockets are held in place, for there may be very many; others are boxed.
pub struct Transport(Kind);

enum Kind {
    Tcp(TcpStream),
    Other(Box<dyn Connection>),
    /// Until the server takes what it says, so that it costs a stream nothing.
    Extended(Box<Extended>),
}

/// A connection, and what its listener knows of it.
pub(crate) struct Extended {
    pub(crate) transport: Transport,
    pub(crate) extension: Option<Extension>,
    pub(crate) is_https: bool,
}

/// What a listener tells the application about a connection.
pub(crate) type Extension = Box<dyn Any + Send + Sync>;

/// What a connection must be able to do.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<C: AsyncRead + AsyncWrite + Send + Unpin> Connection for C {}

impl Transport {
    /// A connection of another kind than TCP and Unix, such as a TLS session.
    pub fn new(connection: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Kind::Other(Box::new(connection)))
    }

    /// Lets the application see `extension` by
    /// [`Request::extension`](crate::Request::extension): what the listener has found out
    /// about the peer. A later one takes the place of an earlier one. It is dropped with the
    /// request, before a stream begins.
    #[must_use]
    pub fn with_extension(self, extension: impl Any + Send + Sync) -> Self {
        self.extend(|extended| extended.extension = Some(Box::new(extension)))
    }

    /// Marks a connection whose requests are for `https` URLs, so that only pages that came
    /// over HTTPS are of the server's own origin; see
    /// [`Upgrader::https`](sse_core::Upgrader::https).
    #[must_use]
    pub fn https(self) -> Self {
        self.extend(|extended| extended.is_https = true)
    }

    /// Writes the last bytes of the connection, such as a response, ends its half, and reads
    /// what the peer still sends: dropping a connection with unread input resets it, and the
    /// bytes would be lost. Each piece of progress in writing has `write_timeout`; reading takes
    /// at most 2 s and 256 KiB.
    ///
    /// # Errors
    ///
    /// What the connection says, and [`TimedOut`](io::ErrorKind::TimedOut).
    pub async fn finish(mut self, bytes: &[u8], write_timeout: Duration) -> io::Result<()> {
        write_all(&mut self, bytes, write_timeout).await?;
        timeout(write_timeout, self.shutdown()).await??;
        let (time, mut room) = LINGER;
        let _ = timeout(time, async {
            while room > 0
                && let Ok(len @ 1..) = self.read_piece(<[u8]>::len).await
            {
                room = room.saturating_sub(len);
            }
        })
        .await;
        Ok(())
    }

    /// Reads a piece and hands it to `take`. While this waits it keeps no buffer, for very many
    /// may wait at once.
    pub(crate) async fn read_piece<T>(
        &mut self,
        mut take: impl FnMut(&[u8]) -> T,
    ) -> io::Result<T> {
        poll_fn(|cx| {
            let mut piece = [0; 2048];
            let mut buffer = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut *self).poll_read(cx, &mut buffer))?;
            Poll::Ready(Ok(take(buffer.filled())))
        })
        .await
    }

    pub(crate) fn into_extended(self) -> Extended {
        match self.0 {
            Kind::Extended(extended) => *extended,
            kind => Extended {
                transport: Self(kind),
                extension: None,
                is_https: false,
            },
        }
    }

    fn extend(self, set: impl FnOnce(&mut Extended)) -> Self {
        let mut extended = self.into_extended();
        set(&mut extended);
        Self(Kind::Extended(Box::new(extended)))
    }

    fn connection(self: Pin<&mut Self>) -> Pin<&mut dyn Connection> {
        Pin::new(match &mut self.get_mut().0 {
            Kind::Tcp(socket) => socket as &mut dyn Connection,
            Kind::Other(connection) => &mut **connection,
            Kind::Extended(extended) => &mut extended.transport,
        })
    }
}

impl From<TcpStream> for Transport {
    fn from(socket: TcpStream) -> Self {
        Self(Kind::Tcp(socket))
    }
}

#[cfg(unix)]
impl From<UnixStream> for Transport {
    fn from(socket: UnixStream) -> Self {
        Self::new(socket)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::Tcp(_) => "Transport::Tcp",
            Kind::Other(_) => "Transport::Other",
            Kind::Extended(extended) => return extended.transport.fmt(f),
        })
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.connection().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.connection().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match slices {
            // What a TLS session mostly has; `send` costs less than `writev`.
            [slice] => self.connection().poll_write(cx, slice),
            _ => self.connection().poll_write_vectored(cx, slices),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tcp_socket_takes_no_more_than_itself() {
        assert_eq!(size_of::<Transport>(), size_of::<TcpStream>());
    }
}
