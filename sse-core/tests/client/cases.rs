//! Each case with its source.

use std::time::Duration;

use sse_core::BodyLimits;
use sse_core::client::EventSource;

use crate::harness::In::{After, Bytes, End, Refused, Reset};
use crate::harness::{In, OK, run};

#[track_caller]
fn check(source: &EventSource, cases: &[(&str, &[In<'_>], &[&str])]) {
    for (name, inputs, expected) in cases {
        let got = run(source.clone(), inputs);
        assert_eq!(got, *expected, "{name}");
    }
}

fn feed() -> EventSource {
    EventSource::get("http://a/b").unwrap()
}

fn call() -> EventSource {
    EventSource::post("http://a/b").unwrap().body("hey")
}

fn status(line: &str) -> String {
    format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n")
}

/// WHATWG HTML, 9.2.3 "Processing model".
#[test]
fn a_feed_reconnects_until_204() {
    let begun = ["GET http://a/b", "opened 200 at attempt 1"];
    let with = |more: &[&'static str]| [&begun[..], more].concat();
    let ended = "closed: the server ended the stream";
    check(
        &feed(),
        &[
            ("waits for events", &[OK], &begun),
            (
                "resumes after the last ID, without an unfinished event",
                &[OK, Bytes("id: 7\ndata: x\n\nid: 8\ndata: y"), End, OK],
                &with(&[
                    "message \"x\" #7",
                    ended,
                    "GET http://a/b after 7",
                    "opened 200 at attempt 2",
                ]),
            ),
            (
                "an empty ID resets the last one",
                &[OK, Bytes("id: 7\ndata: x\n\nid\n\n"), End, OK],
                &with(&[
                    "message \"x\" #7",
                    ended,
                    "GET http://a/b",
                    "opened 200 at attempt 2",
                ]),
            ),
            (
                "an ID with a tab is sent: RFC 9110, 5.5",
                &[OK, Bytes("id: a\tb\ndata: x\n\n"), End, OK],
                &with(&[
                    "message \"x\" #a\tb",
                    ended,
                    "GET http://a/b after a\tb",
                    "opened 200 at attempt 2",
                ]),
            ),
            (
                "an ID is sent without the blanks that a header would lose",
                &[OK, Bytes("id:  7 \ndata: x\n\n"), End, OK],
                &with(&[
                    "message \"x\" # 7 ",
                    ended,
                    "GET http://a/b after 7",
                    "opened 200 at attempt 2",
                ]),
            ),
            (
                "an ID of blanks is none",
                &[OK, Bytes("id:  \ndata: x\n\n"), End, OK],
                &with(&[
                    "message \"x\" # ",
                    ended,
                    "GET http://a/b",
                    "opened 200 at attempt 2",
                ]),
            ),
            (
                "an ID that no header can carry is not sent",
                &[OK, Bytes("id: a\u{1}b\ndata: x\n\n"), End, OK],
                &with(&[
                    "message \"x\" #a\u{1}b",
                    ended,
                    "GET http://a/b",
                    "opened 200 at attempt 2",
                ]),
            ),
            (
                "a reset is like an end",
                &[OK, Reset, OK],
                &with(&[
                    "closed: the connection was lost: connection reset",
                    "GET http://a/b",
                    "opened 200 at attempt 2",
                ]),
            ),
            (
                "an incomplete body is reported as such",
                &[
                    Bytes(
                        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                         Content-Length: 99\r\n\r\ndata: x\n\n",
                    ),
                    End,
                ],
                &with(&[
                    "message \"x\"",
                    "closed: the body is incomplete: the connection ended after 9 of 99 bytes",
                ]),
            ),
            (
                "a complete body is an end, before the connection's",
                &[Bytes(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                     Transfer-Encoding: chunked\r\n\r\n9\r\ndata: x\n\n\r\n0\r\n\r\n",
                )],
                &with(&["message \"x\"", ended]),
            ),
            (
                "204 ends it",
                &[OK, End, Bytes(&status("204 No Content"))],
                &with(&[ended, "GET http://a/b", "over"]),
            ),
            (
                "comments, gaps and reconnection times are items",
                &[OK, Bytes(": hey\nretry: 10\nevent: gap\ndata: {}\n\n")],
                &with(&[": hey", "retry 10ms", "gap gap \"{}\""]),
            ),
            (
                "no connection",
                &[Refused, Refused, OK],
                &[
                    "closed: no connection could be opened: connection refused",
                    "closed: no connection could be opened: connection refused",
                    "GET http://a/b",
                    "opened 200 at attempt 3",
                ],
            ),
            (
                "an end before the head",
                &[End, OK],
                &[
                    "GET http://a/b",
                    "closed: the connection ended before a response",
                    "GET http://a/b",
                    "opened 200 at attempt 2",
                ],
            ),
            (
                "interim responses are skipped",
                &[Bytes("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"), OK],
                &begun,
            ),
            (
                "another protocol is final",
                &[Bytes("SSH-2.0-OpenSSH")],
                &[
                    "GET http://a/b",
                    "error: the response does not begin with \"HTTP/1.\"; the server speaks \
                     another protocol",
                ],
            ),
        ],
    );
}

/// Which answers are final: the issue of every client that loops on 401 or stops at 503.
#[test]
fn an_answer_is_retried_or_final() {
    for code in [408, 425, 429, 500, 502, 503, 504, 599] {
        let answer = status(&format!("{code} X"));
        let got = run(feed(), &[Bytes(&answer), OK]);
        let closed = format!("closed: the server responded with {code}");
        assert_eq!(got[1], closed);
        assert_eq!(got[3], "opened 200 at attempt 2");
        let got = run(feed().strict(), &[Bytes(&answer)]);
        assert_eq!(got[1], format!("error: the server responded with {code}"));
    }
    for code in [201, 206, 300, 304, 305, 400, 401, 403, 404, 410, 421, 451] {
        for source in [feed(), feed().strict(), call()] {
            let answer = format!("HTTP/1.1 {code} X\r\nContent-Length: 4\r\n\r\nnope");
            let got = run(source, &[Bytes(&answer), End]);
            let expected = match code {
                304 => "error: the server responded with 304".to_owned(),
                _ => format!("error: the server responded with {code}: nope"),
            };
            assert_eq!(got[1], expected);
        }
    }
    let answer = |headers: &str| format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 0\r\n\r\n");
    for (headers, expected) in [
        ("", "the response has no valid Content-Type; check the URL"),
        (
            "Content-Type: text/html\r\n",
            "the response is text/html, not text/event-stream; check the URL",
        ),
        (
            "Content-Type: text/event-stream\r\nContent-Encoding: gzip\r\n",
            "the response has the content coding \"gzip\"; turn it off in the server or in the \
             proxy before it",
        ),
        (
            "Content-Type: text/event-stream\r\nTransfer-Encoding: gzip\r\n",
            "the transfer coding \"gzip\" is not supported; send the body without it",
        ),
    ] {
        let got = run(feed(), &[Bytes(&answer(headers))]);
        assert_eq!(got[1], format!("error: {expected}"));
    }
    let parameters = "Content-Type: TEXT/event-stream; charset=utf-8\r\n";
    assert_eq!(
        run(feed(), &[Bytes(&answer(parameters))])[1],
        "opened 200 at attempt 1"
    );
}

/// RFC 9110, 15.4; Fetch, "HTTP-redirect fetch".
#[test]
fn redirects_are_followed() {
    let moved = |status: u16, to: &str| format!("HTTP/1.1 {status} X\r\nLocation: {to}\r\n\r\n");
    for (status, method, expected) in [
        (301, "GET", "GET"),
        (302, "GET", "GET"),
        (303, "GET", "GET"),
        (307, "GET", "GET"),
        (308, "GET", "GET"),
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (307, "POST", "POST"),
        (308, "POST", "POST"),
        (302, "QUERY", "QUERY"),
        (303, "QUERY", "GET"),
    ] {
        let source = EventSource::request(method, "http://a/b/c?d").unwrap();
        let got = run(source, &[Bytes(&moved(status, "../e")), OK]);
        let first = format!("{method} http://a/b/c?d");
        let second = format!("{expected} http://a/e");
        assert_eq!(
            got,
            [&first, &second, "opened 200 at attempt 1"],
            "{status}"
        );
    }
    for (from, to, error) in [
        ("https://a/", "http://a/", "insecure"),
        ("https://a/", "https://b:8/c", "https://b:8/c"),
        ("http://a/", "https://a/", "https://a/"),
        ("http://a/", "//b/c", "http://b/c"),
        ("http://a/", "unix:/run/docker.sock:/", "bad"),
        ("unix:/a.sock:/", "/c", "unix:/a.sock:/c"),
        ("http://a/", "ftp://a/", "bad"),
        ("http://a/", "http://u:p@a/", "bad"),
        ("http://a/", "http://[", "bad"),
        ("http://a/", "", "none"),
    ] {
        let got = run(
            EventSource::get(from).unwrap(),
            &[Bytes(&moved(302, to)), OK],
        );
        let expected = match error {
            "insecure" => format!(
                "error: the response redirects from https to {to:?}, which is not encrypted; \
                 request that URL if you trust it"
            ),
            "bad" => format!(
                "error: the response redirects to {to:?}, which is not an http or https URL without a user name"
            ),
            "none" => "error: the response is a redirect without a Location".to_owned(),
            url => format!("GET {url}"),
        };
        assert_eq!(got[1], expected, "{to}");
    }
    let without = run(feed(), &[Bytes("HTTP/1.1 301 X\r\n\r\n")]);
    assert_eq!(
        without[1],
        "error: the response is a redirect without a Location"
    );

    let again = moved(302, "/b");
    let got = run(feed().max_redirects(2), &[Bytes(&again); 3]);
    assert_eq!(
        got[3],
        "error: there were more than 2 redirects; check the URL for a loop, or raise max_redirects"
    );
    // A reconnection begins at the first URL, with a new count.
    let away = moved(302, "http://c/");
    let got = run(feed(), &[Bytes(&away), OK, End, OK]);
    assert_eq!(got[4..], ["GET http://a/b", "opened 200 at attempt 2"]);
}

/// "Most clients retry a POST, and it is billed twice."
#[test]
fn a_call_is_never_sent_again_once_it_may_have_been_acted_on() {
    let refused = "closed: no connection could be opened: connection refused";
    let sent = ["POST http://a/b", "opened 200 at attempt 1"];
    let with = |more: &[&'static str]| [&sent[..], more].concat();
    let busy = status("503 X");
    check(
        &call(),
        &[
            (
                "it is retried before it was sent",
                &[Refused, OK],
                &[refused, "POST http://a/b", "opened 200 at attempt 2"],
            ),
            (
                "but only twice",
                &[Refused, Refused, Refused],
                &[
                    refused,
                    refused,
                    "error: no connection could be opened: connection refused",
                ],
            ),
            (
                "and when the server refused it",
                &[Bytes(&busy), OK],
                &[
                    "POST http://a/b",
                    "closed: the server responded with 503",
                    "POST http://a/b",
                    "opened 200 at attempt 2",
                ],
            ),
            (
                "not when no response came",
                &[End],
                &[
                    "POST http://a/b",
                    "error: the connection ended before a response",
                ],
            ),
            (
                "not when it was reset",
                &[Reset],
                &[
                    "POST http://a/b",
                    "error: the connection was lost: connection reset",
                ],
            ),
            (
                "not when it was cut",
                &[OK, Bytes("id: 7\ndata: x\n\n"), Reset],
                &with(&[
                    "message \"x\" #7",
                    "error: the connection was lost: connection reset",
                ]),
            ),
            (
                "its end is a success",
                &[OK, Bytes("data: x\n\n"), End],
                &with(&["message \"x\"", "over"]),
            ),
        ],
    );
    let got = run(
        call(),
        &[
            Bytes(&busy),
            Bytes(&busy),
            Bytes("HTTP/1.1 503 X\r\n\r\nfull"),
            End,
        ],
    );
    assert_eq!(
        got.last().unwrap(),
        "error: the server responded with 503: full"
    );
    let got = run(call().repeatable(), &[OK, End, OK]);
    assert_eq!(got[3..], ["POST http://a/b", "opened 200 at attempt 2"]);

    // A redirect to a GET comes from a server that has acted.
    for (status, is_acted_on) in [(301, true), (302, true), (303, true), (307, false)] {
        let moved = format!("HTTP/1.1 {status} X\r\nLocation: /c\r\n\r\n");
        for input in [Refused, Bytes(&busy)] {
            let got = run(call(), &[Bytes(&moved), input, OK]);
            let posts = got.iter().filter(|line| *line == "POST http://a/b");
            let expected = if is_acted_on { 1 } else { 2 };
            assert_eq!(posts.count(), expected, "{got:?}");
            assert_eq!(got.last().unwrap().starts_with("error"), is_acted_on);
        }
    }

    // A status by which the server says that it did not act, and one by which it does not.
    for (code, is_refusal) in [
        (408, true),
        (425, true),
        (429, true),
        (503, true),
        (529, true),
        (500, false),
        (501, false),
        (502, false),
        (504, false),
        (524, false),
    ] {
        let answer = status(&format!("{code} X"));
        let got = run(call(), &[Bytes(&answer), OK]);
        let expected = match is_refusal {
            true => ["closed", "opened 200 at attempt 2"],
            false => ["error", "error"],
        };
        let with_status = format!("{}: the server responded with {code}", expected[0]);
        assert_eq!(got[1], with_status);
        assert!(got.last().unwrap().starts_with(expected[1]), "{got:?}");
        // Whoever says that the request may be repeated, or continues with `GET`, decides.
        let got = run(call().repeatable(), &[Bytes(&answer), OK]);
        assert_eq!(got[3], "opened 200 at attempt 2", "{code}");
        let event = Bytes("id: 7\ndata: x\n\n");
        let inputs = [OK, event, Reset, Bytes(&answer), OK];
        let got = run(call().resumable(), &inputs);
        assert_eq!(got.last().unwrap(), "opened 200 at attempt 3", "{code}");
    }
}

#[test]
fn a_resumable_call_continues_with_get() {
    let call = call().resumable().ends_at_event("done");
    let begun = ["POST http://a/b", "opened 200 at attempt 1"];
    let with = |more: &[&'static str]| [&begun[..], more].concat();
    check(
        &call,
        &[
            (
                "after an ID",
                &[
                    OK,
                    Bytes("id: 7\ndata: x\n\n"),
                    Reset,
                    Refused,
                    OK,
                    End,
                    OK,
                    Bytes("event: done\ndata\n\n"),
                ],
                &with(&[
                    "message \"x\" #7",
                    "closed: the connection was lost: connection reset",
                    "closed: no connection could be opened: connection refused",
                    "GET http://a/b after 7",
                    "opened 200 at attempt 3",
                    "closed: the server ended the stream",
                    "GET http://a/b after 7",
                    "opened 200 at attempt 4",
                    "done \"\" #7",
                    "over",
                ]),
            ),
            (
                "not without one",
                &[OK, Bytes("data: x\n\n"), Reset],
                &with(&[
                    "message \"x\"",
                    "error: the stream ended before its last event, after 1 event: the \
                     connection was lost: connection reset",
                ]),
            ),
            (
                "nor before the response",
                &[Reset],
                &[
                    "POST http://a/b",
                    "error: the connection was lost: connection reset",
                ],
            ),
        ],
    );
}

/// The streams of model providers: what ends them, and what cuts them.
#[test]
fn a_completion_ends_at_its_last_event_or_is_truncated() {
    let begun = ["POST http://a/b", "opened 200 at attempt 1"];
    let with = |more: &[&'static str]| [&begun[..], more].concat();
    let completion = call()
        .ends_at_data("[DONE]")
        .ends_at_event("message_stop")
        .ends_when(|event| event.event() == "response.completed");
    check(
        &completion,
        &[
            (
                "data that is the end is no event",
                &[OK, Bytes("data: {}\n\ndata: [DONE]\n\ndata: more\n\n")],
                &with(&["message \"{}\"", "over"]),
            ),
            (
                "an event that is the end is one",
                &[OK, Bytes("event: message_stop\ndata: {}\n\ndata: more\n\n")],
                &with(&["message_stop \"{}\"", "over"]),
            ),
            (
                "by a predicate",
                &[OK, Bytes("event: response.completed\ndata: {}\n\n")],
                &with(&["response.completed \"{}\"", "over"]),
            ),
            (
                "a stream without an end",
                &[OK, Bytes("data: a\n\ndata: b\n\n"), End],
                &with(&[
                    "message \"a\"",
                    "message \"b\"",
                    "error: the stream ended before its last event, after 2 events",
                ]),
            ),
            (
                "an unfinished end is none",
                &[OK, Bytes("data: [DONE]\n"), End],
                &with(&["error: the stream ended before its last event, after 0 events"]),
            ),
            (
                "an error event before output",
                &[
                    OK,
                    Bytes("event: error\ndata: {\"type\": \"overloaded\"}\n\n"),
                ],
                &with(&["error: the server reported an error after 0 events: \
                     {\"type\": \"overloaded\"}"]),
            ),
            (
                "an error object within output",
                &[OK, Bytes("data: a\n\ndata: {\"error\": {\"code\": 1}}\n\n")],
                &with(&[
                    "message \"a\"",
                    "error: the server reported an error after 1 event: \
                     {\"error\": {\"code\": 1}}",
                ]),
            ),
            (
                "comments do not count",
                &[OK, Bytes(": keep-alive\n\ndata: [DONE]\n\n")],
                &with(&[": keep-alive", "over"]),
            ),
        ],
    );
    // A feed has application events of these kinds.
    let got = run(feed(), &[OK, Bytes("event: error\ndata: [DONE]\n\n")]);
    assert_eq!(got[2], "error \"[DONE]\"");
    // A feed with an end reconnects until it comes.
    let got = run(
        feed().ends_at_data("x"),
        &[OK, End, OK, Bytes("data: x\n\n")],
    );
    assert_eq!(
        got[3..],
        ["GET http://a/b", "opened 200 at attempt 2", "over"]
    );
}

/// Whoever pays for events learns how many there were, whatever ended them.
#[test]
fn a_failure_of_a_completion_with_a_stream_counts_its_events() {
    let completion = call().ends_at_data("[DONE]");
    let event = Bytes("id: 7\ndata: x\n\n");
    let long = format!("data: {}\n\n", "y".repeat(100));
    let missing = status("404 X");
    let moved = "HTTP/1.1 302 X\r\n\r\n";
    let timed_out = After(Duration::from_secs(5));
    let resumable = || completion.clone().resumable().max_retries(1);
    for (source, inputs, cause) in [
        (
            completion.clone().total(Duration::from_secs(5)),
            &[OK, event, timed_out][..],
            "the stream did not end within 5s; raise total if that is too short",
        ),
        (
            completion.clone().max_line(50),
            &[OK, event, Bytes(&long)],
            "a line exceeds 50 bytes; raise the decoder's max_line if that is legitimate",
        ),
        (
            resumable(),
            &[OK, event, Reset, Refused],
            "no connection could be opened: connection refused",
        ),
        (
            resumable(),
            &[OK, event, Reset, Bytes(&missing)],
            "the server responded with 404",
        ),
        (
            resumable(),
            &[OK, event, Reset, Bytes(moved)],
            "the response is a redirect without a Location",
        ),
        (
            resumable(),
            &[OK, event, Reset, Bytes("SSH-2.0")],
            "the response does not begin with \"HTTP/1.\"; the server speaks another protocol",
        ),
    ] {
        let expected =
            format!("error: the stream ended before its last event, after 1 event: {cause}");
        assert_eq!(*run(source, inputs).last().unwrap(), expected);
    }
}

#[test]
fn limits_are_final() {
    let long = format!("data: {}\n\n", "x".repeat(100));
    let got = run(feed().max_line(50), &[OK, Bytes(&long)]);
    assert_eq!(
        got[2],
        "error: a line exceeds 50 bytes; raise the decoder's max_line if that is legitimate"
    );
    let got = run(feed().max_event(50), &[OK, Bytes(&long)]);
    assert_eq!(
        got[2],
        "error: an event's data exceeds 50 bytes; raise the decoder's max_event if that is \
         legitimate"
    );
    let got = run(feed().max_head(50), &[OK]);
    assert_eq!(
        got[1],
        "error: the response head exceeds 50 bytes; raise max_head if that is legitimate"
    );
    let got = run(feed().max_headers(0), &[OK]);
    assert_eq!(
        got[1],
        "error: the response head has more than 0 header lines; raise max_headers if that is \
         legitimate"
    );
    let limits = BodyLimits::new().max_length(5).max_chunk_line(5);
    for (framing, end) in [
        (
            "Content-Length: 6\r\n\r\n",
            "error: the body exceeds 5 bytes; raise max_length if that is legitimate",
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n5;abcdef",
            "closed: the line of a chunk size exceeds 5 bytes; raise max_chunk_line if that is \
             legitimate",
        ),
    ] {
        let response =
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n".to_owned() + framing;
        let got = run(feed().body_limits(limits), &[Bytes(&response)]);
        assert_eq!(got.last().unwrap(), end);
    }
    let body = "y".repeat(100);
    let answer = format!("HTTP/1.1 404 X\r\n\r\n{body}");
    let got = run(feed().max_error_body(10), &[Bytes(&answer)]);
    assert_eq!(got[1], "error: the server responded with 404: yyyyyyyyyy");
}

#[test]
fn a_restart_reconnects_at_once() {
    let mut world = crate::harness::World::new(feed());
    world.feed(OK);
    world.feed(Bytes("id: 7\ndata: x\n\n"));
    let before = world.now;
    world.machine.restart(before);
    world.take();
    world.feed(OK);
    assert_eq!(world.now, before);
    assert_eq!(
        world.log[2..],
        [
            "message \"x\" #7",
            "closed: the application asked for another connection",
            "GET http://a/b after 7",
            "opened 200 at attempt 2",
        ]
    );
}

#[test]
fn a_first_id_can_be_given() {
    let id = sse_core::EventId::from(41);
    let got = run(feed().last_event_id(id), &[OK, Bytes("data: x\n\n")]);
    assert_eq!(got[0], "GET http://a/b after 41");
    assert_eq!(got[2], "message \"x\" #41");
}

/// The IDs of some servers list the positions in many partitions.
#[test]
fn a_long_id_is_sent() {
    for (len, is_sent) in [(1025, true), (8192, true), (8193, false)] {
        let id = "x".repeat(len);
        let event = format!("id: {id}\ndata: y\n\n");
        let got = run(feed(), &[OK, Bytes(&event), End, OK]);
        let after = format!("GET http://a/b after {id}");
        let expected = if is_sent { &after } else { "GET http://a/b" };
        assert_eq!(got[4], expected, "{len}");
    }
}

#[test]
fn the_last_event_id_is_what_the_next_request_sends() {
    for (id, expected) in [("7", "7"), (" 7\t", "7"), ("a\u{1}b", ""), ("", "")] {
        let mut world = crate::harness::World::new(feed());
        let event = format!("id: {id}\ndata: y\n\n");
        world.feed(OK);
        world.feed(Bytes(&event));
        assert_eq!(world.machine.last_event_id(), expected, "{id:?}");
    }
}

#[test]
fn content_is_an_item_if_asked_for() {
    let got = run(
        feed().with_content(),
        &[OK, Bytes("data: x\n\n: y"), Bytes("\n"), End],
    );
    assert_eq!(
        got[2..6],
        [
            "content \"data: x\\n\\n: y\"",
            "message \"x\"",
            "content \"\\n\"",
            ": y"
        ]
    );
}

#[test]
fn nothing_follows_the_end() {
    let end = status("204 X");
    let got = run(
        feed(),
        &[Bytes(&end), OK, End, Reset, After(Duration::from_secs(999))],
    );
    assert_eq!(got, ["GET http://a/b", "over"]);
}
