//! The UTF-8 decoder of the Encoding Standard, for input in parts.

use memchr::memchr2;

/// Decodes UTF-8 that arrives in parts, with U+FFFD for each ill-formed sequence.
#[derive(Debug, Clone)]
pub(super) struct Utf8 {
    /// The first bytes of a character that the next part may complete; its last byte is unused.
    partial: [u8; 4],
    len: usize,
}

impl Utf8 {
    pub(super) const fn new() -> Self {
        Self {
            partial: [0; 4],
            len: 0,
        }
    }

    /// Returns the number of bytes that the next part may complete to a character.
    pub(super) const fn pending(&self) -> usize {
        self.len
    }

    /// Decodes from the front of `input` into `text`: at most [`WINDOW`] bytes, and at least one.
    ///
    /// Well-formed input is decoded up to that maximum. Input that begins with an ill-formed
    /// sequence is decoded up to the end of its line only, so that after a line end each byte of
    /// `text` is one of `input`.
    pub(super) fn decode(&mut self, input: &mut &[u8], text: &mut String) {
        self.complete(input, text);
        let window = &input[..input.len().min(WINDOW)];
        let mut taken = 0;
        while taken < window.len() {
            let valid = valid_prefix(first_part(&window[taken..]));
            match valid {
                "" if taken == 0 => taken = self.decode_line(window, text),
                "" => break,
                _ => {
                    text.push_str(valid);
                    taken += valid.len();
                }
            }
        }
        *input = &input[taken..];
    }

    /// Completes the character that the last part ended in.
    fn complete(&mut self, input: &mut &[u8], text: &mut String) {
        while self.len > 0
            && let Some((byte, rest)) = input.split_first()
        {
            self.partial[self.len] = *byte;
            match std::str::from_utf8(&self.partial[..=self.len]) {
                Ok(character) => {
                    text.push_str(character);
                    self.len = 0;
                }
                Err(error) if error.error_len().is_none() => self.len += 1,
                Err(_) => {
                    // The byte does not belong to it.
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.len = 0;
                    return;
                }
            }
            *input = rest;
        }
    }

    /// Decodes up to the end of a line, and returns the number of bytes.
    fn decode_line(&mut self, window: &[u8], text: &mut String) -> usize {
        let end = memchr2(b'\r', b'\n', window).map_or(window.len(), |end| end + 1);
        let mut taken = 0;
        for chunk in window[..end].utf8_chunks() {
            text.push_str(chunk.valid());
            taken += chunk.valid().len();
            let invalid = chunk.invalid();
            let is_last = taken + invalid.len() == window.len();
            match std::str::from_utf8(invalid) {
                Ok(_) => {}
                Err(error) if is_last && error.error_len().is_none() => {
                    if taken == 0 {
                        self.partial[..invalid.len()].copy_from_slice(invalid);
                        self.len = invalid.len();
                        taken = invalid.len();
                    }
                    return taken;
                }
                Err(_) => text.push(char::REPLACEMENT_CHARACTER),
            }
            taken += invalid.len();
        }
        taken
    }
}

/// Returns the well-formed text that `bytes` starts with.
///
/// The validation that does not report where it failed is the faster one.
fn valid_prefix(bytes: &[u8]) -> &str {
    simdutf8::basic::from_utf8(bytes).unwrap_or_else(|_| {
        let end =
            simdutf8::compat::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
        simdutf8::basic::from_utf8(&bytes[..end]).unwrap_or_default()
    })
}

/// Returns the first bytes, up to [`PART`], without a part of a character.
fn first_part(bytes: &[u8]) -> &[u8] {
    let is_boundary = |end: &usize| bytes.get(*end).is_none_or(|byte| byte & 0xc0 != 0x80);
    let max = bytes.len().min(PART);
    let end = (max.saturating_sub(3)..=max).rev().find(is_boundary);
    &bytes[..end.unwrap_or(max)]
}

/// The maximum number of bytes that are decoded before they are interpreted. They and their copy
/// fit into the first cache.
const WINDOW: usize = 8 << 10;

/// The number of bytes that are validated and copied at once. `memcpy` is slower for more than
/// this on many machines, where it changes to `rep movsb`.
const PART: usize = 2 << 10;
