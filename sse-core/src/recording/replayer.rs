//! Recordings read back, and when what they hold is due.

use std::borrow::Cow;
use std::io::{self, BufRead, Seek};
use std::time::Duration;
use std::{fmt, mem};

use super::recorder::{parse_time, time_line};
use crate::decode::{Decoded, Decoder, MAX_IDLE, MessageEvent};
use crate::event::Event;
use crate::event::{EventId, EventType};

/// Reads a recording: what a [`Recorder`](crate::Recorder) was given, with its times.
///
/// Any event stream can be read, such as one saved with curl; what stands before the first
/// time is of the time zero. What follows the last whole event is dropped.
///
/// Time is simulated: each item says when it came, and the caller waits until then, or does
/// not. [`Pace`] makes that faster or slower.
///
/// ```
/// use std::thread;
/// use std::time::Instant;
/// use sse_core::{Pace, Replayer, Stream};
///
/// let recording = &b":T+0.010000000\ndata: hey\n\n:T+0.030000000\ndata: there\n\n"[..];
/// let mut stream = Stream::new(Vec::new()); // or a socket
/// let mut replayer = Replayer::new(recording); // or a BufReader of a File
/// let pace = Pace::times(2.0).unwrap();
/// let began = Instant::now();
/// while let Some(recorded) = replayer.read()? {
///     thread::sleep(pace.due(recorded.at()).saturating_sub(began.elapsed()));
///     stream.send(&recorded.event())?;
/// }
/// assert_eq!(stream.into_parts().0, b"data: hey\n\ndata: there\n\n");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Replayer<R> {
    reader: R,
    decoder: Decoder,
    start: Start,
    /// Goes to the beginning of a recording that is looped.
    rewind: Option<fn(&mut R) -> io::Result<()>>,

    /// What the last time line says.
    time: Duration,
    /// What is taken from the times, once the start has been found.
    zero: Option<Duration>,
    /// How long the rounds before took.
    before: Duration,
    /// What comes next, if it has been read.
    item: Item,
    is_read: bool,
    /// Whether this round has had an item.
    has_items: bool,
    taken: u64,
    whole: u64,
    ended: bool,
}

impl<R: BufRead> Replayer<R> {
    /// What `reader` gives, with the decoder's default limits.
    pub const fn new(reader: R) -> Self {
        Self::with_decoder(reader, Decoder::new())
    }

    /// What `reader` gives, by a decoder with other limits.
    pub const fn with_decoder(reader: R, decoder: Decoder) -> Self {
        Self {
            reader,
            decoder,
            start: Start::Beginning,
            rewind: None,
            time: Duration::ZERO,
            zero: None,
            before: Duration::ZERO,
            item: Item::new(),
            is_read: false,
            has_items: false,
            taken: 0,
            whole: 0,
            ended: false,
        }
    }

    /// Begins with the first event whose ID is `id`; its time is zero. If there is none,
    /// reading ends with an error of the kind [`NotFound`](io::ErrorKind::NotFound).
    #[must_use]
    pub fn from_id(mut self, id: EventId<'_>) -> Self {
        self.start = Start::Id(id.into_owned());
        self
    }

    /// Begins with what came at the time `offset` or later; that time is zero.
    #[must_use]
    pub fn from_offset(mut self, offset: Duration) -> Self {
        self.start = Start::Offset(offset);
        self
    }

    /// Begins again where it began, whenever it has come to the end, as a client that
    /// reconnects at once. Without any items in it, it ends all the same.
    ///
    /// A round takes at least 100 ms, so that a stream that was saved without times is not played
    /// as fast as possible.
    #[must_use]
    pub fn looped(mut self) -> Self
    where
        R: Seek,
    {
        self.rewind = Some(R::rewind);
        self
    }

