//! Connections of any kind, and their listeners.

pub(crate) mod limit;
mod listener;
pub(crate) mod on_end;
pub(crate) mod presence;
mod tcp;
#[cfg(unix)]
mod unix;
pub(crate) mod until;

use std::any::Any;
use std::fmt;
use std::future::{pending, poll_fn};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::time::timeout;

pub use self::listener::{Listener, Peer};
pub use self::tcp::Tcp;
#[cfg(unix)]
pub use self::unix::bind_unix;
pub use self::until::Until;

/// The default number of connections that may wait to be accepted, as many as Linux allows by
/// default. Tokio's and the standard library's listeners let 1,024 or 128 wait, too few when
/// thousands of clients reconnect at once: the system of a client retries after 1 s, then 2 s.
const BACKLOG: i32 = 4096;

/// The time that a peer has to read its response, and the number of bytes that are read
/// meanwhile. Not a setting: only a peer that still sends needs it, a lost packet is sent again
/// within it, and a longer one would let peers hold connections that have been answered.
const LINGER: (Duration, usize) = (Duration::from_secs(2), 256 << 10);

/// A connection of any kind: TCP, Unix, TLS, or within the process.
///
/// TCP sockets are stored inline, because there may be very many; other kinds are boxed.
pub struct Transport(Kind);

enum Kind {
    Tcp(TcpStream),
    Other(Box<dyn ReadWrite>),
    /// Until `into_extended` is called, so that a stream does not pay for it.
    Extended(Box<Extended>),
}

/// A connection, and the facts that its listener attached.
pub(crate) struct Extended {
    pub(crate) transport: Transport,
    pub(crate) extensions: Vec<Extension>,
    pub(crate) is_https: bool,
}

/// A value that a listener attaches for the application.
pub(crate) type Extension = Box<dyn Any + Send + Sync>;

/// The traits of a connection, as one object type.
trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}

impl<C: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for C {}

