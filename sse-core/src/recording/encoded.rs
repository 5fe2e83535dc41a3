//! Events in pieces that this library has encoded.

use memchr::memmem;

use super::left_out::LeftOut;

/// Finds the ends of events that this library has encoded and that arrive in pieces.
///
/// It searches only the end of each piece.
#[derive(Debug)]
pub(super) struct Encoded {
    /// Whether the last piece ended within an event.
    is_within: bool,
    /// Whether the last piece ended in a line end.
    is_at_line: bool,
    left_out: Option<LeftOut>,
}

impl Encoded {
    pub(super) const fn new() -> Self {
        Self {
            is_within: false,
            is_at_line: false,
            left_out: None,
        }
    }

    pub(super) const fn is_within(&self) -> bool {
        self.is_within
    }

    pub(super) const fn is_leaving_out(&self) -> bool {
        self.left_out.is_some()
    }

    /// Advances over a piece.
    pub(super) fn advance(&mut self, piece: &[u8]) {
        let (was_within, rest) = match piece {
            [] => return,
            [b'\n', rest @ ..] if self.is_at_line => (false, rest),
            _ => (self.is_within, piece),
        };
        let (was_within, rest) = match memmem::rfind(rest, b"\n\n") {
            Some(end) => (false, &rest[end + 2..]),
            None => (was_within, rest),
        };
        let between =
            |line: &[u8]| line == b"\n" || (line.starts_with(b":") && line.ends_with(b"\n"));
        let mut lines = rest.split_inclusive(|byte| *byte == b'\n');
        self.is_within = was_within || !lines.all(between);
        self.is_at_line = piece.ends_with(b"\n");
    }

    /// Leaves out every event of which this piece is a part.
    pub(super) fn leave_out(&mut self, piece: &[u8]) {
        self.advance(piece);
        if self.is_within {
            self.is_within = false;
            self.left_out = Some(LeftOut {
                is_at_line: self.is_at_line,
                after_cr: false,
            });
        }
    }

    /// Skips the rest of an event that is being left out.
    pub(super) fn skip(&mut self, piece: &mut &[u8]) {
        if let Some(left_out) = &mut self.left_out
            && left_out.skip(piece)
        {
            *self = Self::new();
        }
    }
}
