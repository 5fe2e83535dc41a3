//! `Decoder` and `Events` as types: state, borrowing, restarts and errors of the reader.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read};
use std::time::Duration;

use sse_core::{DecodeError, Decoded, Decoder, EventId, Events};

mod common;
use common::{comment, feed, message, numbered, retry};

#[test]
fn events_continue_after_an_error_of_the_reader() {
    let reader = Scripted::new([
        Ok("data: a\n\nda"),
        Err(io::ErrorKind::Interrupted),
        Ok("ta: b"),
        Err(io::ErrorKind::WouldBlock),
        Ok("\n\nid: 7\n"),
        Err(io::ErrorKind::TimedOut),
        Ok("data: c\n\n"),
    ]);
    let mut seen = Vec::new();
    for event in Events::new(BufReader::new(reader)) {
        match event {
            Ok(event) => seen.push(event.data().to_owned()),
            Err(error) => seen.push(error.kind().to_string()),
        }
    }
    assert_eq!(seen, ["a", "operation would block", "b", "timed out", "c"]);
}

#[test]
fn the_returned_decoder_has_what_it_has_taken() {
    let mut events = Events::new(&b"id: 7\nretry: 10\ndata: a\n\n\ndata: b\n\nda"[..]);
    assert_eq!(events.next().unwrap().unwrap().data(), "a");
    assert_eq!(events.decoder().last_event_id(), "7");
    let (rest, decoder) = events.into_parts();
    assert_eq!(rest, b"");
    assert_eq!(
        (decoder.last_event_id(), decoder.retry()),
        ("7", Some(Duration::from_millis(10)))
    );

    let mut events = Events::with_decoder(&b"ta: c\n\n"[..], decoder);
    for data in ["b", "c"] {
        let event = events.next().unwrap().unwrap();
        assert_eq!((event.data(), event.last_event_id()), (data, "7"));
    }
    assert!(events.next().is_none());
}

#[test]
fn a_restart_begins_another_stream_and_keeps_the_last_event_id() {
    for cut_off in ["", "da", "data: lo", "\u{feff}da", "id: 9", ": hi"] {
        let mut decoder = Decoder::new();
        let first = format!("retry: 10\nid: 7\n\nid: 8\nevent: tick\ndata: lost\n{cut_off}");
        assert_eq!(feed(&mut decoder, first.as_bytes()), [retry(10)]);
        decoder.restart();
        assert_eq!(decoder.last_event_id(), "7");
        assert_eq!(decoder.retry(), Some(Duration::from_millis(10)));
        // A byte order mark is recognised again.
        let second = "\u{feff}data: a\n\n";
        assert_eq!(feed(&mut decoder, second.as_bytes()), [numbered("a", "7")]);
    }
}

#[test]
fn the_last_event_id_outlives_the_text_that_it_is_from() {
    let first = b"id: 7\ndata: a\n\n";
    let after: [fn(&mut Decoder); 4] = [
        |_| {},
        |decoder| decoder.restart(),
        |decoder| drop(feed(decoder, "data: b\n\n".repeat(10_000).as_bytes())),
        |decoder| {
            let too_long = decoder.chunk(&[b'x'; 200]).next().map(drop);
            assert_eq!(too_long, Err(DecodeError::LineTooLong { limit: 100 }));
        },
    ];
    for (number, act) in after.into_iter().enumerate() {
        for read in [false, true] {
            let mut decoder = Decoder::new().max_line(100);
            let mut chunk = decoder.chunk(first);
            if read {
                assert!(chunk.next().unwrap().is_some());
            }
            drop(chunk);
            if !read {
                assert_eq!(feed(&mut decoder, b""), [numbered("a", "7")]);
            }
            act(&mut decoder);
            assert_eq!(decoder.last_event_id(), "7", "{number}, {read}");
            assert_eq!(decoder.clone().last_event_id(), "7", "{number}, {read}");
        }
    }
}

#[test]
fn the_last_event_id_changes_when_it_is_committed() {
    let mut decoder = Decoder::new();
    let mut ids = Vec::new();
    for line in [
        &b"id: 7\n"[..],
        b"data: a\n",
        b"\n",
        b"id: 8\n",
        b"\n",
        b"id\n",
        b"\n",
    ] {
        decoder.chunk(line).next().unwrap();
        ids.push(decoder.last_event_id().to_owned());
    }
    assert_eq!(ids, ["", "", "7", "7", "8", "8", ""]);
}

#[test]
fn a_cursor_that_is_dropped_early_loses_nothing() {
    let data = "x".repeat(30_000);
    let input = format!("data: a\n\n: hi\nretry: 10\ndata: {data}\n\nid: 7\ndata");
    let expected = [message("a"), comment("hi"), retry(10), message(&data)];
    for read in 0..=expected.len() {
        let mut decoder = Decoder::new();
        let mut items = Vec::new();
        let mut chunk = decoder.chunk(input.as_bytes());
        while items.len() < read {
            items.push(chunk.next().unwrap().unwrap().into_owned());
        }
        drop(chunk);
        items.extend(feed(&mut decoder, b""));
        assert_eq!(items, expected, "after {read} items");
        assert_eq!(feed(&mut decoder, b": b\n\n"), [numbered("b", "7")]);
    }
}

/// Events before the first ID of the new connection have the ID that the client resumed with.
#[test]
fn a_resuming_decoder_starts_with_its_last_event_id() {
    let mut decoder = Decoder::new().with_last_event_id(&EventId::from(7));
    assert_eq!(decoder.last_event_id(), "7");
    let items = feed(&mut decoder, b"data: a\n\nid: 8\ndata: b\n\n");
    assert_eq!(items, [numbered("a", "7"), numbered("b", "8")]);
}

#[test]
fn an_owned_event_outlives_decoder_and_input() {
    let owned = {
        let input = b"id: 7\nevent: tick\ndata: hey\n\n".to_vec();
        let mut decoder = Decoder::new();
        match decoder.chunk(&input).next().unwrap() {
            Some(Decoded::Event(event)) => event.into_owned(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        (owned.event(), owned.data(), owned.last_event_id()),
        ("tick", "hey", "7")
    );
}

#[test]
fn decoders_can_be_sent_to_another_thread() {
    fn is_send_and_sync<T: Send + Sync + 'static>() {}
    is_send_and_sync::<Decoder>();
    is_send_and_sync::<Decoded<'static>>();
    is_send_and_sync::<Events<io::Empty>>();
}

/// A reader that follows a script, and then ends.
struct Scripted(VecDeque<io::Result<&'static str>>);

impl Scripted {
    fn new<const N: usize>(script: [Result<&'static str, io::ErrorKind>; N]) -> Self {
        Self(
            script
                .into_iter()
                .map(|step| step.map_err(io::Error::from))
                .collect(),
        )
    }
}

impl Read for Scripted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let text = self.0.pop_front().transpose()?.unwrap_or_default();
        buffer[..text.len()].copy_from_slice(text.as_bytes());
        Ok(text.len())
    }
}
