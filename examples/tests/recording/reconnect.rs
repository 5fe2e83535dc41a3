//! Reconnecting after the end of a stream.

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant, SystemTime};

use sse_core::testing::Comparison;

use crate::common::response;
use crate::{Dir, HEAD, OVER, RECORD, run, serve, start, text};

#[test]
fn a_connection_that_ends_is_resumed_and_marked_in_the_file() {
    let chunked = |body: &str| {
        let (first, second) = body.split_at(body.len() / 2);
        let chunks = [first, second].map(|part| format!("{:x}\r\n{part}\r\n", part.len()));
        format!(
            "{HEAD}Transfer-Encoding: chunked\r\n\r\n{}",
            chunks.concat()
        )
    };
    let (url, server) = serve(vec![
        chunked("retry: 100\n\nid: 1\ndata: a\n\nid: 2\ndata: torn\n"),
        "HTTP/1.1 503 Service Unavailable\r\n\r\n".to_owned(),
        chunked("id: 2\ndata: b\n\n") + "0\r\n\r\n",
        format!("{HEAD}Content-Encoding: Identity\r\n\r\ndata: c\n\n"),
        OVER.to_owned(),
    ]);
    let dir = Dir::new();
    let output = run(RECORD, &[&format!("{url}/sse?a=b"), &dir.file("a")]);
    assert!(output.status.success(), "{output:?}");
    assert!(
        text(&output.stdout).starts_with("3 events in "),
        "{output:?}"
    );

    let requests = server.join().unwrap();
    let last_ids = requests.iter().map(|request| {
        assert!(
            request.starts_with("GET /sse?a=b HTTP/1.1\r\n"),
            "{request}"
        );
        let id = request.split_once("\r\nLast-Event-ID: ");
        id.map_or("", |(_, id)| id.lines().next().unwrap())
    });
    assert_eq!(Vec::from_iter(last_ids), ["", "1", "1", "2", "2"]);
    Comparison::new().assert_same(
        &b"retry: 100\n\nid: 1\ndata: a\n\n\
           : the body is incomplete: the connection ended after 44 bytes, before the last chunk; \
           the server is asked to resume after event 1; if it can't, events are missing\n\
           id: 2\ndata: b\n\n\
           : the server ended the stream; \
           the server is asked to resume after event 2; if it can't, events are missing\n\
           data: c\n\n\
           : the server ended the stream; \
           the server is asked to resume after event 2; if it can't, events are missing\n"[..],
        &dir.read("a")[..],
    );
}

#[test]
fn events_that_may_be_missing_are_marked_in_the_file() {
    let (url, server) = serve(vec![
        format!("{HEAD}\r\nretry: 1\n\ndata: a\n\ndata: torn"),
        format!("{HEAD}\r\ndata: b\n\n"),
        OVER.to_owned(),
    ]);
    let dir = Dir::new();
    assert!(run(RECORD, &[&url, &dir.file("a")]).status.success());
    server.join().unwrap();
    let note = |why| format!(": {why}; {NO_ID}\n");
    let expected = format!(
        "retry: 1\n\ndata: a\n\n{}data: b\n\n{}",
        note("the stream ended in the middle of an event, which is not recorded"),
        note("the server ended the stream")
    );
    Comparison::new().assert_same(expected.as_bytes(), &dir.read("a")[..]);
}

#[test]
fn with_once_the_program_ends_with_the_stream() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let answer = format!("{hints}{HEAD}Content-Length: 9\r\n\r\ndata: a\n\n");
    let (url, server) = serve(vec![answer]);
    let dir = Dir::new();
    let header = ["--header", "Authorization: Bearer x"];
    let output = run(
        RECORD,
        &[&["--once", &url, &dir.file("a")][..], &header].concat(),
    );
    assert!(output.status.success(), "{output:?}");
    let request = server.join().unwrap().concat();
    for header in ["Authorization: Bearer x", "Accept-Encoding: identity"] {
        assert!(request.contains(&format!("\r\n{header}\r\n")), "{request}");
    }
    Comparison::new().assert_same(&b"data: a\n\n"[..], &dir.read("a")[..]);
}

