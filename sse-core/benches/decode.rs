//! Decodes a stream that arrives in chunks, compared with searching for line ends and with other
//! decoders.

use std::convert::Infallible;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use eventsource_stream::Eventsource;
use futures_util::stream::{self, Stream};
use memchr::memchr2_iter;
use sse_core::{Decoded, Decoder};
use tokio_util::codec::Decoder as _;

use crate::turns::Report;

pub fn measure(report: &mut Report) {
    for (name, events, chunk) in [
        ("100-byte events", events(&line(100)), 16 << 10),
        (
            "events of twenty short lines",
            events(&vec![line(15); 20].join("\n")),
            16 << 10,
        ),
        ("a mix of sizes and fields", mix(), 16 << 10),
        ("64 KiB events", events(&line(64 << 10)), 16 << 10),
        (
            "64 KiB events, all at once",
            events(&line(64 << 10)),
            usize::MAX,
        ),
    ] {
        let wire: String = events.iter().map(Sent::wire).collect();
        let events = seen(&events);
        let chunks: Vec<_> = wire
            .as_bytes()
            .chunks(chunk)
            .map(Bytes::copy_from_slice)
            .collect();

        let chunks = &chunks;
        let name = format!("decode {name}");
        let Some(mut case) = report.case(&name, events.len()) else {
            continue;
        };
        case.engine("floor: memchr2", move || {
            black_box(
                black_box(chunks)
                    .iter()
                    .map(sum_of_line_ends)
                    .sum::<usize>(),
            );
        });
        for engine in ENGINES {
            let mut collected = Vec::new();
            (engine.collect)(chunks, &mut collected);
            assert!(
                collected == events,
                "{} decodes something else: {name}",
                engine.name
            );
            case.engine(engine.name, move || {
                let mut count = Count::default();
                (engine.count)(black_box(chunks), &mut count);
                black_box(count.events + count.bytes);
            });
        }
        case.measure();
    }
}

/// An event as it is sent.
struct Sent {
    id: Option<String>,
    event: Option<&'static str>,
    data: String,
}

impl Sent {
    fn wire(&self) -> String {
        let field = |name, value: &str| format!("{name}: {value}\n");
        let id = self.id.as_ref().map(|id| field("id", id));
        let event = self.event.map(|event| field("event", event));
        let data = self.data.replace('\n', "\ndata: ");
        let [id, event] = [id, event].map(Option::unwrap_or_default);
        format!("{id}{event}data: {data}\n\n")
    }
}

/// Returns about 1 MiB of events with `data`, so that the growth of a new decoder's buffers costs
/// little compared with decoding, as in a long stream.
fn events(data: &str) -> Vec<Sent> {
    let ids = 1_000_000..1_000_000 + (1 << 20) / data.len();
    ids.map(|id| Sent {
        id: Some(id.to_string()),
        event: None,
        data: data.to_owned(),
    })
    .collect()
}

/// Returns about 1 MiB of events of 20 to 300 bytes, of which two thirds have an ID, half have a
/// type and a quarter have two lines, in no order that a processor could predict.
fn mix() -> Vec<Sent> {
    let mut state = 1_u64;
    let mut random = |below: u64| {
        // The generator MMIX by Donald Knuth.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut event = |number: u64| {
        let length = 20 + random(281) as usize;
        let mut data = line(length);
        if random(4) == 0 {
            let middle = random(length as u64 - 2) as usize + 1;
            data.replace_range(middle..=middle, "\n");
        }
        Sent {
            id: (number == 0 || random(3) > 0).then(|| (1_000_000 + number).to_string()),
            event: (random(2) == 0).then_some("price-update"),
            data,
        }
    };
    (0..(1 << 20) / 160).map(&mut event).collect()
}

/// Returns the events as a client sees them: each with the last ID.
fn seen(events: &[Sent]) -> Vec<(String, String)> {
    let mut seen = Collect::new();
    for event in events {
        seen.event(event.id.as_deref().unwrap_or_default(), &event.data);
    }
    seen
}

fn line(length: usize) -> String {
    "the quick brown fox "
        .chars()
        .cycle()
        .take(length)
        .collect()
}

fn sum_of_line_ends(chunk: &Bytes) -> usize {
    memchr2_iter(b'\r', b'\n', chunk).sum()
}

