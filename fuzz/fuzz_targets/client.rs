//! Runs a client's machine against any bytes in any pieces and any ends. What it returns does not
//! depend on the pieces, and a call is never sent twice unless the server refused it.

#![no_main]

use std::io;
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sse_core::client::{Closed, EventSource, Item, Machine, Opened, Step};

#[derive(Debug, Arbitrary)]
struct Program {
    manner: Manner,
    is_strict: bool,
    has_terminal: bool,
    inputs: Vec<Input>,
}

#[derive(Debug, Clone, Copy, PartialEq, Arbitrary)]
enum Manner {
    Feed,
    Call,
    Resumable,
    Repeatable,
}

#[derive(Debug, Arbitrary)]
enum Input {
    /// A response head that opens the stream, chunked or not.
    Open(bool),
    /// Another status, with `Location` or `Retry-After`.
    Status(u16, Option<String>),
    Bytes(Vec<u8>),
    /// Text as one chunk of a chunked body.
    Chunk(String),
    End,
    Fail,
    Restart,
    Wait(u16),
}

fuzz_target!(|program: Program| {
    let whole = run(&program, usize::MAX);
    for size in [1, 7] {
        assert_eq!(run(&program, size), whole, "in pieces of {size}");
    }
});

fn source(program: &Program) -> EventSource {
    let source = match program.manner {
        Manner::Feed => EventSource::get("https://a/b").unwrap(),
        Manner::Call => EventSource::post("https://a/b").unwrap(),
        Manner::Resumable => EventSource::post("https://a/b").unwrap().resumable(),
        Manner::Repeatable => EventSource::post("https://a/b").unwrap().repeatable(),
    };
    let source = source.body("hey").header("X-Key", "secret").unwrap();
    let source = source
        .max_head(256)
        .max_line(64)
        .max_event(128)
        .max_error_body(16);
    let source = if program.is_strict {
        source.strict()
    } else {
        source
    };
    let source = source.progress(Duration::from_secs(60));
    if program.has_terminal {
        source.ends_at_data("x").ends_at_event("y")
    } else {
        source
    }
}

/// Returns everything that the application saw.
fn run(program: &Program, size: usize) -> Vec<String> {
    let mut machine = Machine::new(source(program), 7);
    let (mut log, mut now) = (Vec::new(), Duration::ZERO);
    // Whether the call has been sent and nobody has refused it.
    let mut is_pending = false;
    for input in &program.inputs {
        let mut bytes = Vec::new();
        for _ in 0..100 {
            match machine.step(now) {
                Step::Wait { until } => {
                    assert!(until > now);
                    now = until;
                }
                Step::Connect { .. } => {
                    assert!(machine.url().is_https());
                    machine.connected(now);
                    let request = String::from_utf8(machine.unsent().to_vec()).unwrap();
                    if request.starts_with("POST") && program.manner != Manner::Repeatable {
                        assert!(!is_pending, "the call is sent twice");
                        is_pending = true;
                    }
                    let is_own = machine.url().authority() == "a";
                    assert!(is_own || !request.contains("secret"), "{request}");
                    log.push(request.clone());
                    machine.sent(now, request.len());
                }
                _ => break,
            }
        }
        match input {
            Input::Open(is_chunked) => {
                bytes.extend(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n");
                if *is_chunked {
                    bytes.extend(b"Transfer-Encoding: chunked\r\n");
                }
                bytes.extend(b"\r\n");
            }
            Input::Status(status, text) => {
                let status = 200 + status % 400;
                bytes.extend(format!("HTTP/1.1 {status} X\r\n").bytes());
                if let Some(text) = text {
                    let text = text.replace(|char: char| char.is_control(), "");
                    bytes.extend(format!("Location: {text}\r\nRetry-After: {text}\r\n").bytes());
                }
                bytes.extend(b"\r\n");
            }
            Input::Bytes(any) => bytes.extend(any),
            Input::Chunk(text) if text.is_empty() => bytes.extend(b"0\r\n\r\n"),
            Input::Chunk(text) => bytes.extend(format!("{:x}\r\n{text}\r\n", text.len()).bytes()),
            Input::End => machine.end(now),
            Input::Fail => machine.fail(now, io::ErrorKind::ConnectionReset.into()),
            Input::Restart => machine.restart(now),
            Input::Wait(secs) => {
                now += Duration::from_secs((*secs).into());
                machine.step(now);
            }
        }
        // Bytes after the end of a response are lost with its connection.
        for piece in bytes.chunks(size) {
            machine.receive(now, piece);
        }
        take(&mut machine, &mut log, &mut is_pending);
        machine.shrink();
    }
    if machine.step(now) == Step::Over {
        log.push(format!(
            "{:?}",
            machine.take_result().map_err(|error| error.to_string())
        ));
        assert!(!machine.has_items());
    }
    log
}

fn take(machine: &mut Machine, log: &mut Vec<String>, is_pending: &mut bool) {
    while let Some(item) = machine.next_item() {
        log.push(match item {
            Item::Opened(Opened { head, attempt, .. }) => format!("{} {attempt}", head.status()),
            Item::Closed(Closed {
                reason, retry_in, ..
            }) => {
                let reason = reason.to_string();
                if reason.starts_with("the server responded with") {
                    *is_pending = false;
                }
                format!("{reason} {retry_in:?}")
            }
            Item::Content(_) => unreachable!("nobody asked for it"),
            item => format!("{item:?}"),
        });
    }
    // A redirect is followed without an item.
    if !machine.is_attempt_new() {
        *is_pending = false;
    }
}
