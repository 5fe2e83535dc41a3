//! A writer that is recorded.

use std::io::{self, Write};
use std::time::Duration;

use super::recorder::Recorder;

/// A writer that records the bytes that another writer takes.
///
/// Under a [`Stream`](crate::Stream), it records what the client gets. When recording fails, it
/// ends and the stream continues; [`into_parts`](Self::into_parts) returns the error.
///
/// ```
/// use std::time::Instant;
/// use sse_core::{Recorder, Stream, Tee};
///
/// let began = Instant::now();
/// let recorder = Recorder::new(Vec::new()); // or a File
/// let stream = Stream::new(Vec::new()); // or that of `Request::accept`
/// let mut stream = stream.map_writer(|conn| Tee::new(conn, recorder, move || began.elapsed()));
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
    /// Returns the time since the recording began.
    clock: C,
    failed: Option<io::Error>,
}

impl<W, R, C> Tee<W, R, C> {
    /// Creates a writer to `writer` that records with the times of `clock`.
    pub const fn new(writer: W, recorder: Recorder<R>, clock: C) -> Self {
        Self {
            writer,
            recorder,
            clock,
            failed: None,
        }
    }

    /// Returns the writer.
    pub const fn writer(&self) -> &W {
        &self.writer
    }

    /// Returns the writer, for example to change a socket's timeout.
    pub const fn writer_mut(&mut self) -> &mut W {
        &mut self.writer
    }

    /// Returns the writer, and the recorder or the error that ended recording.
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
