//! Where connections come from.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::fs::FileTypeExt;
#[cfg(unix)]
use std::path::Path;
use std::time::Duration;

#[cfg(unix)]
use socket2::SockAddr;
use socket2::{Domain, Socket, TcpKeepalive, Type};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;

use crate::transport::Transport;

/// How many connections wait by default to be accepted: 4,096, as many as Linux allows unless
/// told otherwise. Tokio's and the standard library's listeners let 1,024 or 128 wait, too few
/// when thousands reconnect at once: what does not fit is tried again by the client's system
/// a second later, and then two.
const BACKLOG: i32 = 4096;

/// A source of connections.
///
/// A listener that wraps another, as TLS does, makes the handshake a part of its future: that
/// is awaited by the connection's own task, under the request head's deadline, so that a
/// client that never finishes it stalls nobody.
///
/// ```
/// use std::io;
/// use sse_net::{Listener, Peer, Transport};
/// use tokio::io::DuplexStream;
/// use tokio::sync::mpsc;
///
/// /// Connections within the process, say for tests.
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
    /// What becomes a connection once it is awaited.
    type Handshake: Future<Output = io::Result<Transport>> + Send + 'static;

    /// Waits for the next connection. It must be possible to cancel this without losing one.
    ///
    /// # Errors
    ///
    /// What keeps connections from being accepted, such as too many open files. It is counted
    /// and is not the end: the server waits, from 5 ms up to a second, and tries again.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Handshake, Peer)>> + Send;
}

/// Who is at the other end of a connection, for the limit by address and for the application.
/// Behind a proxy it is the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// A TCP connection from this address.
    Tcp(SocketAddr),
    /// A connection from the same machine.
    Local,
}

/// The settings of a TCP listener, each with its default and its reason.
///
/// ```no_run
/// use sse_net::Tcp;
///
/// # async fn run() -> std::io::Result<()> {
/// let listener = Tcp::default().bind("0.0.0.0:80")?;
/// # let _ = listener;
/// # Ok(())
/// # }
/// ```
///
/// Another [`TcpListener`] will do as well; its connections then have only Nagle's algorithm
/// switched off.
#[derive(Debug, Clone)]
pub struct Tcp {
    /// How many connections may wait to be accepted: 4,096, so that none has to be tried again
    /// when thousands reconnect at once. The system may allow less (`net.core.somaxconn`).
    pub backlog: i32,

    /// After how much silence the system asks whether the peer is still there: 60 s, then
    /// every 15 s, four times. Heartbeats find most of the dead earlier; this finds those that
    /// no heartbeat goes to, such as who is slow with its request head.
    pub keepalive: Option<Duration>,

    /// For how long what is sent may remain unacknowledged, or the peer's window shut, before
    /// the system gives the connection up: 30 s (`TCP_USER_TIMEOUT`, on Linux; elsewhere it
    /// has no effect). Without, a peer that vanished holds its connection for a quarter of an
    /// hour. It should be longer than the [write timeout](crate::Config::write_timeout).
    pub user_timeout: Option<Duration>,

    /// How many bytes the system takes for a connection beyond those that are on their way.
    /// Default: 64 KiB (`TCP_NOTSENT_LOWAT`, on Linux; elsewhere it has no effect).
    ///
    /// Without it, a client that reads nothing fills megabytes of the system's memory, and a
    /// client that reads slowly seems to take nothing for minutes, because the system reports
    /// progress only when half of what is unsent has gone. It does not limit what is on its
    /// way, so it does not slow down clients that read.
    ///
    /// A client is cut off if it takes less than half of this, or less than its system needs
    /// to reopen its receive window, within the [write timeout](crate::Config::write_timeout).
    /// With the defaults that is 1.6 kB/s, or for a client on Linux whose receive buffer has
    /// grown to 6 MiB some 20 kB/s, since its window reopens in steps of a sixteenth.
    pub max_unsent: Option<u32>,
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            backlog: BACKLOG,
            keepalive: Some(Duration::from_secs(60)),
            user_timeout: Some(Duration::from_secs(30)),
            max_unsent: Some(64 << 10),
        }
    }
}

