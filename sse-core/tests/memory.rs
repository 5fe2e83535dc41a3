//! What is allocated: nothing once buffers have grown, and never more than the limits say.

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
fn sending_what_was_set_ahead_allocates_nothing() {
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
fn a_refusal_allocates_nothing() {
    sends(|s| match s.write_bytes(b"\xff") {
        Err(SendError::Utf8(_)) => Ok(()),
        other => other,
    });
    sends(|s| match s.set_id("a\nb") {
        Err(_) => Ok(()),
        Ok(()) => Err(SendError::Closed),
    });
}

/// A writer that takes a few bytes at once makes no difference.
#[test]
fn sending_in_small_pieces_allocates_nothing() {
    let mut stream = Stream::new(Sipping);
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
fn decoding_what_can_be_borrowed_allocates_nothing() {
    let input = ": hi\r\nid: 7\nevent: tick\nretry: 10\ndata: one line\n\nid: 8\r\rdata\r\n\r\n";
    let mut decoder = Decoder::new();
    allocates_nothing(|| assert_eq!(events(&mut decoder, [input.as_bytes()]), 2));
}

/// What must be joined is, but in buffers that stay.
#[test]
fn decoding_lines_and_pieces_allocates_nothing() {
    let input = b"id: 7\nevent: tick\ndata: several\ndata: lines\r\n\r\ndata: one line\n\n";
    let mut decoder = Decoder::new();
    for size in 1..input.len() {
        allocates_nothing(|| assert_eq!(events(&mut decoder, input.chunks(size)), 2));
    }
}

#[test]
fn a_decoder_holds_no_more_than_its_limits() {
    const LIMIT: usize = 1000;
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
            for mut piece in piece.as_bytes().chunks(100) {
                while let Ok(Some(decoded)) = decoder.decode(&mut piece) {
                    black_box(decoded);
                }
            }
        });
        // A buffer doubles when it grows, and for a moment there are both.
        assert!(used.bytes_max <= 4 * LIMIT as u64, "{endless:?}: {used:?}");
    }
}

#[test]
fn a_head_reader_holds_no_more_than_its_limit() {
    const LIMIT: usize = 1 << 10;
    for endless in ["x", "GET / HTTP/1.1\r\nX: y\r\n", "\r\n"] {
        let piece = endless.repeat(2000);
        let used = measure(|| {
            let mut reader = HeadReader::new().max_size(LIMIT);
            let mut pieces = piece.as_bytes().chunks(100);
            let refused = pieces.any(|mut piece| reader.read(&mut piece).is_err());
            assert!(refused);
        });
        assert!(used.bytes_max <= 4 * LIMIT as u64, "{endless:?}: {used:?}");
    }
}

#[test]
fn an_outbox_holds_no_more_than_its_limit_and_one_event() {
    const LIMIT: usize = 1000;
    let used = measure(|| {
        let mut outbox = Outbox::new();
        outbox.set_max_pending(LIMIT);
        // As over a writer that never takes as much as there is to take.
        for _ in 0..10_000 {
            while outbox.write_str("about twenty bytes").is_ok() {}
            outbox.advance(500);
        }
    });
    assert!(used.bytes_max <= 8 * LIMIT as u64, "{used:?}");
}

#[test]
fn memory_for_a_large_event_is_given_back() {
    let line = "x".repeat(8 << 20);
    gives_back(|s| s.write_str(&line));
    gives_back(|s| s.write_json(&line));
    let lines = line + "\nx";
    gives_back(|s| s.write_str(&lines));
    gives_back(|s| s.write_display(&lines));
}

/// Once its buffers have grown, a stream allocates nothing for this.
#[track_caller]
fn sends(send: impl Fn(&mut Stream<Sink>) -> Result<(), SendError>) {
    let mut stream = Stream::new(io::sink());
    allocates_nothing(|| send(&mut stream).expect("it is accepted"));
}

/// After this the stream keeps no more than two small buffers, however long it stays idle.
#[track_caller]
fn gives_back(send: impl Fn(&mut Stream<Sink>) -> Result<(), SendError>) {
    let mut stream = Stream::new(io::sink());
    let used = measure(|| send(&mut stream).expect("it is accepted"));
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

/// How many events there are, looked at as a program would.
fn events<'i>(decoder: &mut Decoder, pieces: impl IntoIterator<Item = &'i [u8]>) -> usize {
    let mut count = 0;
    for mut piece in pieces {
        while let Some(decoded) = decoder.decode(&mut piece).expect("no limit is near") {
            if let Decoded::Event(event) = decoded {
                black_box((event.event(), event.data(), event.last_event_id()));
                count += 1;
            }
        }
    }
    count
}

/// Takes three bytes at once.
struct Sipping;

impl Write for Sipping {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len().min(3))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
