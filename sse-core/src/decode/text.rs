//! The text of a stream that has not been interpreted yet, in lines.

use std::mem;
use std::ops::Range;

use super::MAX_IDLE;
use super::utf8::Utf8;
use crate::line_ends::LineEndList;

/// The text of a stream from the current line on, and perhaps lines before it.
#[derive(Debug, Clone)]
pub(super) struct Text {
    utf8: Utf8,
    text: String,
    /// The offset of the current line.
    line: usize,
    ends: LineEndList,
    /// Whether a byte order mark has been removed or ruled out.
    has_begun: bool,
    /// Whether the last line ended in a CR at the end of the text, which an LF may follow as part
    /// of the same line end.
    after_cr: bool,
    /// Whether a NUL of the current line has been passed, so that it is not listed any more.
    has_nul: bool,
}

impl Text {
    pub(super) const fn new() -> Self {
        Self {
            utf8: Utf8::new(),
            text: String::new(),
            line: 0,
            ends: LineEndList::new(),
            has_begun: false,
            after_cr: false,
            has_nul: false,
        }
    }

    /// Drops the lines before the current one. Ranges of the text become invalid.
    ///
    /// A long line is not moved because of a short one before it.
    pub(super) fn compact(&mut self) {
        if self.line > self.unfinished() {
            self.text.drain(..self.line);
            self.text.shrink_to(MAX_IDLE);
            self.ends.remove_text(self.line);
            self.line = 0;
        }
    }

    /// Returns the memory of a text that is empty.
    ///
    /// That of a part of a line stays, because the rest probably follows.
    #[cfg(feature = "client")]
    pub(super) fn shrink(&mut self) {
        if self.text.is_empty() {
            self.text = String::new();
            self.ends = LineEndList::new();
        }
    }

    /// Returns whether the input before is whole lines, which have been interpreted.
    pub(super) const fn is_interpreted(&self) -> bool {
        self.unfinished() + self.utf8.pending() == 0
    }

    /// Passes over input that begins with a field and is whole lines.
    pub(super) const fn pass_lines(&mut self) {
        self.has_begun = true;
        self.after_cr = false;
    }

    /// Appends a part of the input.
    pub(super) fn push(&mut self, input: &mut &[u8]) {
        self.utf8.decode(input, &mut self.text);
        let rest = &self.text[self.line..];
        if rest.is_empty() {
            return;
        }
        let prefix = match (self.has_begun, self.after_cr) {
            (false, _) => "\u{feff}",
            (true, true) => "\n",
            (true, false) => "",
        };
        if rest.starts_with(prefix) {
            self.line += prefix.len();
        }
        self.has_begun = true;
        self.after_cr = false;
        self.ends.search(self.text.as_bytes());
    }

    /// Returns the next line that has ended, without its line end, and moves past it.
    #[inline(always)]
    pub(super) fn next_line(&mut self) -> Option<Range<usize>> {
        let text = self.text.as_bytes();
        loop {
            let end = self.ends.next(text)?;
            if end < self.line {
                continue; // the LF of a CRLF
            }
            if text[end] == 0 {
                self.has_nul = true;
                continue;
            }
            self.has_nul = false;
            let start = mem::replace(&mut self.line, end + 1);
            if text[end] == b'\r' {
                match text.get(end + 1) {
                    Some(b'\n') => self.line += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            return Some(start..end);
        }
    }

    /// Moves past `len` bytes of the text, in which `ends` line ends are.
    #[inline(always)]
    pub(super) const fn skip(&mut self, len: usize, ends: usize) {
        self.line += len;
        self.ends.skip(ends);
    }

    /// Returns the offset of the current line.
    #[inline(always)]
    pub(super) const fn line(&self) -> usize {
        self.line
    }

    /// Returns a part of the text that a line is, or that is in one.
    #[inline(always)]
    pub(super) fn get(&self, range: Range<usize>) -> &str {
        self.text.get(range).unwrap_or_default()
    }

    #[inline(always)]
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the offsets of the next line ends, and the offset that they count from.
    #[inline(always)]
    pub(super) fn listed_ends(&self) -> (usize, &[u16]) {
        self.ends.listed()
    }

    /// Returns whether a NUL of the current line has been passed.
    pub(super) const fn has_nul(&self) -> bool {
        self.has_nul
    }

    /// Returns the length of the current line so far.
    pub(super) const fn unfinished(&self) -> usize {
        self.text.len() - self.line
    }

    /// Returns the number of bytes of the input that are not interpreted.
    #[cfg(feature = "recording")]
    pub(super) const fn pending(&self) -> usize {
        self.unfinished() + self.utf8.pending()
    }
}
