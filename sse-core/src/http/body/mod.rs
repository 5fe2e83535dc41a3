//! The body of a message: RFC 9112, sections 6 and 7.

mod error;
mod framing;
mod limits;
mod trailers;

pub use error::BodyError;
pub use framing::Framing;
pub use limits::BodyLimits;
use trailers::Trailers;

/// Reads the body of a request or a response from input that arrives in pieces.
///
/// It removes the framing, such as chunk sizes. It does no I/O and keeps nothing but trailers:
/// [`read`](Self::read) returns a part of its input.
///
/// ```
/// use sse_core::{BodyLimits, BodyReader, Framing};
///
/// let mut reader = BodyReader::new(Framing::Chunked, BodyLimits::new())?;
/// let mut body = Vec::new();
/// for mut piece in [&b"9\r\nda"[..], b"ta: a\n\n\r\n0\r\n", b"\r\nHTTP/1.1 200 OK"] {
///     while let Some(part) = reader.read(&mut piece)? {
///         body.extend_from_slice(part);
///     }
///     if reader.is_complete() {
///         assert_eq!(piece, b"HTTP/1.1 200 OK", "the next message is left");
///     }
/// }
/// reader.end()?; // The connection has ended.
/// assert_eq!(body, b"data: a\n\n");
/// # Ok::<(), sse_core::BodyError>(())
/// ```
#[derive(Debug, Clone)]
pub struct BodyReader {
    limits: BodyLimits,
    framing: Framing,
    state: State,
    /// The bytes of the body that have been read.
    received: u64,
    /// The length of the current line of a chunk size so far.
    line: usize,
    /// The bytes of all chunk extensions.
    extensions: u64,
    /// Those of a chunked body, from their first byte on.
    trailers: Option<Box<Trailers>>,
}

/// Where in the framing the next byte lies.
///
/// ```text
///   ┌──────────────────────────────────────────────────────────────┐
///   v                                                              │
///   Size ──> Blank ──> Extension ──> SizeEnd ──> Data ──> DataCr ──> DataLf
///                                       │
///                                       └─ 0 ──> Trailers ──> Complete
/// ```
///
/// `Blank` and `Extension` may be skipped. Any state may become `Failed`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Complete,
    Failed(BodyError),
    UntilClose,
    /// The missing bytes, at least one.
    Length(u64),
    /// The digits of a chunk size; `None` before the first.
    Size(Option<u64>),
    /// Spaces and tabs after the digits.
    Blank(u64),
    /// The extensions after the first semicolon, up to the CR.
    Extension(u64),
    /// The LF after a chunk size.
    SizeEnd(u64),
    /// The missing bytes of a chunk, at least one.
    Data(u64),
    DataCr,
    DataLf,
    Trailers,
}

