//! Encodes one event, compared with copying the finished frame and with other encoders.
//!
//! Every engine starts with the event's data, a text or a struct to serialize as JSON, and ends
//! with the bytes for a socket, in the fastest way of its API.

use std::convert::Infallible;
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse, Sse, sse};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use futures_util::stream;
use serde::Serialize;
use sse_core::{Event, Outbox};
use tokio_util::codec::Encoder as _;

use crate::turns::{Case, Report};

pub fn measure(report: &mut Report) {
    text(report);
    json(report);
}

fn text(report: &mut Report) {
    for (name, data) in [
        ("100 bytes", line(100)),
        ("4 KiB in one line", line(4096)),
        ("4 KiB in 64 lines", vec![line(63); 64].join("\n")),
    ] {
        let data: &'static str = data.leak();
        let frame = frame(data);
        let shared = ByteString::from_static(data);
        let mut body = axum_body(move || sse::Event::default().data(black_box(data)));

        let Some(mut case) = report.case(&format!("encode {name}"), 1) else {
            continue;
        };
        engine(&mut case, "floor: memcpy", &frame, |out: &mut Vec<u8>| {
            out.clear();
            out.extend_from_slice(black_box(&frame));
        });
        engine(&mut case, "ours", &frame, |out: &mut Vec<u8>| {
            out.clear();
            Event::new().data(black_box(data)).encode(out);
        });
        engine(&mut case, "russe", &frame, |out| {
            russe(black_box(&shared).clone(), out)
        });
        engine(&mut case, "sse-stream", &frame, |out| {
            *out = sse_stream(black_box(data))
        });
        engine(&mut case, "axum", &frame, |out| {
            *out = next_frame(&mut body)
        });
        case.measure();
    }
}

fn json(report: &mut Report) {
    let json = || serde_json::to_string(black_box(&QUOTE)).unwrap();
    let frame = frame(&json());
    let mut body = axum_body(|| sse::Event::default().json_data(black_box(&QUOTE)).unwrap());

    let Some(mut case) = report.case("encode a JSON struct", 1) else {
        return;
    };
    engine(
        &mut case,
        "floor: serde_json",
        json().as_bytes(),
        |out: &mut Vec<u8>| {
            out.clear();
            serde_json::to_writer(out, black_box(&QUOTE)).unwrap();
        },
    );
    engine(&mut case, "ours", &frame, |Sent(outbox)| {
        outbox.advance(outbox.pending().len());
        outbox.write_json(black_box(&QUOTE)).unwrap();
    });
    engine(&mut case, "russe", &frame, |out| russe(json().into(), out));
    engine(&mut case, "sse-stream", &frame, |out| {
        *out = sse_stream(json())
    });
    engine(&mut case, "axum", &frame, |out| {
        *out = next_frame(&mut body)
    });
    case.measure();
}

/// Adds `encode`, which leaves `expected` in an output that it may reuse.
fn engine<'a, Output: Default + AsRef<[u8]> + 'a>(
    case: &mut Case<'a>,
    name: &'static str,
    expected: &[u8],
    mut encode: impl FnMut(&mut Output) + 'a,
) {
    let mut out = Output::default();
    encode(&mut out);
    assert_eq!(out.as_ref(), expected, "{name}");
    case.engine(name, move || {
        encode(&mut out);
        black_box(&mut out);
    });
}

/// The buffer of a writer, into which JSON is serialized.
#[derive(Default)]
struct Sent(Outbox);

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        self.0.pending()
    }
}

fn russe(data: ByteString, out: &mut BytesMut) {
    out.clear();
    let message = russe::Message {
        data,
        event: None,
        retry: None,
        id: None,
    };
    russe::Encoder::default()
        .encode(russe::Event::Message(message), out)
        .unwrap();
}

fn sse_stream(data: impl Into<String>) -> Bytes {
    sse_stream::Sse::default().data(data).encode().unwrap()
}

/// Returns the bytes of axum's event, which are available only as a frame of a response body.
fn axum_body(mut event: impl FnMut() -> sse::Event + Send + 'static) -> Body {
    let events = stream::repeat_with(move || Ok::<_, Infallible>(event()));
    Sse::new(events).into_response().into_body()
}

fn next_frame(body: &mut Body) -> Bytes {
    match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap(),
        end => panic!("an endless body ended: {end:?}"),
    }
}

fn line(length: usize) -> String {
    "the quick brown fox "
        .chars()
        .cycle()
        .take(length)
        .collect()
}

fn frame(data: &str) -> Vec<u8> {
    let lines = data.split('\n').map(|line| format!("data: {line}\n"));
    (lines.collect::<String>() + "\n").into_bytes()
}

const QUOTE: Quote = Quote {
    symbol: "ACME",
    venue: "XNAS",
    bid: 187.34,
    ask: 187.36,
    change: -0.0125,
    volume: 48_213_907,
    sequence: 1_764_800_123_456,
    halted: false,
    note: "opening \"auction\" at 09:30",
};

#[derive(Serialize)]
struct Quote {
    symbol: &'static str,
    venue: &'static str,
    bid: f64,
    ask: f64,
    change: f64,
    volume: u64,
    sequence: u64,
    halted: bool,
    note: &'static str,
}
