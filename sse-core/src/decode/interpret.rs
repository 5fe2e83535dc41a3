//! The interpreter of an event stream: WHATWG HTML, 9.2.6 "Interpreting an event stream",
//! over input in parts of any size.

use std::borrow::Cow;
use std::mem;
use std::ops::Range;
use std::time::Duration;

use fearless_simd::Simd;

use super::error::DecodeError;
use super::line::{Line, parse_retry};
use super::message::{Decoded, MessageEvent};
use super::utf8::{decode_utf8, set_text};
use crate::event::EventType;
use crate::line_ends::{LineEnds, append};

/// The state of a decoder.
#[derive(Debug, Clone)]
pub(super) struct Interpreter {
    pub(super) max_line: usize,
    pub(super) max_event: usize,
    /// The bytes of a byte order mark read so far; 3 once it is read or ruled out.
    bom: u8,
    /// Whether the last byte was a CR, which an LF may follow as part of the same line end.
    after_cr: bool,
    /// The start of a line that has not ended yet.
    line: Vec<u8>,
    /// The length of an unfinished data line whose value is in `data`; else zero.
    data_line: usize,
    /// The data lines of the event so far, each with an LF after it.
    data: Vec<u8>,
    event_type: String,
    /// Whether `data` and `event_type` belong to an event that has been returned.
    dispatched: bool,
    /// The ID that the end of the event commits, if `has_id`.
    id: String,
    has_id: bool,
    pub(super) last_event_id: String,
    pub(super) retry: Option<Duration>,
    /// Whether the last comment had no space after its colon.
    pub(super) is_comment_bare: bool,
}

impl Interpreter {
    pub(super) const fn new(max_line: usize, max_event: usize) -> Self {
        Self {
            max_line,
            max_event,
            bom: 0,
            after_cr: false,
            line: Vec::new(),
            data_line: 0,
            data: Vec::new(),
            event_type: String::new(),
            dispatched: false,
            id: String::new(),
            has_id: false,
            last_event_id: String::new(),
            retry: None,
            is_comment_bare: false,
        }
    }

    /// Starts another stream. The last event ID and the reconnection time stay.
    pub(super) fn restart(&mut self) {
        self.bom = 0;
        self.after_cr = false;
        self.line.clear();
        self.data_line = 0;
        self.clear_event();
        self.has_id = false;
    }

    #[inline]
    #[cfg(feature = "recording")]
    pub(super) const fn is_at_line(&self) -> bool {
        self.bom == 3 && !self.after_cr && self.is_between_events()
    }

    #[inline]
    #[cfg(feature = "recording")]
    pub(super) const fn is_between_events(&self) -> bool {
        let has_fields = !self.data.is_empty() || !self.event_type.is_empty() || self.has_id;
        let is_within_line = !self.line.is_empty() || matches!(self.bom, 1 | 2);
        self.dispatched || (!has_fields && !is_within_line)
    }

