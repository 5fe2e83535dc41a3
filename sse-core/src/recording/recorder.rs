//! Event streams with the times of their events.

use std::io::{self, Write};
use std::time::Duration;
use std::{iter, mem};

use memchr::{memchr, memchr2, memmem, memrchr};

use crate::decode::{Decoder, MAX_IDLE};
use crate::event::Event;
use crate::recording::cutter::{Cutter, Encoded};
use crate::stream::{Outbox, SendError};

/// Writes a recording: an event stream that says in comments when its events came.
///
/// Any reader of event streams reads it. Before what came at another time than what stands
/// before it, there is a comment line with the time since the recording began, in seconds with
/// nine decimals. It holds until the next one:
///
/// ```text
/// :T+0.250000000
/// id: 1
/// data: hey
///
/// :T+1.000000000
/// id: 2
/// data: there
/// ```
///
/// Without these lines, the bytes are those that were recorded, but for two that no reader
/// sees. A comment that looks like such a line gets a space after its colon, as comments of
/// this library's have anyhow; and a byte order mark is left out, because it would no longer
/// stand at the beginning.
///
/// Only whole events reach the writer, and a burst of them reaches it at once. Of a file that
/// has been cut off anywhere, say by a crash, all whole events are read back, and the rest is
/// dropped, as by any reader of event streams. Who wants to go on with such a file first
/// cuts it off at [`Replayer::whole`](crate::Replayer::whole). The writer is not flushed,
/// which matters to those that buffer. Time is an argument; nothing here asks a clock.
///
/// ```
/// use std::time::Duration;
/// use sse_core::{Event, Recorder};
///
/// let mut recorder = Recorder::new(Vec::new()); // or a File
/// recorder.send(Duration::from_millis(250), &Event::new().id(1).data("hey"))?;
/// // The bytes of a stream, cut anywhere:
/// recorder.record(Duration::from_millis(900), b"id: 2\ndata: th")?;
/// recorder.record(Duration::from_millis(1000), b"ere\n\nid: 3")?;
/// assert_eq!(
///     recorder.into_parts().0,
///     b":T+0.250000000\nid: 1\ndata: hey\n\n:T+1.000000000\nid: 2\ndata: there\n\n",
/// );
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Recorder<W> {
    file: File<W>,
    cutter: Cutter,
    encoded: Encoded,
    max_event: usize,
    /// An event, encoded.
    scratch: Vec<u8>,
}

impl<W: Write> Recorder<W> {
    /// A recording that is written to `writer`.
    pub const fn new(writer: W) -> Self {
        Self {
            file: File {
                writer,
                outbox: Outbox::new(),
                time: None,
                line: Vec::new(),
                taken: 0,
            },
            cutter: Cutter::new(),
            encoded: Encoded::new(),
            max_event: Decoder::DEFAULT_MAX_EVENT,
            scratch: Vec::new(),
        }
    }

    /// How many bytes may wait for the end of their event; 16 MiB by default.
    #[must_use]
    pub const fn max_event(mut self, bytes: usize) -> Self {
        self.max_event = bytes;
        self
    }

    /// Records bytes of an event stream as of the time `at`, which is that since the
    /// recording began. They may be cut anywhere: an event is as of when its end comes.
    ///
    /// # Errors
    ///
    /// - What the writer says. The bytes were recorded all the same: the next call goes on
    ///   with what the writer did not take.
    /// - [`QuotaExceeded`](io::ErrorKind::QuotaExceeded) where 1 MiB waits for the writer
    ///   already: nothing was recorded, and every event of which these bytes are a part is left
    ///   out. Recording continues with the first whole event after them.
    /// - [`InvalidData`](io::ErrorKind::InvalidData) where an event exceeds
    ///   [`max_event`](Self::max_event): nothing more is recorded until
    ///   [`restart`](Self::restart).
    pub fn record(&mut self, at: Duration, mut wire: &[u8]) -> io::Result<()> {
        if let Err(full) = self.file.make_room() {
            self.cutter.refuse(wire);
            return Err(full);
        }
        self.cutter.skip(&mut wire);
        if self.cutter.passes(wire) {
            return self.file.put_checked(at, wire);
        }
        if self.cutter.held().len() > self.max_event {
            return Err(too_long(self.max_event));
        }
        let end = self.cutter.push(wire);
        let put = self.file.put_checked(at, &self.cutter.held()[..end]);
        self.cutter.release(end);
        put
    }

    /// Records whole events that this library has encoded, such as those of a
    /// [`Log`](crate::Log), as of the time `at`. They go to the writer without being looked at,
    /// so an event may come in pieces if all are of the same time.
    ///
    /// # Errors
    ///
    /// As [`record`](Self::record), but for the last. An event of which a piece was recorded is
    /// never refused.
    pub fn record_encoded(&mut self, at: Duration, mut events: &[u8]) -> io::Result<()> {
        self.encoded.skip(&mut events);
        if !self.encoded.is_within()
            && let Err(full) = self.file.make_room()
        {
            self.encoded.refuse(events);
            return Err(full);
        }
        self.encoded.pass(events);
        self.file.put(at, events)
    }

