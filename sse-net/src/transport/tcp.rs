//! TCP listeners.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use socket2::{Domain, Socket, TcpKeepalive, Type};
use tokio::net::TcpListener;

use super::listener::{Listener, Peer};
use super::{BACKLOG, Transport, cannot_listen};

/// Settings of a TCP listener.
///
/// ```no_run
/// use sse_net::Tcp;
///
/// # async fn run() -> std::io::Result<()> {
/// let listener = Tcp::default().backlog(16_384).bind("0.0.0.0:80")?;
/// # let _ = listener;
/// # Ok(())
/// # }
/// ```
///
/// Any other [`TcpListener`] is a [`Listener`] too; of all these settings, its connections get
/// only `TCP_NODELAY`.
#[derive(Debug, Clone)]
#[must_use]
pub struct Tcp {
    backlog: u32,
    keepalive: Option<Duration>,
    user_timeout: Option<Duration>,
    max_unsent: Option<u32>,
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            backlog: BACKLOG.unsigned_abs(),
            keepalive: Some(Duration::from_secs(60)),
            user_timeout: Some(Duration::from_secs(30)),
            max_unsent: Some(64 << 10),
        }
    }
}

impl Tcp {
    /// Sets the number of connections that may wait to be accepted.
    ///
    /// Default: 4,096, so that none has to be retried when thousands of clients reconnect at
    /// once. The system may allow less (`net.core.somaxconn`).
    pub fn backlog(mut self, count: u32) -> Self {
        self.backlog = count;
        self
    }

    /// Sets the silence after which the system sends keepalive probes.
    ///
    /// Default: 60 s, then every 15 s, four times. Heartbeats find most dead peers earlier;
    /// probes find those that get no heartbeats, such as one that is slow with its head.
    pub fn keepalive(mut self, silence: impl Into<Option<Duration>>) -> Self {
        self.keepalive = silence.into();
        self
    }

    /// Sets the time after which the system closes a connection that acknowledges nothing.
    ///
    /// Default: 30 s (`TCP_USER_TIMEOUT`, on Linux; no effect elsewhere). Without it, a peer
    /// that vanished holds its connection for 15 minutes. A window that stays shut counts too.
    /// It should be longer than the [write timeout](crate::Config::write_timeout).
    pub fn user_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.user_timeout = timeout.into();
        self
    }

    /// Sets how many bytes the system accepts per connection before they are in flight.
    ///
    /// Default: 64 KiB (`TCP_NOTSENT_LOWAT`, on Linux; no effect elsewhere).
    ///
    /// Without it, a client that reads nothing fills megabytes of the system's memory. And one
    /// that reads slowly seems to accept nothing for minutes, because the system reports progress
    /// only when half of the unsent bytes have been sent. The bytes in flight are not limited, so
    /// clients that read are not slowed down.
    ///
    /// A client is disconnected if it accepts less than half of this, or less than its system
    /// needs to reopen its receive window, within the
    /// [write timeout](crate::Config::write_timeout). With the defaults that is 1.6 kB/s, or
    /// 20 kB/s for a client on Linux whose receive buffer has grown to 6 MiB, since its window
    /// reopens in steps of a sixteenth.
    pub fn max_unsent(mut self, bytes: impl Into<Option<u32>>) -> Self {
        self.max_unsent = bytes.into();
        self
    }
}

impl Tcp {
    /// Listens at the first of these addresses that works.
    ///
    /// Looking up a host name blocks the thread. The settings are applied to the listener;
    /// connections inherit them at no cost.
    ///
    /// # Errors
    ///
    /// Those of the system, for example that the address is in use. They name the address, unless
    /// it is text that cannot be looked up.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn bind(&self, addresses: impl ToSocketAddrs) -> io::Result<TcpListener> {
        let mut bound = Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the list of addresses to listen at is empty",
        ));
        for address in addresses.to_socket_addrs()? {
            bound = self
                .bind_one(address)
                .map_err(|error| cannot_listen(address, &error));
            if bound.is_ok() {
                break;
            }
        }
        TcpListener::from_std(bound?.into())
    }

    /// Applies the settings to a socket that listens already, such as one that systemd passes.
    ///
    /// The backlog stays as it is.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn adopt(&self, listener: std::net::TcpListener) -> io::Result<TcpListener> {
        let socket = Socket::from(listener);
        self.set_options(&socket)?;
        TcpListener::from_std(socket.into())
    }

    fn bind_one(&self, address: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // On Windows this would let others take the address over.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        self.set_options(&socket)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(self.backlog).unwrap_or(i32::MAX))?;
        Ok(socket)
    }

    fn set_options(&self, socket: &Socket) -> io::Result<()> {
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
        socket.set_nonblocking(true)
    }
}

impl Listener for TcpListener {
    type Handshake = std::future::Ready<io::Result<Transport>>;

    async fn accept(&mut self) -> io::Result<(Self::Handshake, Peer)> {
        let (socket, address) = Self::accept(self).await?;
        // Each event is sent at once, not after the acknowledgement of the last one.
        let transport = socket.set_nodelay(true).map(|()| Transport::from(socket));
        Ok((std::future::ready(transport), Peer::Tcp(address)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use socket2::SockRef;
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn connections_inherit_the_settings_of_their_listener() {
        check_settings(Tcp::default().bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).await;
        let passed = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        check_settings(Tcp::default().adopt(passed).unwrap()).await;
    }

    async fn check_settings(listener: TcpListener) {
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
        let address = listener.local_addr().unwrap();
        let taken = Tcp::default().bind(address).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        let sentence = format!("can't listen at {address}: ");
        assert!(taken.to_string().starts_with(&sentence), "{taken}");
        let none = Tcp::default().bind(&[][..]).unwrap_err();
        assert_eq!(
            none.to_string(),
            "the list of addresses to listen at is empty"
        );
    }
}
