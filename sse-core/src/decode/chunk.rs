//! A cursor over the items that a part of the input completes.

use super::decoder::Decoder;
use super::error::DecodeError;
use super::message::Decoded;

/// A cursor over the items that a chunk of input completes.
///
/// Made by [`Decoder::chunk`]. It is not an iterator, because an item borrows from the decoder until
/// the next one is asked for.
#[derive(Debug)]
pub struct Chunk<'d, 'i> {
    decoder: &'d mut Decoder,
    /// The bytes that the decoder has not taken.
    rest: &'i [u8],
}

impl<'d, 'i> Chunk<'d, 'i> {
    #[inline]
    pub(super) const fn new(decoder: &'d mut Decoder, rest: &'i [u8]) -> Self {
        Self { decoder, rest }
    }

    /// Returns the next item; `None` means "not yet", and that the chunk has been decoded.
    ///
    /// # Errors
    ///
    /// A limit is exceeded. Every later call returns the same error.
    #[inline(always)]
    #[expect(
        clippy::should_implement_trait,
        reason = "an item borrows from the cursor"
    )]
    pub fn next(&mut self) -> Result<Option<Decoded<'_>>, DecodeError> {
        loop {
            if let Some(found) = self.decoder.find_common() {
                return Ok(Some(self.decoder.decoded(&found)));
            }
            if let Some(found) = self.decoder.find_other()? {
                return Ok(Some(self.decoder.decoded(&found)));
            }
            if self.rest.is_empty() {
                return Ok(None);
            }
            if let Some((event, text)) = self.decoder.take_large(&mut self.rest) {
                return Ok(Some(self.decoder.lend(&event, text)));
            }
            self.decoder.push(&mut self.rest);
        }
    }
}

/// The decoder takes the rest of the chunk.
impl Drop for Chunk<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        while !self.rest.is_empty() {
            self.decoder.push(&mut self.rest);
        }
    }
}
