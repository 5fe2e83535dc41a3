//! The encoder: the only code that writes fields.
//!
//! Every function appends to the caller's buffer. IDs and event types have no line break by
//! construction; each line of data and of comments becomes a separate line.
//!
//! Source: WHATWG HTML, 9.2.5 "Parsing an event stream".

use std::time::Duration;

use memchr::memchr2;

use super::event_type::EventType;
use super::id::EventId;
use super::lines::{line, lines};
use super::value::Event;

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

/// The end of a data line, and the beginning of the next.
const DATA_BREAK: &[u8; 7] = b"\ndata: ";

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
    lines(out, DATA_BREAK, text.as_bytes());
}

/// Appends the text that `write` appends as data. `scratch` is used if it has line breaks.
///
/// If `write` fails, its output stays in `out`; the caller truncates it.
pub(crate) fn data_with<E>(
    out: &mut Vec<u8>,
    scratch: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    // The text comes in short parts, and an empty buffer would grow several times.
    out.reserve(USUAL_LEN);
    let start = out.len();
    out.extend_from_slice(DATA);
    write(out)?;
    let text = start + DATA.len();
    if memchr2(b'\r', b'\n', &out[text..]).is_some() {
        scratch.clear();
        scratch.extend_from_slice(&out[text..]);
        out.truncate(start);
        lines(out, DATA_BREAK, scratch);
    } else {
        out.push(b'\n');
    }
    Ok(())
}

/// Appends `text` as one comment line for each of its lines.
pub(crate) fn comment(out: &mut Vec<u8>, text: &str) {
    match text {
        "" => out.extend_from_slice(b":\n"),
        _ => lines(out, b"\n: ", text.as_bytes()),
    }
}

/// Appends the blank line at which the client dispatches the event.
#[inline]
pub(crate) fn end(out: &mut Vec<u8>) {
    out.push(b'\n');
}

/// Room for most events with generated text.
const USUAL_LEN: usize = 128;

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