impl BodyReader {
    /// Creates a reader of a body that begins with the next byte.
    ///
    /// # Errors
    ///
    /// [`BodyError::TooLarge`] if the length exceeds the limit. It is known before the body, so
    /// a client that waits for "100 Continue" need not send it.
    pub const fn new(framing: Framing, limits: BodyLimits) -> Result<Self, BodyError> {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Complete,
            Framing::Length(length) if length > limits.max_length => {
                return Err(BodyError::TooLarge {
                    limit: limits.max_length,
                });
            }
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size(None),
            Framing::UntilClose => State::UntilClose,
        };
        Ok(Self {
            limits,
            framing,
            state,
            received: 0,
            line: 0,
            extensions: 0,
            trailers: None,
        })
    }

    /// Reads from the front of `input` and returns the next part of the body.
    ///
    /// A part is never empty. `None` means either that the body is [complete](Self::is_complete),
    /// and `input` begins after it; or that it is not, and all of `input` has been read.
    ///
    /// # Errors
    ///
    /// The framing is malformed, or a limit is exceeded. Every further call returns the same
    /// error.
    pub fn read<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<&'i [u8]>, BodyError> {
        let read = self.advance(input);
        if let Err(error) = &read {
            self.state = State::Failed(error.clone());
        }
        read
    }

    /// Ends the body with the connection.
    ///
    /// # Errors
    ///
    /// [`BodyError::Incomplete`], or the error of [`read`](Self::read).
    pub fn end(&mut self) -> Result<(), BodyError> {
        match &self.state {
            State::Complete => {}
            State::UntilClose => self.state = State::Complete,
            State::Failed(error) => return Err(error.clone()),
            _ => {
                let error = BodyError::Incomplete {
                    received: self.received,
                    announced: match self.framing {
                        Framing::Length(length) => Some(length),
                        _ => None,
                    },
                };
                self.state = State::Failed(error.clone());
                return Err(error);
            }
        }
        Ok(())
    }

    /// Returns whether all of the body has been read.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// Returns the framing of the body.
    #[must_use]
    pub const fn framing(&self) -> Framing {
        self.framing
    }

    /// Returns the number of bytes of the body that have been read.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Returns the trailers of a complete chunked body, in order.
    ///
    /// They must not be used for framing, routing or authorisation (RFC 9110, 6.5.1).
    pub fn trailers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let trailers = self.trailers.as_deref();
        let fields = trailers.map_or(&[][..], |trailers| &trailers.fields);
        fields.iter().map(|(name, value)| (&**name, &**value))
    }

    fn advance<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<&'i [u8]>, BodyError> {
        loop {
            match &self.state {
                State::Complete => return Ok(None),
                State::Failed(error) => return Err(error.clone()),
                State::UntilClose => return self.take(input, u64::MAX),
                &State::Length(missing) => {
                    let part = self.take(input, missing)?;
                    self.state = match missing - len(part) {
                        0 => State::Complete,
                        missing => State::Length(missing),
                    };
                    return Ok(part);
                }
                &State::Data(missing) => {
                    let part = self.take(input, missing)?;
                    self.state = match missing - len(part) {
                        0 => State::DataCr,
                        missing => State::Data(missing),
                    };
                    return Ok(part);
                }
                State::Trailers => {
                    let trailers = self.trailers.get_or_insert_with(Box::default);
                    if trailers.read(input, &self.limits)? {
                        self.state = State::Complete;
                    }
                    return Ok(None);
                }
                _ => match input.split_off_first() {
                    Some(byte) => self.advance_line(*byte)?,
                    None => return Ok(None),
                },
            }
        }
    }

    /// Reads a byte of the framing of chunks.
    fn advance_line(&mut self, byte: u8) -> Result<(), BodyError> {
        self.state = match (&self.state, byte) {
            (&State::Size(size), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.lengthen_line()?;
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                let size = size.unwrap_or(0).checked_mul(16);
                let size = size.ok_or(BodyError::BadChunkSize)?;
                State::Size(Some(size + u64::from(digit)))
            }
            (State::Size(None), _) => return Err(BodyError::BadChunkSize),
            (&(State::Size(Some(size)) | State::Blank(size) | State::Extension(size)), b'\r') => {
                State::SizeEnd(size)
            }
            // RFC 9112, 7.1.1: "chunk-ext = *( BWS ";" BWS chunk-ext-name".
            (&(State::Size(Some(size)) | State::Blank(size)), b' ' | b'\t') => {
                self.lengthen_extension()?;
                State::Blank(size)
            }
            (&(State::Size(Some(size)) | State::Blank(size)), b';') => {
                self.lengthen_extension()?;
                State::Extension(size)
            }
            (State::Size(Some(_)) | State::Blank(_), b' '..) => {
                return Err(BodyError::BadChunkSize);
            }
            (&State::Extension(size), b'\t' | b' '..=b'~' | b'\x80'..) => {
                self.lengthen_extension()?;
                State::Extension(size)
            }
            (&State::SizeEnd(size), b'\n') => self.begin_chunk(size)?,
            (State::Size(_) | State::Blank(_) | State::Extension(_) | State::SizeEnd(_), _) => {
                return Err(BodyError::BadChunkLine);
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size(None),
            _ => return Err(BodyError::BadChunkEnd),
        };
        Ok(())
    }

    fn begin_chunk(&mut self, size: u64) -> Result<State, BodyError> {
        self.line = 0;
        match self.received.checked_add(size) {
            _ if size == 0 => Ok(State::Trailers),
            Some(received) if received <= self.limits.max_length => Ok(State::Data(size)),
            _ => Err(self.too_large()),
        }
    }

    fn lengthen_line(&mut self) -> Result<(), BodyError> {
        self.line += 1;
        let limit = self.limits.max_chunk_line;
        if self.line > limit {
            return Err(BodyError::ChunkLineTooLong { limit });
        }
        Ok(())
    }

    fn lengthen_extension(&mut self) -> Result<(), BodyError> {
        self.lengthen_line()?;
        self.extensions = self.extensions.saturating_add(1);
        let limit = self.limits.max_extensions;
        if self.extensions.saturating_sub(self.received) > limit as u64 {
            return Err(BodyError::ExtensionsTooLarge { limit });
        }
        Ok(())
    }

    /// Reads at most `missing` bytes of content.
    fn take<'i>(
        &mut self,
        input: &mut &'i [u8],
        missing: u64,
    ) -> Result<Option<&'i [u8]>, BodyError> {
        if input.is_empty() {
            return Ok(None);
        }
        let missing = usize::try_from(missing).unwrap_or(usize::MAX);
        let part = input.split_off(..input.len().min(missing));
        self.received = self.received.saturating_add(len(part));
        if self.received > self.limits.max_length {
            return Err(self.too_large());
        }
        Ok(part)
    }

    const fn too_large(&self) -> BodyError {
        BodyError::TooLarge {
            limit: self.limits.max_length,
        }
    }
}

fn len(part: Option<&[u8]>) -> u64 {
    part.map_or(0, |part| part.len() as u64)
}
