//! `record`, `replay`, and the demo with `--record` and `--journal`.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has failed, in a helper too"
)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use common::{Server, TIMEOUT, events, response, response_to_end};
use sse_core::testing::{Comparison, decoded};
use sse_core::{Decoded, Event, MessageEvent, Recorded, Recorder, Replayer, Retention};
use sse_net::{Config, Routes, Start, Tcp, Topic};
use sse_tls::{PemFiles, TlsListener};
use tempfile::TempDir;

const RECORD: &str = env!("CARGO_BIN_EXE_record");
const REPLAY: &str = env!("CARGO_BIN_EXE_replay");
const DEMO: &str = env!("CARGO_BIN_EXE_demo");

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
/// The response that ends a stream for good.
const OVER: &str = "HTTP/1.1 204 No Content\r\n\r\n";

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
    let note = |why| format!(": {why}; events may be missing, because the stream has no IDs\n");
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
fn a_response_that_is_not_a_stream_is_an_error_and_leaves_no_file() {
    for (answer, sentence) in [
        (
            "HTTP/1.1 404 Not Found\r\n\r\n",
            "the server responds with 404\n",
        ),
        ("HTTP/1.1 500 Oh\r\n\r\n", "the server responds with 500\n"),
        (
            "HTTP/1.1 307 Elsewhere\r\nLocation: https://b/sse\r\n\r\n",
            "the server responds with 307 and redirects to \"https://b/sse\"; \
             record that URL if you trust it\n",
        ),
        (
            "",
            "can't reach the server: the connection ended before a response head, after \"\"\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>",
            "the response is not an event stream\n",
        ),
        (
            &format!("{HEAD}Content-Encoding: gzip\r\n\r\n\x1f"),
            "the response has the content encoding \"gzip\", which can't be recorded; \
             turn it off in the server or in the proxy before it\n",
        ),
        (
            "SSH-2.0-x\r\n",
            "can't read the response: the response does not begin with \"HTTP/1.\"; \
             the server speaks another protocol\n",
        ),
    ] {
        let (url, server) = serve(vec![answer.to_owned()]);
        let dir = Dir::new();
        let output = run(RECORD, &[&url, &dir.file("a")]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(text(&output.stderr), sentence);
        assert!(!Path::new(&dir.file("a")).exists());
        server.join().unwrap();
    }
}

/// Each case is a response, the resulting file, and the error.
#[test]
fn with_once_an_incomplete_stream_is_a_failure() {
    let head = |headers: &str| format!("{HEAD}{headers}\r\n\r\n");
    let chunked = head("Transfer-Encoding: chunked");
    let events = "id: 1\ndata: a\n\n";
    for (answer, recorded, sentence) in [
        (
            head("Content-Length: 500") + "data: seventeen\n\n",
            "data: seventeen\n\n",
            "the body is incomplete: the connection ended after 17 of 500 bytes",
        ),
        (
            format!("{chunked}f\r\n{events}\r\n"),
            events,
            "the body is incomplete: the connection ended after 15 bytes, before the last chunk",
        ),
        (
            format!("{chunked}f\r\n{events}\r\n0\r\nDigest: x\r\n"),
            events,
            "the body is incomplete: the connection ended after 15 bytes, before the last chunk",
        ),
        (
            format!("{chunked}f\r\n{events}\r\nfive\r\nhello\r\n"),
            events,
            "a chunk size is not a hexadecimal number below 2^64",
        ),
        (
            format!("{chunked}f\r\n{events}x\r\n0\r\n\r\n"),
            events,
            "the data of a chunk is not followed by CR LF",
        ),
        (
            format!("{chunked}f;{}", "x".repeat(5000)),
            "",
            "the line of a chunk size exceeds 1024 bytes; raise max_chunk_line if that is \
             legitimate",
        ),
        (
            format!("{chunked}f\r\n{events}\r\n0\r\n{}", "A: b\r\n".repeat(5000)),
            events,
            "there are more than 64 trailers; raise max_trailers if that is legitimate",
        ),
        (
            format!("{HEAD}\r\n{events}data: torn\n"),
            events,
            "the stream ended in the middle of an event, which is not recorded",
        ),
        (
            format!("{HEAD}\r\n{events}data: {}", "x".repeat((16 << 20) + 1)),
            events,
            "the stream can't be decoded: a line exceeds 16777216 bytes; raise the decoder's \
             max_line if that is legitimate",
        ),
        (
            format!("{HEAD}A: {}", "x".repeat(100_000)),
            "",
            "can't read the response: the response head exceeds 65536 bytes",
        ),
        (
            "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(10_000),
            "",
            "can't read the response: the response head exceeds 65536 bytes",
        ),
        (
            format!("{HEAD}{}\r\n{events}", "A: b\r\n".repeat(1000)),
            "",
            "can't read the response: the response head has more than 128 header lines",
        ),
        (
            head("Content-Length: 15\r\nContent-Length: 9") + events,
            "",
            "can't read the response: Content-Length has different values; send one",
        ),
        (
            head("Transfer-Encoding: gzip, chunked") + events,
            "",
            "can't read the response: the transfer coding \"gzip\" is not supported; \
             send the body without it",
        ),
    ] {
        let (url, server) = serve(vec![answer]);
        let dir = Dir::new();
        let output = run(RECORD, &["--once", &url, &dir.file("a")]);
        assert_eq!(text(&output.stderr), format!("{sentence}\n"));
        assert_eq!(output.status.code(), Some(1), "{sentence}");
        match recorded {
            "" => assert!(!Path::new(&dir.file("a")).exists(), "{sentence}"),
            recorded => Comparison::new().assert_same(recorded.as_bytes(), &dir.read("a")[..]),
        }
        // `record` may close the connection before the whole response is sent.
        drop(server.join());
    }
}

/// Unusual but valid response heads, by RFC 9110, RFC 9112 and Fetch.
#[test]
fn every_response_that_browsers_accept_is_recorded() {
    let chunked = "9\r\ndata: a\n\n\r\n0\r\nDigest: x\r\n\r\n";
    let plain = "data: a\n\n";
    for (headers, body) in [
        (
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
            chunked,
        ),
        (
            "Transfer-Encoding:\r\n chunked\r\nContent-Length: 9\r\n",
            chunked,
        ),
        ("Transfer-Encoding: xchunked\r\n", plain),
        (
            "Content-Length: 9\r\nContent-Length: 9\r\n",
            "data: a\n\nnot this",
        ),
        ("Content-Type: nonsense\r\n", plain),
        ("Content-Type: TEXT/event-stream; charset=utf-8\r\n", plain),
        ("Content-Encoding: none\r\n", plain),
        ("Content-Encoding: identity, utf-8\r\n", plain),
    ] {
        let (url, server) = serve(vec![format!("{HEAD}{headers}\r\n{body}")]);
        let dir = Dir::new();
        let output = run(RECORD, &["--once", &url, &dir.file("a")]);
        assert!(output.status.success(), "{headers}: {output:?}");
        Comparison::new().assert_same(plain.as_bytes(), &dir.read("a")[..]);
        server.join().unwrap();
    }
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
            said.starts_with("the server responds with 503; retrying in "),
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
             Host: example.org\r\nACCEPT: */*\r\n{id}\r\n"
        )
    };
    let requests = server.join().unwrap();
    let rest = "X-Empty: \r\nCookie: a=b; c=d\r\n";
    assert_eq!(requests[0], request(format!("Last-Event-ID: 3\r\n{rest}")));
    // The ID from the stream replaces the given one.
    assert_eq!(requests[1], request(format!("{rest}Last-Event-ID: 7\r\n")));
}

/// A server would respond with 400, or read another ID.
#[test]
fn an_id_that_no_request_can_carry_is_not_sent() {
    for id in ["a\u{1}b", " 7", "7\t", "a\u{7f}", &"x".repeat(1025)] {
        let stream = format!("retry: 100\n\nid: {id}\ndata: a\n\n");
        let (url, server) = serve(vec![format!("{HEAD}\r\n{stream}"), OVER.to_owned()]);
        let dir = Dir::new();
        let output = run(RECORD, &[&url, &dir.file("a")]);
        assert!(output.status.success(), "{output:?}");
        assert!(
            !server.join().unwrap()[1].contains("Last-Event-ID"),
            "{id:?}"
        );
        let note = ": the server ended the stream; \
                    events may be missing, because no request can carry the ID of the last one\n";
        Comparison::new().assert_same((stream + note).as_bytes(), &dir.read("a")[..]);
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
            "the connection was lost: nothing was received within 300ms\n"
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
    let waits = said.map(|line| line.rsplit(' ').next().unwrap());
    assert_eq!(Vec::from_iter(waits), ["100ms", "200ms", "400ms", "800ms"]);
    server.join().unwrap();
}

#[test]
fn only_one_process_records_to_a_file() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let dir = Dir::new();
    let file = dir.file("a");
    for continues in [false, true] {
        let args = [&*url, &file, "--continue"];
        let first = start(RECORD, &args[..2 + usize::from(continues)]);
        let (mut conn, _) = listener.accept().unwrap();
        response(&conn);
        conn.write_all(format!("{HEAD}\r\ndata: a\n\n").as_bytes())
            .unwrap();
        dir.wait_for("a", 1 + usize::from(continues));

        let before = dir.read("a");
        let second = run(RECORD, &args);
        assert_eq!(second.status.code(), Some(1));
        assert_eq!(
            text(&second.stderr),
            format!("another process records to {file:?}; end it, or record to another file\n")
        );
        assert_eq!(dir.read("a"), before);
        #[cfg(unix)]
        signal(&first, "TERM");
        let first = first.wait_with_output().unwrap();
        assert!(first.status.success(), "{first:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn devices_and_directories_are_refused() {
    let dir = Dir::new();
    let pipe = dir.file("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    for path in ["/dev/full", "/dev/null", "/dev/zero", &pipe, "/tmp"] {
        for args in [
            &["http://127.0.0.1:9/", path][..],
            &["http://a/", path, "--continue"],
        ] {
            let output = run(RECORD, args);
            assert_eq!(output.status.code(), Some(1));
            assert_eq!(
                text(&output.stderr),
                format!("can't open {path:?}: it is not a regular file; choose another file\n")
            );
        }
    }
}

/// The limit on file sizes of a process stands in for a full disk.
#[test]
#[cfg(unix)]
fn a_full_disk_ends_a_recording_that_can_be_continued() {
    let dir = Dir::new();
    let file = dir.file("a");
    let events = |ids: std::ops::Range<u64>| {
        let event = |id| format!("id: {id}\ndata: {}\n\n", "x".repeat(90));
        ids.map(event).collect::<String>()
    };
    let (url, server) = serve(vec![format!("{HEAD}\r\n{}", events(0..100))]);
    // `ulimit -f` counts blocks of 512 or 1,024 bytes, depending on the shell.
    let limited = r#"trap '' XFSZ; ulimit -f 4; exec "$@""#;
    let output = run("sh", &["-c", limited, "sh", RECORD, "--once", &url, &file]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        text(&output.stderr),
        format!("can't record to {file:?}: File too large (os error 27)\n")
    );
    server.join().unwrap();
    let kept = ids(&dir.items("a"));
    let kept_count = kept.len() as u64;
    assert!((10..50).contains(&kept_count), "{kept:?}");

    let (url, server) = serve(vec![format!("{HEAD}\r\n{}", events(kept_count..100))]);
    let output = run(RECORD, &["--once", "--continue", &url, &file]);
    assert!(output.status.success(), "{output:?}");
    let last = format!("\r\nLast-Event-ID: {}\r\n", kept_count - 1);
    assert!(server.join().unwrap()[0].contains(&last));
    let all = Vec::from_iter((0..100).map(|id| id.to_string()));
    assert_eq!(ids(&dir.items("a")), all);
}

#[test]
#[cfg(unix)]
fn a_killed_recorder_leaves_whole_events() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let dir = Dir::new();
    let mut recorder = start(RECORD, &[&url, &dir.file("a")]);
    let (mut conn, _) = listener.accept().unwrap();
    response(&conn);
    conn.write_all(format!("{HEAD}\r\n").as_bytes()).unwrap();
    let flood = thread::spawn(move || {
        for id in 0_u64.. {
            let event = format!("id: {id}\ndata: {}\n\n", "x".repeat(1000));
            if conn.write_all(event.as_bytes()).is_err() {
                break;
            }
        }
    });
    dir.wait_for("a", 100);
    recorder.kill().unwrap();
    recorder.wait().unwrap();
    flood.join().unwrap();
    for (number, item) in dir.items("a").iter().enumerate() {
        let Decoded::Event(event) = item.decoded() else {
            panic!("{item:?}");
        };
        assert_eq!(event.last_event_id(), number.to_string());
        assert_eq!(event.data().len(), 1000);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_replay_reports_that_its_output_is_full() {
    let dir = Dir::new();
    fs::write(dir.file("a"), recording()).unwrap();
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = Command::new(REPLAY);
    command.args([&dir.file("a"), "--max"]).stdout(full);
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "standard output can't be written: No space left on device (os error 28)\n"
    );
}

#[test]
fn wrong_command_lines_are_reported() {
    let dir = Dir::new();
    fs::write(dir.file("a"), "data: a\n\n").unwrap();
    let exists = format!(
        "{:?} exists; remove it, or append to it with --continue",
        dir.file("a")
    );
    let text_file = format!(
        "can't open {:?}: it does not begin like a recording; choose another file",
        dir.file("text")
    );
    let notes = "id: of a car\n\nwhat it needs\n";
    fs::write(dir.file("text"), notes).unwrap();
    let no_ca = format!(
        "can't trust {:?}: the file contains no certificate",
        dir.file("a")
    );
    for (program, args, status, sentence) in [
        (
            RECORD,
            &["http://a/"][..],
            2,
            "record takes a URL and a file; see --help",
        ),
        (
            RECORD,
            &["ftp://a/", "b"],
            2,
            "\"ftp://a/\" is not a URL like http://…, https://… or unix:/run/app.sock:/path; \
             see --help",
        ),
        (
            RECORD,
            &["--header", "a\r\nb: c", "http://a/", "b"],
            2,
            "--header takes a header like \"X: y\", not \"a\\r\\nb: c\"; see --help",
        ),
        (
            RECORD,
            &["--header", "a b: c", "http://a/", "b"],
            2,
            "--header takes a header like \"X: y\", not \"a b: c\"; see --help",
        ),
        (
            RECORD,
            &["--header", "content-length: 5", "http://a/", "b"],
            2,
            "--header can't set content-length: the request has no body; see --help",
        ),
        (
            RECORD,
            &["--silence", "0", "http://a/", "b"],
            2,
            "--silence takes a number of seconds above 0, not \"0\"; see --help",
        ),
        (RECORD, &["http://a/", &dir.file("a")], 1, &exists),
        (
            RECORD,
            &["http://a/", &dir.file("text"), "--continue"],
            1,
            &text_file,
        ),
        (
            RECORD,
            &["https://a/", "b", "--ca", &dir.file("a")],
            1,
            &no_ca,
        ),
        (REPLAY, &[], 2, "replay takes a file; see --help"),
        (REPLAY, &["a", "b"], 2, "replay takes one file; see --help"),
        (
            REPLAY,
            &["a", "--speed", "0"],
            2,
            "--speed takes a number above 0; see --help",
        ),
        (
            REPLAY,
            &["/nothing"],
            1,
            "can't play \"/nothing\": No such file or directory (os error 2)",
        ),
    ] {
        let output = run(program, args);
        assert_eq!(text(&output.stderr), format!("{sentence}\n"));
        assert_eq!(output.status.code(), Some(status), "{output:?}");
    }
    assert_eq!(text(&dir.read("text")), notes);
}

/// A crash may cut the first event, or even its time.
#[test]
fn a_recording_cut_by_a_crash_can_be_continued() {
    let whole = recording();
    for len in [0, 1, 2, 3, 9, whole.len() - 1] {
        let dir = Dir::new();
        fs::write(dir.file("a"), &whole[..len]).unwrap();
        let (url, server) = serve(vec![format!("{HEAD}\r\nid: x\ndata: a\n\n")]);
        let output = run(RECORD, &[&url, &dir.file("a"), "--continue", "--once"]);
        assert!(output.status.success(), "{output:?}");
        server.join().unwrap();
        assert_eq!(ids(&dir.items("a")).last().unwrap(), "x");
    }
}

#[test]
#[cfg(unix)]
fn a_killed_recording_of_the_demo_over_a_unix_socket_can_be_continued() {
    let dir = Dir::new();
    let socket = dir.file("socket");
    let own = dir.file("own");
    let args = ["--every", "0.02", "--unix", &socket, "--record", &own];
    let mut demo = Server::start(DEMO, &args);
    let url = format!("unix:{socket}:/sse");

    let mut recorder = start(RECORD, &[&url, &dir.file("a")]);
    dir.wait_for("a", 5);
    recorder.kill().unwrap();
    recorder.wait().unwrap();
    // A crash may cut the last event.
    let crashed = dir.read("a");
    fs::write(dir.file("a"), &crashed[..crashed.len() - 3]).unwrap();

    let recorder = start(RECORD, &[&url, &dir.file("a"), "--continue"]);
    dir.wait_for("a", 20);
    signal(&recorder, "INT");
    let output = recorder.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    demo.signal("INT");
    assert_eq!(demo.wait(), (Some(0), "stopped\n".to_owned()));

    // Every event is there once and in order, as in the demo's own recording.
    let (recorded, own) = (dir.items("a"), dir.items("own"));
    assert!(recorded.is_sorted_by_key(Recorded::at));
    let [recorded, own] = [recorded, own].map(|items| ids(&items));
    assert!(recorded.len() >= 20);
    let first = own.iter().position(|id| *id == recorded[0]).unwrap();
    assert_eq!(recorded, own[first..][..recorded.len()]);
    let note = "the recording ended here; the server is asked to resume after event ";
    assert!(text(&dir.read("a")).contains(note));
}

#[test]
fn https_is_recorded_from_a_server_that_the_ca_file_trusts() {
    let dir = Dir::new();
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(dir.file("cert"), identity.cert.pem()).unwrap();
    fs::write(dir.file("key"), identity.signing_key.serialize_pem()).unwrap();
    let tls = PemFiles::new(dir.file("cert"), dir.file("key"))
        .load()
        .unwrap();

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let topic = Topic::new(Retention::events(10));
    topic.publish(&Event::new().id(1).data("secret")).unwrap();
    topic.finish(None).unwrap();
    let (port, _server) = runtime.block_on(async {
        let tcp = Tcp::default().bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let server = sse_net::Server::new(Config::default()).listen(TlsListener::new(tcp, tls));
        let routes = Routes::new().topic_from("/", &topic, Start::Earliest);
        (port, server.serve(routes))
    });
    let url = format!("https://localhost:{port}");

    let output = run(RECORD, &[&url, &dir.file("a")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("certificate"), "{output:?}");

    let trusting = [&*url, &dir.file("a"), "--once", "--ca", &dir.file("cert")];
    let output = run(RECORD, &trusting);
    assert!(output.status.success(), "{output:?}");
    let ids = ids(&dir.items("a"));
    assert_eq!(ids, ["1"]);
}

/// RFC 9112, section 9.8: without `close_notify`, an attacker may have cut the stream.
#[test]
fn a_tls_stream_is_complete_only_with_close_notify() {
    use sse_tls::rustls::{self, ServerConfig, ServerConnection};

    let dir = Dir::new();
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(dir.file("cert"), identity.cert.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![identity.cert.der().clone()],
            identity.signing_key.into(),
        )
        .unwrap();
    let config = Arc::new(config);
    let lost = "the connection was lost: peer closed connection without sending TLS close_notify";
    for (headers, is_closed, complaint) in [
        ("", true, ""),
        ("", false, lost),
        ("Content-Length: 9\r\n", false, ""),
        ("Content-Length: 10\r\n", false, lost),
        (
            "Content-Length: 10\r\n",
            true,
            "the body is incomplete: the connection ended after 9 of 10 bytes",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!(
            "https://localhost:{}",
            listener.local_addr().unwrap().port()
        );
        let file = dir.file("a");
        let ca = dir.file("cert");
        let recorder = start(RECORD, &[&url, &file, "--once", "--ca", &ca]);
        let (mut conn, _) = listener.accept().unwrap();
        let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, &mut conn);
        response(&mut stream);
        stream
            .write_all(format!("{HEAD}{headers}\r\ndata: a\n\n").as_bytes())
            .unwrap();
        if is_closed {
            stream.conn.send_close_notify();
        }
        stream.flush().unwrap();
        drop(conn);
        let output = recorder.wait_with_output().unwrap();
        assert!(text(&output.stderr).starts_with(complaint), "{output:?}");
        assert_eq!(output.status.success(), complaint.is_empty(), "{output:?}");
        Comparison::new().assert_same(&b"data: a\n\n"[..], &dir.read("a")[..]);
        fs::remove_file(file).unwrap();
    }
}

#[test]
#[cfg(unix)]
fn a_client_resumes_after_the_demo_with_a_journal_is_killed_and_restarted() {
    let dir = Dir::new();
    let journal = dir.file("journal");
    let args = ["--every", "0.01", "--journal", &journal];
    let demo = Server::start(DEMO, &args);
    let addr = demo.addr.to_string();

    let output = run(DEMO, &["--listen", "127.0.0.1:0", "--journal", &journal]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        format!(
            "the journal in {journal} is in use; end the process that has it open, or choose \
             another directory\n"
        )
    );

    let id = |event: MessageEvent<'_>| {
        assert_eq!(event.event(), "message", "{}", event.data());
        event.last_event_id().to_owned()
    };
    let mut ids = Vec::from_iter(events(demo.get("/sse", "")).take(20).map(id));
    drop(demo); // `drop` kills the process.

    let demo = Server::start_at(&addr, DEMO, &args);
    let last = format!("Last-Event-ID: {}\r\n", ids[ids.len() - 1]);
    ids.extend(events(demo.get("/sse", &last)).take(20).map(id));
    drop(demo);

    // The client has seen a part of the journal, with nothing missing and nothing twice.
    let mut segments = Vec::from_iter(fs::read_dir(&journal).unwrap().map(|e| e.unwrap().path()));
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "sse"));
    segments.sort();
    let kept: Vec<u8> = segments
        .iter()
        .flat_map(|path| fs::read(path).unwrap())
        .collect();
    let kept = seen(&kept);
    let first = kept.iter().position(|id| *id == ids[0]).unwrap();
    assert_eq!(ids, kept[first..][..ids.len()]);
}

#[test]
#[cfg(unix)]
fn a_recording_by_the_demo_replays_completely_after_a_signal() {
    let dir = Dir::new();
    let file = dir.file("a");
    let mut demo = Server::start(DEMO, &["--every", "0.01", "--record", &file]);
    dir.wait_for("a", 10);
    demo.signal("INT");
    assert_eq!(demo.wait(), (Some(0), "stopped\n".to_owned()));

    let output = run(REPLAY, &[&file, "--max"]);
    assert!(output.status.success(), "{output:?}");
    Comparison::new().assert_same(&dir.read("a")[..], &output.stdout[..]);
    assert!(seen(&output.stdout).len() >= 10 && dir.read("a").ends_with(b"\n\n"));
    let output = run(DEMO, &["--listen", "127.0.0.1:0", "--record", &file]);
    assert_eq!(
        text(&output.stderr),
        format!("{file:?} exists; record to another file\n")
    );
}

/// A recording of five events in five seconds.
fn recording() -> Vec<u8> {
    let mut recorder = Recorder::new(Vec::new());
    for id in 1..=5 {
        let event = Event::new().id(id).data("two\nlines");
        recorder.send(Duration::from_secs(id), &event).unwrap();
    }
    recorder.into_parts().0
}

#[test]
fn a_replay_to_standard_output_equals_the_recording() {
    let dir = Dir::new();
    fs::write(dir.file("a"), recording()).unwrap();
    let file = dir.file("a");
    for args in [&["--max"][..], &["--speed", "1000"]] {
        let output = run(REPLAY, &[&[&*file], args].concat());
        assert!(output.status.success(), "{output:?}");
        Comparison::new().assert_same(&recording()[..], &output.stdout[..]);
    }
    let output = run(REPLAY, &[&file, "--max", "--from", "4"]);
    assert_eq!(seen(&output.stdout), ["4", "5"]);
    let output = run(REPLAY, &[&file, "--from", "nothing"]);
    assert_eq!(
        text(&output.stderr),
        format!("can't play {file:?}: the recording has no event with the ID \"nothing\"\n")
    );

    // A looped replay ends when its output is closed.
    let mut replay = start(REPLAY, &[&file, "--max", "--loop", "--from", "3"]);
    let lines = BufReader::new(replay.stdout.take().unwrap()).lines();
    let ids = lines
        .map(Result::unwrap)
        .filter(|line| line.starts_with("id: "));
    let ids = Vec::from_iter(ids.take(7));
    assert_eq!(ids.concat(), "id: 3id: 4id: 5id: 3id: 4id: 5id: 3");
    assert!(replay.wait().unwrap().success());
}

#[test]
fn input_that_can_be_read_only_once_is_played_as_it_arrives() {
    let dir = Dir::new();
    let mut replay = start_piped(&["-"]);
    let mut input = replay.stdin.take().unwrap();
    let mut output = BufReader::new(replay.stdout.take().unwrap());
    for id in 1..=3 {
        // Each event is written only after the one before has been played.
        let event = format!("id: {id}\ndata: hey\n\n");
        input.write_all(event.as_bytes()).unwrap();
        let mut found = String::new();
        while !found.ends_with("\n\n") {
            assert_ne!(output.read_line(&mut found).unwrap(), 0, "{found}");
        }
        assert_eq!(found, event);
    }
    drop(input);
    assert!(replay.wait().unwrap().success());

    #[cfg(unix)]
    {
        let pipe = dir.file("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let replay = start(REPLAY, &[&pipe, "--max", "--from", "4"]);
        fs::write(&pipe, recording()).unwrap();
        let output = replay.wait_with_output().unwrap();
        assert_eq!(seen(&output.stdout), ["4", "5"], "{output:?}");
    }

    for option in [&["--loop"][..], &["--listen", "127.0.0.1:0"]] {
        let replay = start_piped(&[&["-"], option].concat());
        let output = replay.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            text(&output.stderr),
            "\"-\" can be read only once, and --loop and --listen read it again; \
             save it to a file\n"
        );
    }
}

#[test]
fn a_replay_prints_each_event_at_its_time() {
    let dir = Dir::new();
    fs::write(dir.file("a"), recording()).unwrap();
    let began = Instant::now();
    let mut replay = start(REPLAY, &[&dir.file("a"), "--speed", "20"]);
    let mut lines = BufReader::new(replay.stdout.take().unwrap()).lines();
    for id in 1..=5 {
        let line = lines.find(|line| line.as_ref().unwrap().starts_with("id: "));
        assert_eq!(line.unwrap().unwrap(), format!("id: {id}"));
        assert!(began.elapsed() >= Duration::from_millis(50 * id));
    }
    assert!(replay.wait().unwrap().success());
}

#[test]
fn a_browser_resumes_a_replay_after_its_last_event_id() {
    let dir = Dir::new();
    fs::write(dir.file("a"), recording()).unwrap();
    let replay = Server::start(REPLAY, &[&dir.file("a"), "--max"]);
    for (header, expected) in [
        ("", &["1", "2", "3", "4", "5", "end-of-5"][..]),
        ("Last-Event-ID: 3\r\n", &["4", "5", "end-of-5"]),
        (
            "Last-Event-ID: of another\r\n",
            &["1", "2", "3", "4", "5", "end-of-5"],
        ),
    ] {
        let ids = events(replay.get("/sse", header)).map(|event| event.last_event_id().to_owned());
        assert_eq!(Vec::from_iter(ids), expected, "{header}");
    }
    // A browser does not reconnect after 204.
    let (head, _) = response_to_end(replay.get("/sse", "Last-Event-ID: 5\r\n"));
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    let (head, page) = response_to_end(replay.get("/", ""));
    assert!(
        head.starts_with("HTTP/1.1 200 ") && page.contains(r#"of ["message"]"#),
        "{page}"
    );

    let looped = Server::start(REPLAY, &[&dir.file("a"), "--max", "--loop", "--from", "4"]);
    let ids = |header| {
        let events = events(looped.get("/sse", header));
        let ids = events.map(|event| event.last_event_id().to_owned());
        ids.take(5).collect::<Vec<_>>().concat()
    };
    assert_eq!(ids(""), "45454");
    assert_eq!(ids("Last-Event-ID: 2\r\n"), "34545");
    assert_eq!(ids("Last-Event-ID: 5\r\n"), "45454");
}

/// Recordings without IDs, and with repeated ones.
#[test]
fn a_client_that_reconnects_after_the_end_gets_204() {
    let dir = Dir::new();
    for (recording, end) in [
        ("", "end-of-0"),
        ("data: a\n\ndata: b\n\n", "end-of-2"),
        ("id: 1\ndata: a\n\ndata: b\n\n", "end-of-2"),
        ("id: 1\ndata: a\n\nid: 1\ndata: b\n\n", "end-of-2"),
        // A recording of a replay.
        (
            "data: a\n\nid: end-of-1\nevent: close\ndata: \n\n",
            "end-of-2",
        ),
    ] {
        fs::write(dir.file("a"), recording).unwrap();
        let replay = Server::start(REPLAY, &[&dir.file("a")]);
        let (_, played) = response_to_end(replay.get("/sse", ""));
        let last = format!("id: {end}\nevent: close\ndata: \n\n");
        assert!(played.ends_with(&last), "{played}");
        let (head, _) = response_to_end(replay.get("/sse", &format!("Last-Event-ID: {end}\r\n")));
        assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    }

    // `record` reconnects like a browser, and ends on 204.
    let replay = Server::start(REPLAY, &[&dir.file("a")]);
    let url = format!("http://{}/sse", replay.addr);
    let output = run(RECORD, &[&url, &dir.file("b")]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(seen(&dir.read("b")), ["", "end-of-1", "end-of-2"]);
}

#[test]
fn a_port_alone_listens_on_all_addresses() {
    let dir = Dir::new();
    fs::write(dir.file("a"), recording()).unwrap();
    let free = TcpListener::bind("0.0.0.0:0").unwrap();
    let listen = format!(":{}", free.local_addr().unwrap().port());
    drop(free);
    let mut replay = start(REPLAY, &[&dir.file("a"), "--listen", &listen]);
    let mut line = String::new();
    let stdout = replay.stdout.as_mut().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    assert_eq!(
        line,
        format!("open http://localhost{listen}/ (Ctrl-C ends it)\n")
    );
    assert!(TcpStream::connect(format!("127.0.0.1{listen}")).is_ok());
    replay.kill().unwrap();
    replay.wait().unwrap();
}

#[test]
fn event_types_cannot_end_the_script_of_the_page() {
    let dir = Dir::new();
    fs::write(dir.file("a"), "event: </script>\"\ndata: a\n\n").unwrap();
    let replay = Server::start(REPLAY, &[&dir.file("a")]);
    let (_, page) = response_to_end(replay.get("/", ""));
    assert!(page.contains(r#"of ["\u003c/script>\""]"#), "{page}");
}

/// Sends each response to one connection, after its request. Joining returns the requests.
fn serve(answers: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let serve = |text: String| {
            let mut conn: TcpStream = listener.accept().unwrap().0;
            conn.set_read_timeout(Some(TIMEOUT)).unwrap();
            let (request, _) = response(&conn);
            conn.write_all(text.as_bytes()).unwrap();
            request
        };
        answers.into_iter().map(serve).collect()
    });
    (url, serving)
}

fn start(program: &str, args: &[&str]) -> Child {
    let mut command = Command::new(program);
    command
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Starts `replay` with a pipe as standard input.
fn start_piped(args: &[&str]) -> Child {
    let mut command = Command::new(REPLAY);
    command.args(args).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn run(program: &str, args: &[&str]) -> Output {
    start(program, args).wait_with_output().unwrap()
}

fn signal(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    let kill = Command::new("kill").args(["-s", signal, &pid]).status();
    assert!(kill.unwrap().success());
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Returns the IDs of the events of a stream.
fn seen(stream: &[u8]) -> Vec<String> {
    let items = decoded(stream).into_iter();
    let ids = items.filter_map(|item| match item {
        Decoded::Event(event) => Some(event.last_event_id().to_owned()),
        _ => None,
    });
    ids.collect()
}

fn ids(items: &[Recorded<'_>]) -> Vec<String> {
    let ids = items.iter().filter_map(|item| match item.decoded() {
        Decoded::Event(event) => Some(event.last_event_id().to_owned()),
        _ => None,
    });
    ids.collect()
}

/// A temporary directory with recordings.
struct Dir(TempDir);

impl Dir {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap()
    }

    fn items(&self, name: &str) -> Vec<Recorded<'static>> {
        let recording = self.read(name);
        Replayer::new(&recording[..]).map(Result::unwrap).collect()
    }

    /// Waits until the file contains `count` events.
    fn wait_for(&self, name: &str, count: usize) {
        let began = Instant::now();
        while fs::read(self.file(name)).map_or(0, |file| seen(&file).len()) < count {
            assert!(began.elapsed() < TIMEOUT, "{count} events have not come");
            thread::sleep(Duration::from_millis(10));
        }
    }
}
