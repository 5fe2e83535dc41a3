//! Errors of a response head.

use std::{error, fmt, io};

/// Why a response head cannot be read.
///
/// As an [`io::Error`], [`Incomplete`](Self::Incomplete) is of the kind
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof), and every other
/// [`InvalidData`](io::ErrorKind::InvalidData).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResponseHeadError {
    /// The first line does not begin with `HTTP/1.`.
    NotHttp,
    /// The status line or a header is malformed.
    Malformed,
    /// The head exceeds [`max_head`](crate::ResponseHeadReader::max_head).
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// There are more header lines than
    /// [`max_headers`](crate::ResponseHeadReader::max_headers).
    TooManyHeaders {
        /// The limit.
        limit: usize,
    },
    /// The connection ended before the end of the head.
    Incomplete {
        /// The beginning of what was received.
        received: String,
    },
}

impl fmt::Display for ResponseHeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHttp => f.write_str(
                "the response does not begin with \"HTTP/1.\"; the server speaks another protocol",
            ),
            Self::Malformed => f.write_str("the response has a malformed status line or header"),
            Self::TooLarge { limit } => write!(
                f,
                "the response head exceeds {limit} bytes; raise max_head if that is legitimate"
            ),
            Self::TooManyHeaders { limit } => write!(
                f,
                "the response head has more than {limit} header lines; raise max_headers if that \
                 is legitimate"
            ),
            Self::Incomplete { received } if received.is_empty() => {
                f.write_str("the connection ended before a response")
            }
            Self::Incomplete { received } => write!(
                f,
                "the connection ended within a response head, after {received:?}"
            ),
        }
    }
}

impl error::Error for ResponseHeadError {}

impl From<ResponseHeadError> for io::Error {
    fn from(error: ResponseHeadError) -> Self {
        let kind = match error {
            ResponseHeadError::Incomplete { .. } => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}
