//! Where a recorded stream may be cut: between events.

use memchr::{memchr2, memmem};

use crate::decode::MAX_IDLE;

/// Cuts a stream where no event is torn: after blank lines, and after the comments that follow
/// them.
#[derive(Debug)]
pub(crate) struct Cutter {
    /// What has come since the last cut.
    held: Vec<u8>,
    /// Where the last line of `held` begins, which has not ended.
    line: usize,
    /// How far it has been searched for its end.
    searched: usize,
    /// Whether there is a line in `held`, other than comments.
    is_within: bool,
    /// Whether the last line ended in a CR, which an LF may follow as part of the same end.
    after_cr: bool,
    /// Whether so much has come that a byte order mark no longer can.
    has_begun: bool,
    /// How far the event has come that is left out.
    left_out: Option<LeftOut>,
}

impl Cutter {
    pub(crate) const fn new() -> Self {
        Self {
            held: Vec::new(),
            line: 0,
            searched: 0,
            is_within: false,
            after_cr: false,
            has_begun: false,
            left_out: None,
        }
    }

    /// What has come since the last cut.
    pub(crate) fn held(&self) -> &[u8] {
        &self.held
    }

    /// Whether something has come since the last cut.
    pub(crate) const fn is_within_event(&self) -> bool {
        !self.held.is_empty() || self.left_out.is_some()
    }

    /// Leaves out every event of which `bytes` are a part.
    pub(crate) fn refuse(&mut self, mut bytes: &[u8]) {
        self.skip(&mut bytes);
        let end = self.push(bytes);
        self.release(end);
        if !self.held.is_empty() {
            let left_out = LeftOut {
                is_at_line: self.line == self.held.len(),
                after_cr: self.after_cr,
            };
            *self = Self {
                left_out: Some(left_out),
                ..Self::new()
            };
        }
    }

    /// Skips the rest of an event that is left out.
    pub(crate) fn skip(&mut self, bytes: &mut &[u8]) {
        let Some(mut left_out) = self.left_out.take() else {
            return;
        };
        if left_out.skip(bytes) {
            *self = Self {
                after_cr: left_out.after_cr,
                has_begun: true,
                ..Self::new()
            };
        } else {
            self.left_out = Some(left_out);
        }
    }

    /// Whether `bytes` can be passed on as they are.
    pub(crate) fn passes(&mut self, bytes: &[u8]) -> bool {
        let is_whole = self.held.is_empty() && !self.after_cr && bytes.ends_with(b"\n\n");
        self.has_begun |= is_whole && !bytes.starts_with(&BOM[..1]);
        is_whole && self.has_begun
    }

    /// Takes up bytes, and gives how many of those held are whole.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> usize {
        self.held.extend_from_slice(bytes);
        if !self.has_begun {
            self.begin();
        }
        let mut end = 0;
        if self.after_cr && self.searched < self.held.len() {
            self.after_cr = false;
            if self.held[self.searched] == b'\n' {
                end = self.end_line(self.searched + 1);
            }
        }
        while let Some(len) = memchr2(b'\r', b'\n', &self.held[self.searched..]) {
            let line = &self.held[self.line..];
            let len = self.searched - self.line + len;
            self.is_within = len > 0 && (self.is_within || line[0] != b':');
            let line_end = match &line[len..] {
                [b'\r', b'\n', ..] => 2,
                line_end => {
                    self.after_cr = line_end == b"\r";
                    1
                }
            };
            end = self.end_line(self.line + len + line_end).max(end);
        }
        self.searched = self.held.len();
        end
    }

    /// Begins a line, and gives where to cut.
    const fn end_line(&mut self, at: usize) -> usize {
        self.line = at;
        self.searched = at;
        match self.is_within {
            true => 0,
            false => at,
        }
    }

    /// Forgets the first `len` bytes.
    pub(crate) fn release(&mut self, len: usize) {
        if len > 0 {
            self.held.drain(..len);
            self.held.shrink_to(MAX_IDLE);
        }
        self.line -= len;
        self.searched -= len;
    }

    /// Takes a byte order mark away.
    fn begin(&mut self) {
        self.has_begun = !BOM.starts_with(&self.held);
        if self.held.starts_with(BOM) {
            self.held.drain(..BOM.len());
            self.searched = 0;
            self.has_begun = true;
        }
    }
}

/// Follows events that this library has encoded, which come in pieces, by looking at their ends
/// only.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// Whether the last piece ended within an event.
    is_within: bool,
    /// Whether the last piece ended in a line end.
    is_at_line: bool,
    left_out: Option<LeftOut>,
}

