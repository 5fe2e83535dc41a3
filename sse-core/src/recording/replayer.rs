//! Replayers.

use std::fmt;
use std::io::{self, BufRead, Seek};
use std::time::Duration;

use super::item::Recorded;
use super::time::parse_time;
use crate::decode::{Decoder, Found};
use crate::event::EventId;

/// Reads a recording: events, reconnection times and comments, with their times.
///
/// It reads any event stream, such as one saved with curl. Items before the first time line
/// have the time zero. An incomplete event at the end is dropped. Times may go back, as where two
/// recordings have been concatenated: such items are due at once.
///
/// The replayer does not wait: each item has a time, and the caller waits for it or not.
/// [`Pace`](crate::Pace) makes that faster or slower.
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
    /// Rewinds the reader of a looped recording.
    rewind: Option<fn(&mut R) -> io::Result<()>>,

    /// The time of the last time line.
    time: Duration,
    /// The time that counts as zero, once the start has been found.
    zero: Option<Duration>,
    /// The duration of all earlier rounds.
    before: Duration,
    /// The next item, if it has been found.
    found: Option<Found>,
    taken: u64,
    /// The number of bytes that were taken last.
    piece: usize,
    whole: u64,
    ended: bool,
}

impl<R: BufRead> Replayer<R> {
    /// Creates a replayer with the decoder's default limits.
    pub const fn new(reader: R) -> Self {
        Self::with_decoder(reader, Decoder::new())
    }

    /// Creates a replayer with a decoder that has other limits.
    pub const fn with_decoder(reader: R, decoder: Decoder) -> Self {
        Self {
            reader,
            decoder,
            start: Start::Beginning,
            rewind: None,
            time: Duration::ZERO,
            zero: None,
            before: Duration::ZERO,
            found: None,
            taken: 0,
            piece: 0,
            whole: 0,
            ended: false,
        }
    }

    /// Begins with the first event whose ID is `id`. Its time is zero.
    ///
    /// Without such an event, reading ends with an error of the kind
    /// [`NotFound`](io::ErrorKind::NotFound).
    #[must_use]
    pub fn from_id(mut self, id: EventId<'_>) -> Self {
        self.start = Start::Id(id.into_owned());
        self
    }

    /// Begins at the time `offset`, which becomes zero.
    #[must_use]
    pub fn from_offset(mut self, offset: Duration) -> Self {
        self.start = Start::Offset(offset);
        self
    }

    /// Starts again at the end, as for a client that reconnects at once.
    ///
    /// A round counts as at least 100 ms of recorded time, so that a stream without times is not
    /// repeated as fast as possible. A recording without items ends.
    #[must_use]
    pub fn looped(mut self) -> Self
    where
        R: Seek,
    {
        self.rewind = Some(R::rewind);
        self
    }