    /// What comes next; `None` at the end. To keep it, use the iterator, which gives
    /// [owned](Recorded::into_owned) items.
    ///
    /// At the end, a further call asks the reader again, so that a file that grows can be
    /// followed.
    ///
    /// # Errors
    ///
    /// What the reader says. A [`DecodeError`](crate::DecodeError) comes once, within an
    /// [`io::Error`] of kind [`InvalidData`](io::ErrorKind::InvalidData), and ends it.
    pub fn read(&mut self) -> io::Result<Option<Recorded<'_>>> {
        Ok(match self.peek()? {
            Some(at) => {
                self.is_read = false;
                Some(self.item.show(at))
            }
            None => None,
        })
    }

    /// The time of what [`read`](Self::read) gives next, so that one can wait for it first.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn peek(&mut self) -> io::Result<Option<Duration>> {
        while !self.is_read {
            if self.ended || !(self.advance()? || self.begin_again()?) {
                return Ok(None);
            }
        }
        Ok(Some(self.at()))
    }

    /// How many bytes of the recording are whole events, as far as it has been read: from
    /// there on a [`Recorder`](crate::Recorder) can go on.
    #[must_use]
    pub const fn whole(&self) -> u64 {
        self.whole
    }

    /// The reader, and the decoder, which knows the last event ID and the reconnection time.
    pub fn into_parts(self) -> (R, Decoder) {
        (self.reader, self.decoder)
    }

    /// When the next item is due.
    fn at(&self) -> Duration {
        let zero = self.zero.unwrap_or_default();
        self.before.saturating_add(self.time.saturating_sub(zero))
    }

    /// Decodes until there is an item, or more input.
    fn advance(&mut self) -> io::Result<bool> {
        let available = match self.reader.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(error),
        };
        let mut rest = available;
        while !self.is_read && !rest.is_empty() {
            if self.decoder.is_at_line()
                && let Some((time, len)) = time_line(rest)
            {
                // What costs the decoder as much as half an event.
                self.time = time;
                rest = &rest[len..];
                continue;
            }
            let decoded = self.decoder.decode_marked(&mut rest);
            self.ended = decoded.is_err();
            let (item, time) = match decoded? {
                Some((Decoded::Comment(text), true)) => {
                    let time = parse_time(text.as_bytes());
                    (Some(Decoded::Comment(text)), time)
                }
                item => (item.map(|(item, _)| item), None),
            };
            match (item, time) {
                (_, Some(time)) => self.time = time,
                (Some(item), None) => {
                    self.zero = self.zero.or_else(|| self.start.zero(self.time, &item));
                    if self.zero.is_some() {
                        self.item.keep(item);
                        self.is_read = true;
                        self.has_items = true;
                    }
                }
                (None, None) => {}
            }
            if self.decoder.is_between_events() {
                self.whole = self.taken + (available.len() - rest.len()) as u64;
            }
        }
        let taken = available.len() - rest.len();
        self.reader.consume(taken);
        self.taken += taken as u64;
        Ok(taken > 0)
    }

    /// Goes back to the beginning, if it is to.
    fn begin_again(&mut self) -> io::Result<bool> {
        if let (None, Start::Id(id)) = (self.zero, &self.start) {
            let sentence = format!("the recording has no event with the ID {id:?}");
            return Err(io::Error::new(io::ErrorKind::NotFound, sentence));
        }
        let Some(rewind) = self.rewind.filter(|_| mem::take(&mut self.has_items)) else {
            return Ok(false);
        };
        rewind(&mut self.reader)?;
        self.before = self.at().max(self.before.saturating_add(MIN_ROUND));
        self.decoder.restart();
        (self.time, self.zero) = (Duration::ZERO, None);
        (self.taken, self.whole) = (0, 0);
        Ok(true)
    }
}

impl<R: BufRead> Iterator for Replayer<R> {
    type Item = io::Result<Recorded<'static>>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read();
        read.map(|recorded| recorded.map(Recorded::into_owned))
            .transpose()
    }
}

impl<R: fmt::Debug> fmt::Debug for Replayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replayer")
            .field("reader", &self.reader)
            .field("start", &self.start)
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}

/// Something that came in a recorded stream, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded<'a> {
    at: Duration,
    decoded: Decoded<'a>,
    has_new_id: bool,
}

impl<'a> Recorded<'a> {
    /// When it came, since the recording began or since what it is read from; for one that is
    /// looped, since the first round began.
    #[must_use]
    pub const fn at(&self) -> Duration {
        self.at
    }