    /// Records an event as of the time `at`.
    ///
    /// # Errors
    ///
    /// As [`record_encoded`](Self::record_encoded).
    pub fn send(&mut self, at: Duration, event: &Event<'_>) -> io::Result<()> {
        let mut wire = mem::take(&mut self.scratch);
        wire.clear();
        event.encode(&mut wire);
        let recorded = self.record_encoded(at, &wire);
        wire.shrink_to(MAX_IDLE);
        self.scratch = wire;
        recorded
    }

    /// Goes on with the beginning of another stream: an event that has not ended is dropped,
    /// as by a client that has reconnected.
    pub fn restart(&mut self) {
        self.cutter = Cutter::new();
    }

    /// Whether an event has begun and not ended, which is not recorded until it has.
    #[must_use]
    pub const fn is_within_event(&self) -> bool {
        self.cutter.is_within_event()
    }

    /// Writes what waits, and flushes the writer.
    ///
    /// # Errors
    ///
    /// What the writer says; what it did not take still waits.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.drain()?;
        self.file.writer.flush()
    }
}

impl<W> Recorder<W> {
    /// The writer.
    pub const fn writer(&self) -> &W {
        &self.file.writer
    }

    /// How many bytes the writer has taken, those of time lines too.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.file.taken
    }

    /// What has been recorded and the writer has not taken.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        self.file.outbox.pending()
    }

    /// The writer, and what it has not taken.
    #[must_use]
    pub fn into_parts(self) -> (W, Vec<u8>) {
        (self.file.writer, self.file.outbox.into_pending())
    }
}

/// A writer that shows a recorder what another writer takes: put it under a
/// [`Stream`](crate::Stream), and what the client gets is what is recorded.
///
/// The client comes first. When recording fails, that ends, and the stream goes on;
/// [`into_parts`](Self::into_parts) tells.
///
/// ```
/// use std::time::Instant;
/// use sse_core::{Recorder, Stream, Tee};
///
/// let began = Instant::now();
/// let recorder = Recorder::new(Vec::new()); // or a File
/// let stream = Stream::new(Vec::new()); // or what `Request::accept` gives
/// let mut stream = stream.map(|conn| Tee::new(conn, recorder, move || began.elapsed()));
/// stream.write_str("hey")?;
///
/// let (conn, recorded) = stream.into_parts().0.into_parts();
/// assert_eq!(conn, b"data: hey\n\n");
/// let (file, _) = recorded?.into_parts();
/// assert!(file.starts_with(b":T+0.") && file.ends_with(b"\ndata: hey\n\n"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Tee<W, R, C> {
    writer: W,
    recorder: Recorder<R>,
    /// Gives the time since the recording began.
    clock: C,
    failed: Option<io::Error>,
}

impl<W, R, C> Tee<W, R, C> {
    /// Writes to `writer`, and records at the times that `clock` gives what it takes.
    pub const fn new(writer: W, recorder: Recorder<R>, clock: C) -> Self {
        Self {
            writer,
            recorder,
            clock,
            failed: None,
        }
    }

    /// The writer.
    pub const fn writer(&self) -> &W {
        &self.writer
    }

    /// The writer, say to change a socket's timeout.
    pub const fn writer_mut(&mut self) -> &mut W {
        &mut self.writer
    }

    /// The writer, and the recorder or why recording has ended.
    pub fn into_parts(self) -> (W, io::Result<Recorder<R>>) {
        let recorded = match self.failed {
            None => Ok(self.recorder),
            Some(error) => Err(error),
        };
        (self.writer, recorded)
    }
}

impl<W: Write, R: Write, C: FnMut() -> Duration> Write for Tee<W, R, C> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.writer.write(bytes)?;
        if self.failed.is_none() {
            let at = (self.clock)();
            self.failed = self.recorder.record(at, &bytes[..taken]).err();
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.failed.is_none() {
            self.failed = self.recorder.flush().err();
        }
        self.writer.flush()
    }
}

/// Where whole events go.
#[derive(Debug)]
struct File<W> {
    writer: W,
    /// What the writer has not taken.
    outbox: Outbox,
    /// What the last time line says.
    time: Option<Duration>,
    line: Vec<u8>,
    /// How many bytes the writer has taken in all.
    taken: u64,
}

impl<W: Write> File<W> {
    fn make_room(&mut self) -> io::Result<()> {
        if self.outbox.is_full() {
            // Whatever the writer says now, it says again when there is room.
            let _ = self.drain();
        }
        match self.outbox.is_full() {
            true => Err(SendError::Full {
                pending: self.outbox.pending().len(),
            }
            .into()),
            false => Ok(()),
        }
    }

    /// Writes whole lines, in which no comment may pass for a time.
    fn put_checked(&mut self, at: Duration, lines: &[u8]) -> io::Result<()> {
        let mut written = match lines {
            [] => self.drain(),
            _ => Ok(()),
        };
        for piece in pieces(lines) {
            let put = match memmem::find(piece, TIME) {
                Some(first) => self.put(at, &escape(piece, first)),
                None => self.put(at, piece),
            };
            written = written.and(put);
        }
        written
    }

