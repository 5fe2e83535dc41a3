//! The errors of the encoder and of streams: sentences, sources and kinds.

#![cfg(all(feature = "http", feature = "json"))]

use std::error::Error;
use std::{fmt, io};

use sse_core::{
    CloseError, Event, EventId, Field, FieldError, JsonError, Outbox, Rejection, SendError, Stream,
    UpgradeError,
};

mod common;
use common::FailsHalfway;

#[test]
fn an_error_has_a_sentence_a_source_and_a_kind() {
    use io::ErrorKind::{BrokenPipe, InvalidInput, QuotaExceeded, TimedOut};
    #[track_caller]
    fn is(error: SendError, sentence: &str, source: Option<&str>, kind: io::ErrorKind) {
        assert_eq!(error.to_string(), sentence);
        assert_eq!(error.source().map(ToString::to_string).as_deref(), source);
        assert_eq!(io::Error::from(error).kind(), kind);
    }
    let field: FieldError = EventId::new("\n").unwrap_err();
    let field_sentence = field.to_string();
    assert_eq!(field.field(), Field::EventId);
    is(
        field.into(),
        &field_sentence,
        Some(&field_sentence),
        InvalidInput,
    );
    is(
        String::from_utf8(vec![b'a', 0x80])
            .unwrap_err()
            .utf8_error()
            .into(),
        "the data is not UTF-8 from byte 1; encode binary data as text, such as base64",
        Some("invalid utf-8 sequence of 1 bytes from index 1"),
        InvalidInput,
    );
    let json = Event::new().json_data(&FailsHalfway).unwrap_err();
    let sentence = "the data cannot be serialised as JSON: it does not want to";
    assert_eq!(json.source().unwrap().to_string(), "it does not want to");
    is(json.into(), sentence, Some(sentence), InvalidInput);
    is(
        fmt::Error.into(),
        "the data's Display implementation failed",
        Some("an error occurred when formatting an argument"),
        InvalidInput,
    );
    is(
        SendError::Full { pending: 7 },
        "the buffer is full with 7 bytes; flush the stream or disconnect the client",
        None,
        QuotaExceeded,
    );
    is(
        SendError::Closed,
        "the stream is closed; open another",
        None,
        BrokenPipe,
    );
    is(
        io::Error::new(TimedOut, "too slow").into(),
        "the writer failed, and the event is still in the buffer: too slow",
        Some("too slow"),
        TimedOut,
    );
}

/// The writer's error is returned unchanged, not wrapped.
#[test]
fn the_writers_error_is_returned_unwrapped() {
    let error = io::Error::from(SendError::from(io::Error::from_raw_os_error(32)));
    assert_eq!(error.raw_os_error(), Some(32));
}

#[test]
fn all_types_can_be_sent_to_another_thread() {
    fn is_send_and_sync<T: Send + Sync + 'static>() {}
    fn is_error<T: Error + Send + Sync + 'static>() {}
    is_send_and_sync::<Stream<Vec<u8>>>();
    is_send_and_sync::<Outbox>();
    is_send_and_sync::<Event<'static>>();
    is_error::<FieldError>();
    is_error::<SendError>();
    is_error::<JsonError>();
    is_error::<CloseError<Vec<u8>>>();
    is_error::<UpgradeError>();
    is_error::<Rejection>();
}

/// Programs that return an error from `main`, or unwrap it, print its `Debug` form.
#[test]
fn the_debug_form_of_a_field_error_is_its_sentence() {
    let error = EventId::new("a\n").unwrap_err();
    assert_eq!(
        format!("{error:?}"),
        "FieldError(\"the event ID has a line feed at byte 1; remove it or send the text as data\")",
    );
}

#[test]
#[cfg(feature = "client")]
fn the_debug_form_of_an_error_response_has_the_beginning_of_its_body_as_text() {
    use sse_core::client::{EventSource, Machine};
    use std::time::Duration;

    let now = Duration::ZERO;
    let mut machine = Machine::new(EventSource::get("http://a/feed").unwrap(), 42);
    let _ = machine.step(now);
    machine.connected(now);
    machine.sent(now, machine.unsent().len());
    machine.receive(now, b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n");
    machine.receive(now, "there is no such feed\n".repeat(3000).as_bytes());
    machine.end(now);
    let error = format!("{:?}", machine.take_result().unwrap_err());
    let beginning = "Status(ErrorResponse { status: 404, body: \"there is no such feed there is no";
    assert!(error.len() < 300, "{} bytes", error.len());
    assert!(error.starts_with(beginning), "{error}");
}