    /// What came, as a client sees it.
    #[must_use]
    pub const fn decoded(&self) -> &Decoded<'a> {
        &self.decoded
    }

    /// What came, as a client sees it.
    #[must_use]
    pub fn into_decoded(self) -> Decoded<'a> {
        self.decoded
    }

    /// What came, to be sent on: clients see the same.
    ///
    /// It has an ID where the last event ID changes, and a type where that is other than
    /// `message`; so a log that it is appended to gives an ID of its own to an event that had
    /// none. An ID that a client could not send back is [dropped](EventId::foreign).
    #[must_use]
    pub fn event(&self) -> Event<'_> {
        match &self.decoded {
            Decoded::Event(message) => {
                let mut event = Event::new().data(message.data());
                if message.event() != "message" {
                    event = event.event(EventType::trusted(message.event().into()));
                }
                if self.has_new_id {
                    event.id = EventId::foreign(message.last_event_id());
                }
                event
            }
            Decoded::Retry(retry) => Event::new().retry(*retry),
            Decoded::Comment(text) => Event::new().comment(&**text),
        }
    }

    /// The same, owned.
    #[must_use]
    pub fn into_owned(self) -> Recorded<'static> {
        Recorded {
            at: self.at,
            decoded: self.decoded.into_owned(),
            has_new_id: self.has_new_id,
        }
    }
}

/// How fast a recording is played: turns the times at which its events came into those at
/// which they are due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace(f64);

impl Pace {
    /// As fast as it was recorded.
    pub const RECORDED: Self = Self(1.0);

    /// As fast as possible: everything is due at once.
    pub const FASTEST: Self = Self(f64::INFINITY);

    /// So many times as fast as it was recorded, a half being half as fast. `None` unless that
    /// is a number above zero.
    #[must_use]
    pub fn times(factor: f64) -> Option<Self> {
        (factor > 0.0).then_some(Self(factor))
    }

    /// When an event is due that came at the time `at`, both since the beginning.
    #[must_use]
    pub fn due(self, at: Duration) -> Duration {
        match self {
            Self::RECORDED => at,
            Self(factor) => {
                Duration::try_from_secs_f64(at.as_secs_f64() / factor).unwrap_or(Duration::MAX)
            }
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::RECORDED
    }
}

#[derive(Debug)]
enum Start {
    Beginning,
    Id(EventId<'static>),
    Offset(Duration),
}

impl Start {
    /// What is to be time zero, if `item` is the first of those that are to be read.
    #[inline]
    fn zero(&self, time: Duration, item: &Decoded<'_>) -> Option<Duration> {
        match self {
            Self::Beginning => Some(Duration::ZERO),
            Self::Id(id) => match item {
                Decoded::Event(event) => (*id == *event.last_event_id()).then_some(time),
                _ => None,
            },
            Self::Offset(offset) => (time >= *offset).then_some(*offset),
        }
    }
}

/// What has been read, in buffers that stay.
#[derive(Debug)]
struct Item {
    what: What,
    /// Data, or a comment.
    text: String,
    event_type: String,
    /// The last event ID, of those that have been given.
    id: String,
    has_new_id: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Event,
    Retry(Duration),
    Comment,
}

impl Item {
    const fn new() -> Self {
        Self {
            what: What::Comment,
            text: String::new(),
            event_type: String::new(),
            id: String::new(),
            has_new_id: false,
        }
    }

    #[inline]
    fn keep(&mut self, decoded: Decoded<'_>) {
        match decoded {
            Decoded::Event(event) => {
                self.what = What::Event;
                set(&mut self.text, event.data());
                if event.event() != self.event_type {
                    set(&mut self.event_type, event.event());
                }
                self.has_new_id = event.last_event_id() != self.id;
                if self.has_new_id {
                    set(&mut self.id, event.last_event_id());
                }
            }
            Decoded::Retry(retry) => self.what = What::Retry(retry),
            Decoded::Comment(text) => {
                self.what = What::Comment;
                set(&mut self.text, &text);
            }
        }
    }

    #[inline]
    fn show(&self, at: Duration) -> Recorded<'_> {
        Recorded {
            at,
            decoded: match self.what {
                What::Event => Decoded::Event(MessageEvent::trusted(
                    EventType::trusted(Cow::Borrowed(&self.event_type)),
                    Cow::Borrowed(&self.text),
                    Cow::Borrowed(&self.id),
                )),
                What::Retry(retry) => Decoded::Retry(retry),
                What::Comment => Decoded::Comment(Cow::Borrowed(&self.text)),
            },
            has_new_id: self.has_new_id && self.what == What::Event,
        }
    }
}

#[inline]
fn set(text: &mut String, value: &str) {
    text.clear();
    if text.capacity() > MAX_IDLE {
        *text = String::new();
    }
    text.push_str(value);
}

/// How long a round of a looped recording takes at least.
const MIN_ROUND: Duration = Duration::from_millis(100);
