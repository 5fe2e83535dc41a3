//! The data buffer.

use std::ops::Range;

use super::MAX_IDLE;
use crate::line_ends::BLOCK;

/// The data lines of an event, each with an LF after it.
///
/// The bytes after them stay initialised. So a short line is added as a whole block, of which the
/// next line overwrites what is too much, and nothing has to be stored but the length. Appending
/// to a `String` takes three times as long.
#[derive(Debug, Clone)]
pub(super) struct Data {
    bytes: Vec<u8>,
    len: usize,
}

impl Data {
    pub(super) const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            len: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a line of `text`.
    #[inline(always)]
    pub(super) fn push_line(&mut self, text: &str, line: Range<usize>) {
        let len = line.len();
        if self.bytes.len() < self.len + len + BLOCK {
            self.grow(len);
        }
        let text = &text.as_bytes()[line.start..];
        let rest = &mut self.bytes[self.len..];
        match (rest.first_chunk_mut(), text.first_chunk::<BLOCK>()) {
            (Some(block), Some(text)) if len < BLOCK => {
                *block = *text;
                block[len] = b'\n';
            }
            _ => {
                rest[..len].copy_from_slice(&text[..len]);
                rest[len] = b'\n';
            }
        }
        self.len += len + 1;
    }

    /// Returns the lines, without the last LF.
    pub(super) fn as_str(&self) -> &str {
        let lines = &self.bytes[..self.len.saturating_sub(1)];
        simdutf8::basic::from_utf8(lines).unwrap_or_default() // It is whole lines of text.
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
        if self.bytes.len() > MAX_IDLE {
            self.bytes = Vec::new();
        }
    }

    #[cold]
    fn grow(&mut self, len: usize) {
        let len = (self.len + len + BLOCK).max(2 * self.bytes.len());
        self.bytes.resize(len, 0);
    }
}
