//! The interpreter of an event stream: WHATWG HTML, 9.2.6 "Interpreting an event stream".

use std::mem;
use std::ops::Range;
use std::time::Duration;

use super::MAX_IDLE;
use super::common_event::Lines;
use super::data::Data;
use super::error::DecodeError;
use super::line::{Line, parse_retry};
use super::text::Text;

/// The buffers of the standard, and the settings.
#[derive(Debug, Clone)]
pub(super) struct Interpreter {
    pub(super) max_line: usize,
    pub(super) max_event: usize,
    pub(super) stage: Stage,
    /// The data buffer: the data lines of the event so far, each with an LF after it.
    data: Data,
    /// The value of the event's only data line so far, within the text. It is not copied if the
    /// event ends before the text is compacted.
    only_line: Option<Range<usize>>,
    event_type: String,
    /// The ID that the end of the event commits, if `has_id`.
    id: String,
    has_id: bool,
    last_event_id: String,
    /// The last event ID within the text, until the text is compacted. Copying each ID into
    /// `last_event_id` would take as long as searching for its line.
    last_id: Option<Range<usize>>,
    /// Whether the last event ID was set since this was last asked.
    pub(super) has_new_id: bool,
    pub(super) retry: Option<Duration>,
}

/// How much of an event has been interpreted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing: the buffers are empty.
    Between,
    /// Some of its fields.
    Within,
    /// Everything. It has been returned, and its data may still be in use.
    Dispatched,
}

/// What a line completes. Ranges are within the text.
#[derive(Debug)]
pub(crate) enum Found {
    /// An event. What is `None` is in the buffers.
    Event {
        event_type: Option<Range<usize>>,
        data: Option<Range<usize>>,
    },
    Retry(Duration),
    /// The text after the colon.
    Comment(Range<usize>),
}

impl Interpreter {
    pub(super) const fn new(max_line: usize, max_event: usize) -> Self {
        Self {
            max_line,
            max_event,
            stage: Stage::Between,
            data: Data::new(),
            only_line: None,
            event_type: String::new(),
            id: String::new(),
            has_id: false,
            last_event_id: String::new(),
            last_id: None,
            has_new_id: false,
            retry: None,
        }
    }

    #[cfg(feature = "recording")]
    pub(super) fn is_within_event(&self) -> bool {
        self.stage == Stage::Within
    }

    /// Drops an unfinished event. The last event ID and the reconnection time stay.
    pub(super) fn restart(&mut self) {
        self.only_line = None;
        self.has_id = false;
        self.clear();
    }

    /// Interprets lines until something is complete or no line has ended.
    pub(super) fn interpret(&mut self, text: &mut Text) -> Result<Option<Found>, DecodeError> {
        while let Some(line) = text.next_line() {
            self.check_line(line.len())?;
            let end = line.end;
            match Line::parse(&text.as_str()[line]) {
                Line::Data(value) => {
                    self.stage = Stage::Within;
                    let range = end - value.len()..end;
                    self.push_only_line(text);
                    self.check_data(value.len())?;
                    if self.data.len() == 0 {
                        self.only_line = Some(range);
                    } else {
                        self.data.push_line(text.as_str(), range);
                        self.push_common_lines(text);
                    }
                }
                Line::Blank => {
                    // A blank line commits the ID even if it dispatches nothing.
                    if mem::take(&mut self.has_id) {
                        mem::swap(&mut self.last_event_id, &mut self.id);
                        self.last_id = None;
                        self.has_new_id = true;
                    }
                    let data = self.only_line.take();
                    // "If the data buffer is an empty string, set the data buffer and the
                    // event type buffer to the empty string and return."
                    if data.is_none() && self.data.len() == 0 {
                        self.clear();
                    } else {
                        self.stage = Stage::Dispatched;
                        let event_type = None;
                        return Ok(Some(Found::Event { event_type, data }));
                    }
                }
                Line::Event(value) => {
                    self.stage = Stage::Within;
                    set(&mut self.event_type, value);
                }
                // "If the field value does not contain U+0000 NULL"
                Line::Id(value) if value.contains('\0') => {}
                Line::Id(value) => {
                    self.stage = Stage::Within;
                    self.has_id = true;
                    set(&mut self.id, value);
                }
                Line::Retry(value) => {
                    if let Some(retry) = parse_retry(value) {
                        self.retry = Some(retry);
                        return Ok(Some(Found::Retry(retry)));
                    }
                }
                Line::Comment(value) => {
                    return Ok(Some(Found::Comment(end - value.len()..end)));
                }
                Line::Unknown => {}
            }
        }
        if text.has_nul() {
            self.stage = Stage::Within; // so that the line is interpreted here
        }
        self.check_line(text.unfinished())?;
        Ok(None)
    }

