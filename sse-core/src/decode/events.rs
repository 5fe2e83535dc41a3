//! Events from a reader.

use std::io::{self, BufRead};

use crate::decode::{Decoded, Decoder, MessageEvent};

/// The events of an event stream that is read from a file, a socket, standard input.
///
/// An iterator; each event is owned. What follows the last blank line is no event and is
/// dropped, as browsers do. To see comments and reconnection times, or to borrow events,
/// use a [`Decoder`].
///
/// At the end of the input, and after an error of the reader, a further call asks the reader
/// again, so that a file that grows can be followed. A
/// [`DecodeError`](crate::DecodeError) comes once, within an [`io::Error`] of kind
/// [`InvalidData`](io::ErrorKind::InvalidData), and ends it.
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
    /// The events that `reader` gives, with the decoder's default limits.
    pub const fn new(reader: R) -> Self {
        Self::with_decoder(reader, Decoder::new())
    }

    /// The events that `reader` gives, by a decoder with other limits or with a last
    /// event ID from an earlier stream.
    pub const fn with_decoder(reader: R, decoder: Decoder) -> Self {
        Self {
            reader,
            decoder,
            ended: false,
        }
    }

    /// The decoder, which knows the last event ID and the reconnection time.
    pub const fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The reader, after the last event that was given, and the decoder.
    pub fn into_parts(self) -> (R, Decoder) {
        (self.reader, self.decoder)
    }

    fn read(&mut self) -> io::Result<Option<MessageEvent<'static>>> {
        loop {
            let available = match self.reader.fill_buf() {
                Ok([]) => return Ok(None),
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let mut rest = available;
            let decoded = self.decoder.decode(&mut rest);
            self.ended = decoded.is_err();
            let event = match decoded? {
                Some(Decoded::Event(event)) => Some(event.into_owned()),
                _ => None,
            };
            let taken = available.len() - rest.len();
            self.reader.consume(taken);
            if event.is_some() {
                return Ok(event);
            }
        }
    }
}

impl<R: BufRead> Iterator for Events<R> {
    type Item = io::Result<MessageEvent<'static>>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.ended {
            true => None,
            false => self.read().transpose(),
        }
    }
}
