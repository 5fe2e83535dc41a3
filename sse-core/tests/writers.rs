//! Writers that take a part, would block or fail: no event is torn, lost or sent twice.

#![cfg(feature = "json")]

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use proptest::prelude::*;
use sse_core::testing::Faulty;
use sse_core::{CloseError, Event, EventType, Outbox, SendError, Stream};

mod common;
use common::{FailsHalfway, text_of};

const TICK: EventType = EventType::from_static("tick");

/// The bytes of three calls.
const WIRE: &str = "id: 1\ndata: two\ndata: lines\n\n: beat\nevent: tick\ndata: [2]\n\n";

fn call(number: usize, stream: &mut Stream<Faulty>) -> Result<(), SendError> {
    match number {
        0 => stream.send(&Event::new().id(1).data("two\nlines")),
        1 => stream.comment("beat"),
        _ => stream.send(&Event::new().event(TICK).data("[2]")),
    }
}

const FAULTS: [io::ErrorKind; 4] = [
    io::ErrorKind::WouldBlock,
    io::ErrorKind::BrokenPipe,
    io::ErrorKind::Interrupted,
    io::ErrorKind::WriteZero,
];

#[test]
fn a_writer_that_takes_k_bytes_receives_everything() {
    for at_once in 1..=WIRE.len() {
        let mut stream = Stream::new(Faulty::new().at_once(at_once));
        for number in 0..3 {
            call(number, &mut stream).unwrap();
        }
        assert_eq!(stream.pending(), b"");
        assert_eq!(
            text_of(stream.writer().written()),
            WIRE,
            "{at_once} bytes at once"
        );
    }
}

#[test]
fn a_writer_that_fails_once_at_byte_n_receives_everything() {
    for fault in FAULTS {
        for at_once in [1, 2, 7, usize::MAX] {
            for n in 0..WIRE.len() {
                let writer = Faulty::new().at_once(at_once);
                let mut stream = Stream::new(writer.fails_at(n, fault));
                let mut failures = 0;
                for number in 0..3 {
                    match call(number, &mut stream) {
                        // A call writes what an earlier failure left before its own event.
                        Ok(()) => assert_eq!(stream.pending(), b""),
                        Err(error) => {
                            assert_eq!(io::Error::from(error).kind(), fault);
                            assert_eq!(stream.writer().written(), &WIRE.as_bytes()[..n]);
                            failures += 1;
                        }
                    }
                }
                stream.flush().unwrap();
                let is_retried = fault == io::ErrorKind::Interrupted;
                assert_eq!(failures, usize::from(!is_retried));
                assert_eq!(text_of(stream.writer().written()), WIRE, "{fault:?} at {n}");
            }
        }
    }
}

#[test]
fn after_a_permanent_failure_at_byte_n_the_rest_is_pending() {
    for n in 0..=WIRE.len() {
        let writer = Faulty::new().breaks_at(n, io::ErrorKind::ConnectionReset);
        let mut stream = Stream::new(writer);
        for number in 0..3 {
            let _ = call(number, &mut stream);
        }
        let (writer, rest) = stream.into_parts();
        assert_eq!(text_of(writer.written()), &WIRE[..n]);
        assert_eq!(text_of(&rest), &WIRE[n..]);
    }
}

#[test]
fn a_rejected_event_leaves_pending_events_untouched() {
    let mut stream = Stream::new(Faulty::new().fails_at(3, io::ErrorKind::WouldBlock));
    stream.write_str("a").unwrap_err();
    stream.write_json(&FailsHalfway).unwrap_err();
    stream.write_display(&FailsHalfway).unwrap_err();
    assert_eq!(stream.pending(), b"a: a\n\n");
    stream.write_str("b").unwrap();
    assert_eq!(text_of(stream.writer().written()), "data: a\n\ndata: b\n\n");
}

/// A stream behind a lock without poisoning is used again after a panic.
#[test]
fn an_event_whose_display_panics_leaves_nothing() {
    struct PanicsHalfway;

    impl fmt::Display for PanicsHalfway {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("half")?;
            panic!("on purpose");
        }
    }

    let mut stream = Stream::new(Vec::new());
    let write = AssertUnwindSafe(|| stream.write_display(&PanicsHalfway));
    assert!(panic::catch_unwind(write).is_err());
    stream.write_str("next").unwrap();
    assert_eq!(text_of(stream.writer()), "data: next\n\n");
}

/// A call that a program makes on a stream.
#[derive(Debug, Clone)]
enum Operation {
    SetId(String),
    SetEvent(String),
    SetRetry(Duration),
    Send(Option<u64>, Option<String>),
    WriteStr(String),
    WriteBytes(Vec<u8>),
    WriteJson(String),
    WriteEvent(String, String, String),
    FailJson,
    FailDisplay,
    Comment(String),
    Flush,
}

