//! Time lines of a recording.

use std::time::Duration;

use crate::decimal;

/// Parses the text of a comment that is a time line.
pub(super) fn parse_time(text: &str) -> Option<Duration> {
    parse(text.as_bytes().strip_prefix(b"T+")?)
}

/// Parses a time line, without its line end.
#[inline(always)]
pub(super) fn parse_time_line(line: &[u8]) -> Option<Duration> {
    parse(line.strip_prefix(TIME)?)
}

#[inline]
fn parse(time: &[u8]) -> Option<Duration> {
    let (rest, most_nanos) = time.split_last_chunk::<8>()?;
    let [seconds @ .., b'.', first_nano @ b'0'..=b'9'] = rest else {
        return None;
    };
    let seconds = decimal::parse(seconds)?;
    let nanos = 100_000_000 * u32::from(first_nano - b'0') + decimal::parse_eight(most_nanos)?;
    Some(Duration::new(seconds, nanos))
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
