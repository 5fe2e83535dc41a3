//! Recorders.

use std::io::{self, IoSlice, Write};
use std::mem;
use std::time::Duration;

use super::cutter::Cutter;
use super::encoded::Encoded;
use super::timed_writer::TimedWriter;
use crate::decode::{Decoder, MAX_IDLE};
use crate::event::Event;

/// Writes a recording: an event stream with the times of its events in comments.
///
/// Any reader of event streams reads it. A time line is a comment with the time since the
/// recording began, in seconds with nine decimals. It applies to all that follows, up to the
/// next time line:
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
/// Without the time lines, the bytes are those that were recorded, with two exceptions that
/// readers do not notice. A comment that looks like a time line gets a space after its colon.
/// A byte order mark is left out, because it would not be at the beginning.
///
/// Only whole events are written, consecutive ones with one `write`. A file that is cut off
/// anywhere, such as by a crash, reads back up to its last whole event. To append to such a
/// file, first truncate it to [`Replayer::whole`](crate::Replayer::whole). The writer is not
/// flushed, except by [`flush`](Self::flush). Time is an argument; there is no clock.
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
    file: TimedWriter<W>,
    cutter: Cutter,
    encoded: Encoded,
    max_event: usize,
    /// A buffer for an encoded event.
    scratch: Vec<u8>,
}

impl<W: Write> Recorder<W> {
    /// Creates a recorder that writes to `writer`.
    pub const fn new(writer: W) -> Self {
        Self {
            file: TimedWriter::new(writer),
            cutter: Cutter::new(),
            encoded: Encoded::new(),
            max_event: Decoder::DEFAULT_MAX_EVENT,
            scratch: Vec::new(),
        }
    }

    /// Sets the maximum length of an incomplete event in bytes. Default: 16 MiB.
    #[must_use]
    pub const fn max_event(mut self, bytes: usize) -> Self {
        self.max_event = bytes;
        self
    }

    /// Records bytes of an event stream at the time `at` since the recording began.
    ///
    /// They may be cut anywhere: an event has the time at which its end arrives.
    ///
    /// # Errors
    ///
    /// - An error of the writer. The bytes have been recorded, and the next call continues with
    ///   those that the writer did not take.
    /// - [`QuotaExceeded`](io::ErrorKind::QuotaExceeded) when 1 MiB already waits for the
    ///   writer. Nothing was recorded, and every event of which these bytes are a part is left
    ///   out. Recording continues with the first whole event after them.
    /// - [`InvalidData`](io::ErrorKind::InvalidData) when an incomplete event exceeds
    ///   [`max_event`](Self::max_event). Nothing more is recorded until
    ///   [`restart`](Self::restart).
    pub fn record(&mut self, at: Duration, mut wire: &[u8]) -> io::Result<()> {
        if let Err(full) = self.file.make_room() {
            self.cutter.leave_out(wire);
            return Err(full);
        }
        self.cutter.skip(&mut wire);
        if self.cutter.is_whole(wire) {
            return self.file.write_checked(at, wire);
        }
        if self.cutter.held().len() > self.max_event {
            return Err(event_too_long(self.max_event));
        }
        let end = self.cutter.push(wire);
        let written = self.file.write_checked(at, &self.cutter.held()[..end]);
        self.cutter.release(end);
        written
    }

    /// Records events that this library has encoded, at the time `at`.
    ///
    /// They are written without being parsed, such as those of a [`Log`](crate::Log). An event
    /// may arrive in pieces if all have the same time.
    ///
    /// # Errors
    ///
    /// As [`record`](Self::record), except for the last. The rest of an event is never refused
    /// once a piece of it was recorded.
    pub fn record_encoded(&mut self, at: Duration, mut events: &[u8]) -> io::Result<()> {
        self.encoded.skip(&mut events);
        if !self.encoded.is_within()
            && let Err(full) = self.file.make_room()
        {
            self.encoded.leave_out(events);
            return Err(full);
        }
        self.encoded.advance(events);
        self.file.write(at, events)
    }

    /// Like [`record_encoded`](Self::record_encoded), for consecutive pieces with one `write`.
    ///
    /// # Errors
    ///
    /// As [`record_encoded`](Self::record_encoded).
    pub fn record_encoded_vectored(
        &mut self,
        at: Duration,
        pieces: &[IoSlice<'_>],
    ) -> io::Result<()> {
        if self.encoded.is_leaving_out() || self.file.make_room().is_err() {
            let mut recorded = Ok(());
            for piece in pieces {
                recorded = recorded.and(self.record_encoded(at, piece));
            }
            return recorded;
        }
        for piece in pieces {
            self.encoded.advance(piece);
        }
        self.file.write_vectored(at, pieces)
    }

    /// Records an event at the time `at`.
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

    /// Continues with the beginning of another stream, as after a reconnect.
    ///
    /// An incomplete event is dropped.
    pub fn restart(&mut self) {
        self.cutter = Cutter::new();
    }

    /// Returns whether an event is incomplete and therefore not recorded yet.
    #[must_use]
    pub const fn is_within_event(&self) -> bool {
        self.cutter.is_within_event()
    }

    /// Writes all recorded bytes and flushes the writer.
    ///
    /// # Errors
    ///
    /// An error of the writer. The bytes that it did not take still wait.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl<W> Recorder<W> {
    /// Returns the writer.
    pub const fn writer(&self) -> &W {
        self.file.writer()
    }

    /// Returns the number of bytes that the writer has taken, including time lines.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.file.taken()
    }

    /// Returns the recorded bytes that the writer has not taken.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        self.file.pending()
    }

    /// Returns the writer and the recorded bytes that it has not taken.
    #[must_use]
    pub fn into_parts(self) -> (W, Vec<u8>) {
        self.file.into_parts()
    }
}

fn event_too_long(limit: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "an event exceeds {limit} bytes; raise the recorder's max_event if that is legitimate"
        ),
    )
}
