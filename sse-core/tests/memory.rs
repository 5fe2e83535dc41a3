//! Allocations: none once buffers have grown, and never more than the limits allow.

#![cfg(all(feature = "http", feature = "json"))]

use std::hint::black_box;
use std::io::{self, Sink, Write};
use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use serde::Serialize;
use serde_json::value::RawValue;
use sse_core::{
    Decoded, Decoder, Event, EventId, EventType, HeadReader, Outbox, SendError, Stream,
};

const TICK: EventType = EventType::from_static("tick");

#[derive(Serialize)]
struct Quote<'a> {
    text: &'a str,
    price: f64,
    volume: u64,
}

const QUOTE: Quote<'_> = Quote {
    text: "two\nlines",
    price: 1.5,
    volume: 1_000_000,
};

#[test]
fn sending_allocates_nothing() {
    sends(|s| s.write_str("one line"));
    sends(|s| s.write_str("several\r\nlines\nof\rtext\n"));
    sends(|s| s.write_bytes(b"text"));
    sends(|s| s.write_json(&QUOTE));
    sends(|s| s.write_int(u64::MAX));
    sends(|s| s.write_float(0.1));
    sends(|s| s.write_float(5e-324));
    sends(|s| s.write_display(&format_args!("{} of {:?}", 7, Duration::MAX)));
    sends(|s| s.write_event("7", "tick", "data"));
    sends(|s| s.write_event(7, TICK, "data"));
    sends(|s| s.comment(""));
    sends(|s| s.comment("several\nlines"));
    sends(|s| {
        s.send(
            &Event::new()
                .id(7)
                .event(TICK)
                .data("two\nlines")
                .comment("hi"),
        )
    });
    sends(|s| s.send(&Event::new().id(EventId::new("text")?).retry(Duration::MAX)));
}

#[test]
fn sending_staged_fields_allocates_nothing() {
    sends(|s| {
        s.set_id(u64::MAX)?;
        s.set_event(TICK)?;
        s.write_str("data")
    });
    sends(|s| {
        s.set_id("text")?;
        s.set_event("text")?;
        s.set_retry(Duration::from_secs(1));
        s.write_json(&QUOTE)
    });
    sends(|s| {
        s.set_id(7)?;
        s.send(&Event::new().event(TICK).data("data"))
    });
}

#[test]
fn sending_generated_text_with_line_breaks_allocates_nothing() {
    sends(|s| s.write_display("several\r\nlines\nof\rtext\n"));
    let json = RawValue::from_string("{\r\n}".to_owned()).unwrap();
    sends(|s| s.write_json(&json));
}

#[test]
fn a_rejection_allocates_nothing() {
    sends(|s| match s.write_bytes(b"\xff") {
        Err(SendError::Utf8(_)) => Ok(()),
        other => other,
    });
    sends(|s| match s.set_id("a\nb") {
        Err(_) => Ok(()),
        Ok(()) => Err(SendError::Closed),
    });
}

#[test]
fn sending_to_a_writer_that_takes_three_bytes_allocates_nothing() {
    let mut stream = Stream::new(ThreeBytes);
    allocates_nothing(|| stream.send(&Event::new().id(7).data("two\nlines")).unwrap());
}

#[test]
fn encoding_into_a_buffer_with_room_allocates_nothing() {
    let event = Event::new().id(7).event(TICK).data("two\nlines");
    let mut out = Vec::new();
    allocates_nothing(|| {
        out.clear();
        event.encode(&mut out);
    });
}

#[test]
fn decoding_single_lines_allocates_nothing() {
    let input = ": hi\r\nid: 7\nevent: tick\nretry: 10\ndata: one line\n\nid: 8\r\rdata\r\n\r\n";
    let mut decoder = Decoder::new();
    allocates_nothing(|| assert_eq!(events(&mut decoder, [input.as_bytes()]), 2));
}

/// Lines are joined in buffers that are reused.
#[test]
fn decoding_several_lines_and_parts_allocates_nothing() {
    let input = b"id: 7\nevent: tick\ndata: several\ndata: lines\r\n\r\ndata: one line\n\n";
    let mut decoder = Decoder::new();
    for size in 1..input.len() {
        allocates_nothing(|| assert_eq!(events(&mut decoder, input.chunks(size)), 2));
    }
}

/// Not even a first time, because they are lent from the input.
#[test]
fn decoding_large_events_in_one_part_allocates_nothing() {
    let input = format!("id: 7\ndata: {}\n\n", "x".repeat(64 << 10)).repeat(3);
    let mut decoder = Decoder::new().with_last_event_id(&EventId::from(1));
    let used = measure(|| assert_eq!(events(&mut decoder, [input.as_bytes()]), 3));
    assert_eq!(used.count_total, 0);
}

