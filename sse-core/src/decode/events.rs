//! Events from a reader.

use std::io::{self, BufRead};

use super::decoder::Decoder;
use super::message::{Decoded, MessageEvent};

/// An iterator over the events of a reader: a file, a socket, standard input.
///
/// Each event is owned. An unfinished event at the end is dropped, as in browsers. To receive
/// comments and reconnection times, or to borrow events, use a [`Decoder`].
///
/// After the end of the input, and after an error of the reader, the next call reads again, so
/// that a growing file can be followed. A [`DecodeError`](crate::DecodeError) is returned once,
/// in an [`io::Error`] of kind [`InvalidData`](io::ErrorKind::InvalidData), and ends the
/// iterator.
///
/// ```
/// use sse_core::Events;
///
/// let stream = &b"data: one\n\nevent: tick\ndata: two\n\ndata: cut o"[..];
/// for event in Events::new(stream) {
///     let event = event?;
///     println!("{}: {}", event.event(), event.data());
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Events<R> {
    reader: R,
    decoder: Decoder,
    ended: bool,
}

impl<R: BufRead> Events<R> {
    /// Reads the events of `reader`, with the decoder's default limits.
    pub const fn new(reader: R) -> Self {
        Self::with_decoder(reader, Decoder::new())
    }

    /// Reads the events of `reader` with a decoder that has its own settings.
    pub const fn with_decoder(reader: R, decoder: Decoder) -> Self {
        Self {
            reader,
            decoder,
            ended: false,
        }
    }

    /// Returns the decoder, which has the last event ID and the reconnection time.
    pub const fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Returns the reader and the decoder, which may have taken bytes after the last event.
    pub fn into_parts(self) -> (R, Decoder) {
        (self.reader, self.decoder)
    }

    fn read(&mut self) -> io::Result<Option<MessageEvent<'static>>> {
        loop {
            let found = self.decoder.find();
            self.ended = found.is_err();
            if let Some(found) = found? {
                if let Decoded::Event(event) = self.decoder.decoded(&found) {
                    return Ok(Some(event.into_owned()));
                }
                continue;
            }
            let available = match self.reader.fill_buf() {
                Ok([]) => return Ok(None),
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let mut rest = available;
            self.decoder.push(&mut rest);
            let taken = available.len() - rest.len();
            self.reader.consume(taken);
        }
    }
}

impl<R: BufRead> Iterator for Events<R> {
    type Item = io::Result<MessageEvent<'static>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            None
        } else {
            self.read().transpose()
        }
    }
}
