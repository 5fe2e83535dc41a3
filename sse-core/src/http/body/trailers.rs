//! The trailers of a chunked body.

use memchr::memchr;

use super::error::BodyError;
use super::limits::BodyLimits;

/// Reads trailers.
#[derive(Debug, Clone, Default)]
pub(super) struct Trailers {
    /// The current line.
    line: Vec<u8>,
    /// The bytes of all lines.
    size: usize,
    pub(super) fields: Vec<(String, Vec<u8>)>,
}

impl Trailers {
    /// Reads from the front of `input` and returns whether the trailers have ended.
    pub(super) fn read(
        &mut self,
        input: &mut &[u8],
        limits: &BodyLimits,
    ) -> Result<bool, BodyError> {
        loop {
            let end = memchr(b'\n', input);
            let Some(part) = input.split_off(..end.map_or(input.len(), |end| end + 1)) else {
                return Ok(false);
            };
            self.line.extend_from_slice(part);
            let is_blank = b"\r\n".starts_with(&self.line);
            // A line may never end, so its length is checked before.
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

/// Parses a header line, which has to end in CR LF.
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
