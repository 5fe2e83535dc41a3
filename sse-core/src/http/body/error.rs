//! Errors of a body.

use std::{error, fmt, io};

use crate::http::response::Rejection;

/// Why a body cannot be read to its end.
///
/// As an [`io::Error`], [`Incomplete`](Self::Incomplete) is of the kind
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof), and every other
/// [`InvalidData`](io::ErrorKind::InvalidData).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError {
    /// `Content-Length` is not a number.
    BadLength,
    /// `Content-Length` has different values.
    DifferentLengths,
    /// `Transfer-Encoding` is not a list of codings in which `chunked` is the last.
    BadCoding,
    /// A transfer coding that is not supported, in lower case.
    UnknownCoding(String),
    /// An HTTP/1.0 message has `Transfer-Encoding`.
    CodingInHttp10,
    /// The body exceeds [`max_length`](crate::BodyLimits::max_length).
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// A chunk does not begin with a hexadecimal number below 2⁶⁴.
    BadChunkSize,
    /// The line of a chunk size has a control character or does not end in CR LF.
    BadChunkLine,
    /// The line of a chunk size exceeds [`max_chunk_line`](crate::BodyLimits::max_chunk_line).
    ChunkLineTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// Chunk extensions exceed [`max_extensions`](crate::BodyLimits::max_extensions).
    ExtensionsTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The data of a chunk is not followed by CR LF.
    BadChunkEnd,
    /// A trailer line is not a header field or does not end in CR LF.
    BadTrailer,
    /// The trailers exceed [`max_trailers_size`](crate::BodyLimits::max_trailers_size).
    TrailersTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// There are more trailers than [`max_trailers`](crate::BodyLimits::max_trailers).
    TooManyTrailers {
        /// The limit.
        limit: usize,
    },
    /// The connection ended before the body: RFC 9112, section 8.
    Incomplete {
        /// The bytes of the body that were received.
        received: u64,
        /// The announced length in bytes; `None` for a chunked body.
        announced: Option<u64>,
    },
}

impl BodyError {
    /// Returns the status code of a server's response: 400, 413, 431 or 501.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::TooLarge { .. } => 413,
            Self::TrailersTooLarge { .. } | Self::TooManyTrailers { .. } => 431,
            Self::UnknownCoding(_) => 501,
            _ => 400,
        }
    }

    /// Returns what exceeds a limit, and the name of the limit.
    fn excess(&self) -> Option<(String, &'static str)> {
        Some(match self {
            Self::TooLarge { limit } => (format!("the body exceeds {limit} bytes"), "max_length"),
            Self::ChunkLineTooLong { limit } => (
                format!("the line of a chunk size exceeds {limit} bytes"),
                "max_chunk_line",
            ),
            Self::ExtensionsTooLarge { limit } => (
                format!("the chunk extensions exceed the body by {limit} bytes"),
                "max_extensions",
            ),
            Self::TrailersTooLarge { limit } => (
                format!("the trailers exceed {limit} bytes"),
                "max_trailers_size",
            ),
            Self::TooManyTrailers { limit } => (
                format!("there are more than {limit} trailers"),
                "max_trailers",
            ),
            _ => return None,
        })
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentence = match self {
            Self::BadLength => "Content-Length is not a decimal number below 2^64",
            Self::DifferentLengths => "Content-Length has different values; send one",
            Self::BadCoding => {
                "Transfer-Encoding is not a list of codings that has chunked at most once and last"
            }
            Self::UnknownCoding(coding) => {
                return write!(
                    f,
                    "the transfer coding {coding:?} is not supported; send the body without it"
                );
            }
            Self::CodingInHttp10 => {
                "an HTTP/1.0 message has Transfer-Encoding, which exists since HTTP/1.1"
            }
            Self::BadChunkSize => "a chunk size is not a hexadecimal number below 2^64",
            Self::BadChunkLine => {
                "the line of a chunk size has a control character or does not end in CR LF"
            }
            Self::BadChunkEnd => "the data of a chunk is not followed by CR LF",
            Self::BadTrailer => "a trailer is not a header field that ends in CR LF",
            Self::TooLarge { .. }
            | Self::ChunkLineTooLong { .. }
            | Self::ExtensionsTooLarge { .. }
            | Self::TrailersTooLarge { .. }
            | Self::TooManyTrailers { .. } => {
                let (excess, setting) = self.excess().unwrap_or_default();
                return write!(f, "{excess}; raise {setting} if that is legitimate");
            }
            Self::Incomplete {
                received,
                announced: Some(announced),
            } => {
                return write!(
                    f,
                    "the body is incomplete: the connection ended after {received} of {announced} \
                     bytes"
                );
            }
            Self::Incomplete {
                received,
                announced: None,
            } => {
                return write!(
                    f,
                    "the body is incomplete: the connection ended after {received} bytes, before \
                     the last chunk"
                );
            }
        };
        f.write_str(sentence)
    }
}

impl error::Error for BodyError {}

impl From<BodyError> for Rejection {
    /// Returns the response to a request with this body.
    fn from(error: BodyError) -> Self {
        let reason = match error.excess() {
            // The client cannot raise the limit.
            Some((excess, _)) => format!("{excess}; send less"),
            None => error.to_string(),
        };
        Self::new(error.status(), reason)
    }
}

impl From<BodyError> for io::Error {
    fn from(error: BodyError) -> Self {
        let kind = match error {
            BodyError::Incomplete { .. } => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}
