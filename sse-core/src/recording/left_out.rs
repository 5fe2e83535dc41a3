//! Skipping of an event.

use memchr::memchr2;

/// An event that is being left out.
#[derive(Debug)]
pub(super) struct LeftOut {
    pub(super) is_at_line: bool,
    /// Whether the last line ended in a CR, so that an LF may belong to the same line end.
    pub(super) after_cr: bool,
}

impl LeftOut {
    /// Skips bytes of the event, and returns whether it has ended.
    pub(super) fn skip(&mut self, bytes: &mut &[u8]) -> bool {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            *bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(len) = memchr2(b'\r', b'\n', bytes) {
            let is_blank = len == 0 && self.is_at_line;
            let line_end = match &bytes[len..] {
                [b'\r', b'\n', ..] => 2,
                line_end => {
                    self.after_cr = line_end == b"\r";
                    1
                }
            };
            *bytes = &bytes[len + line_end..];
            self.is_at_line = true;
            if is_blank {
                return true;
            }
        }
        self.is_at_line &= bytes.is_empty();
        *bytes = &[];
        false
    }
}
