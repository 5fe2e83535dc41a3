//! The event that nearly all streams consist of.

use std::ops::Range;

use super::text::Text;
use crate::line_ends::find_far;

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
        let mut lines = Lines::listed(text);
        let event = Self::parse(&mut lines)?;
        let (len, count) = (lines.taken(), lines.count());
        drop(lines);
        if len > max_len {
            return None;
        }
        text.skip(len, count);
        Some(event)
    }

    /// Takes such an event of [`LARGE`] to `max_len` bytes from the front of the input, with its
    /// text.
    ///
    /// It is not copied, and copying would take as long as everything else.
    pub(super) fn take_large<'i>(input: &mut &'i [u8], max_len: usize) -> Option<(Self, &'i str)> {
        let bytes = *input;
        if bytes.len() < LARGE {
            return None;
        }
        let end = |line| Some(line + find_far(&bytes[line..])?);
        let mut lines = Lines::new(bytes, 0, end);
        let event = Self::parse(&mut lines)?;
        let (event_text, rest) = bytes.split_at(lines.taken());
        if event_text.len() < LARGE || event_text.len() > max_len {
            return None;
        }
        let text = simdutf8::basic::from_utf8(event_text).ok()?;
        *input = rest;
        Some((event, text))
    }

    #[inline(always)]
    fn parse(lines: &mut Lines<'_, impl FnMut(usize) -> Option<usize>>) -> Option<Self> {
        let id = lines.field(b"id: ")?;
        let event_type = lines.event_type()?;
        let data = lines.field(b"data: ")??;
        lines.blank().then_some(Self {
            id,
            event_type,
            data,
        })
    }
}

/// The lines of the commonest form at the front of a text.
pub(super) struct Lines<'t, E> {
    text: &'t [u8],
    /// Returns the end of the line at an offset, the next line each time.
    end: E,
    start: usize,
    at: usize,
    count: usize,
}

impl<'t> Lines<'t, ()> {
    /// Returns the lines of the text, as far as their ends are listed.
    #[inline(always)]
    pub(super) fn listed(text: &'t Text) -> Lines<'t, impl FnMut(usize) -> Option<usize> + 't> {
        let (base, ends) = text.listed_ends();
        let mut ends = ends.iter();
        let end = move |_| Some(base + usize::from(*ends.next()?));
        Lines::new(text.as_str().as_bytes(), text.line(), end)
    }
}

impl<'t, E: FnMut(usize) -> Option<usize>> Lines<'t, E> {
    #[inline(always)]
    const fn new(text: &'t [u8], start: usize, end: E) -> Self {
        Self {
            text,
            end,
            start,
            at: start,
            count: 0,
        }
    }

    /// Returns the length of the lines so far.
    #[inline(always)]
    pub(super) const fn taken(&self) -> usize {
        self.at - self.start
    }

    /// Returns the number of lines so far.
    #[inline(always)]
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Returns the value of a type line, or `Some(None)` if there is none or it is empty.
    #[inline(always)]
    pub(super) fn event_type(&mut self) -> Option<Option<Range<usize>>> {
        let value = self.field(b"event: ")?;
        Some(value.filter(|value| !value.is_empty()))
    }

    /// Returns whether the next line is blank.
    #[inline(always)]
    pub(super) fn blank(&mut self) -> bool {
        matches!(self.field(b""), Some(Some(value)) if value.is_empty())
    }

    /// Returns the value of a line that starts with `name`, or `Some(None)` if it does not.
    #[inline(always)]
    pub(super) fn field<const N: usize>(&mut self, name: &[u8; N]) -> Option<Option<Range<usize>>> {
        if self.text.get(self.at..)?.first_chunk() != Some(name) {
            return Some(None);
        }
        let end = (self.end)(self.at)?;
        let value = self.at + N..end;
        if value.start > value.end || self.text.get(end) != Some(&b'\n') {
            return None;
        }
        self.at = end + 1;
        self.count += 1;
        Some(Some(value))
    }
}

/// The length from which on events are not copied.
const LARGE: usize = 2 << 10;