    /// Writes whole lines, with the time before them.
    fn put(&mut self, at: Duration, lines: &[u8]) -> io::Result<()> {
        if !lines.is_empty() && self.time != Some(at) {
            self.time = Some(at);
            self.line.clear();
            encode_time(at, &mut self.line);
            self.outbox.push_raw(&self.line);
        }
        if lines.len() < DIRECT {
            self.outbox.push_raw(lines);
            return self.drain();
        }
        // No more copies than are needed: what is not taken at once waits.
        let (mut taken, mut written) = (0, self.drain());
        if written.is_ok() {
            (taken, written) = offer(&mut self.writer, lines);
            self.taken += taken as u64;
        }
        self.outbox.push_raw(&lines[taken..]);
        written
    }

    /// Offers what waits to the writer until it has taken all.
    fn drain(&mut self) -> io::Result<()> {
        let (taken, written) = offer(&mut self.writer, self.outbox.pending());
        self.outbox.advance(taken);
        self.taken += taken as u64;
        written
    }
}

/// How many bytes the writer takes, and why no more.
fn offer(writer: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut taken = 0;
    while taken < bytes.len() {
        match writer.write(&bytes[taken..]) {
            Ok(0) => return (taken, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => taken += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (taken, Err(error)),
        }
    }
    (taken, Ok(()))
}

/// Whole lines in pieces that stay in a cache while they are searched and written.
fn pieces(mut lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    iter::from_fn(move || {
        let end = match lines.get(..PIECE).map(|piece| memrchr(b'\n', piece)) {
            Some(Some(end)) => end + 1,
            _ => lines.len(),
        };
        let piece = lines.split_off(..end)?;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Reads what stands after the colon of a comment that tells a time.
#[inline]
pub(crate) fn parse_time(text: &[u8]) -> Option<Duration> {
    let time = text.strip_prefix(b"T+")?;
    let (seconds, nanos) = time.split_last_chunk::<9>()?;
    let seconds = match seconds {
        b"0." => 0,
        [first @ b'1'..=b'9', rest @ .., b'.'] => {
            rest.iter().try_fold(u64::from(first - b'0'), digit)?
        }
        _ => return None,
    };
    let nanos = nanos.iter().try_fold(0, digit)?;
    Some(Duration::new(seconds, u32::try_from(nanos).ok()?))
}

/// The time of a line at the beginning of `input` that tells one, as the recorder writes it,
/// and its length.
#[inline]
pub(crate) fn time_line(input: &[u8]) -> Option<(Duration, usize)> {
    const MAX_LEN: usize = ":T+18446744073709551615.999999999\n".len();
    let [b':', b'T', b'+', ..] = input else {
        return None;
    };
    let end = memchr(b'\n', &input[..input.len().min(MAX_LEN)])?;
    Some((parse_time(&input[1..end])?, end + 1))
}

/// The number with one more digit.
#[inline]
fn digit(number: u64, digit: &u8) -> Option<u64> {
    let digit = digit.wrapping_sub(b'0');
    match digit {
        0..=9 => number.checked_mul(10)?.checked_add(digit.into()),
        _ => None,
    }
}

fn encode_time(time: Duration, out: &mut Vec<u8>) {
    out.extend_from_slice(TIME);
    out.extend_from_slice(itoa::Buffer::new().format(time.as_secs()).as_bytes());
    // All nine digits, for the one before them.
    let nanos = 1_000_000_000 + time.subsec_nanos();
    out.push(b'.');
    out.extend_from_slice(&itoa::Buffer::new().format(nanos).as_bytes()[1..]);
    out.push(b'\n');
}

/// The same lines, with a space after the colon of comments that look like times. The first
/// that may be one is at `first`.
fn escape(lines: &[u8], first: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(lines.len() + 64);
    let mut done = 0;
    for at in memmem::find_iter(&lines[first..], TIME).map(|at| first + at) {
        let is_comment = matches!(lines[..at], [] | [.., b'\r' | b'\n']);
        let text = &lines[at + 1..];
        let text = &text[..memchr2(b'\r', b'\n', text).unwrap_or(text.len())];
        if is_comment && parse_time(text).is_some() {
            out.extend_from_slice(&lines[done..=at]);
            out.push(b' ');
            done = at + 1;
        }
    }
    out.extend_from_slice(&lines[done..]);
    out
}

fn too_long(limit: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "an event exceeds {limit} bytes; raise the recorder's max_event if that is legitimate"
        ),
    )
}

/// How a line begins that tells a time. After the colon of a comment, the encoder writes a
/// space.
const TIME: &[u8] = b":T+";

/// How much is searched and written at once.
const PIECE: usize = 256 << 10;

/// From how many bytes on a write of their own costs less than to copy them.
const DIRECT: usize = 16 << 10;
