//! A vectorised search for line ends.
//!
//! The search for CR and LF dominates the cost of encoding and decoding. Three measurements, on
//! 4 KiB of text without a line end, decide how it works:
//!
//! - Copying takes 42 ns and `memchr2` 70 ns; both in turn take 2.6 times as long as the copy.
//! - The minimum of many bytes costs one instruction per vector, and most text has no byte as
//!   low as CR. This takes 35 ns, and almost nothing while the text is copied anyway.
//! - Most lines are short, so the fixed cost of a search counts for each. The first 64 bytes
//!   are compared at once, and each line end among them becomes a bit.
//!
//! Compilers vectorise such loops only for the oldest processor of an architecture.
//! `fearless_simd` compiles them for newer ones too, and selects at run time.

use std::sync::LazyLock;

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x64};
use memchr::memchr3;

/// The vector instructions of this processor.
pub(crate) static LEVEL: LazyLock<Level> = LazyLock::new(Level::new);

/// The number of bytes that are compared at once.
pub(crate) const BLOCK: usize = 64;

/// The offsets of the next CRs, LFs and NULs of a text that grows.
///
/// An event of a hundred bytes has three line ends. Searching for each of them takes longer than
/// everything else in its decoding, so one search lists those of a hundred such events or more. NUL
/// is listed because an ID that contains one is ignored, and finding it would need a second
/// search.
#[derive(Debug, Clone)]
pub(crate) struct LineEndList {
    /// Offsets from `base`: those from `next` on have not been returned.
    ///
    /// There is room for [`LISTED`], or for none, because most clients wait most of the time.
    offsets: Vec<u16>,
    base: usize,
    next: usize,
    /// The offset up to which the text has been searched.
    searched: usize,
}

impl LineEndList {
    pub(crate) const fn new() -> Self {
        Self {
            offsets: Vec::new(),
            base: 0,
            next: 0,
            searched: 0,
        }
    }

    /// Returns the listed offsets, and what they count from.
    #[inline(always)]
    pub(crate) fn listed(&self) -> (usize, &[u16]) {
        let listed = self.offsets.get(self.next..);
        (self.base, listed.unwrap_or_default())
    }

    #[inline(always)]
    pub(crate) const fn skip(&mut self, count: usize) {
        self.next += count;
    }

    /// Returns the next offset.
    #[inline(always)]
    pub(crate) fn next(&mut self, text: &[u8]) -> Option<usize> {
        if self.next == self.offsets.len() {
            self.search(text);
        }
        let (base, listed) = self.listed();
        let end = base + usize::from(*listed.first()?);
        self.next += 1;
        Some(end)
    }

    /// Lists more, if all listed ones have been returned.
    #[inline(never)]
    pub(crate) fn search(&mut self, text: &[u8]) {
        while self.next == self.offsets.len() && self.searched < text.len() {
            (self.base, self.next) = (self.searched, 0);
            self.offsets.resize(LISTED, 0);
            let part = &text[self.base..];
            let part = &part[..part.len().min(usize::from(u16::MAX))];
            let offsets = &mut *self.offsets;
            let (count, searched) = dispatch!(*LEVEL, simd => list(simd, part, offsets));
            self.offsets.truncate(count);
            self.searched += searched;
        }
    }

    /// Follows the removal of the first `len` bytes of the text, whose offsets were returned.
    pub(crate) fn remove_text(&mut self, len: usize) {
        // The offsets that are left are found again.
        self.searched = if self.next == self.offsets.len() {
            self.searched.saturating_sub(len)
        } else {
            0
        };
        self.offsets.clear();
        self.next = 0;
    }
}

/// Lists the offsets of special bytes until there is no room for another block of them.
///
/// Returns their number, and the number of bytes that have been searched.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the text is shorter than 64 KiB"
)]
fn list<S: Simd>(simd: S, text: &[u8], offsets: &mut [u16]) -> (usize, usize) {
    let (mut count, mut at, mut clean) = (0, 0, 0);
    while at < text.len()
        && let Some(slots) = offsets[count..].first_chunk_mut::<SLOTS>()
    {
        let mut mask = mask(simd, text, at);
        clean = if mask == 0 { clean + 1 } else { 0 };
        count += mask.count_ones() as usize;
        // Without a branch for each offset: how many there are is hard to predict.
        for slots in slots.as_chunks_mut::<AT_ONCE>().0 {
            for slot in slots {
                *slot = (at as u16).wrapping_add(mask.trailing_zeros() as u16);
                mask &= mask.wrapping_sub(1);
            }
            if mask == 0 {
                break;
            }
        }
        at += BLOCK;
        if clean >= CLEAN_BLOCKS {
            at += unbroken(simd, text.get(at..).unwrap_or_default());
            clean = 0;
        }
    }
    (count, at.min(text.len()))
}

