//! Whole events and their times, written to a file.

use std::io::{self, IoSlice, Write};
use std::iter;
use std::time::Duration;

use memchr::{memchr2, memmem, memrchr};

use super::time::{TIME, encode_time, parse_time};
use crate::stream::{Outbox, SendError};

/// Writes whole events, each after a line with its time.
#[derive(Debug)]
pub(super) struct TimedWriter<W> {
    writer: W,
    /// The bytes that the writer has not taken.
    outbox: Outbox,
    /// The time of the last time line.
    time: Option<Duration>,
    line: Vec<u8>,
    /// The number of bytes that the writer has taken.
    taken: u64,
}

impl<W> TimedWriter<W> {
    pub(super) const fn new(writer: W) -> Self {
        Self {
            writer,
            outbox: Outbox::new(),
            time: None,
            line: Vec::new(),
            taken: 0,
        }
    }

    pub(super) const fn writer(&self) -> &W {
        &self.writer
    }

    pub(super) const fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) fn pending(&self) -> &[u8] {
        self.outbox.pending()
    }

    pub(super) fn into_parts(self) -> (W, Vec<u8>) {
        (self.writer, self.outbox.into_pending())
    }
}

impl<W: Write> TimedWriter<W> {
    /// Fails if the outbox is full and the writer takes nothing.
    pub(super) fn make_room(&mut self) -> io::Result<()> {
        if self.outbox.is_full() {
            // The next write returns an error that persists.
            let _ = self.drain();
        }
        if self.outbox.is_full() {
            let pending = self.outbox.pending().len();
            return Err(SendError::Full { pending }.into());
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.drain()?;
        self.writer.flush()
    }

    /// Writes whole lines. Comments that look like time lines are changed.
    pub(super) fn write_checked(&mut self, at: Duration, lines: &[u8]) -> io::Result<()> {
        let mut written = match lines {
            [] => self.drain(),
            _ => Ok(()),
        };
        for piece in pieces(lines) {
            let result = match memmem::find(piece, TIME) {
                Some(first) => self.write(at, &escape(piece, first)),
                None => self.write(at, piece),
            };
            written = written.and(result);
        }
        written
    }

    /// Writes whole lines, after a time line if the time has changed.
    pub(super) fn write(&mut self, at: Duration, lines: &[u8]) -> io::Result<()> {
        if lines.len() >= DIRECT {
            return self.write_vectored(at, &[IoSlice::new(lines)]);
        }
        if !lines.is_empty() {
            self.set_time(at);
            self.outbox.push_raw(lines);
        }
        self.drain()
    }

    /// Writes pieces of whole lines with one `write`. Only bytes that the writer does not take are
    /// copied.
    pub(super) fn write_vectored(
        &mut self,
        at: Duration,
        pieces: &[IoSlice<'_>],
    ) -> io::Result<()> {
        self.set_time(at);
        let pending = self.outbox.pending();
        let mut slices = Vec::with_capacity(1 + pieces.len());
        slices.push(IoSlice::new(pending));
        slices.extend(pieces.iter().copied());
        let (taken, written) = try_write(&mut self.writer, &mut slices);
        self.taken += taken as u64;
        let mut taken_of_pieces = taken.saturating_sub(pending.len());
        self.outbox.advance(taken);
        for piece in pieces {
            let taken_of_piece = taken_of_pieces.min(piece.len());
            taken_of_pieces -= taken_of_piece;
            self.outbox.push_raw(&piece[taken_of_piece..]);
        }
        written
    }

    /// Appends a time line if the time has changed.
    fn set_time(&mut self, at: Duration) {
        if self.time != Some(at) {
            self.time = Some(at);
            self.line.clear();
            encode_time(at, &mut self.line);
            self.outbox.push_raw(&self.line);
        }
    }

    /// Writes pending bytes until the writer has taken all of them.
    fn drain(&mut self) -> io::Result<()> {
        let pending = &mut [IoSlice::new(self.outbox.pending())];
        let (taken, written) = try_write(&mut self.writer, pending);
        self.outbox.advance(taken);
        self.taken += taken as u64;
        written
    }
}

/// Writes all slices, and returns how many bytes the writer has taken, with its error.
fn try_write(writer: &mut impl Write, mut slices: &mut [IoSlice<'_>]) -> (usize, io::Result<()>) {
    let mut taken = 0;
    IoSlice::advance_slices(&mut slices, 0); // past empty ones
    while !slices.is_empty() {
        match writer.write_vectored(slices) {
            Ok(0) => return (taken, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => {
                taken += count;
                IoSlice::advance_slices(&mut slices, count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (taken, Err(error)),
        }
    }
    (taken, Ok(()))
}

/// Splits whole lines into pieces that stay in the cache while they are searched and written.
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

/// Returns the lines with a space after the colon of each comment that looks like a time line.
///
/// The first candidate is at `first`.
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

/// The maximum number of bytes that are searched and written at once.
const PIECE: usize = 256 << 10;

/// From this length on, a separate `write` costs less than a copy into the outbox.
const DIRECT: usize = 16 << 10;