impl Operation {
    fn run<W: Write>(&self, stream: &mut Stream<W>) -> Result<(), SendError> {
        match self {
            Self::SetId(id) => Ok(stream.set_id(id)?),
            Self::SetEvent(event) => Ok(stream.set_event(event)?),
            Self::SetRetry(retry) => {
                stream.set_retry(*retry);
                Ok(())
            }
            Self::Send(id, data) => {
                let mut event = Event::new();
                if let Some(id) = id {
                    event = event.id(*id);
                }
                if let Some(data) = data {
                    event = event.data(data);
                }
                stream.send(&event)
            }
            Self::WriteStr(text) => stream.write_str(text),
            Self::WriteBytes(text) => stream.write_bytes(text),
            Self::WriteJson(text) => stream.write_json(text),
            Self::WriteEvent(id, event, data) => stream.write_event(id, event, data),
            Self::FailJson => stream.write_json(&FailsHalfway),
            Self::FailDisplay => stream.write_display(&FailsHalfway),
            Self::Comment(text) => stream.comment(text),
            Self::Flush => Ok(stream.flush()?),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// The model is a stream whose writer takes everything; it receives only the calls that the
    /// tested stream accepts.
    #[test]
    fn no_program_and_no_writer_tears_an_event(
        program in prop::collection::vec(operation(), 0..20),
        script in prop::collection::vec(step(), 0..20),
        max_pending in prop_oneof![0..60_usize, Just(Outbox::DEFAULT_MAX_PENDING)],
    ) {
        let mut stream = Stream::new(Scripted { script: script.into_iter(), wire: Vec::new() })
            .max_pending(max_pending);
        let mut model = Stream::new(Vec::new());
        for operation in program {
            let before = stream.pending().len();
            match operation.run(&mut stream) {
                Ok(()) | Err(SendError::Io(_)) => operation.run(&mut model).unwrap(),
                Err(SendError::Full { pending }) => {
                    prop_assert!(pending >= max_pending && pending <= before);
                    prop_assert_eq!(pending, stream.pending().len());
                }
                Err(_) => {}
            }
            let mut wire = stream.writer().wire.clone();
            wire.extend_from_slice(stream.pending());
            prop_assert_eq!(text_of(&wire), text_of(model.writer()));
        }
        let (writer, rest) = stream.into_parts();
        prop_assert_eq!([writer.wire, rest].concat(), model.into_parts().0);
    }
}

#[test]
fn a_full_stream_refuses_events_and_keeps_the_pending_ones() {
    let mut stream = Stream::new(Faulty::new().stalls_at(0)).max_pending(10);
    assert_would_block(stream.write_str("1")); // 9 bytes
    assert_would_block(stream.write_str("of any size")); // accepted below the limit
    let waiting = "data: 1\n\ndata: of any size\n\n";
    assert_eq!(text_of(stream.pending()), waiting);

    stream.set_id(7).unwrap();
    for refused in [
        stream.write_str("x"),
        stream.write_json("x"),
        stream.write_event(8, TICK, "x"),
        stream.send(&Event::new()),
        stream.comment(""),
    ] {
        let error = refused.unwrap_err();
        assert!(
            matches!(error, SendError::Full { pending: 28 }),
            "{error:?}"
        );
        assert_eq!(
            error.to_string(),
            "the buffer is full with 28 bytes; flush the stream or disconnect the client"
        );
    }
    assert_eq!(text_of(stream.pending()), waiting);

    stream.writer_mut().recover();
    stream.write_str("room again").unwrap();
    assert_eq!(
        text_of(stream.writer().written()),
        format!("{waiting}id: 7\ndata: room again\n\n")
    );
}

#[test]
fn a_stream_is_full_at_the_limit() {
    let mut stream = Stream::new(Faulty::new().stalls_at(0)).max_pending(10);
    assert_would_block(stream.write_str("12")); // 10 bytes
    assert!(matches!(
        stream.comment(""),
        Err(SendError::Full { pending: 10 })
    ));

    // The writer takes one byte, and there is room.
    *stream.writer_mut() = Faulty::new().stalls_at(1);
    assert_would_block(stream.comment(""));
    assert_eq!(stream.pending(), b"ata: 12\n\n:\n");
}

#[test]
fn a_limit_of_zero_allows_one_pending_event() {
    let mut stream = Stream::new(Faulty::new().stalls_at(0)).max_pending(0);
    assert_would_block(stream.write_str("a"));
    assert!(matches!(
        stream.write_str("b"),
        Err(SendError::Full { pending: 9 })
    ));
    stream.writer_mut().recover();
    stream.write_str("b").unwrap();
    assert_eq!(text_of(stream.writer().written()), "data: a\n\ndata: b\n\n");
}

#[test]
fn pending_bytes_are_bounded_by_default() {
    let mut stream = Stream::new(Faulty::new().stalls_at(0));
    let mebibyte = "x".repeat(Outbox::DEFAULT_MAX_PENDING);
    assert_would_block(stream.write_str(&mebibyte[9..]));
    assert_would_block(stream.write_str(""));
    assert!(matches!(stream.write_str(""), Err(SendError::Full { .. })));
    assert_eq!(Outbox::DEFAULT_MAX_PENDING, 1 << 20);
}

#[test]
fn a_close_that_failed_at_byte_n_can_be_repeated() {
    let expected = "data: a\n\nevent: close\ndata: \n\n";
    for n in 0..expected.len() {
        let mut stream = Stream::new(Faulty::new().fails_at(n, io::ErrorKind::TimedOut));
        let _ = stream.write_str("a");
        if n < 9 {
            let again = stream.writer().clone().fails_at(n, io::ErrorKind::TimedOut);
            *stream.writer_mut() = again;
        }
        let mut failed = stream.close().unwrap_err().into_stream();
        assert_eq!(text_of(failed.pending()), &expected[n..]);
        assert!(matches!(failed.write_str("b"), Err(SendError::Closed)));
        assert!(matches!(failed.comment(""), Err(SendError::Closed)));
        assert_eq!(text_of(failed.close().unwrap().written()), expected);
    }
}

#[test]
fn a_full_stream_can_be_closed() {
    let mut stream = Stream::new(Faulty::new().stalls_at(0)).max_pending(0);
    assert_would_block(stream.write_str("a"));
    let (_, rest) = stream.close().unwrap_err().into_stream().into_parts();
    assert_eq!(text_of(&rest), "data: a\n\nevent: close\ndata: \n\n");
}

#[test]
fn a_close_whose_flush_failed_sends_nothing_twice() {
    let stream = Stream::new(Faulty::new().fails_to_flush(io::ErrorKind::Other));
    let stream = stream.close().unwrap_err().into_stream();
    assert_eq!(stream.pending(), b"");
    assert_eq!(
        text_of(stream.close().unwrap().written()),
        "event: close\ndata: \n\n"
    );
}

#[test]
fn a_close_error_reports_the_pending_bytes() {
    let error: CloseError<_> = Stream::new(Faulty::new().stalls_at(0)).close().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the writer failed before the last 21 bytes of the stream: operation would block"
    );
    assert_eq!(error.error().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(error.source().unwrap().to_string(), "operation would block");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::WouldBlock);
}

/// As in the loop of an async stream.
#[test]
fn an_outbox_removes_exactly_the_bytes_that_were_taken() {
    let mut outbox = Outbox::new();
    assert!(outbox.is_empty() && !outbox.is_full());
    outbox.write_str("a").unwrap();
    outbox.advance(0);
    assert_eq!(outbox.pending(), b"data: a\n\n");
    outbox.advance(6);
    outbox.write_str("b").unwrap();
    assert_eq!(outbox.pending(), b"a\n\ndata: b\n\n");
    outbox.advance(3);
    assert_eq!(outbox.pending(), b"data: b\n\n");
    outbox.advance(1);
    outbox.close();
    outbox.close();
    assert_eq!(outbox.pending(), b"ata: b\n\nevent: close\ndata: \n\n");
    assert_eq!(outbox.into_pending(), b"ata: b\n\nevent: close\ndata: \n\n");
}

#[test]
fn advancing_past_the_end_empties_the_outbox() {
    let mut outbox = Outbox::new();
    outbox.write_str("a").unwrap();
    outbox.advance(1);
    outbox.advance(usize::MAX);
    assert_eq!(outbox.pending(), b"");
    outbox.write_str("b").unwrap();
    assert_eq!(outbox.pending(), b"data: b\n\n");
}

#[track_caller]
fn assert_would_block(sent: Result<(), SendError>) {
    match sent {
        Err(SendError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        other => panic!("{other:?}"),
    }
}

/// A writer that follows a script, and then takes everything.
#[derive(Debug)]
struct Scripted {
    script: std::vec::IntoIter<Result<usize, io::ErrorKind>>,
    wire: Vec<u8>,
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = self.script.next().unwrap_or(Ok(usize::MAX))?;
        let taken = bytes.len().min(most);
        self.wire.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn operation() -> impl Strategy<Value = Operation> {
    let text = || "[ab:\r\n\0 é]{0,6}";
    let line = || "[ab: é]{0,4}";
    prop_oneof![
        text().prop_map(Operation::SetId),
        text().prop_map(Operation::SetEvent),
        (0..5_000_u64).prop_map(|millis| Operation::SetRetry(Duration::from_millis(millis))),
        (any::<Option<u64>>(), prop::option::of(text()))
            .prop_map(|(id, data)| Operation::Send(id, data)),
        text().prop_map(Operation::WriteStr),
        prop::collection::vec(any::<u8>(), 0..4).prop_map(Operation::WriteBytes),
        text().prop_map(Operation::WriteJson),
        (line(), line(), text())
            .prop_map(|(id, event, data)| Operation::WriteEvent(id, event, data)),
        Just(Operation::FailJson),
        Just(Operation::FailDisplay),
        text().prop_map(Operation::Comment),
        Just(Operation::Flush),
    ]
}

fn step() -> impl Strategy<Value = Result<usize, io::ErrorKind>> {
    prop_oneof![
        3 => (0..30_usize).prop_map(Ok),
        2 => Just(Err(io::ErrorKind::WouldBlock)),
        1 => Just(Err(io::ErrorKind::Interrupted)),
        1 => Just(Err(io::ErrorKind::BrokenPipe)),
    ]
}
