//! The body of a message, taken out of its framing: RFC 9112, sections 6 and 7.

use memchr::memchr;

use super::body_error::BodyError;
use super::framing::Framing;

/// Limits of a [`BodyReader`]. None of them is on the memory that a body takes, because the
/// reader holds none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct BodyLimits {
    max_length: u64,
    max_chunk_line: usize,
    max_extensions: usize,
    max_trailers_size: usize,
    max_trailers: usize,
}

impl BodyLimits {
    /// The default of [`max_chunk_line`](Self::max_chunk_line): 1 KiB.
    pub const DEFAULT_MAX_CHUNK_LINE: usize = 1 << 10;

    /// The default of [`max_extensions`](Self::max_extensions): 16 KiB.
    pub const DEFAULT_MAX_EXTENSIONS: usize = 16 << 10;

    /// The default of [`max_trailers_size`](Self::max_trailers_size): 8 KiB.
    pub const DEFAULT_MAX_TRAILERS_SIZE: usize = 8 << 10;

    /// The default of [`max_trailers`](Self::max_trailers): 64.
    pub const DEFAULT_MAX_TRAILERS: usize = 64;

    /// The defaults.
    pub const fn new() -> Self {
        Self {
            max_length: u64::MAX,
            max_chunk_line: Self::DEFAULT_MAX_CHUNK_LINE,
            max_extensions: Self::DEFAULT_MAX_EXTENSIONS,
            max_trailers_size: Self::DEFAULT_MAX_TRAILERS_SIZE,
            max_trailers: Self::DEFAULT_MAX_TRAILERS,
        }
    }

    /// How many bytes the body may have. Default: unlimited, as an event stream is; a server
    /// that reads requests sets it.
    pub const fn max_length(mut self, bytes: u64) -> Self {
        self.max_length = bytes;
        self
    }

    /// How long the line of a chunk size may be, in bytes, with its extensions and without its
    /// end.
    pub const fn max_chunk_line(mut self, bytes: usize) -> Self {
        self.max_chunk_line = bytes;
        self
    }

    /// By how many bytes all chunk extensions together may exceed the body. So a peer has to
    /// send content for what it makes the reader skip, and a stream of any length may have
    /// extensions.
    pub const fn max_extensions(mut self, bytes: usize) -> Self {
        self.max_extensions = bytes;
        self
    }

    /// How large the trailers may be together, in bytes, with their line ends
    /// and without the blank line after them.
    pub const fn max_trailers_size(mut self, bytes: usize) -> Self {
        self.max_trailers_size = bytes;
        self
    }

    /// How many trailers there may be.
    pub const fn max_trailers(mut self, count: usize) -> Self {
        self.max_trailers = count;
        self
    }
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes the body of a request or a response out of its framing, from input that arrives in
/// pieces.
///
/// It does no I/O and holds nothing but trailers: what [`read`](Self::read) returns is a part
/// of the input.
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
///         assert_eq!(piece, b"HTTP/1.1 200 OK", "what follows is left");
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
    /// How many bytes of the body have been read.
    received: u64,
    /// How many bytes the line of the current chunk size has so far.
    line: usize,
    /// How many bytes all chunk extensions have.
    extensions: u64,
    trailers: Trailers,
}

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
    /// This many bytes are missing, at least one.
    Length(u64),
    /// The digits of a chunk size; `None` before the first.
    Size(Option<u64>),
    /// Blanks after the digits.
    Blank(u64),
    /// What follows the first semicolon, up to the CR.
    Extension(u64),
    /// The LF after a chunk size.
    SizeEnd(u64),
    /// This many bytes of a chunk are missing, at least one.
    Data(u64),
    DataCr,
    DataLf,
    Trailers,
}

