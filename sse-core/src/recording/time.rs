//! Time lines of a recording.

use std::time::Duration;

use crate::decimal;

/// Parses the text of a comment that is a time line.
pub(super) fn parse_time(text: &str) -> Option<Duration> {
    parse(text.as_bytes().strip_prefix(b"T+")?)
}

/// Parses a time line, without its line end.
#[inline]
pub(super) fn parse_time_line(line: &[u8]) -> Option<Duration> {
    parse(line.strip_prefix(TIME)?)
}

#[inline]
fn parse(time: &[u8]) -> Option<Duration> {
    let (seconds, nanos) = time.split_last_chunk::<9>()?;
    let seconds = decimal::parse(seconds.strip_suffix(b".")?)?;
    // Nine digits are less than a second. They may begin with zeros.
    let is_number = nanos.iter().all(u8::is_ascii_digit);
    let nanos = nanos.iter().map(|digit| u32::from(digit & 0xf));
    let nanos = nanos.fold(0, |number, digit| 10 * number + digit);
    is_number.then(|| Duration::new(seconds, nanos))
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
