//! Time lines of a recording.

use std::time::Duration;

use memchr::memchr;

/// Parses the text of a comment that is a time line.
#[inline]
pub(super) fn parse_time(text: &[u8]) -> Option<Duration> {
    let time = text.strip_prefix(b"T+")?;
    let (seconds, nanos) = time.split_last_chunk::<9>()?;
    let seconds = match seconds {
        b"0." => 0,
        [first @ b'1'..=b'9', rest @ .., b'.'] => {
            rest.iter().try_fold(u64::from(first - b'0'), digit)?
        }
        _ => return None,
    };
    let nanos = nanos.iter().try_fold(0, digit)?;
    Some(Duration::new(seconds, u32::try_from(nanos).ok()?))
}

/// Parses a time line at the beginning of `input`, as a recorder writes it, with its length.
#[inline]
pub(super) fn parse_time_line(input: &[u8]) -> Option<(Duration, usize)> {
    const MAX_LEN: usize = ":T+18446744073709551615.999999999\n".len();
    let [b':', b'T', b'+', ..] = input else {
        return None;
    };
    let end = memchr(b'\n', &input[..input.len().min(MAX_LEN)])?;
    Some((parse_time(&input[1..end])?, end + 1))
}

/// Appends a digit to a number.
#[inline]
fn digit(number: u64, digit: &u8) -> Option<u64> {
    let digit = digit.wrapping_sub(b'0');
    match digit {
        0..=9 => number.checked_mul(10)?.checked_add(digit.into()),
        _ => None,
    }
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
