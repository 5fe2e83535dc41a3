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

    /// Returns the name of the limit that is exceeded.
    const fn exceeded_limit(&self) -> Option<&'static str> {
        Some(match self {
            Self::TooLarge { .. } => "max_length",
            Self::ChunkLineTooLong { .. } => "max_chunk_line",
            Self::ExtensionsTooLarge { .. } => "max_extensions",
            Self::TrailersTooLarge { .. } => "max_trailers_size",
            Self::TooManyTrailers { .. } => "max_trailers",
            _ => return None,
        })
    }

    /// Writes why, without advice about an exceeded limit.
    fn write_reason(&self, f: &mut impl fmt::Write) -> fmt::Result {
        let reason = match self {
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
            Self::TooLarge { limit } => return write!(f, "the body exceeds {limit} bytes"),
            Self::BadChunkSize => "a chunk size is not a hexadecimal number below 2^64",
            Self::BadChunkLine => {
                "the line of a chunk size has a control character or does not end in CR LF"
            }
            Self::ChunkLineTooLong { limit } => {
                return write!(f, "the line of a chunk size exceeds {limit} bytes");
            }
            Self::ExtensionsTooLarge { limit } => {
                return write!(f, "the chunk extensions exceed the body by {limit} bytes");
            }
            Self::BadChunkEnd => "the data of a chunk is not followed by CR LF",
            Self::BadTrailer => "a trailer is not a header field that ends in CR LF",
            Self::TrailersTooLarge { limit } => {
                return write!(f, "the trailers exceed {limit} bytes");
            }
            Self::TooManyTrailers { limit } => {
                return write!(f, "there are more than {limit} trailers");
            }
            Self::Incomplete {
                received,
                announced,
            } => {
                write!(
                    f,
                    "the body is incomplete: the connection ended after {received}"
                )?;
                return match announced {
                    Some(announced) => write!(f, " of {announced} bytes"),
                    None => f.write_str(" bytes, before the last chunk"),
                };
            }
        };
        f.write_str(reason)
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_reason(f)?;
        match self.exceeded_limit() {
            Some(limit) => write!(f, "; raise {limit} if that is legitimate"),
            None => Ok(()),
        }
    }
}

impl error::Error for BodyError {}

impl From<BodyError> for Rejection {
    /// Returns the response to a request with this body.
    fn from(error: BodyError) -> Self {
        let mut reason = String::new();
        let _ = error.write_reason(&mut reason); // A string takes everything.
        if error.exceeded_limit().is_some() {
            reason.push_str("; send less"); // The client cannot raise the limit.
        }
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
