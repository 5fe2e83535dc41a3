//! Splitting of a stream between events.

use memchr::memchr2;

use super::left_out::LeftOut;
use crate::decode::MAX_IDLE;

/// Splits a stream between events: after blank lines and the comments that follow them.
#[derive(Debug)]
pub(super) struct Cutter {
    /// The bytes since the last cut.
    held: Vec<u8>,
    /// The offset of the last line in `held`, which has not ended.
    line: usize,
    /// The offset up to which `held` has been searched for line ends.
    searched: usize,
    /// Whether `held` has a line that is not a comment.
    is_within: bool,
    /// Whether the last line ended in a CR, so that an LF may belong to the same line end.
    after_cr: bool,
    /// Whether enough bytes have arrived to rule out a byte order mark.
    has_begun: bool,
    /// The event that is being left out.
    left_out: Option<LeftOut>,
}

impl Cutter {
    pub(super) const fn new() -> Self {
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

    /// Returns the bytes since the last cut.
    pub(super) fn held(&self) -> &[u8] {
        &self.held
    }

    /// Returns whether bytes have arrived since the last cut.
    pub(super) const fn is_within_event(&self) -> bool {
        !self.held.is_empty() || self.left_out.is_some()
    }

    /// Leaves out every event of which `bytes` are a part.
    pub(super) fn leave_out(&mut self, mut bytes: &[u8]) {
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

    /// Skips the rest of an event that is being left out.
    pub(super) fn skip(&mut self, bytes: &mut &[u8]) {
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

    /// Returns whether `bytes` are whole events and no others are held.
    pub(super) fn is_whole(&mut self, bytes: &[u8]) -> bool {
        let is_whole = self.held.is_empty() && !self.after_cr && bytes.ends_with(b"\n\n");
        self.has_begun |= is_whole && !bytes.starts_with(&BOM[..1]);
        is_whole && self.has_begun
    }

    /// Adds bytes, and returns how many of those held are whole events.
    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        self.held.extend_from_slice(bytes);
        if !self.has_begun {
            self.remove_bom();
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

    /// Ends a line, and returns where to cut, or 0.
    const fn end_line(&mut self, at: usize) -> usize {
        self.line = at;
        self.searched = at;
        if self.is_within { 0 } else { at }
    }

    /// Drops the first `len` bytes.
    pub(super) fn release(&mut self, len: usize) {
        if len > 0 {
            self.held.drain(..len);
            self.held.shrink_to(MAX_IDLE);
        }
        self.line -= len;
        self.searched -= len;
    }

    /// Removes a byte order mark.
    fn remove_bom(&mut self) {
        self.has_begun = !BOM.starts_with(&self.held);
        if self.held.starts_with(BOM) {
            self.held.drain(..BOM.len());
            self.searched = 0;
            self.has_begun = true;
        }
    }
}

const BOM: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Decoded;
    use crate::recording::encoded::Encoded;
    use crate::recording::{Recorded, Replayer};

    const STREAMS: [&[u8]; 4] = [
        b"id: 1\ndata: a\n\nid: 2\ndata: b\n\n: c\nid: 3\ndata: d\n\n: g\nid: 4\ndata: e\n\n",
        b"id: 1\r\ndata: a\r\n\r\nid: 2\rdata: b\r\rid: 3\r\ndata: d\r\n\r\n: g\nid: 4\ndata: e\n\n",
        b"id: 1\rdata: a\r\r\nid: 2\rdata: b\n\r: c\rid: 3\rdata: d\r\r: g\nid: 4\ndata: e\n\n",
        b": c\n: d\n\nid: 3\n: e\ndata: f\n\n\n: g\nid: 4\ndata: e\n\n",
    ];
    const LAST: &[u8] = b": g\nid: 4\ndata: e\n\n";

    fn decoded(stream: &[u8]) -> Vec<Decoded<'static>> {
        let items = Replayer::new(stream).map(|item| item.map(Recorded::into_decoded));
        items.collect::<Result<_, _>>().unwrap()
    }

    fn events(stream: &[u8]) -> Vec<Decoded<'static>> {
        let mut items = decoded(stream);
        items.retain(|item| matches!(item, Decoded::Event(_)));
        items
    }

    /// Passes each stream in three pieces, of which the second is to be left out.
    fn for_each_cut(mut pass: impl FnMut([&[u8]; 3]) -> Vec<u8>) {
        for stream in STREAMS {
            let all = decoded(stream);
            for first in 0..=stream.len() {
                for last in first..=stream.len() {
                    let pieces = [&stream[..first], &stream[first..last], &stream[last..]];
                    let passed = pass(pieces);
                    for item in decoded(&passed[..]) {
                        assert!(all.contains(&item), "{first}..{last}: {item:?}");
                    }
                    // The events after the second piece are there,
                    let is_after = last > first && last <= stream.len() - LAST.len();
                    assert!(!is_after || passed.ends_with(LAST), "{first}..{last}");
                    // and those before it.
                    assert!(
                        events(&passed).starts_with(&events(pieces[0])),
                        "{first}..{last}"
                    );
                }
            }
        }
    }

    #[test]
    fn no_event_is_spliced_where_a_piece_is_left_out() {
        for_each_cut(|pieces| {
            let (mut cutter, mut passed) = (Cutter::new(), Vec::new());
            for (number, mut piece) in pieces.into_iter().enumerate() {
                if number == 1 {
                    cutter.leave_out(piece);
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
    fn no_encoded_event_is_spliced_where_a_piece_is_left_out() {
        for_each_cut(|pieces| {
            let is_ours = !pieces.concat().contains(&b'\r');
            let (mut encoded, mut passed) = (Encoded::new(), Vec::new());
            for (number, mut piece) in pieces.into_iter().enumerate() {
                encoded.skip(&mut piece);
                if number == 1 && is_ours && !encoded.is_within() {
                    encoded.leave_out(piece);
                } else {
                    encoded.advance(piece);
                    passed.extend_from_slice(piece);
                }
            }
            passed
        });
    }
}
