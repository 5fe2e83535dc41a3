//! IDs that a log assigns.

use std::fmt;
use std::time::Duration;

use memchr::memchr;

use super::now::millis;
use crate::decimal;
use crate::event::EventId;

/// The ID that a [`Log`](crate::Log) assigns to an event.
///
/// It has the milliseconds since the Unix epoch and a sequence number within them. IDs are
/// ordered by time. Their text is not: as text, `10-0` comes before `9-0`.
///
/// ```
/// use sse_core::LogId;
///
/// let id = LogId::parse("1700000000000-1").unwrap();
/// assert_eq!(id.millis(), 1_700_000_000_000);
/// assert_eq!(id.to_string(), "1700000000000-1");
/// assert!(LogId::parse("9-0") < LogId::parse("10-0"));
/// assert_eq!(LogId::parse("01-1"), None, "there is one spelling");
/// ```
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    millis: u64,
    sequence: u64,
}

impl LogId {
    /// Two numbers of up to 20 digits and the hyphen.
    pub(crate) const MAX_LEN: usize = 41;

    /// The distance between two sequence numbers of one epoch.
    pub(crate) const STEP: u64 = 1 << 16;

    /// The greatest ID.
    pub const MAX: Self = Self::new(u64::MAX, u64::MAX);

    /// The first ID of a time since the Unix epoch.
    pub(crate) fn at(time: Duration) -> Self {
        Self::new(millis(time), 0)
    }

    /// Creates the ID of this time, in milliseconds since the Unix epoch, and sequence number.
    #[must_use]
    pub const fn new(millis: u64, sequence: u64) -> Self {
        Self { millis, sequence }
    }

    /// Parses the text that [`Display`](fmt::Display) writes, and no other spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_bytes(text.as_bytes())
    }

    pub(crate) fn parse_bytes(text: &[u8]) -> Option<Self> {
        let hyphen = memchr(b'-', text)?;
        Some(Self {
            millis: decimal::parse(&text[..hyphen])?,
            sequence: decimal::parse(&text[hyphen + 1..])?,
        })
    }

    /// Returns the milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.millis
    }

    /// Returns the sequence number within the millisecond, from 0.
    #[must_use]
    pub const fn sequence(self) -> u64 {
        self.sequence
    }

    /// Returns the number of the [epoch](crate::Epochs) that assigned the ID.
    #[must_use]
    pub const fn epoch(self) -> u16 {
        let [.., high, low] = self.sequence.to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    /// Returns the event ID.
    pub(crate) fn event_id(self) -> EventId<'static> {
        self.text(&mut [0; Self::MAX_LEN]).into_owned()
    }

    /// Returns the event ID, whose text is written to `buffer`.
    pub(crate) fn text(self, buffer: &mut [u8; Self::MAX_LEN]) -> EventId<'_> {
        let mut len = 0;
        for part in [
            itoa::Buffer::new().format(self.millis),
            "-",
            itoa::Buffer::new().format(self.sequence),
        ] {
            buffer[len..len + part.len()].copy_from_slice(part.as_bytes());
            len += part.len();
        }
        let text = str::from_utf8(&buffer[..len]).unwrap_or_default();
        EventId::trusted(text.into())
    }

    /// Returns the first ID of an epoch in the millisecond before, or this ID at the Unix epoch.
    pub(crate) const fn before(self, epoch: u16) -> Self {
        match self.millis.checked_sub(1) {
            Some(millis) => Self::new(millis, epoch as u64),
            None => self,
        }
    }

    /// Returns the next ID.
    pub(crate) const fn next(self) -> Self {
        match self.sequence.checked_add(1) {
            Some(sequence) => Self { sequence, ..self },
            None => Self::new(self.millis.saturating_add(1), 0),
        }
    }

    /// Returns the next ID of an epoch.
    pub(crate) const fn next_of(self, epoch: u16) -> Self {
        let sequence = self.sequence - self.sequence % Self::STEP + epoch as u64;
        if sequence > self.sequence {
            return Self { sequence, ..self };
        }
        match sequence.checked_add(Self::STEP) {
            Some(sequence) => Self { sequence, ..self },
            None => Self::new(self.millis.saturating_add(1), epoch as u64),
        }
    }

    /// Returns the first ID of an epoch at the time `now` or later that follows this one.
    pub(crate) fn next_at(self, now: Duration, epoch: u16) -> Self {
        let now = Self::new(millis(now), epoch.into());
        if now > self { now } else { self.next_of(epoch) }
    }
}

impl From<LogId> for EventId<'_> {
    fn from(id: LogId) -> Self {
        id.event_id()
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text(&mut [0; Self::MAX_LEN]).as_str())
    }
}

/// Formats IDs one after the other, most of which share their milliseconds.
#[derive(Debug, Default)]
pub(crate) struct LogIdText {
    text: String,
    millis: u64,
    /// The offset of the sequence number; 0 while there is no text.
    sequence: usize,
}

impl LogIdText {
    pub(crate) fn of(&mut self, id: LogId) -> &str {
        let mut number = itoa::Buffer::new();
        if self.sequence == 0 || self.millis != id.millis {
            self.text.clear();
            self.text.push_str(number.format(id.millis));
            self.text.push('-');
            (self.millis, self.sequence) = (id.millis, self.text.len());
        }
        self.text.truncate(self.sequence);
        self.text.push_str(number.format(id.sequence));
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        const MAX: u64 = u64::MAX;
        for (text, id) in [
            ("0-0", Some((0, 0))),
            ("1700000000000-66053", Some((1_700_000_000_000, 66_053))),
            (
                "9999999999999999999-1",
                Some((9_999_999_999_999_999_999, 1)),
            ),
            (
                "18446744073709551615-18446744073709551615",
                Some((MAX, MAX)),
            ),
            ("18446744073709551616-0", None),
            ("0-18446744073709551616", None),
            ("184467440737095516150-0", None),
            ("00000000000000000000001-0", None),
            ("", None),
            ("1", None),
            ("-", None),
            ("1-", None),
            ("-1", None),
            ("1-2-3", None),
            ("+1-2", None),
            ("1:-2", None),
            ("1-/", None),
            ("1 -2", None),
            ("1-\u{662}", None),
        ] {
            let id = id.map(|(millis, sequence)| LogId::new(millis, sequence));
            assert_eq!(LogId::parse(text), id, "{text}");
            if let Some(id) = id {
                assert_eq!(id.to_string(), text);
            }
        }
    }
}
