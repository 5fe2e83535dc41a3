//! Errors of an upgrade.

use std::error::Error;
use std::{fmt, io};

use crate::event::FieldError;
use crate::http::response::Rejection;
use crate::stream::{CloseError, SendError};

/// Why a connection did not become a stream.
#[derive(Debug)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The request was refused. The response was sent, unless the connection failed.
    Rejected(Rejection),
    /// The request was `HEAD` or `OPTIONS`, and the response was sent.
    Answered,
    /// An event could not be sent on the stream.
    Send(SendError),
    /// The connection failed.
    Io(io::Error),
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejection) => write!(f, "the request was refused with {rejection}"),
            Self::Answered => f.write_str("the request was HEAD or OPTIONS and has been answered"),
            Self::Send(error) => error.fmt(f),
            Self::Io(error) => write!(f, "the connection failed: {error}"),
        }
    }
}

impl Error for UpgradeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Rejected(rejection) => Some(rejection),
            Self::Send(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::Answered => None,
        }
    }
}

impl From<Rejection> for UpgradeError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<io::Error> for UpgradeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<UpgradeError> for io::Error {
    fn from(error: UpgradeError) -> Self {
        match error {
            UpgradeError::Send(error) => error.into(),
            UpgradeError::Io(error) => error,
            refused => Self::other(refused),
        }
    }
}

// These let the handler of a connection use `?` everywhere.

impl From<SendError> for UpgradeError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Io(error) => Self::Io(error),
            error => Self::Send(error),
        }
    }
}

impl From<FieldError> for UpgradeError {
    fn from(error: FieldError) -> Self {
        Self::Send(error.into())
    }
}

impl<W> From<CloseError<W>> for UpgradeError {
    fn from(error: CloseError<W>) -> Self {
        Self::Io(error.into())
    }
}