    /// Decodes until something is found or the input is used up.
    #[inline(always)]
    pub(super) fn advance<'i, S: Simd>(
        &mut self,
        simd: S,
        input: &mut &'i [u8],
    ) -> Result<Option<Found<'i>>, DecodeError> {
        if self.dispatched {
            self.clear_event();
        }
        self.skip_prefix(input);
        // The value of the event's only data line so far: it is not copied if the event ends
        // within `input`.
        let mut only_line = None;
        let mut found = None;
        let text = *input;
        let mut start = 0;
        for end in LineEnds::new(simd, text) {
            if end < start {
                continue; // the LF of a CRLF
            }
            let line = start..end;
            start = end + self.line_end_len(&text[end..]);
            found = if self.line.is_empty() && self.data_line == 0 {
                self.check_line(line.len())?;
                self.interpret(text, line, &mut only_line)?
            } else {
                self.buffer_part(&text[line])?;
                self.interpret_buffered()?
            };
            if found.is_some() {
                break;
            }
        }
        *input = &text[start..];
        self.push_data_line(text, only_line);
        if found.is_none() && !input.is_empty() {
            self.buffer_part(mem::take(input))?;
        }
        Ok(found)
    }

    /// Skips a byte order mark, or the LF of a CRLF, before a line.
    #[inline]
    fn skip_prefix(&mut self, input: &mut &[u8]) {
        const BOM: &[u8; 3] = b"\xef\xbb\xbf";
        while let Some(expected) = BOM.get(usize::from(self.bom)) {
            match input.split_first() {
                None => return,
                Some((byte, rest)) if byte == expected => {
                    self.bom += 1;
                    *input = rest;
                }
                Some(_) => {
                    self.line.extend_from_slice(&BOM[..usize::from(self.bom)]);
                    self.bom = 3;
                }
            }
        }
        if self.after_cr && !input.is_empty() {
            *input = input.strip_prefix(b"\n").unwrap_or(input);
            self.after_cr = false;
        }
    }

    /// Returns the length of the line end that `input` starts with.
    ///
    /// A CR at the end of the input ends the line at once; an LF may follow.
    #[inline]
    const fn line_end_len(&mut self, input: &[u8]) -> usize {
        match input {
            b"\r" => {
                self.after_cr = true;
                1
            }
            [b'\r', b'\n', ..] => 2,
            _ => 1,
        }
    }

    /// Buffers a part of a line: a data line in `data`, so that it is copied once.
    fn buffer_part(&mut self, part: &[u8]) -> Result<(), DecodeError> {
        self.check_line(self.line.len() + self.data_line + part.len())?;
        if self.data_line > 0 {
            self.data.extend_from_slice(part);
            self.data_line += part.len();
        } else if self.line.is_empty()
            && let Line::Data(value @ [_, ..]) = Line::parse(part)
        {
            self.data.extend_from_slice(value);
            self.data_line = part.len();
        } else {
            self.line.extend_from_slice(part);
        }
        Ok(())
    }

    #[inline]
    const fn check_line(&self, len: usize) -> Result<(), DecodeError> {
        if len <= self.max_line {
            Ok(())
        } else {
            let limit = self.max_line;
            Err(DecodeError::LineTooLong { limit })
        }
    }

    /// Checks that `len` more bytes of data, and a line end, are within the limit.
    #[inline]
    const fn check_data(&self, len: usize) -> Result<(), DecodeError> {
        if self.data.len() + len < self.max_event {
            Ok(())
        } else {
            let limit = self.max_event;
            Err(DecodeError::EventTooLong { limit })
        }
    }

    /// Interprets a line that arrived in parts, from which nothing can be borrowed.
    fn interpret_buffered(&mut self) -> Result<Option<Found<'static>>, DecodeError> {
        if self.data_line > 0 {
            self.data_line = 0;
            self.check_data(0)?;
            self.data.push(b'\n');
            return Ok(None);
        }
        let mut line = mem::take(&mut self.line);
        let mut only_line = None;
        let found = self.interpret(&line, 0..line.len(), &mut only_line)?;
        let found = found.map(Found::into_owned);
        self.push_data_line(&line, only_line);
        line.clear();
        line.shrink_to(MAX_IDLE);
        self.line = line;
        Ok(found)
    }

    /// Appends the value of a data line to `data`.
    #[inline(always)]
    fn push_data_line(&mut self, text: &[u8], value: Option<Range<usize>>) {
        if let Some(value) = value {
            append(&mut self.data, text, value);
            self.data.push(b'\n');
        }
    }

    #[inline(always)]
    fn interpret<'l>(
        &mut self,
        text: &'l [u8],
        line: Range<usize>,
        only_line: &mut Option<Range<usize>>,
    ) -> Result<Option<Found<'l>>, DecodeError> {
        match Line::parse(&text[line.clone()]) {
            Line::Data(value) => {
                let value = line.end - value.len()..line.end;
                if self.data.is_empty() && only_line.is_none() {
                    self.check_data(value.len())?;
                    *only_line = Some(value);
                } else {
                    self.push_data_line(text, only_line.take());
                    self.check_data(value.len())?;
                    self.push_data_line(text, Some(value));
                }
            }
            Line::Blank => {
                // A blank line commits the ID even if it dispatches nothing.
                if mem::take(&mut self.has_id) {
                    mem::swap(&mut self.last_event_id, &mut self.id);
                }
                // "If the data buffer is an empty string, set the data buffer and the
                // event type buffer to the empty string and return."
                if only_line.is_none() && self.data.is_empty() {
                    self.event_type.clear();
                } else {
                    self.dispatched = true;
                    return Ok(Some(Found::Event(
                        only_line.take().map(|value| &text[value]),
                    )));
                }
            }
            Line::Event(value) => set_text(&mut self.event_type, value),
            // "If the field value does not contain U+0000 NULL"
            Line::Id(value) if value.contains(&b'\0') => {}
            Line::Id(value) => {
                set_text(&mut self.id, value);
                self.has_id = true;
            }
            Line::Retry(value) => {
                if let Some(retry) = parse_retry(value) {
                    self.retry = Some(retry);
                    return Ok(Some(Found::Retry(retry)));
                }
            }
            Line::Comment(text) => {
                let spaced = text.strip_prefix(b" ");
                self.is_comment_bare = spaced.is_none();
                let text = Cow::Borrowed(spaced.unwrap_or(text));
                return Ok(Some(Found::Comment(text)));
            }
            Line::Unknown => {}
        }
        Ok(None)
    }

    /// Returns what was found, with the event's fields.
    #[inline(always)]
    pub(super) fn decoded<'d>(&'d self, found: Found<'d>) -> Decoded<'d> {
        match found {
            Found::Event(only_line) => {
                let lines = || self.data.strip_suffix(b"\n").unwrap_or_default();
                Decoded::Event(MessageEvent::with_type(
                    EventType::trusted(Cow::Borrowed(match &*self.event_type {
                        "" => "message",
                        event_type => event_type,
                    })),
                    decode_utf8(only_line.unwrap_or_else(lines)),
                    Cow::Borrowed(&self.last_event_id),
                ))
            }
            Found::Retry(retry) => Decoded::Retry(retry),
            Found::Comment(Cow::Borrowed(text)) => Decoded::Comment(decode_utf8(text)),
            Found::Comment(Cow::Owned(text)) => {
                Decoded::Comment(Cow::Owned(decode_utf8(&text).into_owned()))
            }
        }
    }

    #[inline]
    fn clear_event(&mut self) {
        self.data.clear();
        if self.data.capacity() > MAX_IDLE {
            self.data = Vec::new();
        }
        self.event_type.clear();
        for text in [&mut self.event_type, &mut self.id] {
            if text.capacity() > MAX_IDLE {
                text.shrink_to_fit();
            }
        }
        self.dispatched = false;
    }
}

/// The capacity that a buffer keeps after a larger event.
pub(crate) const MAX_IDLE: usize = 1 << 20;

/// What the last line completed. An event without its only line is in `Interpreter::data`.
pub(super) enum Found<'i> {
    Event(Option<&'i [u8]>),
    Retry(Duration),
    Comment(Cow<'i, [u8]>),
}

impl Found<'_> {
    /// A line that arrived in parts is never blank, so it cannot complete an event.
    fn into_owned(self) -> Found<'static> {
        match self {
            Self::Event(_) => Found::Event(None),
            Self::Retry(retry) => Found::Retry(retry),
            Self::Comment(text) => Found::Comment(Cow::Owned(text.into_owned())),
        }
    }
}
