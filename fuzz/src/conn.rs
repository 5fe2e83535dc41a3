//! An in-memory connection with partial reads and writes and with errors.

use std::io::{self, ErrorKind, Read, Write};
use std::iter;

use arbitrary::Arbitrary;

/// The steps in which a connection transfers bytes, repeated from the start.
///
/// In a seed, it is a line of four characters. A digit transfers that many bytes, and zero all
/// bytes; `b` would block, `i` is interrupted, `t` times out, `x` is reset, `e` transfers
/// nothing. Each error occurs once, so that a retry succeeds.
#[derive(Arbitrary, Clone, Debug)]
pub struct Steps {
    steps: [u8; 5],
    #[arbitrary(default)]
    at: usize,
}

impl Steps {
    /// Transfers all bytes at once.
    pub const CALM: Self = Self {
        steps: *b"0000\n",
        at: 0,
    };

    /// Splits `bytes` into pieces, some of them empty.
    pub fn pieces<'a>(&self, mut bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut steps = self.clone();
        iter::from_fn(move || {
            let len = steps.next(bytes.len()).unwrap_or(0);
            (!bytes.is_empty()).then(|| bytes.split_off(..len).unwrap_or_default())
        })
    }

    /// Returns how many of `len` bytes are transferred now.
    fn next(&mut self, len: usize) -> io::Result<usize> {
        let at = self.at % self.steps.len();
        self.at += 1;
        let trouble = match self.steps[at] {
            b'b' => Err(ErrorKind::WouldBlock.into()),
            b'i' => Err(ErrorKind::Interrupted.into()),
            b't' => Err(ErrorKind::TimedOut.into()),
            b'x' => Err(ErrorKind::ConnectionReset.into()),
            b'e' => Ok(0),
            b'0' => return Ok(len),
            byte => return Ok(len.min(usize::from(byte % 16).max(1))),
        };
        self.steps[at] = b'0';
        trouble
    }
}

/// An in-memory connection.
#[derive(Debug)]
pub struct Conn<'a> {
    /// The peer's bytes that have not been read.
    pub input: &'a [u8],
    /// The bytes that the peer has received.
    pub output: Vec<u8>,
    reads: Steps,
    writes: Steps,
}

impl<'a> Conn<'a> {
    pub fn new(input: &'a [u8], reads: Steps, writes: Steps) -> Self {
        Self {
            input,
            output: Vec::new(),
            reads,
            writes,
        }
    }
}

impl Read for Conn<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.reads.next(buf.len())?;
        self.input.read(&mut buf[..len])
    }
}

impl Write for Conn<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let len = self.writes.next(buf.len())?;
        self.output.write(&buf[..len])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