    /// Empties the buffers if an event ends here. Returns whether the next line begins one.
    #[inline(always)]
    pub(super) fn begin_event(&mut self) -> bool {
        if self.stage == Stage::Dispatched {
            self.clear();
        }
        self.stage == Stage::Between
    }

    /// Returns the length within which an event exceeds no limit.
    #[inline(always)]
    pub(super) fn min_limit(&self) -> usize {
        self.max_line.min(self.max_event)
    }

    /// Commits the ID of an event.
    pub(super) fn commit_id(&mut self, id: &str) {
        self.has_new_id = true;
        self.last_id = None;
        set(&mut self.last_event_id, id);
    }

    /// Commits the ID of an event, which is within the text.
    #[inline(always)]
    pub(super) fn commit_id_in_text(&mut self, id: Range<usize>) {
        self.has_new_id = true;
        self.last_id = Some(id);
    }

    /// Returns the last event ID.
    #[inline(always)]
    pub(super) fn last_event_id<'a>(&'a self, text: &'a Text) -> &'a str {
        match &self.last_id {
            Some(id) => text.get(id.clone()),
            None => &self.last_event_id,
        }
    }

    /// Returns the buffered event type; `message` if it is empty.
    #[inline(always)]
    pub(super) fn event_type(&self) -> &str {
        match &*self.event_type {
            "" => "message",
            event_type => event_type,
        }
    }

    /// Returns the buffered data of an event.
    pub(super) fn data(&self) -> &str {
        self.data.as_str()
    }

    /// Copies what is needed of the text, which is about to change.
    pub(super) fn leave(&mut self, text: &Text) {
        self.push_only_line(text);
        if let Some(id) = self.last_id.take() {
            set(&mut self.last_event_id, text.get(id));
        }
    }

    /// Copies the only data line into the buffer.
    fn push_only_line(&mut self, text: &Text) {
        if let Some(line) = self.only_line.take() {
            self.data.push_line(text.as_str(), line);
        }
    }

    /// Takes an event of the commonest form, but with several lines of data.
    pub(super) fn take_common_event(&mut self, text: &mut Text) -> Option<Found> {
        let mut lines = Lines::listed(text);
        let id = lines.field(b"id: ")?;
        let event_type = lines.event_type()?;
        self.push_lines(text, &mut lines);
        let is_whole = lines.blank() && lines.taken() <= self.min_limit();
        let (len, count) = (lines.taken(), lines.count());
        drop(lines);
        if self.data.len() == 0 || !is_whole {
            self.data.clear();
            return None;
        }
        text.skip(len, count);
        if let Some(id) = id {
            self.commit_id_in_text(id);
        }
        self.stage = Stage::Dispatched;
        let data = None;
        Some(Found::Event { event_type, data })
    }

    /// Takes the data lines that follow, as long as they have the commonest form.
    fn push_common_lines(&mut self, text: &mut Text) {
        let mut lines = Lines::listed(text);
        let (len, count) = self.push_lines(text, &mut lines);
        drop(lines);
        text.skip(len, count);
    }

    /// Copies data lines of the commonest form into the buffer. Returns their length and number.
    #[inline(always)]
    fn push_lines<E>(&mut self, text: &Text, lines: &mut Lines<'_, E>) -> (usize, usize)
    where
        E: FnMut(usize) -> Option<usize>,
    {
        // Within this length no limit can be exceeded.
        let max_len = self.min_limit().saturating_sub(self.data.len());
        let mut pushed = (0, 0);
        while let Some(Some(value)) = lines.field(b"data: ")
            && lines.taken() <= max_len
        {
            self.data.push_line(text.as_str(), value);
            pushed = (lines.taken(), lines.count());
        }
        pushed
    }

    /// Returns the memory of the buffers, which are empty.
    #[cfg(feature = "client")]
    pub(super) fn shrink(&mut self) {
        self.data = Data::new();
        self.event_type = String::new();
        self.id = String::new();
    }

    const fn check_line(&self, len: usize) -> Result<(), DecodeError> {
        if len <= self.max_line {
            Ok(())
        } else {
            let limit = self.max_line;
            Err(DecodeError::LineTooLong { limit })
        }
    }

    /// Checks that `len` more bytes of data, and a line end, are within the limit.
    const fn check_data(&self, len: usize) -> Result<(), DecodeError> {
        if self.data.len() + len < self.max_event {
            Ok(())
        } else {
            let limit = self.max_event;
            Err(DecodeError::EventTooLong { limit })
        }
    }

    /// Empties the buffers, after an event.
    #[inline(never)]
    pub(super) fn clear(&mut self) {
        self.stage = Stage::Between;
        self.data.clear();
        for text in [&mut self.event_type, &mut self.id] {
            text.clear();
            if text.capacity() > MAX_IDLE {
                *text = String::new();
            }
        }
    }
}

#[inline(always)]
fn set(text: &mut String, value: &str) {
    text.clear();
    text.push_str(value);
}
