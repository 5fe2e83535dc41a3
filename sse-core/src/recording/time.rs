//! Time lines of a recording.

use std::time::Duration;

/// Parses the text of a comment that is a time line.
#[inline]
pub(super) fn parse_time(text: &str) -> Option<Duration> {
    let time = text.as_bytes().strip_prefix(b"T+")?;
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

/// Parses a time line, without its line end.
#[inline]
pub(super) fn parse_time_line(line: &str) -> Option<Duration> {
    parse_time(line.strip_prefix(':')?)
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