#[test]
fn a_decoder_allocates_no_more_than_its_limits() {
    const LIMIT: usize = 1000;
    /// The list of line ends.
    const FIXED: usize = 1 << 10;
    for endless in [
        "x",
        "data: 123456789\n",
        "data\n",
        "id: 123456789\n",
        "event\n",
        ":\n",
        "\n",
    ] {
        let piece = endless.repeat(1 << 20 >> endless.len().ilog2());
        let used = measure(|| {
            let mut decoder = Decoder::new().max_line(LIMIT).max_event(LIMIT);
            for piece in piece.as_bytes().chunks(100) {
                let mut chunk = decoder.chunk(piece);
                while let Ok(Some(decoded)) = chunk.next() {
                    black_box(decoded);
                }
            }
        });
        // A buffer doubles when it grows, and both exist during the copy.
        assert!(
            used.bytes_max <= (4 * LIMIT + FIXED) as u64,
            "{endless:?}: {used:?}"
        );
    }
}

#[test]
fn a_head_reader_allocates_no_more_than_its_limit() {
    const LIMIT: usize = 1 << 10;
    for endless in ["x", "GET / HTTP/1.1\r\nX: y\r\n", "\r\n"] {
        let piece = endless.repeat(2000);
        let used = measure(|| {
            let mut reader = HeadReader::new().max_head(LIMIT);
            let mut pieces = piece.as_bytes().chunks(100);
            let refused = pieces.any(|mut piece| reader.read(&mut piece).is_err());
            assert!(refused);
        });
        assert!(used.bytes_max <= 4 * LIMIT as u64, "{endless:?}: {used:?}");
    }
}

/// Each is copied once, however many of them a read returns.
#[cfg(feature = "client")]
#[test]
fn interim_responses_cost_no_more_than_their_bytes() {
    let interim = "HTTP/1.1 100 A\r\n\r\n".repeat(3000);
    let used = measure(|| {
        let mut reader = sse_core::ResponseHeadReader::new();
        assert!(reader.read(&mut interim.as_bytes()).unwrap().is_none());
    });
    assert!(used.bytes_total <= 20 * interim.len() as u64, "{used:?}");
}

#[test]
fn an_outbox_allocates_no_more_than_its_limit_and_one_event() {
    const LIMIT: usize = 1000;
    let used = measure(|| {
        let mut outbox = Outbox::new();
        outbox.set_max_pending(LIMIT);
        // As with a writer that never takes everything.
        for _ in 0..10_000 {
            while outbox.write_str("about twenty bytes").is_ok() {}
            outbox.advance(500);
        }
    });
    assert!(used.bytes_max <= 8 * LIMIT as u64, "{used:?}");
}

#[test]
fn memory_of_a_large_event_is_released() {
    let line = "x".repeat(8 << 20);
    releases_memory(|s| s.write_str(&line));
    releases_memory(|s| s.write_json(&line));
    let lines = line + "\nx";
    releases_memory(|s| s.write_str(&lines));
    releases_memory(|s| s.write_display(&lines));
}

/// Checks that a stream allocates nothing for this once its buffers have grown.
#[track_caller]
fn sends(send: impl Fn(&mut Stream<Sink>) -> Result<(), SendError>) {
    let mut stream = Stream::new(io::sink());
    allocates_nothing(|| send(&mut stream).expect("the call is accepted"));
}

/// Checks that the idle stream keeps at most two small buffers after this.
#[track_caller]
fn releases_memory(send: impl Fn(&mut Stream<Sink>) -> Result<(), SendError>) {
    let mut stream = Stream::new(io::sink());
    let used = measure(|| send(&mut stream).expect("the call is accepted"));
    assert!(used.bytes_current <= 2 * (16 << 10), "{used:?}");
}

#[track_caller]
fn allocates_nothing(mut work: impl FnMut()) {
    work();
    work();
    let AllocationInfo { count_total, .. } = measure(|| {
        for _ in 0..10 {
            work();
        }
    });
    assert_eq!(count_total, 0, "allocations in ten rounds");
}

/// Decodes the parts, reads each event's fields, and counts the events.
fn events<'i>(decoder: &mut Decoder, pieces: impl IntoIterator<Item = &'i [u8]>) -> usize {
    let mut count = 0;
    for piece in pieces {
        let mut chunk = decoder.chunk(piece);
        while let Some(decoded) = chunk.next().expect("no limit is near") {
            if let Decoded::Event(event) = decoded {
                black_box((event.event(), event.data(), event.last_event_id()));
                count += 1;
            }
        }
    }
    count
}

/// A writer that takes three bytes at once.
struct ThreeBytes;

impl Write for ThreeBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len().min(3))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
