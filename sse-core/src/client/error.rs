//! Why a client stops, and why it reconnects.

use std::error::Error;
use std::time::Duration;
use std::{fmt, io};

use crate::decode::DecodeError;
use crate::http::{BodyError, MEDIA_TYPE, ResponseHead, ResponseHeadError};

/// Why a client stopped, or why it reconnects ([`Closed`](super::Closed)).
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection could be opened.
    Connect(io::Error),
    /// The hook before an attempt failed.
    Prepare(Box<dyn Error + Send + Sync>),
    /// The connection failed.
    Lost(io::Error),
    /// A deadline has passed.
    TimedOut {
        /// The deadline.
        deadline: Deadline,
        /// Its time.
        after: Duration,
    },
    /// The response head cannot be read.
    Head(ResponseHeadError),
    /// The body cannot be read to its end.
    Body(BodyError),
    /// The stream exceeds a limit.
    Decode(DecodeError),
    /// The response has a status code other than 200.
    Status(Box<ErrorResponse>),
    /// The response is not an event stream.
    NotAnEventStream(Box<ErrorResponse>),
    /// The response has this content coding, which the request did not allow.
    ContentCoding(String),
    /// A redirect cannot be followed.
    Redirect(RedirectError),
    /// The server ended the stream.
    ///
    /// It is the reason why a feed reconnects. A call without an end in its stream ends with
    /// success instead.
    Ended,
    /// The stream of a completion ended before its end, such as `[DONE]`.
    ///
    /// Once a stream has been opened, every other failure is reported in this way, too, also that of
    /// a later attempt.
    Truncated {
        /// The number of events before.
        events: u64,
        /// Why nothing follows; `None` if the response was complete.
        cause: Option<Box<Self>>,
    },
    /// The server of a completion reported an error within the stream.
    Reported {
        /// The event type.
        event_type: String,
        /// The data of the event, usually a JSON object.
        data: String,
        /// The number of events before it. If it is not 0, the application may have used them.
        events: u64,
    },
    /// The application asked for another connection.
    Restarted,
}

/// A response that is not a stream.
#[derive(Clone, PartialEq, Eq)]
pub struct ErrorResponse {
    pub(super) head: ResponseHead,
    pub(super) body: Vec<u8>,
    pub(super) is_complete: bool,
}

impl ErrorResponse {
    pub(super) const fn new(head: ResponseHead) -> Self {
        Self {
            head,
            body: Vec::new(),
            is_complete: false,
        }
    }

    /// Returns the status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.head.status()
    }

    /// Returns the response head.
    #[must_use]
    pub const fn head(&self) -> &ResponseHead {
        &self.head
    }

    /// Returns the body, up to [`max_error_body`](super::EventSource::max_error_body).
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns whether the body is whole.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }
}

/// A deadline of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deadline {
    /// [`connect_timeout`](super::EventSource::connect_timeout).
    Connect,
    /// [`head_timeout`](super::EventSource::head_timeout).
    Head,
    /// [`silence`](super::EventSource::silence).
    Silence,
    /// [`progress`](super::EventSource::progress).
    Progress,
    /// [`total`](super::EventSource::total).
    Total,
}

/// Why a redirect is not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedirectError {
    /// The response has no `Location`, or an empty one.
    NoLocation,
    /// `Location` is not the URL of an HTTP server.
    BadLocation(String),
    /// `Location` leads from `https` to this URL, which is not encrypted.
    Insecure(String),
    /// There were more redirects than [`max_redirects`](super::EventSource::max_redirects).
    TooMany {
        /// The limit.
        limit: u32,
    },
}

impl Deadline {
    /// Returns the name of the setting.
    const fn setting(self) -> &'static str {
        match self {
            Self::Connect => "connect_timeout",
            Self::Head => "head_timeout",
            Self::Silence => "silence",
            Self::Progress => "progress",
            Self::Total => "total",
        }
    }
}

