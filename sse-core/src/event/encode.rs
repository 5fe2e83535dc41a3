//! The encoder: the only code that writes fields.
//!
//! Every function appends to the caller's buffer. IDs and event types have no line break by
//! construction; each line of data and of comments becomes a separate line.
//!
//! Source: WHATWG HTML, 9.2.5 "Parsing an event stream".

use std::ops::Range;
use std::time::Duration;

use fearless_simd::{Simd, dispatch};
use memchr::memchr2;

use super::event_type::EventType;
use super::id::EventId;
use super::value::Event;
use crate::line_ends::{BLOCK, LEVEL, LineEndMasks};

impl Event<'_> {
    /// Appends the event's wire form to `out`. This cannot fail.
    ///
    /// A comment alone is written without a blank line after it, because some clients take that
    /// for an event. An event without fields appends nothing.
    #[inline(always)]
    pub fn encode(&self, out: &mut Vec<u8>) {
        event(out, self);
    }
}

const DATA: &[u8; 6] = b"data: ";

/// Appends a whole event.
#[inline(always)]
pub(crate) fn event(out: &mut Vec<u8>, event: &Event<'_>) {
    event_with_id(out, event, event.id.as_ref());
}

/// Appends a whole event with the ID `id`; that of the event is ignored.
#[inline(always)]
pub(crate) fn event_with_id(out: &mut Vec<u8>, event: &Event<'_>, id: Option<&EventId<'_>>) {
    if let Some(text) = &event.comment {
        comment(out, text);
    }
    let start = out.len();
    head(out, id, event.event.as_ref(), event.retry);
    if let Some(text) = &event.data {
        data(out, text);
    }
    if out.len() > start {
        end(out);
    }
}

/// Appends the fields that precede the data.
#[inline(always)]
pub(crate) fn head(
    out: &mut Vec<u8>,
    id: Option<&EventId<'_>>,
    event: Option<&EventType<'_>>,
    retry: Option<Duration>,
) {
    if let Some(id) = id {
        line(out, b"id: ", id.as_bytes());
    }
    if let Some(event) = event {
        line(out, b"event: ", event.as_str().as_bytes());
    }
    if let Some(retry) = retry {
        let millis = retry.as_nanos().div_ceil(1_000_000);
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        line(
            out,
            b"retry: ",
            itoa::Buffer::new().format(millis).as_bytes(),
        );
    }
}

/// Appends `text` as one data line for each of its lines.
#[inline(always)]
pub(crate) fn data(out: &mut Vec<u8>, text: &str) {
    lines(out, DATA, text.as_bytes());
}

/// Appends the text that `write` appends as data. `scratch` is used if it has line breaks.
///
/// If `write` fails, its output stays in `out`; the caller truncates it.
pub(crate) fn data_with<E>(
    out: &mut Vec<u8>,
    scratch: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    out.extend_from_slice(DATA);
    write(out)?;
    let text = start + DATA.len();
    if memchr2(b'\r', b'\n', &out[text..]).is_some() {
        scratch.clear();
        scratch.extend_from_slice(&out[text..]);
        out.truncate(start);
        lines(out, DATA, scratch);
    } else {
        out.push(b'\n');
    }
    Ok(())
}

/// Appends `text` as one comment line for each of its lines.
pub(crate) fn comment(out: &mut Vec<u8>, text: &str) {
    match text {
        "" => out.extend_from_slice(b":\n"),
        _ => lines(out, b": ", text.as_bytes()),
    }
}

/// Appends the blank line at which the client dispatches the event.
#[inline]
pub(crate) fn end(out: &mut Vec<u8>) {
    out.push(b'\n');
}

/// Appends one line that starts with `name` for each line of `text`.
///
/// CR, LF and CRLF each end a line.
#[inline(always)]
fn lines<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], text: &[u8]) {
    if text.len() >= 4 * BLOCK {
        dispatch!(*LEVEL, simd => long_lines(simd, out, name, text));
    } else if is_one_line(text) {
        line(out, name, text);
    } else {
        short_lines(out, name, text);
    }
}

/// Returns whether no byte is as low as CR.
///
/// VT and FF, which end no line, only take the slower path. The compiler vectorises this loop,
/// and the bytes that are left over are compared once more with those before them.
#[inline(always)]
fn is_one_line(text: &[u8]) -> bool {
    const PART: usize = 32;
    let least = |least: u8, byte: &u8| least.min(byte.wrapping_sub(b'\n'));
    let is_higher = |text: &[u8]| text.iter().fold(u8::MAX, least) > b'\r' - b'\n';
    match text.last_chunk::<PART>() {
        Some(last) => is_higher(text.as_chunks::<PART>().0.as_flattened()) & is_higher(last),
        None => is_higher(text),
    }
}

