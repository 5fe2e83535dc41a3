//! Time lines of a recording.

use std::time::Duration;

use crate::decimal;

/// Parses what follows the colon of a comment that is a time line.
#[inline(always)]
pub(super) fn parse_time(text: &[u8]) -> Option<Duration> {
    let time = text.strip_prefix(b"T+")?;
    let (seconds, [b'.', eight @ .., ninth @ b'0'..=b'9']) = time.split_last_chunk::<10>()? else {
        return None;
    };
    let seconds = match seconds {
        [b'1'..=b'9', ..] if seconds.len() <= 8 => {
            u64::from(parse_eight(time.first_chunk()?, seconds.len())?)
        }
        _ => decimal::parse(seconds)?,
    };
    let nanos = 10 * parse_eight(eight, 8)? + u32::from(ninth - b'0');
    Some(Duration::new(seconds, nanos))
}

/// Parses the first `len` bytes, from 1 to 8, which are digits and may begin with zeros.
///
/// All of them are in one register, the first in its lowest byte. The shift drops the other bytes
/// and makes zeros of as many before the first. Each step then combines neighbours: to four numbers
/// below 100, to two below 10,000, and to one.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the number is in the lower half"
)]
fn parse_eight(bytes: &[u8; 8], len: usize) -> Option<u32> {
    let digits = (u64::from_le_bytes(*bytes) ^ 0x3030_3030_3030_3030) << (64 - 8 * len);
    // A byte above nine has a high half, or gets one when six is added.
    let high_halves = digits | digits.wrapping_add(0x0606_0606_0606_0606);
    if high_halves & 0xf0f0_f0f0_f0f0_f0f0 != 0 {
        return None;
    }
    let pairs = (10 * digits + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (100 * pairs + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((10_000 * fours + (fours >> 32)) as u32)
}

pub(super) fn encode_time(time: Duration, out: &mut Vec<u8>) {
    out.extend_from_slice(TIME);
    out.extend_from_slice(itoa::Buffer::new().format(time.as_secs()).as_bytes());
    // The billion adds leading zeros.
    let nanos = 1_000_000_000 + time.subsec_nanos();
    out.push(b'.');
    out.extend_from_slice(&itoa::Buffer::new().format(nanos).as_bytes()[1..]);
    out.push(b'\n');
}

/// The beginning of a time line.
///
/// Comments that this library encodes have a space after the colon.
pub(super) const TIME: &[u8] = b":T+";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_eight_digits_are_one_number() {
        for number in [0, 1, 9, 10, 12_345_678, 90_000_000, 99_999_999, 10_203_040] {
            for len in 1..=8 {
                let number = number % 10_u32.pow(len);
                let len = len as usize;
                let digits = format!("{number:0len$}.7654321");
                let digits = digits.as_bytes().first_chunk().unwrap();
                assert_eq!(parse_eight(digits, len), Some(number));
            }
        }
    }

    #[test]
    fn any_other_byte_is_no_digit() {
        for len in 1..=8 {
            for place in 0..len {
                for byte in 0..=u8::MAX {
                    let mut digits = *b"99999999";
                    digits[place] = byte;
                    let is_digit = byte.is_ascii_digit();
                    let number = parse_eight(&digits, len);
                    assert_eq!(number.is_some(), is_digit, "{byte} at {place} of {len}");
                }
            }
        }
    }
}