impl Tcp {
    /// Listens at the first of these addresses that works. A name is looked up while the
    /// thread waits.
    ///
    /// The settings are made once, at the listener, from which connections have them: they
    /// cost a connection nothing.
    ///
    /// # Errors
    ///
    /// What the system says, such as that the address is in use.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn bind(&self, addresses: impl ToSocketAddrs) -> io::Result<TcpListener> {
        let mut bound = Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "there is no address to listen at",
        ));
        for address in addresses.to_socket_addrs()? {
            bound = self.bind_one(address);
            if bound.is_ok() {
                break;
            }
        }
        TcpListener::from_std(bound?.into())
    }

    fn bind_one(&self, address: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // On Windows this would let others take the address over.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        if let Some(silence) = self.keepalive {
            let keepalive = TcpKeepalive::new().with_time(silence);
            #[cfg(any(target_os = "linux", target_os = "macos", windows))]
            let keepalive = keepalive.with_interval(Duration::from_secs(15));
            #[cfg(any(target_os = "linux", target_os = "macos"))]
            let keepalive = keepalive.with_retries(4);
            socket.set_tcp_keepalive(&keepalive)?;
        }
        #[cfg(target_os = "linux")]
        {
            socket.set_tcp_user_timeout(self.user_timeout)?;
            if let Some(bytes) = self.max_unsent {
                socket.set_tcp_notsent_lowat(bytes)?;
            }
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(self.backlog)?;
        Ok(socket)
    }
}

/// Listens at a Unix socket. A socket file that nobody listens at any more is replaced; one at
/// which somebody does is not, nor is any other file.
///
/// The file stays when the server ends, for the next one to replace. 4,096 connections may wait
/// to be accepted. Of two servers that replace the same file in the same moment, the later may
/// take the place of the earlier.
///
/// ```no_run
/// # async fn run() -> std::io::Result<()> {
/// let listener = sse_net::bind_unix("/run/app/events.sock")?;
/// # let _ = listener;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`AddrInUse`](io::ErrorKind::AddrInUse) where somebody listens,
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists) where there is another file than a socket, and
/// what else the system says.
///
/// # Panics
///
/// Outside a Tokio runtime.
#[cfg(unix)]
pub fn bind_unix(path: impl AsRef<Path>) -> io::Result<UnixListener> {
    let path = path.as_ref();
    let address = SockAddr::unix(path)?;
    let socket = unix_socket()?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path, &address)? => {
            std::fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    socket.listen(BACKLOG)?;
    UnixListener::from_std(socket.into())
}

/// Whether `path` is a socket at which nobody listens.
#[cfg(unix)]
fn is_stale(path: &Path, address: &SockAddr) -> io::Result<bool> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        let sentence = format!(
            "{} is no socket; remove it, or listen elsewhere",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, sentence));
    }
    // Not blocking: where many wait already, somebody listens.
    let refused = unix_socket()?.connect(address).err();
    Ok(refused.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

#[cfg(unix)]
fn unix_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Listener for TcpListener {
    type Handshake = std::future::Ready<io::Result<Transport>>;

    async fn accept(&mut self) -> io::Result<(Self::Handshake, Peer)> {
        let (socket, address) = Self::accept(self).await?;
        // An event is to leave at once, not when the last one has been acknowledged.
        let transport = socket.set_nodelay(true).map(|()| Transport::from(socket));
        Ok((std::future::ready(transport), Peer::Tcp(address)))
    }
}

#[cfg(unix)]
impl Listener for UnixListener {
    type Handshake = std::future::Ready<io::Result<Transport>>;

    async fn accept(&mut self) -> io::Result<(Self::Handshake, Peer)> {
        let (socket, _) = Self::accept(self).await?;
        Ok((std::future::ready(Ok(Transport::from(socket))), Peer::Local))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use socket2::SockRef;
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn connections_have_the_settings_of_their_listener() {
        let listener = Tcp::default().bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (_client, (accepted, _)) = (client.unwrap(), accepted.unwrap());
        let socket = SockRef::from(&accepted);
        assert!(socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(
            (
                socket.tcp_keepalive_time().unwrap(),
                socket.tcp_keepalive_interval().unwrap(),
                socket.tcp_keepalive_retries().unwrap(),
                socket.tcp_user_timeout().unwrap(),
                socket.tcp_notsent_lowat().unwrap(),
            ),
            (
                Duration::from_secs(60),
                Duration::from_secs(15),
                4,
                Some(Duration::from_secs(30)),
                64 << 10,
            )
        );
    }

    #[tokio::test]
    async fn an_address_in_use_is_an_error() {
        let listener = Tcp::default().bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = Tcp::default().bind(listener.local_addr().unwrap());
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let none = Tcp::default().bind(&[][..]).unwrap_err();
        assert_eq!(none.to_string(), "there is no address to listen at");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_stale_socket_file_is_replaced_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.sock");

        let live = bind_unix(&path).unwrap();
        let refused = bind_unix(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        drop(live);
        assert!(path.exists());
        drop(bind_unix(&path).unwrap());

        let file = dir.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        let refused = bind_unix(&file).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(
            refused.to_string(),
            format!(
                "{} is no socket; remove it, or listen elsewhere",
                file.display()
            )
        );
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    }
}
