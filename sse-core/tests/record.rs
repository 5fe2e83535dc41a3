//! Recordings: what is recorded is replayed unchanged, with any stream, writer and damage.

#![cfg(feature = "recording")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has failed, in a helper too"
)]

use std::cell::Cell;
use std::io::{self, BufReader, Cursor, ErrorKind, IoSlice, Write};
use std::time::Duration;

use proptest::prelude::*;
use sse_core::testing::{Comparison, Faulty, decoded};
use sse_core::{
    Decoded, Decoder, Event, EventId, EventType, Pace, Recorded, Recorder, Replayer, Stream, Tee,
};

mod common;
use common::{hostile_input, text_in_lines, text_of};

/// Each row has the pieces of a stream with their times in milliseconds, and the recording.
#[test]
fn a_recording_is_the_stream_with_time_lines() {
    for (pieces, expected) in [
        (&[][..], ""),
        (&[(0, "data: a\n\n")][..], ":T+0.000000000\ndata: a\n\n"),
        (
            &[(1, "data: a\n\n"), (1, "data: b\n\n"), (2, "data: c\n\n")],
            ":T+0.001000000\ndata: a\n\ndata: b\n\n:T+0.002000000\ndata: c\n\n",
        ),
        // An event has the time at which its end arrived.
        (
            &[
                (1, "da"),
                (2, "ta: a\n"),
                (3, "\nid"),
                (4, ": 1"),
                (5, "\n\n"),
            ],
            ":T+0.003000000\ndata: a\n\n:T+0.005000000\nid: 1\n\n",
        ),
        (
            &[(1, "data: a\n\ndata: b"), (2, "\n\n")],
            ":T+0.001000000\ndata: a\n\n:T+0.002000000\ndata: b\n\n",
        ),
        // An incomplete event is not recorded.
        (
            &[(1, "data: a\n\ndata: b\n")],
            ":T+0.001000000\ndata: a\n\n",
        ),
        // A comment between events is recorded at once, one within an event with its event.
        (
            &[
                (1, ": a\n"),
                (2, ":\n"),
                (3, "id: 1\n"),
                (4, ": b\n"),
                (5, "\n"),
            ],
            ":T+0.001000000\n: a\n:T+0.002000000\n:\n:T+0.005000000\nid: 1\n: b\n\n",
        ),
        // All line ends, split anywhere.
        (
            &[(1, "data: a\r\n\r\ndata: b\r\r")],
            ":T+0.001000000\ndata: a\r\n\r\ndata: b\r\r",
        ),
        (
            &[
                (1, "data: a\r"),
                (2, "\ndata: b\r"),
                (3, "\n\r"),
                (4, "\ndata: c\r\n\r\n"),
            ],
            ":T+0.003000000\ndata: a\r\ndata: b\r\n\r:T+0.004000000\n\ndata: c\r\n\r\n",
        ),
        // The byte order mark is dropped, since a time line precedes it.
        (
            &[(1, "\u{feff}data: a\n\n"), (1, "\u{feff}data: b\n\n")],
            ":T+0.001000000\ndata: a\n\n\u{feff}data: b\n\n",
        ),
        // A comment of the stream that looks like a time line is changed.
        (
            &[(1, ":T+1.000000000\n: T+2.000000000\n\n")],
            ":T+0.001000000\n: T+1.000000000\n: T+2.000000000\n\n",
        ),
        (
            &[(1, ":T+1.0\n:T+1.0000000001\ndata::T+1.000000000\n\n")],
            ":T+0.001000000\n:T+1.0\n:T+1.0000000001\ndata::T+1.000000000\n\n",
        ),
        (
            &[(1, "data: a\r:T+1.000000000\r\r:T+1.000000000\r\n\r\n")],
            ":T+0.001000000\ndata: a\r: T+1.000000000\r\r: T+1.000000000\r\n\r\n",
        ),
        (
            &[(1, "data: a\n:T+1.00"), (2, "0000000\n\n")],
            ":T+0.002000000\ndata: a\n: T+1.000000000\n\n",
        ),
    ] {
        let mut recorder = Recorder::new(Vec::new());
        for (millis, piece) in pieces {
            recorder.record(at(*millis), piece.as_bytes()).unwrap();
        }
        assert_eq!(text_of(recorder.writer()), expected, "{pieces:?}");
    }
}

