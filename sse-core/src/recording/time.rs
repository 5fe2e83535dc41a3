//! Time lines of a recording.

use std::time::Duration;

use crate::decimal;

/// Parses what follows the colon of a comment that is a time line.
#[inline(always)]
pub(super) fn parse_time(text: &[u8]) -> Option<Duration> {
    let time = text.strip_prefix(b"T+")?;
    let (rest, most_nanos) = time.split_last_chunk::<8>()?;
    let [seconds @ .., b'.', first_nano @ b'0'..=b'9'] = rest else {
        return None;
    };
    let seconds = decimal::parse(seconds)?;
    let nanos = 100_000_000 * u32::from(first_nano - b'0') + parse_eight(most_nanos)?;
    Some(Duration::new(seconds, nanos))
}

/// Parses eight digits, which may begin with zeros.
///
/// All of them are in one register, the first in its lowest byte. Each step combines neighbours:
/// to four numbers below 100, to two below 10,000, and to one.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the number is in the lower half"
)]
fn parse_eight(digits: &[u8; 8]) -> Option<u32> {
    let digits = u64::from_le_bytes(*digits) ^ 0x3030_3030_3030_3030;
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
    fn eight_digits_are_one_number() {
        for number in [0, 1, 9, 10, 12_345_678, 90_000_000, 99_999_999, 10_203_040] {
            let digits = format!("{number:08}").into_bytes();
            assert_eq!(
                parse_eight(digits.as_slice().try_into().unwrap()),
                Some(number)
            );
        }
    }

    #[test]
    fn any_other_byte_is_no_digit() {
        for place in 0..8 {
            for byte in 0..=u8::MAX {
                let mut digits = *b"99999999";
                digits[place] = byte;
                let is_digit = byte.is_ascii_digit();
                assert_eq!(
                    parse_eight(&digits).is_some(),
                    is_digit,
                    "{byte} at {place}"
                );
            }
        }
    }
}