/// A decoder, run from the first chunk to the last.
struct Engine {
    name: &'static str,
    count: fn(&[Bytes], &mut Count),
    collect: fn(&[Bytes], &mut Collect),
}

const ENGINES: [Engine; 6] = [
    Engine {
        name: "ours",
        count: ours,
        collect: ours,
    },
    Engine {
        name: "sse-stream",
        count: sse_stream,
        collect: sse_stream,
    },
    Engine {
        name: "sse-core of crates.io",
        count: peer_sse_core,
        collect: peer_sse_core,
    },
    Engine {
        name: "sseer",
        count: sseer,
        collect: sseer,
    },
    Engine {
        name: "russe",
        count: russe,
        collect: russe,
    },
    Engine {
        name: "eventsource-stream",
        count: eventsource_stream,
        collect: eventsource_stream,
    },
];

/// A consumer of events: it counts them where time is measured, and stores them where engines are
/// compared.
trait Sink {
    fn event(&mut self, id: &str, data: &str);
}

#[derive(Default)]
struct Count {
    events: usize,
    bytes: usize,
}

impl Sink for Count {
    fn event(&mut self, id: &str, data: &str) {
        self.events += 1;
        self.bytes += black_box(id).len() + black_box(data).len();
    }
}

type Collect = Vec<(String, String)>;

/// Some engines return no ID for an event without one, others that of an earlier event.
impl Sink for Collect {
    fn event(&mut self, id: &str, data: &str) {
        let id = match (id, self.last()) {
            ("", Some((last, _))) => last.clone(),
            _ => id.to_owned(),
        };
        self.push((id, data.to_owned()));
    }
}

fn ours(chunks: &[Bytes], sink: &mut impl Sink) {
    let mut decoder = Decoder::new();
    for chunk in chunks {
        let mut chunk = decoder.chunk(chunk);
        while let Some(decoded) = chunk.next().unwrap() {
            if let Decoded::Event(event) = decoded {
                sink.event(event.last_event_id(), event.data());
            }
        }
    }
}

fn sse_stream(chunks: &[Bytes], sink: &mut impl Sink) {
    let chunks = chunks.iter().map(|chunk| &chunk[..]);
    drive(sse_stream::SseByteStream::new(source(chunks)), |event| {
        let event = event.unwrap();
        sink.event(&event.id.unwrap_or_default(), &event.data.unwrap());
    });
}

fn peer_sse_core(chunks: &[Bytes], sink: &mut impl Sink) {
    let mut decoder = peer_sse_core::SseDecoder::new();
    for chunk in chunks {
        let mut input = &chunk[..];
        while let Some(event) = decoder.next(&mut input) {
            if let peer_sse_core::SseEvent::Message(message) = event.unwrap() {
                sink.event(&message.last_event_id.unwrap_or_default(), &message.data);
            }
        }
    }
}

fn sseer(chunks: &[Bytes], sink: &mut impl Sink) {
    drive(
        sseer::EventStream::new(source(chunks.iter().cloned())),
        |event| {
            let event = event.unwrap();
            sink.event(&event.id, &event.data);
        },
    );
}

fn russe(chunks: &[Bytes], sink: &mut impl Sink) {
    let mut decoder = russe::Decoder::default();
    let mut input = BytesMut::new();
    for chunk in chunks {
        input.extend_from_slice(chunk);
        while let Some(event) = decoder.decode(&mut input).unwrap() {
            if let russe::Event::Message(message) = event {
                sink.event(&message.id.unwrap_or_default(), &message.data);
            }
        }
    }
}

fn eventsource_stream(chunks: &[Bytes], sink: &mut impl Sink) {
    drive(source(chunks.iter()).eventsource(), |event| {
        let event = event.unwrap();
        sink.event(&event.id, &event.data);
    });
}

fn source<T>(chunks: impl Iterator<Item = T>) -> impl Stream<Item = Result<T, Infallible>> {
    stream::iter(chunks.map(Ok))
}

/// Polls a stream that is always ready, without a runtime.
fn drive<S: Stream>(stream: S, mut each: impl FnMut(S::Item)) {
    let mut stream = pin!(stream);
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(item)) = stream.as_mut().poll_next(&mut context) {
        each(item);
    }
}