#[test]
fn a_byte_order_mark_may_arrive_in_pieces() {
    let mut recorder = Recorder::new(Vec::new());
    for byte in "\u{feff}data: a\n\n".bytes() {
        recorder.record(at(1), &[byte]).unwrap();
    }
    recorder.restart();
    recorder.record(at(1), b"\xef\xbb").unwrap();
    recorder.record(at(1), b"\xbf:\n").unwrap();
    let expected = ":T+0.001000000\ndata: a\n\n:\n";
    assert_eq!(text_of(recorder.writer()), expected);
}

#[test]
fn an_event_cut_by_a_restart_is_not_recorded() {
    let mut recorder = Recorder::new(Vec::new());
    recorder
        .record(at(1), b"id: 1\ndata: a\n\nid: 2\ndata: b\n")
        .unwrap();
    recorder.restart();
    recorder
        .send(at(1), &Event::new().comment("cut off"))
        .unwrap();
    recorder.record(at(2), b"id: 2\ndata: b\n\n").unwrap();
    assert_eq!(
        text_of(recorder.writer()),
        ":T+0.001000000\nid: 1\ndata: a\n\n: cut off\n:T+0.002000000\nid: 2\ndata: b\n\n"
    );
}

#[test]
fn a_time_line_has_exactly_one_spelling() {
    for (text, expected) in [
        ("T+0.000000000", Some(Duration::ZERO)),
        ("T+0.000000001", Some(Duration::from_nanos(1))),
        ("T+1.500000000", Some(Duration::from_millis(1500))),
        ("T+12.034567891", Some(Duration::new(12, 34_567_891))),
        (
            "T+12345678.900000000",
            Some(Duration::new(12_345_678, 900_000_000)),
        ),
        (
            "T+987654321.000000000",
            Some(Duration::from_secs(987_654_321)),
        ),
        ("T+18446744073709551615.999999999", Some(Duration::MAX)),
        ("T+18446744073709551616.000000000", None),
        ("T+00.000000000", None),
        ("T+01.000000000", None),
        ("T+.000000000", None),
        ("T+1.00000000", None),
        ("T+1.0000000000", None),
        ("T+1000000000", None),
        ("T+0.000000000 ", None),
        ("T+0.00000000x", None),
        ("T+x.000000000", None),
        ("T+1x.000000000", None),
        ("T+1.0.000000000", None),
        ("T+1234567x.000000000", None),
        ("T+12345678x.000000000", None),
        ("T+1.x00000000", None),
        ("T+-1.000000000", None),
        ("T+1,000000000", None),
        ("T1.000000000", None),
        ("t+1.000000000", None),
        ("T+", None),
        ("T", None),
    ] {
        let wire = format!(":{text}\ndata: x\n\n");
        let items = replay(wire.as_bytes());
        let shown = Decoded::Comment(text.into());
        assert_eq!(
            items.last().unwrap().at(),
            expected.unwrap_or_default(),
            "{text}"
        );
        assert_eq!(*items[0].decoded() == shown, expected.is_none(), "{text}");
        if let Some(time) = expected {
            let mut recorder = Recorder::new(Vec::new());
            recorder.send(time, &Event::new().data("x")).unwrap();
            assert_eq!(text_of(recorder.writer()), wire);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_replay_returns_the_recorded_events_and_times(events in prop::collection::vec((time(), event()), 0..8)) {
        let mut recorder = Recorder::new(Vec::new());
        let mut wire = Vec::new();
        let mut expected = Vec::new();
        for (at, event) in &events {
            recorder.send(*at, event).unwrap();
            event.encode(&mut wire);
            let items = items(&wire).split_off(expected.len());
            expected.extend(items.into_iter().map(|item| (*at, item)));
        }
        let recording = recorder.into_parts().0;
        let replayed = replay(&recording);
        prop_assert_eq!(without_times(&recording), wire);
        prop_assert_eq!(
            Vec::from_iter(replayed.iter().map(|item| (item.at(), item.decoded().clone()))),
            expected
        );
        // The replayed items can be recorded again, with the same result.
        let mut recorder = Recorder::new(Vec::new());
        for item in &replayed {
            recorder.send(item.at(), &item.event()).unwrap();
        }
        prop_assert_eq!(replay(recorder.writer()), replayed);
    }

    #[test]
    fn any_stream_decodes_to_the_same_items_when_recorded(
        pieces in prop::collection::vec((time(), hostile_input()), 0..6),
        at_once in 1..20_usize,
    ) {
        let mut recorder = Recorder::new(Faulty::new().at_once(at_once));
        let (mut decoder, mut items, mut times) = (Decoder::new(), Vec::new(), Vec::new());
        let end = (at(1), b"\n\n".to_vec());
        for (at, piece) in pieces.iter().chain([&end]) {
            recorder.record(*at, piece).unwrap();
            let mut chunk = decoder.chunk(piece);
            while let Some(decoded) = chunk.next().unwrap() {
                items.push(decoded.into_owned());
                times.push(*at);
            }
        }
        let replayed = replay(recorder.writer().written());
        for (index, item) in items.iter().enumerate() {
            prop_assert_eq!(replayed[index].decoded(), item);
            if let Decoded::Event(_) = item {
                prop_assert_eq!(replayed[index].at(), times[index]);
            }
        }
        prop_assert_eq!(replayed.len(), items.len());
    }

    #[test]
    fn a_faulty_writer_does_not_change_the_recording(
        events in prop::collection::vec((time(), event()), 0..8),
        at_once in 1..60_usize,
        fails_at in 0..200_usize,
        error in prop::sample::select(vec![ErrorKind::WouldBlock, ErrorKind::StorageFull, ErrorKind::WriteZero]),
    ) {
        let mut recorder = Recorder::new(Faulty::new().at_once(at_once).fails_at(fails_at, error));
        let mut model = Recorder::new(Vec::new());
        for (at, event) in &events {
            let before = recorder.writer().written().len();
            if let Err(failed) = recorder.send(*at, event) {
                prop_assert_eq!(failed.kind(), error);
                prop_assert!(before <= fails_at);
            }
            model.send(*at, event).unwrap();
        }
        let recovered = recorder.flush();
        prop_assert!(recovered.is_ok() || recorder.writer().written().len() == fails_at);
        recorder.flush().unwrap();
        prop_assert_eq!(text_of(recorder.writer().written()), text_of(model.writer()));
    }
}

/// Large batches are written directly, small ones through the buffer.
#[test]
fn large_batches_are_recorded_over_any_writer() {
    let batch = |count: usize| b"id: 1\ndata: some text T+ that is long enough\n\n".repeat(count);
    let sizes = [1, 400, 20_000, 1, 7_000];
    let expected = sizes.map(|size| decoded(&batch(size))).concat();
    for at_once in [1000, 65_536, usize::MAX] {
        for fails_at in [0, 10, 20_000, 600_000] {
            let writer = Faulty::new().at_once(at_once);
            let mut recorder = Recorder::new(writer.fails_at(fails_at, ErrorKind::WouldBlock));
            for (second, size) in sizes.into_iter().enumerate() {
                let _ = recorder.record(Duration::from_secs(second as u64), &batch(size));
            }
            recorder.flush().unwrap();
            let items = replay(recorder.writer().written());
            let shown = items.into_iter().map(Recorded::into_decoded);
            assert!(shown.eq(expected.iter().cloned()), "{at_once} {fails_at}");
        }
    }
}

#[test]
fn pending_bytes_are_bounded() {
    let mut recorder = Recorder::new(Faulty::new().stalls_at(0)).max_event(100);
    let mebibyte = format!("data: {}\n\n", "x".repeat(1 << 20));
    let first = recorder.record(at(1), mebibyte.as_bytes()).unwrap_err();
    assert_eq!(first.kind(), ErrorKind::WouldBlock);
    let waiting = recorder.pending().len();
    let refused = recorder.record(at(2), b"data: x\n\n").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::QuotaExceeded);
    assert_eq!(recorder.pending().len(), waiting);

    let mut recorder = Recorder::new(Vec::new()).max_event(100);
    recorder.record(at(1), &b"data: ".repeat(20)).unwrap();
    for _ in 0..2 {
        let error = recorder.record(at(1), b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert_eq!(
            error.to_string(),
            "an event exceeds 100 bytes; raise the recorder's max_event if that is legitimate"
        );
    }
    recorder.restart();
    recorder.record(at(1), b"data: y\n\n").unwrap();
    assert_eq!(text_of(recorder.writer()), ":T+0.001000000\ndata: y\n\n");
}

/// A writer stalls until the recorder's buffer is full, and then takes bytes again.
#[test]
fn a_refused_piece_leaves_out_whole_events() {
    type Record = fn(&mut Recorder<Stalling>, Duration, &[u8]) -> io::Result<()>;
    let vectored: Record = |recorder, at, bytes| {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        recorder.record_encoded_vectored(at, &[IoSlice::new(first), IoSlice::new(second)])
    };
    for record in [
        Recorder::record as Record,
        Recorder::record_encoded,
        vectored,
    ] {
        for (pieces, expected) in [
            (["", "data: a\n\n", "data: b\n\n"], "data: b\n\n"),
            (
                ["", "data: a\n\nid: 2\nda", "ta: b\n\ndata: c\n\n"],
                "data: c\n\n",
            ),
            (["", "data: a\n", "\n: d\ndata: b\n\n"], ": d\ndata: b\n\n"),
        ] {
            let mut recorder = Recorder::new(Stalling::default());
            record(&mut recorder, at(1), pieces[0].as_bytes()).unwrap();
            recorder.writer().is_stalled.set(true);
            let filler = format!("data: {}\n\n", "x".repeat(1 << 20));
            let stalled = record(&mut recorder, at(2), filler.as_bytes()).unwrap_err();
            assert_eq!(stalled.kind(), ErrorKind::WouldBlock);
            let refused = record(&mut recorder, at(3), pieces[1].as_bytes()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::QuotaExceeded);
            recorder.writer().is_stalled.set(false);
            record(&mut recorder, at(4), pieces[2].as_bytes()).unwrap();
            let written = recorder.into_parts().0.written;
            let (_, rest) = text_of(&written).split_once(&filler).unwrap();
            assert_eq!(rest, format!(":T+0.004000000\n{expected}"));
        }
    }
}

/// The event began in the piece before the refused one.
#[test]
fn a_refused_piece_leaves_out_the_beginning_of_its_event() {
    let mut recorder = Recorder::new(Stalling::default());
    recorder.record(at(1), b"id: 1\nda").unwrap();
    recorder.writer().is_stalled.set(true);
    let filler = Event::new().data("x".repeat(1 << 20));
    recorder.send(at(2), &filler).unwrap_err();
    recorder.record(at(3), b"ta: a\n\nid: 2\n").unwrap_err();
    recorder.writer().is_stalled.set(false);
    recorder
        .record(at(4), b"data: b\n\nid: 3\ndata: c\n\n")
        .unwrap();
    let written = recorder.into_parts().0.written;
    assert!(text_of(&written).ends_with("xx\n\n:T+0.004000000\nid: 3\ndata: c\n\n"));

    // An encoded event is recorded to its end once its beginning was accepted.
    let mut recorder = Recorder::new(Stalling::default());
    recorder.record_encoded(at(1), b"id: 1\nda").unwrap();
    recorder.writer().is_stalled.set(true);
    let long = format!("ta: {}", "x".repeat(1 << 20));
    recorder.record_encoded(at(1), long.as_bytes()).unwrap_err();
    let end = recorder.record_encoded(at(1), b"y\n\n").unwrap_err();
    assert_eq!(end.kind(), ErrorKind::WouldBlock);
    let refused = recorder.record_encoded(at(1), b"id: 2\n\n").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::QuotaExceeded);
    recorder.writer().is_stalled.set(false);
    recorder.flush().unwrap();
    let written = recorder.into_parts().0.written;
    assert!(text_of(&written).ends_with("xxy\n\n"));
}

#[test]
fn pieces_are_recorded_with_one_write() {
    let pieces = ["id: 1\nda", "ta: a\n\n", "", "data: b\n\n"].map(str::as_bytes);
    let slices = pieces.map(IoSlice::new);
    let mut recorder = Recorder::new(Vec::new());
    recorder.record_encoded_vectored(at(1), &slices).unwrap();
    recorder.record_encoded_vectored(at(1), &[]).unwrap();
    recorder.record_encoded_vectored(at(1), &slices).unwrap();
    let wire = pieces.concat();
    let expected = [b":T+0.001000000\n", &wire[..], &wire].concat();
    assert_eq!(text_of(recorder.writer()), text_of(&expected));

    for at_once in 1..expected.len() {
        let mut recorder = Recorder::new(Faulty::new().at_once(at_once));
        recorder.record_encoded_vectored(at(1), &slices).unwrap();
        recorder.record_encoded_vectored(at(1), &slices).unwrap();
        assert_eq!(recorder.written(), expected.len() as u64);
        assert_eq!(recorder.writer().written(), expected, "{at_once} at once");
    }
}

#[test]
fn the_whole_events_are_counted_in_bytes_of_the_input() {
    let long = [b"data: ", &b"\xff".repeat(9000)[..], b"\n\n"].concat();
    for events in [
        &b"data: \xff\n\n"[..],
        b"data: \xe2\x82\r\n\r\ndata: \xe2\x82\xac\xff\n\n",
        b"\xef\xbb\xbfdata: a\r\rdata: \xff\xff\n\n",
        &long,
    ] {
        for (rest, whole_rest) in [
            (&b""[..], ""),
            (b"da", ""),
            (b"data: \xff", ""),
            (b"data: \xf0\x9f", ""),
            (b": \xff\ndata: x\n", ": x\n"),
            (b"retry: 1\nid: 7\n\nda", "retry: 1\nid: 7\n\n"),
            (b"id: 7\r\n\r\nid: \xff\xe2\x82", "id: 7\r\n\r\n"),
        ] {
            let input = [&events.repeat(2)[..], rest].concat();
            for size in [1, 7, 1000, input.len()] {
                let mut replayer = Replayer::new(BufReader::with_capacity(size, &input[..]));
                replayer.by_ref().for_each(|item| drop(item.unwrap()));
                let whole = usize::try_from(replayer.whole()).unwrap();
                assert_eq!(whole, 2 * events.len() + whole_rest.len(), "{rest:?}");
            }
        }
    }
}

/// A writer that takes everything, or nothing while it is stalled.
#[derive(Debug, Default)]
struct Stalling {
    written: Vec<u8>,
    is_stalled: Cell<bool>,
}

impl Write for Stalling {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_stalled.get() {
            Err(ErrorKind::WouldBlock.into())
        } else {
            self.written.write(bytes)
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A crash may cut the file at any byte.
#[test]
fn a_file_cut_at_any_byte_can_be_read_and_continued() {
    let recording = record(&chat_completion(40));
    let all = replay(&recording);
    let mut whole = Vec::new();
    for len in 0..=recording.len() {
        let file = &recording[..len];
        let mut replayer = Replayer::new(file);
        let items: Vec<_> = replayer.by_ref().map(Result::unwrap).collect();
        assert_eq!(items, all[..items.len()], "cut off at {len}");
        let blocks = String::from_utf8_lossy(file).matches("\n\n").count();
        let without_retry = blocks.saturating_sub(1);
        assert_eq!(events(&items), without_retry, "cut off at {len}");

        whole.clear();
        whole.extend_from_slice(&file[..usize::try_from(replayer.whole()).unwrap()]);
        let time = items.last().map_or(Duration::ZERO, Recorded::at);
        let mut recorder = Recorder::new(&mut whole);
        recorder
            .send(time + at(1), &Event::new().data("continued"))
            .unwrap();
        let continued = replay(&whole);
        let (last, before) = continued.split_last().unwrap();
        assert_eq!(before, items, "cut off at {len}");
        assert_eq!(last.at(), time + at(1));
    }
}

#[test]
fn the_streams_of_language_models_replay_identically() {
    for stream in [chat_completion(300), messages(300)] {
        let recording = record(&stream);
        let wire = stream.iter().flat_map(|(_, piece)| piece);
        let wire = Vec::from_iter(wire.copied());
        assert_eq!(text_of(&without_times(&recording)), text_of(&wire));
        Comparison::new().assert_same(&wire[..], &recording[..]);

        let mut again = Recorder::new(Vec::new());
        let mut client = Stream::new(Vec::new());
        for item in replay(&recording) {
            again.send(item.at(), &item.event()).unwrap();
            client.send(&item.event()).unwrap();
        }
        let exactly = Comparison::new().times_within(Duration::ZERO);
        exactly.assert_same(&recording[..], &again.into_parts().0[..]);
        Comparison::new().assert_same(&wire[..], &client.into_parts().0[..]);
    }
}

#[test]
fn a_tee_records_what_the_client_gets() {
    for at_once in [1, 3, usize::MAX] {
        let mut millis = 0;
        let clock = move || {
            millis += 1;
            at(millis)
        };
        let stream = Stream::new(
            Faulty::new()
                .at_once(at_once)
                .fails_at(9, ErrorKind::WouldBlock),
        );
        let recorder = Recorder::new(Vec::new());
        let mut stream = stream.map_writer(|conn| Tee::new(conn, recorder, clock));
        stream.write_event(1, "tick", "two\nlines").unwrap_err();
        stream.comment("beat").unwrap();
        stream.set_retry(at(9));
        stream.write_str("more").unwrap();
        let (conn, recorded) = stream.close().unwrap().into_parts();
        let (recording, _) = recorded.unwrap().into_parts();
        assert_eq!(
            text_of(conn.written()),
            "id: 1\nevent: tick\ndata: two\ndata: lines\n\n: beat\nretry: 9\ndata: more\n\n\
             event: close\ndata: \n\n"
        );
        assert_eq!(without_times(&recording), conn.written());
        assert!(replay(&recording).is_sorted_by_key(Recorded::at));
    }
}

#[test]
fn a_tee_that_cannot_record_does_not_stop_the_stream() {
    let recorder = Recorder::new(Faulty::new().breaks_at(30, ErrorKind::StorageFull));
    let stream = Stream::new(Vec::new());
    let mut stream = stream.map_writer(|conn| Tee::new(conn, recorder, Duration::default));
    for text in ["one", "two", "three"] {
        stream.write_str(text).unwrap();
    }
    stream.flush().unwrap();
    let (conn, recorded) = stream.into_parts().0.into_parts();
    assert_eq!(text_of(&conn), "data: one\n\ndata: two\n\ndata: three\n\n");
    assert_eq!(recorded.unwrap_err().kind(), ErrorKind::StorageFull);
}

const RECORDING: &[u8] = b":T+1.000000000\nid: 1\ndata: a\n\n:T+2.000000000\ndata: b\n\n\
    : beat\n:T+3.000000000\nid: 3\nevent: tick\ndata: c\n\n:T+4.000000000\nid: \ndata: d\n\n";

#[test]
fn a_time_line_applies_to_whatever_follows_it() {
    for item in [
        "data: a\n\n",
        "id: 1\nevent: tick\ndata: a\n\n",
        "id: 1\ndata: a\ndata: b\ndata: c\n\n",
        "data:a\n\n",
        "data: a\r\n\r\n",
        ": hi\n",
        "retry: 5\n",
    ] {
        let recording = [
            ":T+0.001000000\n",
            item,
            ":T+0.002000000\n",
            item,
            item,
            ":T+0.003000000\n:T+12.000000000\n",
            item,
        ];
        let recording = recording.concat();
        for part in 1..=recording.len() {
            let reader = BufReader::with_capacity(part, recording.as_bytes());
            let items = Replayer::new(reader).map(|item| item.unwrap().at());
            let expected = [at(1), at(2), at(2), at(12_000)];
            assert!(items.eq(expected), "{item:?} in parts of {part} bytes");
        }
    }
}

#[test]
fn a_replay_begins_at_an_id_or_an_offset() {
    let from_id = |id| Replayer::new(RECORDING).from_id(EventId::from_static(id));
    let from_offset = |millis| Replayer::new(RECORDING).from_offset(at(millis));
    for (replayer, expected) in [
        (
            Replayer::new(RECORDING),
            "1000 id: 1\ndata: a\n\n2000 data: b\n\n2000 : beat\n\
             3000 id: 3\nevent: tick\ndata: c\n\n4000 id: \ndata: d\n\n",
        ),
        (
            from_id("1"),
            "0 id: 1\ndata: a\n\n1000 data: b\n\n1000 : beat\n\
             2000 id: 3\nevent: tick\ndata: c\n\n3000 id: \ndata: d\n\n",
        ),
        (
            from_id("3"),
            "0 id: 3\nevent: tick\ndata: c\n\n1000 id: \ndata: d\n\n",
        ),
        (from_id(""), "0 id: \ndata: d\n\n"),
        // The first event has the ID of the skipped one, which the client does not know.
        (
            from_offset(1500),
            "500 id: 1\ndata: b\n\n500 : beat\n\
             1500 id: 3\nevent: tick\ndata: c\n\n2500 id: \ndata: d\n\n",
        ),
        (
            from_offset(3000),
            "0 id: 3\nevent: tick\ndata: c\n\n1000 id: \ndata: d\n\n",
        ),
        (from_offset(4001), ""),
    ] {
        assert_eq!(played(replayer, usize::MAX), expected);
    }
    let error = from_id("2").next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        "the recording has no event with the ID \"2\""
    );
}

#[test]
fn a_looped_replay_continues_its_times() {
    let looped = || Replayer::new(Cursor::new(RECORDING)).looped();
    assert_eq!(
        played(looped().from_offset(at(3500)), 3),
        "500 id: \ndata: d\n\n1000 id: \ndata: d\n\n1500 id: \ndata: d\n\n"
    );
    assert_eq!(
        played(looped().from_id(EventId::from_static("3")), 5),
        "0 id: 3\nevent: tick\ndata: c\n\n1000 id: \ndata: d\n\n\
         1000 id: 3\nevent: tick\ndata: c\n\n2000 id: \ndata: d\n\n\
         2000 id: 3\nevent: tick\ndata: c\n\n"
    );
    // A recording without a duration is repeated every 100 ms.
    let timeless = Replayer::new(Cursor::new(b"data: a\n\ndata: b\n\n")).looped();
    assert_eq!(
        played(timeless, 5),
        "0 data: a\n\n0 data: b\n\n100 data: a\n\n100 data: b\n\n200 data: a\n\n"
    );
    let last = looped().from_offset(at(4000));
    assert_eq!(
        played(last, 3),
        "0 id: \ndata: d\n\n100 id: \ndata: d\n\n200 id: \ndata: d\n\n"
    );
    // A recording without events ends, because a loop would never yield.
    assert_eq!(played(looped().from_offset(at(5000)), 9), "");
    let empty = Replayer::new(Cursor::new(b":T+1.000000000\n\n")).looped();
    assert_eq!(played(empty, 9), "");
}

#[test]
fn a_stream_without_times_replays_at_time_zero() {
    let capture = &b"\xef\xbb\xbfretry: 10\r\n\r\nid: 1\r\ndata: a\r\n\r\ndata: b\r\n\r\nda"[..];
    assert_eq!(
        played(Replayer::new(capture), usize::MAX),
        "0 retry: 10\n\n0 id: 1\ndata: a\n\n0 data: b\n\n"
    );
}

#[test]
fn times_may_go_back() {
    let recording = b":T+5.000000000\ndata: a\n\n:T+1.000000000\ndata: b\n\n".repeat(2);
    let times = Vec::from_iter(replay(&recording).iter().map(Recorded::at));
    assert_eq!(times, [at(5000), at(1000), at(5000), at(1000)]);
    let replayer = Replayer::new(&recording[..]).from_offset(at(2000));
    let times = replayer.map(|item| item.unwrap().at());
    assert_eq!(Vec::from_iter(times), [at(3000), at(0), at(3000), at(0)]);
}

#[test]
fn peek_returns_the_time_of_the_next_item() {
    let mut replayer = Replayer::new(RECORDING);
    for _ in 0..2 {
        assert_eq!(replayer.peek().unwrap(), Some(at(1000)));
    }
    let first = replayer.read().unwrap().unwrap().into_owned();
    assert_eq!(first.at(), at(1000));
    assert_eq!(replayer.peek().unwrap(), Some(at(2000)));
    assert_eq!(replayer.into_parts().1.last_event_id(), "1");
}

#[test]
fn an_exceeded_limit_is_reported_once() {
    let decoder = Decoder::new().max_line(16);
    let mut replayer =
        Replayer::with_decoder(&b"data: a\n\ndata: too long for it\n\n"[..], decoder);
    assert!(replayer.next().unwrap().is_ok());
    assert_eq!(
        replayer.next().unwrap().unwrap_err().kind(),
        ErrorKind::InvalidData
    );
    assert!(replayer.next().is_none());
}

#[test]
fn a_pace_scales_times() {
    let hour = Duration::from_secs(3600);
    let times = |factor| Pace::times(factor).unwrap();
    let exact = Duration::new(u64::MAX, 999_999_999);
    for (pace, at, expected) in [
        (Pace::RECORDED, exact, exact),
        (Pace::default(), exact, exact),
        (Pace::FASTEST, exact, Duration::ZERO),
        (times(f64::INFINITY), hour, Duration::ZERO),
        (times(1.0), exact, exact),
        (times(2.0), hour, hour / 2),
        (times(0.5), hour, hour * 2),
        (times(1e-300), hour, Duration::MAX),
        (times(f64::MIN_POSITIVE), Duration::ZERO, Duration::ZERO),
    ] {
        assert_eq!(pace.due(at), expected, "{pace:?}");
    }
    for factor in [0.0, -0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
        assert_eq!(Pace::times(factor), None, "{factor}");
    }
}

/// Returns the bytes of the first items, each preceded by its time in milliseconds.
fn played<R: io::BufRead>(replayer: Replayer<R>, count: usize) -> String {
    let mut out = Vec::new();
    for item in replayer.take(count) {
        let item = item.unwrap();
        write!(out, "{} ", item.at().as_millis()).unwrap();
        item.event().encode(&mut out);
    }
    String::from_utf8(out).unwrap()
}

fn replay(recording: &[u8]) -> Vec<Recorded<'static>> {
    Replayer::new(recording).map(Result::unwrap).collect()
}

fn record(stream: &[(Duration, Vec<u8>)]) -> Vec<u8> {
    let mut recorder = Recorder::new(Vec::new());
    for (at, piece) in stream {
        recorder.record(*at, piece).unwrap();
    }
    recorder.into_parts().0
}

/// Returns the decoded items, without times.
fn items(wire: &[u8]) -> Vec<Decoded<'static>> {
    let mut decoder = Decoder::new();
    let mut chunk = decoder.chunk(wire);
    let mut items = Vec::new();
    while let Some(item) = chunk.next().unwrap() {
        items.push(item.into_owned());
    }
    items
}

