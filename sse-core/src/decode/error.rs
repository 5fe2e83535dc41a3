//! The error of decoding.

use std::error::Error;
use std::{fmt, io};

/// An event stream that exceeds a limit of its [`Decoder`](crate::Decoder).
///
/// It converts into an [`io::Error`] of kind [`InvalidData`](io::ErrorKind::InvalidData).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// A line longer than [`Decoder::max_line`](crate::Decoder::max_line).
    LineTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// An event with more data than [`Decoder::max_event`](crate::Decoder::max_event).
    EventTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, limit, setting) = match self {
            Self::LineTooLong { limit } => ("a line", limit, "max_line"),
            Self::EventTooLong { limit } => ("an event's data", limit, "max_event"),
        };
        write!(
            f,
            "{what} exceeds {limit} bytes; raise the decoder's {setting} if that is legitimate"
        )
    }
}

impl Error for DecodeError {}

impl From<DecodeError> for io::Error {
    fn from(error: DecodeError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}