/// Returns the offset of the first CR, LF or NUL of a text whose first line is probably long.
pub(crate) fn find_far(text: &[u8]) -> Option<usize> {
    let start = dispatch!(*LEVEL, simd => unbroken(simd, text));
    let end = memchr3(b'\r', b'\n', b'\0', &text[start..])?;
    Some(start + end)
}

/// Returns the length of the text up to the first part with a byte as low as CR.
#[inline(always)]
pub(crate) fn unbroken<S: Simd>(simd: S, text: &[u8]) -> usize {
    let mut len = 0;
    // Without closures: they would be compiled for the oldest processor.
    for blocks in text.as_chunks().0.chunks(SKIPPED) {
        if !is_unbroken(simd, blocks) {
            break;
        }
        len += blocks.len() * BLOCK;
    }
    len
}

/// The maximum number of listed offsets: those of the small events in 8 KiB of text.
const LISTED: usize = 512;

/// The number of offsets that are listed without a branch.
const AT_ONCE: usize = 3;

/// The number of offsets that a block may have, in whole groups of [`AT_ONCE`].
const SLOTS: usize = BLOCK.next_multiple_of(AT_ONCE);

/// The number of blocks without a special byte after which it pays to skip more: events of some
/// hundred bytes would only be searched twice.
const CLEAN_BLOCKS: usize = 8;

/// The number of blocks of a long line that are skipped at once.
const SKIPPED: usize = 16;

#[inline(always)]
fn is_unbroken<S: Simd>(simd: S, group: &[[u8; BLOCK]]) -> bool {
    let load = |block| u8x64::from_slice(simd, block);
    let mut least = [u8x64::splat(simd, u8::MAX); 4];
    let (fours, rest) = group.as_chunks::<4>();
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

/// Returns a mask whose bit `n` is set if byte `offset + n` of `text` is a CR, an LF or a NUL.
#[inline(always)]
fn mask<S: Simd>(simd: S, text: &[u8], offset: usize) -> u64 {
    let rest = &text[offset..];
    if let Some(block) = rest.first_chunk() {
        mask_of_block::<S, true>(simd, block)
    } else if let Some(block) = text.last_chunk() {
        mask_of_block::<S, true>(simd, block) >> (BLOCK - rest.len())
    } else {
        let mut block = [b'x'; BLOCK];
        block[..rest.len()].copy_from_slice(rest);
        mask_of_block::<S, true>(simd, &block)
    }
}

/// Returns a bit for each byte that is a CR, an LF or, if asked for, a NUL.
#[inline(always)]
pub(crate) fn mask_of_block<S: Simd, const NUL: bool>(simd: S, block: &[u8; BLOCK]) -> u64 {
    let block = u8x64::from_slice(simd, block);
    let ends = block.simd_eq(b'\n') | block.simd_eq(b'\r');
    let ends = if NUL { ends | block.simd_eq(0) } else { ends };
    ends.to_bitmask()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_found_at_every_offset() {
        for len in [0, 1, 63, 64, 65, 127, 400, 577, 5000] {
            for end in (0..=len).filter(|end| len < 130 || end % 61 == 0 || *end == len) {
                for filler in [b'x', b'\t', 0xff] {
                    for byte in [b'\r', b'\n', b'\0'] {
                        let mut text = vec![filler; len];
                        text[end..].fill(byte);
                        let mut list = LineEndList::new();
                        let first = (end < len).then_some(end);
                        assert_eq!(find_far(&text), first, "{byte} from {end} to {len}");
                        let found = std::iter::from_fn(|| list.next(&text));
                        assert!(found.eq(end..len), "{byte} from {end} to {len}");
                    }
                }
            }
        }
    }
}