impl Encoded {
    pub(crate) const fn new() -> Self {
        Self {
            is_within: false,
            is_at_line: false,
            left_out: None,
        }
    }

    pub(crate) const fn is_within(&self) -> bool {
        self.is_within
    }

    /// Takes note of where a piece ends.
    pub(crate) fn pass(&mut self, piece: &[u8]) {
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
    pub(crate) fn refuse(&mut self, piece: &[u8]) {
        self.pass(piece);
        if self.is_within {
            self.is_within = false;
            self.left_out = Some(LeftOut {
                is_at_line: self.is_at_line,
                after_cr: false,
            });
        }
    }

    /// Skips the rest of an event that is left out.
    pub(crate) fn skip(&mut self, piece: &mut &[u8]) {
        if let Some(left_out) = &mut self.left_out
            && left_out.skip(piece)
        {
            *self = Self::new();
        }
    }
}

/// An event that is left out, up to where it has come.
#[derive(Debug)]
struct LeftOut {
    is_at_line: bool,
    /// Whether the last line ended in a CR, which an LF may follow as part of the same end.
    after_cr: bool,
}

impl LeftOut {
    /// Skips to the end of the event, and returns whether it has come.
    fn skip(&mut self, bytes: &mut &[u8]) -> bool {
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

const BOM: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Decoded;
    use crate::testing::decoded;

    const STREAMS: [&[u8]; 4] = [
        b"id: 1\ndata: a\n\nid: 2\ndata: b\n\n: c\nid: 3\ndata: d\n\n: g\nid: 4\ndata: e\n\n",
        b"id: 1\r\ndata: a\r\n\r\nid: 2\rdata: b\r\rid: 3\r\ndata: d\r\n\r\n: g\nid: 4\ndata: e\n\n",
        b"id: 1\rdata: a\r\r\nid: 2\rdata: b\n\r: c\rid: 3\rdata: d\r\r: g\nid: 4\ndata: e\n\n",
        b": c\n: d\n\nid: 3\n: e\ndata: f\n\n\n: g\nid: 4\ndata: e\n\n",
    ];
    const LAST: &[u8] = b": g\nid: 4\ndata: e\n\n";

    fn events(stream: &[u8]) -> Vec<Decoded<'static>> {
        let mut items = decoded(stream);
        items.retain(|item| matches!(item, Decoded::Event(_)));
        items
    }

    /// Each stream in three pieces, of which the second is refused.
    fn for_each_refusal(mut pass: impl FnMut([&[u8]; 3]) -> Vec<u8>) {
        for stream in STREAMS {
            let all = decoded(stream);
            for first in 0..=stream.len() {
                for last in first..=stream.len() {
                    let pieces = [&stream[..first], &stream[first..last], &stream[last..]];
                    let passed = pass(pieces);
                    for item in decoded(&passed[..]) {
                        assert!(all.contains(&item), "{first}..{last}: {item:?}");
                    }
                    // What begins after the refused piece is there.
                    let is_after = last > first && last <= stream.len() - LAST.len();
                    assert!(!is_after || passed.ends_with(LAST), "{first}..{last}");
                    // What ends before it, too.
                    assert!(
                        events(&passed).starts_with(&events(pieces[0])),
                        "{first}..{last}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_refused_piece_splices_no_event() {
        for_each_refusal(|pieces| {
            let (mut cutter, mut passed) = (Cutter::new(), Vec::new());
            for (number, mut piece) in pieces.into_iter().enumerate() {
                if number == 1 {
                    cutter.refuse(piece);
                    continue;
                }
                cutter.skip(&mut piece);
                let end = cutter.push(piece);
                passed.extend_from_slice(&cutter.held()[..end]);
                cutter.release(end);
            }
            passed
        });
    }

    #[test]
    fn a_refused_piece_of_encoded_events_splices_none() {
        for_each_refusal(|pieces| {
            let is_ours = !pieces.concat().contains(&b'\r');
            let (mut encoded, mut passed) = (Encoded::new(), Vec::new());
            for (number, mut piece) in pieces.into_iter().enumerate() {
                encoded.skip(&mut piece);
                match number == 1 && is_ours && !encoded.is_within() {
                    true => encoded.refuse(piece),
                    false => {
                        encoded.pass(piece);
                        passed.extend_from_slice(piece);
                    }
                }
            }
            passed
        });
    }
}
