//! How a client opens connections.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sse_core::client::Url;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

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
    /// If a host has several addresses, the next one is tried when one has failed, or has not
    /// answered within 250 ms (RFC 8305). Other connectors use it for what is below TLS.
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
                let addresses = Vec::from_iter(lookup_host((url.host(), url.port())).await?);
                let socket = connect_to_any(addresses, TcpStream::connect).await?;
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

/// Connects to the first of several addresses that accepts: RFC 8305, section 5.
///
/// Addresses are tried in their order. An unreachable one may never answer, so the next one is
/// tried before it has failed.
async fn connect_to_any<A, F, C>(addresses: Vec<A>, connect: impl Fn(A) -> F) -> io::Result<C>
where
    F: Future<Output = io::Result<C>> + Send + 'static,
    C: Send + 'static,
{
    let mut addresses = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failed = io::ErrorKind::NotFound.into();
    loop {
        if let Some(address) = addresses.next() {
            attempts.spawn(connect(address));
        }
        let is_last = addresses.len() == 0;
        let delay = if is_last {
            Duration::MAX
        } else {
            ATTEMPT_DELAY
        };
        match timeout(delay, attempts.join_next()).await {
            Ok(Some(Ok(Ok(connection)))) => return Ok(connection),
            Ok(Some(Ok(Err(error)))) => failed = error,
            Ok(Some(Err(error))) => failed = error.into(),
            Ok(None) => return Err(failed),
            Err(_) => {}
        }
    }
}

/// How long an address may take before the next one is tried, too.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

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

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const REFUSED: Result<u8, io::ErrorKind> = Err(io::ErrorKind::ConnectionRefused);

    /// An address is what comes of it; `None` never answers.
    async fn connect(address: Option<Result<u8, io::ErrorKind>>) -> io::Result<u8> {
        match address {
            Some(outcome) => outcome.map_err(Into::into),
            None => std::future::pending().await,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_does_not_answer_delays_the_next_one_by_a_quarter_second() {
        for (addresses, expected, millis) in [
            (vec![], Err(io::ErrorKind::NotFound), 0),
            (vec![Some(Ok(1)), Some(Ok(2))], Ok(1), 0),
            (vec![Some(REFUSED), Some(Ok(2))], Ok(2), 0),
            (vec![Some(REFUSED)], REFUSED, 0),
            (vec![None, Some(Ok(2))], Ok(2), 250),
            (vec![None, None, Some(REFUSED), Some(Ok(4))], Ok(4), 500),
        ] {
            let began = Instant::now();
            let attempt = timeout(Duration::from_secs(10), connect_to_any(addresses, connect));
            let connected = attempt.await.expect("some address answers");
            assert_eq!(connected.map_err(|error| error.kind()), expected);
            let took = began.elapsed().as_millis();
            assert!((millis..millis + 10).contains(&took), "{took} ms");
        }
    }
}
