//! Appending what the caller's code generates.

use std::fmt;

/// Truncates the buffer on drop unless committed, so that a panic in the caller's code leaves
/// nothing either.
pub(super) struct Rollback<'a>(pub(super) &'a mut Vec<u8>, usize);

impl<'a> Rollback<'a> {
    pub(super) const fn new(bytes: &'a mut Vec<u8>) -> Self {
        let len = bytes.len();
        Self(bytes, len)
    }

    pub(super) fn commit(mut self) {
        self.1 = self.0.len();
    }
}

impl Drop for Rollback<'_> {
    fn drop(&mut self) {
        self.0.truncate(self.1);
    }
}

/// Formats text into bytes.
pub(super) struct Appender<'a>(pub(super) &'a mut Vec<u8>);

impl fmt::Write for Appender<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