impl Transport {
    /// Wraps a connection of any other kind, such as a TLS session.
    pub fn new(connection: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Kind::Other(Box::new(connection)))
    }

    /// Attaches a value that [`Request::extension`](crate::Request::extension) returns.
    ///
    /// Listeners attach facts about the peer, such as its certificate. Of several values of one
    /// type, the last counts. They are dropped with the request, before a stream starts.
    #[must_use]
    pub fn with_extension(self, extension: impl Any + Send + Sync) -> Self {
        self.extend(|extended| extended.extensions.push(Box::new(extension)))
    }

    /// Marks the requests of this connection as requests for `https` URLs.
    ///
    /// Only pages loaded over HTTPS are then of the server's own origin; see
    /// [`Upgrader::https`](sse_core::Upgrader::https).
    #[must_use]
    pub fn https(self) -> Self {
        self.extend(|extended| extended.is_https = true)
    }

    /// Wraps the connection in another, which keeps its extensions and whether it is `https`.
    ///
    /// A listener around another one calls this in its handshake, because
    /// [`new`](Self::new) alone would drop what the inner listener has attached.
    ///
    /// ```
    /// use std::io;
    /// use std::pin::Pin;
    /// use sse_net::{Listener, Peer, Transport};
    /// use tokio::io::BufStream;
    ///
    /// /// Buffers the connections of another listener.
    /// struct Buffered<L>(L);
    ///
    /// impl<L: Listener> Listener for Buffered<L> {
    ///     type Handshake = Pin<Box<dyn Future<Output = io::Result<Transport>> + Send>>;
    ///
    ///     async fn accept(&mut self) -> io::Result<(Self::Handshake, Peer)> {
    ///         let (inner, peer) = self.0.accept().await?;
    ///         let wrap = async |inner| Ok(Transport::new(BufStream::new(inner)));
    ///         Ok((Box::pin(async move { inner.await?.wrap(wrap).await }), peer))
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `wrap`.
    pub async fn wrap<F>(self, wrap: impl FnOnce(Self) -> F) -> io::Result<Self>
    where
        F: Future<Output = io::Result<Self>>,
    {
        let Extended {
            transport,
            mut extensions,
            is_https,
        } = self.into_extended();
        let outer = wrap(transport).await?;
        Ok(outer.extend(|outer| {
            extensions.append(&mut outer.extensions);
            outer.extensions = extensions;
            outer.is_https |= is_https;
        }))
    }

    /// Writes the last bytes, such as a response, and closes the connection gracefully.
    ///
    /// After closing its half it waits up to 2 s for the end of the input, of which it reads up
    /// to 256 KiB: dropping a connection with unread input resets it, and a peer that is still
    /// sending would lose the bytes. What it sends beyond 256 KiB fills its window, so that it
    /// has nothing left to do but to read.
    ///
    /// # Errors
    ///
    /// Those of the connection, and [`TimedOut`](io::ErrorKind::TimedOut) if the peer accepts no
    /// byte within `write_timeout`.
    pub async fn finish(mut self, bytes: &[u8], write_timeout: Duration) -> io::Result<()> {
        self.write_all(bytes, write_timeout).await?;
        timeout(write_timeout, self.shutdown()).await??;
        self.linger().await;
        Ok(())
    }

    /// Reads what the peer still sends after the last bytes; see [`finish`](Self::finish).
    pub(crate) async fn linger(&mut self) {
        let (time, mut room) = LINGER;
        let _ = timeout(time, async {
            while let Ok(len @ 1..) = self.read_piece(<[u8]>::len).await {
                room = room.saturating_sub(len);
                if room == 0 {
                    pending::<()>().await;
                }
            }
        })
        .await;
    }

    /// Returns `true` for a bare TCP socket, which ends orderly when it is dropped.
    pub(crate) const fn is_tcp(&self) -> bool {
        matches!(self.0, Kind::Tcp(_))
    }

    /// Reads once and passes the bytes to `take`. It holds no buffer while it waits, because
    /// very many connections may wait at once.
    pub(crate) async fn read_piece<T>(
        &mut self,
        mut take: impl FnMut(&[u8]) -> T,
    ) -> io::Result<T> {
        poll_fn(|cx| {
            let mut piece = [MaybeUninit::uninit(); 2048];
            let mut buffer = ReadBuf::uninit(&mut piece);
            ready!(Pin::new(&mut *self).poll_read(cx, &mut buffer))?;
            Poll::Ready(Ok(take(buffer.filled())))
        })
        .await
    }

    /// Writes all bytes; each write has to progress within the timeout.
    pub(crate) async fn write_all(
        &mut self,
        mut bytes: &[u8],
        write_timeout: Duration,
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            match timeout(write_timeout, self.write(bytes)).await?? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => bytes = &bytes[written..],
            }
        }
        Ok(())
    }

    /// Writes what a TCP socket takes at once, without a waker: less work than `poll_write`.
    /// Returns `None` for other kinds, which may have to be flushed, too.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> Option<io::Result<usize>> {
        let Kind::Tcp(socket) = &self.0 else {
            return None;
        };
        Some(match send(socket, bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            written => written,
        })
    }

    pub(crate) fn into_extended(self) -> Extended {
        match self.0 {
            Kind::Extended(extended) => *extended,
            kind => Extended {
                transport: Self(kind),
                extensions: Vec::new(),
                is_https: false,
            },
        }
    }

    fn extend(self, set: impl FnOnce(&mut Extended)) -> Self {
        let mut extended = self.into_extended();
        set(&mut extended);
        Self(Kind::Extended(Box::new(extended)))
    }

    fn connection(self: Pin<&mut Self>) -> Pin<&mut dyn ReadWrite> {
        Pin::new(match &mut self.get_mut().0 {
            Kind::Tcp(socket) => socket as &mut dyn ReadWrite,
            Kind::Other(connection) => &mut **connection,
            Kind::Extended(extended) => &mut extended.transport,
        })
    }
}

/// Sends what a socket takes. Tokio would first look whether it is ready, which is a cache miss
/// for each client of an event, and the shard knows that a client without unsent bytes is.
#[cfg(target_os = "linux")]
fn send(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    SockRef::from(socket).send_with_flags(bytes, libc::MSG_NOSIGNAL)
}

#[cfg(not(target_os = "linux"))]
fn send(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    socket.try_write(bytes)
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
            // The usual case of a TLS session; `send` costs less than `writev`.
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

/// Returns the error of a listener as a sentence that names the address.
fn cannot_listen(at: impl fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("can't listen at {at}: {error}"))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn a_transport_is_as_large_as_a_tcp_socket() {
        assert_eq!(size_of::<Transport>(), size_of::<TcpStream>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_sends_without_end_has_time_to_read_the_last_bytes() {
        let (ours, mut theirs) = tokio::io::duplex(64 << 10);
        let began = Instant::now();
        tokio::spawn(Transport::new(ours).finish(b"no", Duration::from_secs(1)));
        while theirs.write_all(&[b'x'; 1000]).await.is_ok() {}
        assert_eq!(began.elapsed(), LINGER.0);
        let mut last = String::new();
        theirs.read_to_string(&mut last).await.unwrap();
        assert_eq!(last, "no");
    }
}