impl BodyReader {
    /// A reader of a body that begins with the next byte.
    ///
    /// # Errors
    ///
    /// [`BodyError::TooLarge`] if the length exceeds the limit: before a byte has been read,
    /// so that a client that waits for "100 Continue" need not send any.
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
            trailers: Trailers::new(),
        })
    }

    /// Takes from the front of `input` up to the end of the next part of the body, and returns
    /// that part, which is never empty.
    ///
    /// `None` means that the body is [complete](Self::is_complete), and `input` is what follows
    /// it; or "not yet", and all of `input` has been taken.
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

    /// Notes that the connection has ended, which completes a body that ends with it.
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

    /// Whether the end of the body has been reached.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// How the body is delimited.
    #[must_use]
    pub const fn framing(&self) -> Framing {
        self.framing
    }

    /// How many bytes of the body have been read.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// The trailers of a complete chunked body, in order. Whether a header may be a trailer
    /// depends on the header (RFC 9110, 6.5.1); none of them may be used for framing, routing
    /// or authorisation.
    pub fn trailers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let fields = self.trailers.fields.iter();
        fields.map(|(name, value)| (&**name, &**value))
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
                    if self.trailers.read(input, &self.limits)? {
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

    /// Advances by a byte of what is around the data of chunks.
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
        match self.line > limit {
            true => Err(BodyError::ChunkLineTooLong { limit }),
            false => Ok(()),
        }
    }

    fn lengthen_extension(&mut self) -> Result<(), BodyError> {
        self.lengthen_line()?;
        self.extensions = self.extensions.saturating_add(1);
        let limit = self.limits.max_extensions;
        match self.extensions.saturating_sub(self.received) > limit as u64 {
            true => Err(BodyError::ExtensionsTooLarge { limit }),
            false => Ok(()),
        }
    }

    /// Takes at most `missing` bytes.
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
        match self.received > self.limits.max_length {
            true => Err(self.too_large()),
            false => Ok(part),
        }
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

#[derive(Debug, Clone)]
struct Trailers {
    /// The line that has not ended.
    line: Vec<u8>,
    /// How many bytes all lines have.
    size: usize,
    fields: Vec<(String, Vec<u8>)>,
}

impl Trailers {
    const fn new() -> Self {
        Self {
            line: Vec::new(),
            size: 0,
            fields: Vec::new(),
        }
    }

    /// Takes from the front of `input`, and returns whether the trailers have ended.
    fn read(&mut self, input: &mut &[u8], limits: &BodyLimits) -> Result<bool, BodyError> {
        loop {
            let end = memchr(b'\n', input);
            let Some(part) = input.split_off(..end.map_or(input.len(), |end| end + 1)) else {
                return Ok(false);
            };
            self.line.extend_from_slice(part);
            let is_blank = b"\r\n".starts_with(&self.line);
            // Checked before the line ends, because it may never end.
            self.size += part.len();
            if self.size > limits.max_trailers_size && !is_blank {
                return Err(BodyError::TrailersTooLarge {
                    limit: limits.max_trailers_size,
                });
            }
            match &*self.line {
                b"\r\n" => return Ok(true),
                [.., b'\n'] if self.fields.len() == limits.max_trailers => {
                    return Err(BodyError::TooManyTrailers {
                        limit: limits.max_trailers,
                    });
                }
                [.., b'\n'] => {
                    let field = parse_field(&self.line).ok_or(BodyError::BadTrailer)?;
                    self.fields.push(field);
                    self.line.clear();
                }
                _ => return Ok(false),
            }
        }
    }
}

/// Parses a line with its end, which has to be CR LF.
fn parse_field(line: &[u8]) -> Option<(String, Vec<u8>)> {
    let headers = &mut [httparse::EMPTY_HEADER];
    let line = [line.strip_suffix(b"\r\n")?, b"\r\n\r\n"].concat();
    match httparse::parse_headers(&line, headers) {
        Ok(httparse::Status::Complete((_, [field]))) => {
            Some((field.name.to_owned(), field.value.to_vec()))
        }
        _ => None,
    }
}