fn events(items: &[Recorded<'_>]) -> usize {
    let is_event = |item: &&Recorded<'_>| matches!(item.decoded(), Decoded::Event(_));
    items.iter().filter(is_event).count()
}

/// Returns the recorded bytes without time lines.
fn without_times(recording: &[u8]) -> Vec<u8> {
    let lines = recording.split_inclusive(|byte| *byte == b'\n');
    let others = lines.filter(|line| !line.starts_with(b":T+"));
    others.flatten().copied().collect()
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Returns a stream of tokens as a gateway sends them, with IDs and heartbeats.
///
/// The data of the last event is not JSON.
fn chat_completion(tokens: usize) -> Vec<(Duration, Vec<u8>)> {
    let mut wire = "retry: 3000\n\n".to_owned();
    for (token, text) in (0..tokens).zip(TOKENS.iter().cycle()) {
        if token % 16 == 5 {
            wire += ": keep-alive\n";
        }
        wire += &format!(
            "id: {token}\ndata: {{\"id\":\"chatcmpl-7\",\"object\":\"chat.completion.chunk\",\
             \"choices\":[{{\"index\":0,\"delta\":{{\"content\":{text:?}}},\
             \"finish_reason\":null}}]}}\n\n"
        );
    }
    wire += "data: [DONE]\n\n";
    cut(&wire)
}

/// Returns a stream of typed events, one of them a ping.
fn messages(tokens: usize) -> Vec<(Duration, Vec<u8>)> {
    let named =
        |name: &str, data: &str| format!("event: {name}\ndata: {{\"type\":\"{name}\"{data}}}\n\n");
    let mut wire = named("message_start", ",\"message\":{\"role\":\"assistant\"}");
    wire += &named("content_block_start", ",\"index\":0");
    wire += &named("ping", "");
    for text in TOKENS.iter().cycle().take(tokens) {
        wire += &named(
            "content_block_delta",
            &format!(",\"delta\":{{\"text\":{text:?}}}"),
        );
    }
    wire += &named("content_block_stop", ",\"index\":0");
    wire += &named("message_stop", "");
    cut(&wire)
}

const TOKENS: [&str; 8] = [
    "Hel",
    "lo",
    ",",
    " wor",
    "ld",
    "!\n\n",
    " Grüße",
    " 世界\u{1f600}",
];

/// Splits the stream into pieces of many sizes, milliseconds apart.
fn cut(wire: &str) -> Vec<(Duration, Vec<u8>)> {
    let mut rest = wire.as_bytes();
    let mut time = at(180);
    let sizes = [151, 160, 7, 900, 1, 148, 149, 450, 30].into_iter().cycle();
    let pieces = sizes.map_while(|size| {
        time += at(5 + size % 40);
        let size = usize::try_from(size).unwrap().min(rest.len());
        let piece = rest.split_off(..size)?;
        (!piece.is_empty()).then(|| (time, piece.to_vec()))
    });
    pieces.collect()
}

fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![(0..3_u64).prop_map(at), any::<Duration>(),]
}

fn event() -> impl Strategy<Value = Event<'static>> {
    let line = || "[a: é]{0,4}";
    let comment = prop_oneof!["[ab:\r\n]{0,6}", "\n{0,1}T\\+{1,3}1\\.00000000[01]\n{0,1}",];
    (
        prop::option::of(comment),
        prop::option::of("([a:é][a: é]{0,2}[a:é])?"),
        prop::option::of(line()),
        prop::option::of(0..5000_u64),
        prop::option::weighted(0.8, text_in_lines()),
    )
        .prop_map(|(comment, id, event_type, retry, data)| {
            let mut event = Event::new();
            if let Some(text) = comment {
                event = event.comment(text);
            }
            if let Some(id) = id {
                event = event.id(EventId::new(id).unwrap());
            }
            if let Some(event_type) = event_type {
                event = event.event(EventType::new(event_type).unwrap());
            }
            if let Some(millis) = retry {
                event = event.retry(at(millis));
            }
            if let Some(data) = data {
                event = event.data(data);
            }
            event
        })
}
