//! The error of sending.

use std::fmt::{self, Display};
use std::{error, io, str};

use crate::event::FieldError;
#[cfg(feature = "json")]
use crate::event::JsonError;

/// Why an event was not sent.
///
/// On [`Io`](Self::Io) the event has been accepted; on any other error nothing of it was. It
/// converts into an [`io::Error`].
#[derive(Debug)]
#[non_exhaustive]
pub enum SendError {
    /// Text that is not allowed in its field.
    Field(FieldError),
    /// Data that is not UTF-8; the format has no binary data.
    Utf8(str::Utf8Error),
    /// A value that cannot be serialised.
    #[cfg(feature = "json")]
    Json(JsonError),
    /// A value whose `Display` implementation failed.
    Display(fmt::Error),
    /// The buffer is full, because the writer has not taken enough bytes.
    Full {
        /// The bytes in the buffer.
        pending: usize,
    },
    /// The stream is closed.
    Closed,
    /// The writer failed. **The event has been accepted**; do not send it again.
    ///
    /// It stays in the buffer, and the next call continues where the writer stopped.
    Io(io::Error),
}

impl Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(error) => error.fmt(f),
            Self::Utf8(error) => write!(
                f,
                "the data is not UTF-8 from byte {}; encode binary data as text, such as base64",
                error.valid_up_to()
            ),
            #[cfg(feature = "json")]
            Self::Json(error) => error.fmt(f),
            Self::Display(_) => f.write_str("the data's Display implementation failed"),
            Self::Full { pending } => write!(
                f,
                "the buffer is full with {pending} bytes; flush the stream or disconnect the client"
            ),
            Self::Closed => f.write_str("the stream is closed; open another"),
            Self::Io(error) => write!(
                f,
                "the writer failed, and the event is still in the buffer: {error}"
            ),
        }
    }
}

impl error::Error for SendError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Field(error) => Some(error),
            Self::Utf8(error) => Some(error),
            #[cfg(feature = "json")]
            Self::Json(error) => Some(error),
            Self::Display(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::Full { .. } | Self::Closed => None,
        }
    }
}

impl From<FieldError> for SendError {
    fn from(error: FieldError) -> Self {
        Self::Field(error)
    }
}

impl From<str::Utf8Error> for SendError {
    fn from(error: str::Utf8Error) -> Self {
        Self::Utf8(error)
    }
}

#[cfg(feature = "json")]
impl From<JsonError> for SendError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

impl From<fmt::Error> for SendError {
    fn from(error: fmt::Error) -> Self {
        Self::Display(error)
    }
}

impl From<io::Error> for SendError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<SendError> for io::Error {
    fn from(error: SendError) -> Self {
        let kind = match error {
            SendError::Io(error) => return error,
            // Not `WouldBlock`: no readiness event need follow.
            SendError::Full { .. } => io::ErrorKind::QuotaExceeded,
            SendError::Closed => io::ErrorKind::BrokenPipe,
            _ => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}