impl fmt::Debug for ErrorResponse {
    /// Writes the beginning of the body as text: a program that returns the error from `main`
    /// prints it in this form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorResponse")
            .field("status", &self.status())
            .field("body", &excerpt(&self.body))
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "no connection could be opened: {error}"),
            Self::Prepare(error) => write!(f, "the hook before the attempt failed: {error}"),
            Self::Lost(error) => write!(f, "the connection was lost: {error}"),
            Self::TimedOut { deadline, after } => write!(
                f,
                "{deadline} within {after:?}; raise {} if that is too short",
                deadline.setting()
            ),
            Self::Head(error) => error.fmt(f),
            Self::Body(error) => error.fmt(f),
            Self::Decode(error) => error.fmt(f),
            Self::Status(response) => {
                write!(f, "the server responded with {}", response.status())?;
                match excerpt(&response.body) {
                    text if text.is_empty() => Ok(()),
                    text => write!(f, ": {text}"),
                }
            }
            Self::NotAnEventStream(response) => match response.head.media_type() {
                Some(other) => write!(
                    f,
                    "the response is {other}, not {MEDIA_TYPE}; check the URL"
                ),
                None => write!(f, "the response has no valid Content-Type; check the URL"),
            },
            Self::ContentCoding(coding) => write!(
                f,
                "the response has the content coding {coding:?}; turn it off in the server or in \
                 the proxy before it"
            ),
            Self::Redirect(error) => error.fmt(f),
            Self::Ended => f.write_str("the server ended the stream"),
            Self::Truncated { events, cause } => {
                write!(
                    f,
                    "the stream ended before its last event, after {}",
                    counted(*events)
                )?;
                match cause {
                    Some(cause) => write!(f, ": {cause}"),
                    None => Ok(()),
                }
            }
            Self::Reported { data, events, .. } => write!(
                f,
                "the server reported an error after {}: {}",
                counted(*events),
                excerpt(data.as_bytes())
            ),
            Self::Restarted => f.write_str("the application asked for another connection"),
        }
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "no connection was opened",
            Self::Head => "no response head was received",
            Self::Silence => "nothing was received",
            Self::Progress => "no event was received",
            Self::Total => "the stream did not end",
        })
    }
}

impl fmt::Display for RedirectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLocation => f.write_str("the response is a redirect without a Location"),
            Self::BadLocation(location) => write!(
                f,
                "the response redirects to {location:?}, which is not an http or https URL \
                 without a user name"
            ),
            Self::Insecure(location) => write!(
                f,
                "the response redirects from https to {location:?}, which is not encrypted; \
                 request that URL if you trust it"
            ),
            Self::TooMany { limit } => write!(
                f,
                "there were more than {limit} redirects; check the URL for a loop, or raise \
                 max_redirects"
            ),
        }
    }
}

impl Error for ClientError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connect(error) | Self::Lost(error) => Some(error),
            Self::Prepare(error) => Some(&**error),
            Self::Head(error) => Some(error),
            Self::Body(error) => Some(error),
            Self::Decode(error) => Some(error),
            Self::Redirect(error) => Some(error),
            Self::Truncated { cause, .. } => cause.as_deref().map(|cause| cause as _),
            _ => None,
        }
    }
}

impl Error for RedirectError {}

impl From<ClientError> for io::Error {
    fn from(error: ClientError) -> Self {
        let kind = match &error {
            ClientError::Connect(error) | ClientError::Lost(error) => error.kind(),
            ClientError::TimedOut { .. } => io::ErrorKind::TimedOut,
            ClientError::Ended | ClientError::Truncated { .. } => io::ErrorKind::UnexpectedEof,
            ClientError::Head(ResponseHeadError::Incomplete { .. })
            | ClientError::Body(BodyError::Incomplete { .. }) => io::ErrorKind::UnexpectedEof,
            ClientError::Head(_)
            | ClientError::Body(_)
            | ClientError::Decode(_)
            | ClientError::NotAnEventStream(_)
            | ClientError::ContentCoding(_) => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// Returns a number of events in words.
fn counted(events: u64) -> String {
    match events {
        1 => "1 event".to_owned(),
        events => format!("{events} events"),
    }
}

/// Returns the beginning of a text on one line.
fn excerpt(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut chars = text.trim().chars();
    let mut excerpt: String = chars.by_ref().take(MAX_SHOWN).collect();
    if chars.next().is_some() {
        excerpt.push('…');
    }
    excerpt.replace(|char: char| char.is_control(), " ")
}

/// The characters of a server's text that a sentence shows.
const MAX_SHOWN: usize = 200;
