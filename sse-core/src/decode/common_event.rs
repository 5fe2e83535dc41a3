//! The event that nearly all streams consist of.

use std::ops::Range;

use super::text::Text;

/// An event of the commonest form, as ranges of the text.
///
/// Nearly every event that servers send has this form: an ID or none, a type or none, one line of
/// data, each with one space after its colon and an LF at its end. It needs no buffer if all of
/// it is in the text, and takes half the time that the interpreter takes. That interprets it if
/// anything is unusual, so this decides nothing by itself.
pub(super) struct CommonEvent {
    pub(super) id: Option<Range<usize>>,
    pub(super) event_type: Option<Range<usize>>,
    pub(super) data: Range<usize>,
}

impl CommonEvent {
    /// Takes such an event of at most `max_len` bytes from the front of the text.
    #[inline(always)]
    pub(super) fn take(text: &mut Text, max_len: usize) -> Option<Self> {
        let mut lines = Lines::new(text);
        let id = lines.field(b"id: ")?;
        let event_type = lines.field(b"event: ")?.filter(|value| !value.is_empty());
        let data = lines.field(b"data: ")??;
        let blank = lines.field(b"")??;
        let len = lines.taken();
        if !blank.is_empty() || len > max_len {
            return None;
        }
        let ends = 2 + usize::from(id.is_some()) + usize::from(event_type.is_some());
        text.skip(len, ends);
        Some(Self {
            id,
            event_type,
            data,
        })
    }
}

/// The lines of the commonest form at the front of a text, as far as their ends are listed.
pub(super) struct Lines<'t> {
    text: &'t [u8],
    base: usize,
    ends: std::slice::Iter<'t, u16>,
    start: usize,
    at: usize,
}

impl<'t> Lines<'t> {
    #[inline(always)]
    pub(super) fn new(text: &'t Text) -> Self {
        let (base, ends) = text.listed_ends();
        Self {
            text: text.as_str().as_bytes(),
            base,
            ends: ends.iter(),
            start: text.line(),
            at: text.line(),
        }
    }

    /// Returns the length of the lines so far.
    #[inline(always)]
    pub(super) const fn taken(&self) -> usize {
        self.at - self.start
    }

    /// Returns the value of a line that starts with `name`, or `Some(None)` if it does not.
    #[inline(always)]
    pub(super) fn field<const N: usize>(&mut self, name: &[u8; N]) -> Option<Option<Range<usize>>> {
        if self.text.get(self.at..)?.first_chunk() != Some(name) {
            return Some(None);
        }
        let end = self.base + usize::from(*self.ends.next()?);
        let value = self.at + N..end;
        if value.start > value.end || self.text.get(end) != Some(&b'\n') {
            return None;
        }
        self.at = end + 1;
        Some(Some(value))
    }
}