fn short_lines<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], text: &[u8]) {
    let mut rest = text;
    while let Some(end) = memchr2(b'\r', b'\n', rest) {
        line(out, name, &rest[..end]);
        rest = match &rest[end..] {
            [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
            [] => rest,
        };
    }
    line(out, name, rest);
}

/// The same for text of several blocks.
///
/// Appending to a vector checks and stores its length each time, and each waits for the one
/// before: with four appends a line, that is most of the time. So room for a part of the text is
/// made at once, and lines are copied into it as whole blocks, of which the next line overwrites
/// the surplus.
#[inline(always)]
fn long_lines<S: Simd, const N: usize>(simd: S, out: &mut Vec<u8>, name: &[u8; N], text: &[u8]) {
    // Enough for a single line and the blank line after it; more lines grow the buffer.
    out.reserve(name.len() + text.len() + 2);
    out.extend_from_slice(name);
    let mut masks = [0; LineEndMasks::MAX];
    let mut after_cr = false;
    for part in text.chunks(LineEndMasks::MAX * BLOCK) {
        let Some(ends) = LineEndMasks::find(simd, part, &mut masks) else {
            out.extend_from_slice(part);
            after_cr = false;
            continue;
        };
        let len = out.len();
        out.resize(
            len + part.len() + ends.total() * (name.len() + 1) + BLOCK,
            0,
        );
        let mut writer = BlockWriter::new(&mut out[len..]);
        let mut start = 0;
        for end in ends {
            let is_rest_of_crlf = part[end] == b'\n'
                && end
                    .checked_sub(1)
                    .map_or(after_cr, |last| part[last] == b'\r');
            if !is_rest_of_crlf {
                writer.write(part, start..end);
                writer.write_line_end(name);
            }
            start = end + 1;
        }
        writer.write(part, start..part.len());
        let written = writer.written;
        out.truncate(len + written);
        after_cr = part.ends_with(b"\r");
    }
    out.push(b'\n');
}

/// Writes into existing bytes, and may overwrite a block after the written ones.
struct BlockWriter<'a> {
    bytes: &'a mut [u8],
    written: usize,
}

impl<'a> BlockWriter<'a> {
    #[inline(always)]
    const fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, written: 0 }
    }

    #[inline(always)]
    fn write(&mut self, text: &[u8], part: Range<usize>) {
        let len = part.len();
        let rest = &mut self.bytes[self.written..];
        match (
            rest.first_chunk_mut(),
            text[part.start..].first_chunk::<BLOCK>(),
        ) {
            (Some(block), Some(text)) if len <= BLOCK => *block = *text,
            _ => rest[..len].copy_from_slice(&text[part]),
        }
        self.written += len;
    }

    #[inline(always)]
    fn write_line_end<const N: usize>(&mut self, name: &[u8; N]) {
        let line = &mut self.bytes[self.written..][..=N];
        line[0] = b'\n';
        line[1..].copy_from_slice(name);
        self.written += 1 + N;
    }
}

#[inline(always)]
fn line<const N: usize>(out: &mut Vec<u8>, prefix: &[u8; N], text: &[u8]) {
    out.reserve(prefix.len() + text.len() + 1);
    out.extend_from_slice(prefix);
    out.extend_from_slice(text);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_one_wire_form() {
        let event = Event::new;
        let id = |text| EventId::new(text).unwrap();
        let millis = Duration::from_millis;
        for (event, expected) in [
            (event(), ""),
            (event().data(""), "data: \n\n"),
            (event().data("hey"), "data: hey\n\n"),
            (event().data(" hey"), "data:  hey\n\n"),
            (event().data("a\nb"), "data: a\ndata: b\n\n"),
            (event().data("a\rb"), "data: a\ndata: b\n\n"),
            (event().data("a\r\nb"), "data: a\ndata: b\n\n"),
            (event().data("a\n\rb"), "data: a\ndata: \ndata: b\n\n"),
            (event().data("a\r\r\nb"), "data: a\ndata: \ndata: b\n\n"),
            (event().data("a\n"), "data: a\ndata: \n\n"),
            (event().data("\n"), "data: \ndata: \n\n"),
            (event().data("\r\n"), "data: \ndata: \n\n"),
            (
                event().data("a\n\nid: 7"),
                "data: a\ndata: \ndata: id: 7\n\n",
            ),
            (
                event().data("a\u{2028}b\u{85}c"),
                "data: a\u{2028}b\u{85}c\n\n",
            ),
            (event().id(7), "id: 7\n\n"),
            (event().id(id("")), "id: \n\n"),
            (event().id(id("x")).data("y"), "id: x\ndata: y\n\n"),
            (
                event().event(EventType::from_static("tick")),
                "event: tick\n\n",
            ),
            (event().retry(millis(0)), "retry: 0\n\n"),
            (event().retry(millis(1500)), "retry: 1500\n\n"),
            (event().retry(Duration::from_nanos(1)), "retry: 1\n\n"),
            (
                event().retry(Duration::MAX),
                "retry: 18446744073709551615\n\n",
            ),
            (event().comment(""), ":\n"),
            (event().comment("hi"), ": hi\n"),
            (event().comment("a\r\nb\rc\n"), ": a\n: b\n: c\n: \n"),
            (event().comment("hi").data("x"), ": hi\ndata: x\n\n"),
            (
                event()
                    .data("d")
                    .retry(millis(9))
                    .event(EventType::from_static("e"))
                    .id(1),
                "id: 1\nevent: e\nretry: 9\ndata: d\n\n",
            ),
        ] {
            let mut out = b"before".to_vec();
            event.encode(&mut out);
            assert_eq!(
                String::from_utf8(out).unwrap(),
                format!("before{expected}"),
                "{event:?}"
            );
        }
    }
}
