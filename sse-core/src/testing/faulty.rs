//! A writer that fails on purpose.

use std::io::{self, Write};

/// A writer in memory that can be set up to fail or to stall.
///
/// With the error [`WriteZero`](io::ErrorKind::WriteZero), `write` returns `Ok(0)`.
#[derive(Debug, Clone)]
pub struct Faulty {
    written: Vec<u8>,
    at_once: usize,
    fails_at: Option<(usize, io::ErrorKind)>,
    is_broken: bool,
    fails_to_flush: Option<io::ErrorKind>,
}

impl Faulty {
    /// Creates a writer that takes everything.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            written: Vec::new(),
            at_once: usize::MAX,
            fails_at: None,
            is_broken: false,
            fails_to_flush: None,
        }
    }

    /// Takes at most this many bytes per `write`.
    #[must_use]
    pub const fn at_once(mut self, bytes: usize) -> Self {
        self.at_once = bytes;
        self
    }

    /// Fails once, after this many bytes in all.
    ///
    /// Of several calls of this, [`breaks_at`](Self::breaks_at) and [`stalls_at`](Self::stalls_at),
    /// the last one counts.
    #[must_use]
    pub const fn fails_at(mut self, bytes: usize, error: io::ErrorKind) -> Self {
        self.fails_at = Some((bytes, error));
        self.is_broken = false;
        self
    }

    /// Fails after this many bytes in all, until [`recover`](Self::recover) is called.
    #[must_use]
    pub const fn breaks_at(self, bytes: usize, error: io::ErrorKind) -> Self {
        let mut broken = self.fails_at(bytes, error);
        broken.is_broken = true;
        broken
    }

    /// Returns [`WouldBlock`](io::ErrorKind::WouldBlock) after this many bytes in all, until
    /// [`recover`](Self::recover) is called.
    #[must_use]
    pub const fn stalls_at(self, bytes: usize) -> Self {
        self.breaks_at(bytes, io::ErrorKind::WouldBlock)
    }

    /// Fails the next `flush`.
    #[must_use]
    pub const fn fails_to_flush(mut self, error: io::ErrorKind) -> Self {
        self.fails_to_flush = Some(error);
        self
    }

    /// Clears all failures.
    pub const fn recover(&mut self) {
        self.fails_at = None;
        self.is_broken = false;
        self.fails_to_flush = None;
    }

    /// Returns the bytes that it has taken.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        &self.written
    }

    /// Returns the bytes that it has taken, owned.
    #[must_use]
    pub fn into_written(self) -> Vec<u8> {
        self.written
    }
}

impl Default for Faulty {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Faulty {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = bytes.len().min(self.at_once);
        if let Some((at, error)) = self.fails_at
            && !bytes.is_empty()
        {
            taken = taken.min(at.saturating_sub(self.written.len()));
            if taken == 0 {
                if !self.is_broken {
                    self.fails_at = None;
                }
                return match error {
                    io::ErrorKind::WriteZero => Ok(0),
                    error => Err(error.into()),
                };
            }
        }
        self.written.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.fails_to_flush.take() {
            None => Ok(()),
            Some(error) => Err(error.into()),
        }
    }
}