#[test]
fn retry_after_is_obeyed() {
    let date = |wait| httpdate::fmt_http_date(SystemTime::now() + wait);
    let seconds = |_| "2".to_owned();
    type RetryAfter<'a> = &'a dyn Fn(Duration) -> String;
    // A date is rounded down to whole seconds.
    for (retry_after, expected) in [(&seconds as RetryAfter<'_>, 2.0), (&date, 1.5)] {
        let retry_after = retry_after(Duration::from_secs(3));
        let (url, server) = serve(vec![
            format!("HTTP/1.1 503 Full\r\nRetry-After: {retry_after}\r\n\r\n"),
            format!("{HEAD}\r\nretry: 100\n\ndata: a\n\n"),
            OVER.to_owned(),
        ]);
        let dir = Dir::new();
        let began = Instant::now();
        let output = run(RECORD, &[&url, &dir.file("a")]);
        assert!(output.status.success(), "{output:?}");
        let waited = began.elapsed().as_secs_f64();
        assert!(
            waited >= expected && waited < 20.0,
            "{retry_after}: {waited}"
        );
        let said = text(&output.stderr);
        assert!(
            said.starts_with("the server responded with 503; reconnecting in "),
            "{said}"
        );
        assert!(
            said.lines()
                .next()
                .unwrap()
                .ends_with("s, as Retry-After asks"),
            "{said}"
        );
        server.join().unwrap();
    }
}

#[test]
fn a_given_header_replaces_the_default() {
    let (url, server) = serve(vec![
        format!("{HEAD}\r\nretry: 100\n\nid: 7\ndata: a\n\n"),
        OVER.to_owned(),
    ]);
    let dir = Dir::new();
    let mut args = vec![format!("{url}?x=1"), dir.file("a")];
    for header in [
        "Host: example.org",
        "ACCEPT:*/*",
        "Last-Event-ID: 3",
        "X-Empty:",
        "Cookie: a=b; c=d",
    ] {
        args.extend(["--header".to_owned(), header.to_owned()]);
    }
    let args = Vec::from_iter(args.iter().map(String::as_str));
    let output = run(RECORD, &args);
    assert!(output.status.success(), "{output:?}");
    let request = |id| {
        format!(
            "GET /?x=1 HTTP/1.1\r\nAccept-Encoding: identity\r\nCache-Control: no-cache\r\n\
             Host: example.org\r\nACCEPT: */*\r\nX-Empty: \r\nCookie: a=b; c=d\r\n\
             Last-Event-ID: {id}\r\n\r\n"
        )
    };
    let requests = server.join().unwrap();
    assert_eq!(requests[0], request(3));
    // The ID from the stream replaces the given one.
    assert_eq!(requests[1], request(7));
}

const NO_ID: &str =
    "events may be missing, because the last ones have no ID that a request can carry";

fn resumes_after(id: &str) -> String {
    format!("the server is asked to resume after event {id}; if it can't, events are missing")
}

/// A server would respond to others with 400.
#[test]
fn an_id_is_sent_if_a_request_can_carry_it() {
    for (id, sent) in [
        ("a\u{1}b", None),
        ("a\u{7f}", None),
        (&"x".repeat(8193), None),
        (&"x".repeat(1025), Some(&*"x".repeat(1025))),
        (" 7", Some("7")),
        ("7\t", Some("7")),
    ] {
        let stream = format!("retry: 100\n\nid: {id}\ndata: a\n\n");
        let (url, server) = serve(vec![format!("{HEAD}\r\n{stream}"), OVER.to_owned()]);
        let dir = Dir::new();
        let output = run(RECORD, &[&url, &dir.file("a")]);
        assert!(output.status.success(), "{output:?}");
        let request = &server.join().unwrap()[1];
        let (header, resumes) = match sent {
            Some(id) => (format!("Last-Event-ID: {id}\r\n"), resumes_after(id)),
            None => ("Last-Event-ID".to_owned(), NO_ID.to_owned()),
        };
        assert_eq!(request.contains(&header), sent.is_some(), "{id:?}");
        let note = format!(": the server ended the stream; {resumes}\n");
        Comparison::new().assert_same((stream + &note).as_bytes(), &dir.read("a")[..]);

        let (url, server) = serve(vec![OVER.to_owned()]);
        let output = run(RECORD, &["--continue", &url, &dir.file("a")]);
        assert!(output.status.success(), "{output:?}");
        let request = &server.join().unwrap()[0];
        assert_eq!(request.contains(&header), sent.is_some(), "{id:?}");
    }
}

#[test]
fn a_silent_connection_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let dir = Dir::new();
    for body in ["", "data: a\n\n: heartbeat\n"] {
        let file = dir.file(&body.len().to_string());
        let recorder = start(RECORD, &["--once", "--silence", "0.3", &url, &file]);
        let (mut conn, _) = listener.accept().unwrap();
        response(&conn);
        conn.write_all(format!("{HEAD}\r\n{body}").as_bytes())
            .unwrap();
        let output = recorder.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            text(&output.stderr),
            "nothing was received within 300ms; raise silence if that is too short\n"
        );
    }
}

/// An empty stream does not reset the backoff.
#[test]
fn streams_that_end_at_once_are_retried_with_growing_pauses() {
    let empty = || format!("{HEAD}\r\nretry: 100\n\n");
    let (url, server) = serve(vec![empty(), empty(), empty(), empty(), OVER.to_owned()]);
    let dir = Dir::new();
    let output = run(RECORD, &[&url, &dir.file("a")]);
    assert!(output.status.success(), "{output:?}");
    let said = text(&output.stderr).lines();
    let waits = Vec::from_iter(said.map(|line| {
        let wait = line.rsplit(' ').next().unwrap().strip_suffix("ms");
        wait.unwrap().parse::<f64>().unwrap()
    }));
    assert_eq!(waits.len(), 4);
    // Up to a half is left out at random.
    for (wait, longest) in waits.iter().zip([100.0, 200.0, 400.0, 800.0]) {
        assert!((longest / 2.0..=longest).contains(wait), "{waits:?}");
    }
    server.join().unwrap();
}
