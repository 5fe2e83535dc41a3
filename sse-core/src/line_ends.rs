//! Line ends, found by many bytes at a time.
//!
//! What limits an encoder and a decoder of this format is the search for CR and LF. Three
//! facts decide how it is done here, each measured on 4 KiB of text that ends no line:
//!
//! - Copying takes 42 ns, `memchr2` 70 ns. To copy and to search, one after the other, takes
//!   2.6 times as long as to copy.
//! - The least byte of a piece of text is the cheapest thing to know about it, one instruction
//!   for a vector, and nearly all text has no byte as low as CR. This takes 35 ns, and next to
//!   nothing while the text is copied anyhow.
//! - Most lines are short. What a search costs before it begins, it costs for each of them: so
//!   the first 64 bytes are compared at once, and within them each line end is a bit.
//!
//! Compilers turn such loops into vector instructions, but for the oldest processor of a kind
//! only. `fearless_simd` compiles them for newer ones too, and chooses when the program runs.

use std::ops::Range;
use std::sync::LazyLock;

use fearless_simd::prelude::*;
use fearless_simd::{Level, u8x64};

/// The vector instructions that this processor has.
pub(crate) static LEVEL: LazyLock<Level> = LazyLock::new(Level::new);

/// How much text is compared at once.
pub(crate) const BLOCK: usize = 64;

/// How many blocks without a line end make it likely that the line is long.
const CLEAN: usize = 3;

/// How many blocks are looked at for their least byte.
const PIECE: usize = 64;

/// The offsets of the CRs and LFs of a text, in order.
pub(crate) struct LineEnds<'t, S> {
    simd: S,
    text: &'t [u8],
    /// Where the current block begins, and those of its line ends that are still to come.
    block: usize,
    ends: u64,
    /// Where the next block begins.
    next: usize,
}

impl<'t, S: Simd> LineEnds<'t, S> {
    #[inline(always)]
    pub(crate) fn new(simd: S, text: &'t [u8]) -> Self {
        Self {
            simd,
            text,
            block: 0,
            ends: 0,
            next: 0,
        }
    }

    /// Skips pieces of the text in which no line ends.
    #[inline(always)]
    fn skip_unbroken(&mut self) {
        while let Some(rest) = self.text.get(self.next..)
            && rest.len() >= 4 * BLOCK
        {
            let blocks = rest.as_chunks().0;
            let piece = &blocks[..blocks.len().min(PIECE)];
            if !is_unbroken(self.simd, piece) {
                break;
            }
            self.next += piece.len() * BLOCK;
        }
    }
}

impl<S: Simd> Iterator for LineEnds<'_, S> {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let mut clean = 0;
        while self.ends == 0 {
            if self.next >= self.text.len() {
                return None;
            }
            self.block = self.next;
            self.ends = line_ends(self.simd, self.text, self.block);
            // On to where blocks are aligned: a load that is not takes twice as long.
            self.next += BLOCK - self.text.as_ptr().addr().wrapping_add(self.block) % BLOCK;
            self.ends &= u64::MAX >> (BLOCK - (self.next - self.block));
            clean += 1;
            if clean == CLEAN && self.ends == 0 {
                self.skip_unbroken();
            }
        }
        let end = self.block + self.ends.trailing_zeros() as usize;
        self.ends &= self.ends - 1;
        Some(end)
    }
}

/// Appends a part of `text`.
///
/// In place of less than a block a whole block is copied, and what is too much is taken back:
/// since the length is known to the compiler, that takes less time.
#[inline(always)]
pub(crate) fn append(out: &mut Vec<u8>, text: &[u8], part: Range<usize>) {
    match text[part.start..].first_chunk::<BLOCK>() {
        Some(block) if part.len() <= BLOCK => {
            let len = out.len() + part.len();
            out.extend_from_slice(block);
            out.truncate(len);
        }
        _ => out.extend_from_slice(&text[part]),
    }
}

#[inline(always)]
fn is_unbroken<S: Simd>(simd: S, piece: &[[u8; BLOCK]]) -> bool {
    let load = |block| u8x64::from_slice(simd, block);
    let mut least = [u8x64::splat(simd, u8::MAX); 4];
    let (fours, rest) = piece.as_chunks::<4>();
    for blocks in fours {
        for (least, block) in least.iter_mut().zip(blocks) {
            *least = least.min(load(block));
        }
    }
    for block in rest {
        least[0] = least[0].min(load(block));
    }
    let least = least[0].min(least[1]).min(least[2].min(least[3]));
    !least.simd_le(b'\r').any_true()
}

/// Bit `n` is set where byte `offset + n` of `text` is a CR or an LF.
#[inline(always)]
fn line_ends<S: Simd>(simd: S, text: &[u8], offset: usize) -> u64 {
    let rest = &text[offset..];
    if let Some(block) = rest.first_chunk() {
        ends_of_block(simd, block)
    } else if let Some(block) = text.last_chunk() {
        ends_of_block(simd, block) >> (BLOCK - rest.len())
    } else {
        let mut block = [0; BLOCK];
        block[..rest.len()].copy_from_slice(rest);
        ends_of_block(simd, &block)
    }
}

#[inline(always)]
fn ends_of_block<S: Simd>(simd: S, block: &[u8; BLOCK]) -> u64 {
    let block = u8x64::from_slice(simd, block);
    (block.simd_eq(b'\n') | block.simd_eq(b'\r')).to_bitmask()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fearless_simd::dispatch;

    #[test]
    fn line_ends_are_found_wherever_they_are() {
        for len in [0, 1, 63, 64, 65, 127, 400, 577, 5000] {
            for end in (0..=len).filter(|end| len < 130 || end % 61 == 0 || *end == len) {
                for filler in [b'x', b'\t', b'\0', 0xff] {
                    for byte in [b'\r', b'\n'] {
                        let mut text = vec![filler; len];
                        text[end..].fill(byte);
                        for level in [*LEVEL, Level::baseline()] {
                            let found = dispatch!(level, simd => {
                                LineEnds::new(simd, &text).collect::<Vec<_>>()
                            });
                            assert!(found.into_iter().eq(end..len), "{byte} from {end} to {len}");
                        }
                    }
                }
            }
        }
    }
}
