//! How a client opens connections.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use sse_core::client::Url;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::transport::Transport;

/// Opens the connections of a [`Client`](crate::Client).
///
/// [`Direct`] connects to TCP and Unix sockets, `TlsConnector` of the crate `sse-tls` also over
/// TLS. A function of a [`Url`] is a connector, too: it returns anything that reads and writes,
/// such as a tunnel or a pipe of a test.
///
/// The client drops the future when its deadline passes. Errors of the kinds
/// [`Unsupported`](io::ErrorKind::Unsupported) and [`InvalidInput`](io::ErrorKind::InvalidInput)
/// are final, as is [`InvalidData`](io::ErrorKind::InvalidData) before the first success, which is
/// the kind of invalid certificates. The client retries after any other.
///
/// ```
/// use sse_net::{Connect, EventSource};
/// use tokio::net::TcpStream;
///
/// # fn example() -> Result<(), sse_net::FieldError> {
/// let by_proxy = |_| TcpStream::connect("proxy.internal:8080");
/// let client = EventSource::get("http://example.org/ticks")?.connect_with(by_proxy);
/// # let _ = client;
/// # Ok(())
/// # }
/// ```
pub trait Connector: Send + Sync + 'static {
    /// Opens a connection to the server of `url`.
    fn connect(&self, url: &Url) -> impl Future<Output = io::Result<Transport>> + Send;
}

impl<F, R, C> Connector for F
where
    F: Fn(Url) -> R + Send + Sync + 'static,
    R: Future<Output = io::Result<C>> + Send,
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    async fn connect(&self, url: &Url) -> io::Result<Transport> {
        Ok(Transport::new(self(url.clone()).await?))
    }
}

/// Connects to TCP and Unix sockets, without TLS.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Direct;

impl Direct {
    /// Opens a connection to the server of `url`, whatever its scheme.
    ///
    /// Other connectors use it for what is below TLS.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub async fn open(url: &Url) -> io::Result<Transport> {
        match url.unix_path() {
            #[cfg(unix)]
            Some(path) => Ok(tokio::net::UnixStream::connect(path).await?.into()),
            #[cfg(not(unix))]
            Some(_) => Err(io::ErrorKind::Unsupported.into()),
            None => {
                let socket = TcpStream::connect((url.host(), url.port())).await?;
                socket.set_nodelay(true)?;
                Ok(socket.into())
            }
        }
    }
}

impl Connector for Direct {
    async fn connect(&self, url: &Url) -> io::Result<Transport> {
        if url.is_https() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, NO_TLS));
        }
        Self::open(url).await
    }
}

pub(super) const NO_TLS: &str =
    "an https URL needs a connector for TLS, such as that of the crate sse-tls";

/// A future without a name.
pub(super) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A connector without a type parameter.
pub(super) trait Dial: Send + Sync {
    fn dial(self: Arc<Self>, url: Url) -> Boxed<io::Result<Transport>>;
}

impl<C: Connector> Dial for C {
    fn dial(self: Arc<Self>, url: Url) -> Boxed<io::Result<Transport>> {
        Box::pin(async move { self.connect(&url).await })
    }
}
