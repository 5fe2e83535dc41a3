//! Text in lines that each begin with a field's name.

use std::mem;

use fearless_simd::{Simd, dispatch};

use crate::line_ends::{BLOCK, LEVEL, mask_of_block, unbroken};

/// Appends `text`, with `line_break` in place of each line end: an LF and the field's name.
///
/// The name comes first, too, and the last line ends as well. CR, LF and CRLF each end a line.
#[inline(always)]
pub(super) fn lines<const N: usize>(out: &mut Vec<u8>, line_break: &[u8; N], text: &[u8]) {
    if text.len() < LONG && is_one_line(text) {
        line(out, &line_break[1..], text);
    } else {
        break_lines(out, line_break, text);
    }
}

/// Appends one line.
#[inline(always)]
pub(super) fn line(out: &mut Vec<u8>, name: &[u8], text: &[u8]) {
    // With the blank line that nearly always follows.
    out.reserve(name.len() + text.len() + 2);
    out.extend_from_slice(name);
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// Returns whether no byte is as low as CR.
///
/// VT and FF, which end no line, only take the slower path. The compiler vectorises these loops.
/// The bytes that are left over are compared with those before them, so that there is one result.
#[inline(always)]
fn is_one_line(text: &[u8]) -> bool {
    const PART: usize = 32;
    let above_lf = |byte: u8| byte.wrapping_sub(b'\n');
    let is_higher = |least: u8| least > above_lf(b'\r');
    let Some(last) = text.last_chunk::<PART>() else {
        let above_lf = text.iter().map(|byte| above_lf(*byte));
        return is_higher(above_lf.fold(u8::MAX, u8::min));
    };
    let mut least = [u8::MAX; PART];
    for part in text.as_chunks::<PART>().0 {
        for (least, byte) in least.iter_mut().zip(part) {
            *least = (*least).min(above_lf(*byte));
        }
    }
    for (least, byte) in least.iter_mut().zip(last) {
        *least = (*least).min(above_lf(*byte));
    }
    is_higher(least.into_iter().fold(u8::MAX, u8::min))
}

/// The same for text that is long or has line ends.
///
/// Appending to a vector checks and stores its length each time, and each append waits for the
/// one before: with four appends a line, that was most of the time. So text is copied in whole
/// blocks, of which the next append overwrites the surplus, and the vector is moved into the loop
/// that does so: its length is then in a register, because nothing else can see it. That loop
/// must not grow it, so it returns when there is no room.
#[inline(never)]
fn break_lines<const N: usize>(out: &mut Vec<u8>, line_break: &[u8; N], text: &[u8]) {
    out.reserve(N + text.len() + 1);
    out.extend_from_slice(&line_break[1..]);
    let mut at = 0;
    while at < text.len() {
        let bytes = mem::take(out);
        (*out, at) = dispatch!(*LEVEL, simd => append_blocks(simd, bytes, line_break, text, at));
        if at < text.len() {
            out.reserve(text.len() - at + max_room(N));
        }
    }
    out.push(b'\n');
}

/// Appends blocks of the text, from `at` on, as long as there is room.
///
/// Returns the buffer, and the offset of the text that is left.
#[inline(always)]
fn append_blocks<S: Simd, const N: usize>(
    simd: S,
    mut out: Vec<u8>,
    line_break: &[u8; N],
    text: &[u8],
    mut at: usize,
) -> (Vec<u8>, usize) {
    let mut unbroken_blocks = 0;
    let mut padded;
    while at < text.len() {
        let rest = &text[at..];
        let window: &[u8; 2 * BLOCK] = match rest.first_chunk() {
            Some(window) => window,
            None => {
                padded = [0; 2 * BLOCK];
                padded[..rest.len()].copy_from_slice(rest);
                &padded
            }
        };
        let Some(block) = window.first_chunk() else {
            break;
        };
        let len = rest.len().min(BLOCK);
        let mut ends = mask_of_block::<_, false>(simd, block);
        let max_len = if ends == 0 { BLOCK } else { max_room(N) };
        if room(&out) < max_len {
            break;
        }
        let mut start = 0;
        while ends != 0 {
            let end = ends.trailing_zeros() as usize;
            ends &= ends - 1;
            let is_rest_of_crlf =
                start == end && window[end] == b'\n' && at + end > 0 && text[at + end - 1] == b'\r';
            if !is_rest_of_crlf {
                append_part(&mut out, window, start, end - start);
                append(&mut out, line_break);
            }
            start = end + 1;
        }
        if start < len {
            append_part(&mut out, window, start, len - start);
        }
        at += len;

        // If a line is long, the next blocks probably are of the same line.
        unbroken_blocks = if start == 0 { unbroken_blocks + 1 } else { 0 };
        if unbroken_blocks == LONG_LINE_BLOCKS {
            unbroken_blocks = 0;
            let rest = &text[at..text.len().min(at + MAX_UNBROKEN)];
            let line = &rest[..unbroken(simd, rest)];
            if room(&out) < line.len() {
                break;
            }
            out.extend_from_slice(line);
            at += line.len();
        }
    }
    (out, at)
}

/// Appends at most a block, from an offset that is at most a block.
#[inline(always)]
fn append_part(out: &mut Vec<u8>, window: &[u8; 2 * BLOCK], start: usize, len: usize) {
    let end = out.len() + len;
    if let Some(block) = window[start..].first_chunk::<BLOCK>() {
        append(out, block);
        out.truncate(end);
    }
}

/// Appends bytes for which there is room.
#[inline(always)]
fn append<const N: usize>(out: &mut Vec<u8>, bytes: &[u8; N]) {
    // So that the compiler knows that the vector does not grow.
    assert!(room(out) >= N, "room has been made for a block");
    out.extend_from_slice(bytes);
}

#[inline(always)]
const fn room(out: &Vec<u8>) -> usize {
    out.capacity() - out.len()
}

/// Returns the room that a block needs: it may be nothing but line ends, and the last copy has a
/// surplus.
const fn max_room(line_break: usize) -> usize {
    BLOCK * line_break + 2 * BLOCK
}

/// The length from which on searching for line ends is worth a function call.
const LONG: usize = 4 * BLOCK;

/// The number of blocks without a line end after which the line is probably long.
const LONG_LINE_BLOCKS: usize = 3;

/// The maximum length that is searched, and then copied, at once: it is still in the cache.
const MAX_UNBROKEN: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of every length around the blocks, with line ends wherever they may matter.
    fn texts() -> impl Iterator<Item = String> {
        let lengths = (0..200).chain([511, 1024, 9000]);
        lengths.flat_map(|len| {
            let filler = || "x".repeat(len);
            let ends = ["", "\n", "\r", "\r\n", "\n\r", "\r\r\n\n"];
            let once = ends.map(|end| filler() + end + "y");
            let often = [1, 2, 7, 31, 62, 63, 64, 65, 200].map(move |line| {
                let end = ends[(len + line) % 5 + 1];
                let lines = filler();
                let lines = lines.as_bytes().chunks(line);
                let lines = lines.map(|line| str::from_utf8(line).unwrap());
                lines.collect::<Vec<_>>().join(end) + end
            });
            once.into_iter().chain(often)
        })
    }

    #[test]
    fn each_line_end_becomes_a_line_break() {
        for text in texts() {
            let normalised = text.replace("\r\n", "\n").replace('\r', "\n");
            let expected = format!("data: {}\n", normalised.replace('\n', "\ndata: "));
            for room in [0, 64, 700] {
                let mut out = Vec::with_capacity(room);
                lines(&mut out, b"\ndata: ", text.as_bytes());
                assert_eq!(
                    str::from_utf8(&out),
                    Ok(&*expected),
                    "{text:?}, room {room}"
                );
            }
        }
    }
}