    /// Reads the next item, or returns `None` at the end.
    ///
    /// A later call reads on, so that a growing file can be followed. The iterator returns
    /// [owned](Recorded::into_owned) items.
    ///
    /// # Errors
    ///
    /// An error of the reader. A [`DecodeError`](crate::DecodeError) is returned once, within
    /// an [`io::Error`] of the kind [`InvalidData`](io::ErrorKind::InvalidData), and ends reading.
    #[inline]
    pub fn read(&mut self) -> io::Result<Option<Recorded<'_>>> {
        if let Some(found) = self.find_common() {
            return Ok(Some(self.recorded(&found)));
        }
        self.find_any()?;
        Ok(self.found.take().map(|found| self.recorded(&found)))
    }

    /// Returns what was found, with its time.
    #[inline(always)]
    fn recorded(&mut self, found: &Found) -> Recorded<'_> {
        // Those without an event count for the next event.
        let is_event = matches!(found, Found::Event { .. });
        let has_new_id = is_event && self.decoder.take_has_new_id();
        Recorded::new(self.at(), self.decoder.decoded(found), has_new_id)
    }

    /// Returns the time of the next item, which [`read`](Self::read) then returns.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn peek(&mut self) -> io::Result<Option<Duration>> {
        self.find_any()?;
        Ok(self.found.is_some().then(|| self.at()))
    }

    /// Returns the number of bytes up to where a [`Recorder`](crate::Recorder) can append.
    ///
    /// That is the end of the last whole event or comment that was read, or of a later block that
    /// has only an ID.
    #[must_use]
    pub fn whole(&self) -> u64 {
        match self.decoder.after_event() {
            // The rest is well-formed, because an ill-formed piece has no bytes after a line.
            Some(rest) if rest < self.piece => self.taken - rest as u64,
            _ => self.whole,
        }
    }

    /// Returns the reader, and the decoder with the last event ID and reconnection time.
    pub fn into_parts(self) -> (R, Decoder) {
        (self.reader, self.decoder)
    }

    /// Returns the time of the next item.
    #[inline(always)]
    fn at(&self) -> Duration {
        let zero = self.zero.unwrap_or_default();
        if zero.is_zero() && self.before.is_zero() {
            return self.time; // as nearly always
        }
        self.before.saturating_add(self.time.saturating_sub(zero))
    }

    /// Finds the next item if it is an event of the commonest form, perhaps after a time line.
    #[inline(always)]
    fn find_common(&mut self) -> Option<Found> {
        if self.found.is_some() || self.zero.is_none() {
            return None;
        }
        self.take_time();
        self.decoder.find_common()
    }

    /// Finds the next item, unless it has been found or the recording ends.
    #[inline(never)]
    fn find_any(&mut self) -> io::Result<()> {
        while self.found.is_none() && !self.ended {
            match self.find_taken()? {
                Some(found) => self.found = Some(found),
                None if self.fill()? || self.start_again()? => {}
                None => break,
            }
        }
        Ok(())
    }

    /// Finds the next item in the bytes that the decoder has taken.
    fn find_taken(&mut self) -> io::Result<Option<Found>> {
        loop {
            self.whole = self.whole();
            self.take_time();
            let found = self.decoder.find();
            self.ended = found.is_err();
            let Some(found) = found? else {
                return Ok(None);
            };
            let comment = self.decoder.comment(&found);
            if let Some(time) = comment.and_then(|text| parse_time(text.as_bytes())) {
                self.time = time;
            } else if self.zero.is_some() || self.begins_with(&found) {
                return Ok(Some(found));
            }
        }
    }

    /// Takes the next line if it is a time line.
    #[inline(always)]
    fn take_time(&mut self) {
        if let Some(comment) = self.decoder.next_comment()
            && let Some(time) = parse_time(comment)
        {
            let len = comment.len();
            self.decoder.skip_comment(len);
            self.time = time;
        }
    }

    /// Returns whether what was found is the first item to be read.
    fn begins_with(&mut self, found: &Found) -> bool {
        let id = matches!(found, Found::Event { .. }).then(|| self.decoder.last_event_id());
        self.zero = self.start.zero(self.time, id);
        self.zero.is_some()
    }

    /// Gives input to the decoder. Returns `false` at its end.
    fn fill(&mut self) -> io::Result<bool> {
        self.whole = self.whole();
        let available = match self.reader.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(error),
        };
        let mut rest = available;
        self.decoder.push(&mut rest);
        self.piece = available.len() - rest.len();
        self.reader.consume(self.piece);
        self.taken += self.piece as u64;
        Ok(self.piece > 0)
    }

    /// Rewinds the reader of a looped recording, or returns `false`.
    #[cold]
    fn start_again(&mut self) -> io::Result<bool> {
        if let (None, Start::Id(id)) = (self.zero, &self.start) {
            let sentence = format!("the recording has no event with the ID {id:?}");
            return Err(io::Error::new(io::ErrorKind::NotFound, sentence));
        }
        let Some(rewind) = self.rewind.filter(|_| self.zero.is_some()) else {
            return Ok(false); // It is not looped, or has no items.
        };
        rewind(&mut self.reader)?;
        self.before = self.at().max(self.before.saturating_add(MIN_ROUND));
        self.decoder.restart();
        (self.time, self.zero) = (Duration::ZERO, None);
        (self.taken, self.piece, self.whole) = (0, 0, 0);
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

/// Where a replayer begins.
#[derive(Debug)]
enum Start {
    Beginning,
    Id(EventId<'static>),
    Offset(Duration),
}

impl Start {
    /// Returns the time that becomes zero, if an item at `time` is the first to be read. An event
    /// has a last event ID.
    #[cold]
    fn zero(&self, time: Duration, last_event_id: Option<&str>) -> Option<Duration> {
        match self {
            Self::Beginning => Some(Duration::ZERO),
            Self::Id(id) => (last_event_id.is_some_and(|last| *id == *last)).then_some(time),
            Self::Offset(offset) => (time >= *offset).then_some(*offset),
        }
    }
}

/// The minimum duration of a round of a looped recording.
const MIN_ROUND: Duration = Duration::from_millis(100);
