//! Requesting the stream, and the reasons for which there is none.

use std::error::Error;
use std::io;
use std::time::{Duration, SystemTime};

use sse_core::{BodyError, MEDIA_TYPE};
use sse_net::{Client, Transport};
use tokio::time::timeout;

use crate::options::Options;

/// Sends the request. Returns the client that reads the stream, or `None` after 204.
pub(crate) async fn connect(
    options: &Options,
    last_event_id: &str,
) -> Result<Option<Client<Transport>>, ConnectError> {
    let Options { source, tls, .. } = options;
    let connecting = timeout(CONNECT_TIMEOUT, source.connect(tls.as_ref())).await;
    let connection = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let mut client =
        Client::new(connection.map_err(ConnectError::unreachable)?).limit(CONNECT_TIMEOUT);
    let request = options.request(last_event_id);
    let head = client.ask(request.as_bytes()).await;
    let head = head.map_err(ConnectError::unreachable)?;
    match head.status() {
        200 if head.media_type().as_deref() == Some(MEDIA_TYPE) => match head.content_coding() {
            None => Ok(Some(client)),
            Some(encoding) => Err(ConnectError::Final(format!(
                "the response has the content encoding {encoding:?}, which can't be recorded; \
                     turn it off in the server or in the proxy before it"
            ))),
        },
        204 => Ok(None),
        200 => Err(ConnectError::Final(
            "the response is not an event stream".to_owned(),
        )),
        status => {
            let sentence = match head.header("location") {
                Some(location) if matches!(status, 300..400) => format!(
                    "the server responds with {status} and redirects to {location:?}; \
                     record that URL if you trust it"
                ),
                _ => format!("the server responds with {status}"),
            };
            Err(match (status, head.retry_after(SystemTime::now())) {
                (408 | 429 | 500.., Some(wait)) => {
                    ConnectError::RetryAfter(sentence, wait.clamp(MIN_WAIT, MAX_RETRY_AFTER))
                }
                (408 | 429 | 500.., None) => ConnectError::Temporary(sentence),
                _ => ConnectError::Final(sentence),
            })
        }
    }
}

/// Why a connection yielded no stream.
pub(crate) enum ConnectError {
    /// A retry may succeed.
    Temporary(String),
    /// The server sent `Retry-After`.
    RetryAfter(String, Duration),
    Final(String),
}

impl ConnectError {
    #[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
    fn unreachable(error: io::Error) -> Self {
        Self::Temporary(match error.kind() {
            io::ErrorKind::InvalidData => format!("can't read the response: {error}"),
            _ => format!("can't reach the server: {error}"),
        })
    }
}

/// Describes why an incomplete stream ended.
pub(crate) fn read_error(error: &io::Error) -> String {
    let body_error = error
        .get_ref()
        .and_then(<dyn Error + Send + Sync>::downcast_ref::<BodyError>);
    match body_error {
        Some(error) => error.to_string(),
        None => format!("the connection was lost: {error}"),
    }
}

/// The minimum pause between two connections.
pub(crate) const MIN_WAIT: Duration = Duration::from_millis(100);

/// The deadline for connecting, and for the response head.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum pause that `Retry-After` sets.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(86_400);
