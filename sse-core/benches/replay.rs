//! Replays a recording as fast as possible, compared with decoding the same events without times.

use std::hint::black_box;
use std::time::Duration;

use sse_core::{Decoded, Decoder, Event, Recorder, Replayer};

use crate::turns::Report;

pub fn measure(report: &mut Report) {
    for (name, data, burst) in [
        ("100-byte events", line(100), 1),
        ("100-byte events in bursts of ten", line(100), 10),
        (
            "events of twenty short lines",
            [&*line(15); 20].join("\n"),
            1,
        ),
        ("64 KiB events", line(64 << 10), 1),
    ] {
        let (wire, recording) = record(&data, burst);
        assert_eq!(decoded(&wire), replayed(&recording));

        let Some(mut case) = report.case(&format!("replay {name}"), decoded(&wire).0) else {
            continue;
        };
        case.engine("floor: Decoder", || {
            black_box(decoded(black_box(&wire)));
        });
        case.engine("ours", || {
            black_box(replayed(black_box(&recording)));
        });
        case.measure();
    }
}

/// Returns about 1 MiB of events with `data`, and a recording in which that many events at a time
/// have the same time.
fn record(data: &str, burst: u64) -> (Vec<u8>, Vec<u8>) {
    let mut wire = Vec::new();
    let mut recorder = Recorder::new(Vec::new());
    for id in 0..(1 << 20) / data.len() as u64 {
        let event = Event::new().id(1_000_000 + id).data(data);
        event.encode(&mut wire);
        let at = Duration::from_micros(1_234_567 * (id / burst));
        recorder.send(at, &event).unwrap();
    }
    (wire, recorder.into_parts().0)
}

/// The number of events, and of bytes in their IDs and data.
fn decoded(wire: &[u8]) -> (usize, usize) {
    let mut count = (0, 0);
    let mut decoder = Decoder::new();
    for bytes in wire.chunks(CHUNK) {
        let mut chunk = decoder.chunk(bytes);
        while let Some(decoded) = chunk.next().unwrap() {
            add(&mut count, &decoded);
        }
    }
    count
}

fn replayed(recording: &[u8]) -> (usize, usize) {
    let mut count = (0, 0);
    let mut replayer = Replayer::new(std::io::BufReader::with_capacity(CHUNK, recording));
    while let Some(recorded) = replayer.read().unwrap() {
        black_box(recorded.at());
        add(&mut count, recorded.decoded());
    }
    count
}

fn add(count: &mut (usize, usize), decoded: &Decoded<'_>) {
    if let Decoded::Event(event) = decoded {
        count.0 += 1;
        count.1 += black_box(event.last_event_id()).len() + black_box(event.data()).len();
    }
}

fn line(length: usize) -> String {
    "the quick brown fox "
        .chars()
        .cycle()
        .take(length)
        .collect()
}

/// The number of bytes read at once.
const CHUNK: usize = 16 << 10;
