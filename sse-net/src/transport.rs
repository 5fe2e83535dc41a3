//! A connection of any kind.

use std::any::Any;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

/// A connection on which requests come and streams go: TCP, Unix, or whatever reads and
/// writes.
///
/// TCP sockets are held in place, for there may be very many; others are boxed.
pub struct Transport(Kind);

enum Kind {
    Tcp(TcpStream),
    Other(Box<dyn Connection>),
    /// Until the server takes the extension, so that it costs a stream nothing.
    Extended(Box<(Transport, Extension)>),
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
    /// [`Incoming::extension`](crate::Incoming::extension): what the listener has found out
    /// about the peer. A later one takes the place of an earlier one. It is dropped with the
    /// request, before a stream begins.
    #[must_use]
    pub fn with_extension(self, extension: impl Any + Send + Sync) -> Self {
        let (transport, _) = self.into_parts();
        Self(Kind::Extended(Box::new((transport, Box::new(extension)))))
    }

    pub(crate) fn into_parts(self) -> (Self, Option<Extension>) {
        match self.0 {
            Kind::Extended(extended) => {
                let (transport, extension) = *extended;
                (transport, Some(extension))
            }
            kind => (Self(kind), None),
        }
    }

    fn connection(self: Pin<&mut Self>) -> Pin<&mut dyn Connection> {
        Pin::new(match &mut self.get_mut().0 {
            Kind::Tcp(socket) => socket as &mut dyn Connection,
            Kind::Other(connection) => &mut **connection,
            Kind::Extended(extended) => &mut extended.0,
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
            Kind::Extended(extended) => return extended.0.fmt(f),
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
