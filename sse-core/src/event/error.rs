//! Errors of text that the caller passes in.

use std::convert::Infallible;
use std::error::Error;
use std::{fmt, io};

/// Text that is not allowed in this field, such as a line break in an event type.
///
/// Its sentence names the field, the fault, its offset and the remedy. It converts into an
/// [`io::Error`] of kind [`InvalidInput`](io::ErrorKind::InvalidInput).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FieldError {
    field: Field,
    fault: Fault,
}

impl FieldError {
    /// Returns the field that the text was meant for.
    #[must_use]
    pub const fn field(&self) -> Field {
        self.field
    }

    /// Returns what is wrong with the text.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        self.fault
    }

    pub(crate) const fn new(field: Field, fault: Fault) -> Self {
        Self { field, fault }
    }

    /// The character at byte `offset` of `text` is not allowed in `field`.
    pub(crate) fn character(field: Field, text: &str, offset: usize) -> Self {
        let character = text.get(offset..).and_then(|rest| rest.chars().next());
        let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
        Self::new(field, Fault::Character { character, offset })
    }
}

/// A field that holds text of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// An [`EventId`](crate::EventId).
    EventId,
    /// An [`EventType`](crate::EventType).
    EventType,
    /// The name of a header.
    HeaderName,
    /// The value of a header.
    HeaderValue,
    /// An origin that may read the stream.
    Origin,
    /// A host name that the server accepts requests for.
    Host,
    /// The URL of a request.
    Url,
    /// The method of a request.
    Method,
}

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// A character that is not allowed in the field.
    Character {
        /// The first such character.
        character: char,
        /// The offset of its first byte in the text.
        offset: usize,
    },
    /// A space or a tab at the start or at the end.
    OuterBlank,
    /// Too many bytes.
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// No text at all.
    Empty,
    /// Text that does not have the form of the field.
    Malformed,
    /// A header that the library sets itself.
    Reserved,
    /// A user name or a password within a URL.
    Credentials,
}

impl fmt::Debug for FieldError {
    /// Writes the sentence: a program that returns the error from `main` prints it in this form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FieldError")
            .field(&self.to_string())
            .finish()
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} ", self.field)?;
        match self.fault {
            Fault::Character { character, offset } => {
                f.write_str("has ")?;
                match character {
                    '\n' => f.write_str("a line feed")?,
                    '\r' => f.write_str("a carriage return")?,
                    '\0' => f.write_str("a NUL")?,
                    other => write!(f, "{other:?}")?,
                }
                write!(f, " at byte {offset}; remove it")?;
                match self.field {
                    Field::EventId | Field::EventType => f.write_str(" or send the text as data"),
                    _ => Ok(()),
                }
            }
            Fault::OuterBlank => f.write_str(
                "starts or ends with a space or a tab, which request headers lose; remove it",
            ),
            Fault::TooLong { limit } => write!(f, "has more than {limit} bytes; shorten it"),
            Fault::Empty => f.write_str("is empty; use at least one character"),
            Fault::Malformed => match self.field {
                Field::Origin => f.write_str("is malformed; write it like https://example.org"),
                Field::Host => f.write_str("is malformed; write it like example.org:8080"),
                Field::Method => f.write_str("asks for a tunnel, not a stream; leave it out"),
                Field::Url => f.write_str("is malformed; write it like https://example.org/path"),
                _ => f.write_str("is malformed"),
            },
            Fault::Reserved => {
                f.write_str("is reserved, because the library sets it; leave it out")
            }
            Fault::Credentials => {
                f.write_str("has a user name or a password; send them in a header instead")
            }
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EventId => "event ID",
            Self::EventType => "event type",
            Self::HeaderName => "header name",
            Self::HeaderValue => "header value",
            Self::Origin => "origin",
            Self::Host => "host",
            Self::Url => "URL",
            Self::Method => "method",
        })
    }
}

impl Error for FieldError {}

impl From<Infallible> for FieldError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<FieldError> for io::Error {
    fn from(error: FieldError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}
