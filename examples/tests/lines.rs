//! `encode` and `decode`, alone and in a pipeline.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has failed, in a helper too"
)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

const ENCODE: &str = env!("CARGO_BIN_EXE_encode");
const DECODE: &str = env!("CARGO_BIN_EXE_decode");

/// The maximum length of a line in both programs.
const MAX_LINE: usize = 16 << 20;

#[test]
fn a_line_becomes_an_event_or_is_reported_as_invalid() {
    let no_object = r#"the line is not a JSON object such as {"data": "hey"}"#;
    let no_id = "expected id to be a string or an integer at column";
    let cases: &[(&[u8], Result<&str, String>)] = &[
        (br#"{"data":"hey"}"#, Ok("data: hey\n\n")),
        (br#"{"data":""}"#, Ok("data: \n\n")),
        (br#"{"data":null}"#, Ok("")),
        (b"{}", Ok("")),
        (
            br#"{"data":"a\nb\r\nc\rd"}"#,
            Ok("data: a\ndata: b\ndata: c\ndata: d\n\n"),
        ),
        (
            br#"{"data":"\u00e9 \ud83d\ude00"}"#,
            Ok("data: \u{e9} \u{1f600}\n\n"),
        ),
        (
            " {\"data\":\"\u{e9}\"}\t\r".as_bytes(),
            Ok("data: \u{e9}\n\n"),
        ),
        (br#"{"id":7}"#, Ok("id: 7\n\n")),
        (br#"{"id":-7}"#, Ok("id: -7\n\n")),
        (
            br#"{"id":18446744073709551615}"#,
            Ok("id: 18446744073709551615\n\n"),
        ),
        (br#"{"id":"7-a"}"#, Ok("id: 7-a\n\n")),
        (br#"{"id":""}"#, Ok("id: \n\n")),
        (
            br#"{"event":"tick","data":"x"}"#,
            Ok("event: tick\ndata: x\n\n"),
        ),
        (br#"{"retry":1500}"#, Ok("retry: 1500\n\n")),
        (br#"{"comment":"a\nb"}"#, Ok(": a\n: b\n")),
        (
            br#"{"data":"d","comment":"c","retry":1,"event":"e","id":"i"}"#,
            Ok(": c\nid: i\nevent: e\nretry: 1\ndata: d\n\n"),
        ),
        (
            br#"{"id":"a\nb","data":"x"}"#,
            Err(
                "the event ID has a line feed at byte 1; remove it or send the text as data".into(),
            ),
        ),
        (
            br#"{"id":"\u0000","data":"x"}"#,
            Err("the event ID has a NUL at byte 0; remove it or send the text as data".into()),
        ),
        (
            br#"{"id":1,"event":"a\rb","data":"x"}"#,
            Err("the event type has a carriage return at byte 1; \
                 remove it or send the text as data"
                .into()),
        ),
        (br#"{"id":1.5}"#, Err(format!("{no_id} 10"))),
        (
            br#"{"id":18446744073709551616}"#,
            Err(format!("{no_id} 27")),
        ),
        (br#"{"id":[]}"#, Err(format!("{no_id} 9"))),
        (
            br#"{"text":"x"}"#,
            Err(
                "unknown field `text`, expected one of `id`, `event`, `retry`, `data`, \
                 `comment` at column 7"
                    .into(),
            ),
        ),
        (
            br#"{"id":1,"id":2}"#,
            Err("duplicate field `id` at column 12".into()),
        ),
        (
            br#"{"data":5}"#,
            Err("invalid type: integer `5`, expected a string at column 9".into()),
        ),
        (
            br#"{"retry":-1}"#,
            Err("invalid value: integer `-1`, expected u64 at column 11".into()),
        ),
        (
            br#"{"data":"x""#,
            Err("EOF while parsing an object at column 11".into()),
        ),
        (
            br#"{"data":"x"} {}"#,
            Err("trailing characters at column 14".into()),
        ),
        (
            br#"{"data":"\ud800"}"#,
            Err("unexpected end of hex escape at column 16".into()),
        ),
        (
            b"{\"data\":\"\xff\"}",
            Err("the line is not valid UTF-8 at byte 9".into()),
        ),
        (br#"[1,"e",5,"d","c"]"#, Err(no_object.into())),
        (b"data: hey", Err(no_object.into())),
        (b"\xef\xbb\xbf\xef\xbb\xbf{}", Err(no_object.into())),
        (b"", Ok("")),
        (b" \t\r", Ok("")),
    ];
    let mut all = Vec::new();
    let (mut stream, mut complaints) = (String::new(), String::new());
    let mut invalid = 0;
    for (number, (line, expected)) in (1..).zip(cases) {
        let shown = String::from_utf8_lossy(line);
        let found = run(ENCODE, &[], &[line, &b"\n"[..]].concat());
        match expected {
            Ok(frame) => {
                assert_eq!(found, success(frame), "{shown}");
                stream.push_str(frame);
            }
            Err(reason) => {
                let complaint = format!("line 1: {reason}\n1 line was invalid\n");
                assert_eq!(found, failure("", &complaint), "{shown}");
                complaints.push_str(&format!("line {number}: {reason}\n"));
                invalid += 1;
            }
        }
        all.extend_from_slice(line);
        all.push(b'\n');
    }
    // An invalid line does not affect the next one.
    complaints.push_str(&format!("{invalid} lines were invalid\n"));
    assert_eq!(run(ENCODE, &[], &all), failure(&stream, &complaints));
}

/// Some editors on Windows write one.
#[test]
fn a_byte_order_mark_is_skipped_at_the_beginning_only() {
    let input = "\u{feff}{\"data\":\"a\"}\r\n\r\n{\"data\":\"\u{feff}b\"}\r\n";
    let found = run(ENCODE, &[], input.as_bytes());
    assert_eq!(found, success("data: a\n\ndata: \u{feff}b\n\n"));
    assert_eq!(run(ENCODE, &[], "\u{feff}\n\n".as_bytes()), success(""));
    let found = run(ENCODE, &[], "\n\u{feff}{}".as_bytes());
    let complaint =
        "line 2: the line is not a JSON object such as {\"data\": \"hey\"}\n1 line was invalid\n";
    assert_eq!(found, failure("", complaint));
}

#[test]
fn the_last_line_needs_no_line_break() {
    let found = run(ENCODE, &[], b"{\"data\":\"a\"}\n{\"data\":\"b\"}");
    assert_eq!(found, success("data: a\n\ndata: b\n\n"));
    assert_eq!(run(ENCODE, &[], b""), success(""));
}

#[test]
fn a_line_that_is_too_long_is_skipped() {
    let line = |len: usize| {
        let data = "a".repeat(len - r#"{"data":""}"#.len());
        format!("{{\"data\":\"{data}\"}}\n{{\"id\":1}}\n")
    };
    let found = run(ENCODE, &[], line(MAX_LINE).as_bytes());
    assert_eq!(
        (found.0, found.1.len(), &*found.2),
        (Some(0), MAX_LINE + 4, "")
    );
    let found = run(ENCODE, &[], line(MAX_LINE + 1).as_bytes());
    let complaint = "line 1: the line exceeds 16777216 bytes\n1 line was invalid\n";
    assert_eq!(found, failure("id: 1\n\n", complaint));
}

#[test]
fn a_stream_becomes_lines() {
    for (stream, lines) in [
        (&b""[..], ""),
        (
            b"data: hey\n\n",
            r#"{"event":"message","data":"hey","id":""}"#,
        ),
        (b"data\n\n", r#"{"event":"message","data":"","id":""}"#),
        (
            b"event: tick\nid: 7\ndata: a\ndata: b\n\n",
            r#"{"event":"tick","data":"a\nb","id":"7"}"#,
        ),
        (b"retry: 1500\n", r#"{"retry":1500}"#),
        (b"retry: +10\nretry:\nretry: 1s\n\n", ""),
        (
            b"retry: 99999999999999999999\n",
            r#"{"retry":18446744073709551615}"#,
        ),
        // A reconnection time takes effect before its event is complete.
        (
            b"data: x\nretry: 1\n\nretry: 2\n\n",
            "{\"retry\":1}\n{\"event\":\"message\",\"data\":\"x\",\"id\":\"\"}\n{\"retry\":2}",
        ),
        (b": hidden\n\n", ""),
        (b"data: unfinished\n", ""),
        (
            b"data: \xff\xc3\x00\n\n",
            "{\"event\":\"message\",\"data\":\"\u{fffd}\u{fffd}\\u0000\",\"id\":\"\"}",
        ),
    ] {
        let end = if lines.is_empty() { "" } else { "\n" };
        let expected = success(&format!("{lines}{end}"));
        assert_eq!(
            run(DECODE, &[], stream),
            expected,
            "{}",
            stream.escape_ascii()
        );
    }
    let comments = "{\"comment\":\"a\"}\n{\"comment\":\"\"}\n";
    assert_eq!(run(DECODE, &["--comments"], b": a\n:\n"), success(comments));
}

#[test]
fn a_stream_that_exceeds_a_limit_is_decoded_up_to_there() {
    let event = "{\"event\":\"message\",\"data\":\"x\",\"id\":\"\"}\n";
    let line = vec![b'a'; MAX_LINE + 1];
    let escapes = ["data: ", &"\u{1}".repeat(MAX_LINE / 4), "\n\n"].concat();
    for (stream, complaint) in [
        (
            &line[..],
            "a line exceeds 16777216 bytes; raise the decoder's max_line if that is legitimate",
        ),
        (
            escapes.as_bytes(),
            "an event exceeds 16777216 bytes as a JSON line",
        ),
    ] {
        let complaint = format!("the event stream can't be decoded: {complaint}\n");
        let found = run(DECODE, &[], &[b"data: x\n\n", stream].concat());
        assert_eq!(found, failure(event, &complaint));
    }
}

/// Streams that decoders often get wrong.
const NASTY: &[&[u8]] = &[
    b"",
    b"\xef\xbb\xbfdata: after a byte order mark\n\n",
    b"\xef\xbb\xbf\xef\xbb\xbfdata: after two\n\ndata: x\n\n",
    b"\xef\xbbdata: after two thirds of one\n\ndata: x\n\n",
    b"data: \xef\xbb\xbfwithin\n\nid: \xef\xbb\xbf\ndata\n\n",
    b"data: CR\rdata: CRLF\r\ndata: LF\n\r\n\r\r\ndata: x\r\n\r\n",
    b"data: LF CR\n\rdata: is two\n\r",
    b"data:\n\n",
    b"data\n\ndata\ndata\n\ndata:\ndata: \ndata:  \n\n",
    b"data: \tone space is stripped\ndata:\ta tab is not\n\n",
    b"data: ends in line feeds\ndata\ndata\n\n",
    b"id: 1\ndata: a\n\ndata: the ID stays\n\nid\ndata: until it is reset\n\n",
    b"id: 1\n\ndata: committed without an event\n\n",
    b"id: 1\x002\ndata: NUL\n\nid: 3\nid: 4\x00\ndata: NUL again\n\n",
    b"event: tick\ndata: a\n\ndata: the type does not stay\n\nevent: lost\n\ndata: b\n\n",
    b"event: a\0b\ndata: \0\n\nevent:  spaced \ndata: x\n\nevent\ndata: y\n\n",
    b"retry: 10\ndata: a\nretry: 20\n\nretry: 0\n",
    b"retry: 18446744073709551615\n\nretry: 18446744073709551616\n\nretry: 99999999999999999999999\n",
    b"retry: +1\nretry: -1\nretry:  1\nretry: 1 \nretry: 1e3\nretry: \xd9\xa1\nretry\nretry: 007\n",
    b"data: \xff\xc3(\xe2\x82\xf0\x9f\x98\xed\xa0\x80\xc0\xaf\n\nid: \xfe\nevent: \xe2\x82\ndata: \xf0\n\n",
    b"data: cut \xe2\x82\r\ndata: \xac\n\n",
    "data: \u{e9}\u{20ac}\u{1f600} \u{85}\u{2028}\u{2029}\x0b\x0c\n\n".as_bytes(),
    b"data: \"\\/\x01\x1f\x7f {\"json\": [\"\\u0000\"]}\n\n",
    b":\n: comment\n:data: not data\n\ndata: x\n: within\ndata: y\n\n",
    b"unknown: field\n data: not data\nData: nor this\ndatas: x\ndata : y\n\ndata: x\n\n",
    b"data: no final blank line\n",
    b"data: no final line end",
    b"id: 9\ndata: finished\n\nid: 10\ndata: unfinished",
    b"\n\n\r\r\r\n\r\ndata: after blank lines\n\n\n\n",
    b"data: 1\n\ndata: 2\n\nevent: close\ndata: \n\ndata: after the end\n\n",
];

#[test]
fn chunking_and_encoding_again_do_not_change_the_lines() {
    let long = [
        &b"data: "[..],
        &vec![0xff; 200_000],
        b"\r\ndata: x\r\n\r\nid: 5\rdata\r\r",
    ]
    .concat();
    for stream in NASTY.iter().copied().chain([&long[..]]) {
        let shown = stream[..stream.len().min(200)].escape_ascii();
        let succeed = |program: &str, args: &[&str], input: &[u8]| {
            let (status, output, complaints) = run(program, args, input);
            assert_eq!((status, &*complaints), (Some(0), ""), "{shown}");
            output
        };
        for args in [&[][..], &["--comments"]] {
            let lines = succeed(DECODE, args, stream);
            let again = succeed(ENCODE, &[], lines.as_bytes());
            assert_eq!(succeed(DECODE, args, again.as_bytes()), lines, "{shown}");
        }
        let lines = succeed(DECODE, &[], stream);
        for chunk in ["1", "2", "3", "7"] {
            let found = succeed(DECODE, &["--chunk", chunk], stream);
            assert_eq!(found, lines, "{chunk} {shown}");
        }
    }
}

#[test]
fn output_is_flushed_before_waiting_for_input() {
    for (program, input, expected) in [
        (
            ENCODE,
            "{\"data\":\"x\"}\n{\"data\":\"",
            &["data: x", ""][..],
        ),
        (
            DECODE,
            "data: x\n\ndata: y",
            &[r#"{"event":"message","data":"x","id":""}"#],
        ),
    ] {
        let mut command = Command::new(program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        let lines = lines(BufReader::new(child.stdout.take().unwrap()));
        for line in expected {
            assert_eq!(
                lines.recv_timeout(Duration::from_secs(30)).as_deref(),
                Ok(*line)
            );
        }
        drop(stdin);
        child.wait().unwrap();
    }
}

#[test]
fn a_closed_output_ends_the_program_with_success() {
    for (program, input) in [(ENCODE, "{\"data\":\"x\"}\n"), (DECODE, "data: x\n\n")] {
        let mut command = Command::new(program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut stdin = child.stdin.take().unwrap();
        // The write fails when the program has ended.
        while stdin.write_all(input.as_bytes()).is_ok() {}
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}

#[test]
fn a_wrong_command_line_is_reported() {
    let chunk = "--chunk takes a number of bytes from 1 to 16777216";
    for (program, args, sentence) in [
        (
            ENCODE,
            &["file"][..],
            "there is no option \"file\"".to_owned(),
        ),
        (
            DECODE,
            &["--chunks"],
            "there is no option \"--chunks\"".to_owned(),
        ),
        (DECODE, &["--chunk"], chunk.to_owned()),
        (DECODE, &["--chunk", "0"], format!("{chunk}, not 0")),
        (DECODE, &["--chunk", "-1"], format!("{chunk}, not \"-1\"")),
        (
            DECODE,
            &["--chunk", "16777217"],
            format!("{chunk}, not 16777217"),
        ),
    ] {
        let (status, lines, complaint) = run(program, args, b"");
        assert_eq!((status, &*lines), (Some(2), ""), "{args:?}");
        assert_eq!(complaint, format!("{sentence}; see --help\n"));
    }
    for (program, name) in [(ENCODE, "encode"), (DECODE, "decode")] {
        let (status, usage, _) = run(program, &["--help"], b"");
        assert_eq!(status, Some(0));
        assert!(usage.starts_with(&format!("Usage: {name} ")), "{usage}");
    }
}

/// Exit status, standard output and standard error.
type Found = (Option<i32>, String, String);

fn success(output: &str) -> Found {
    (Some(0), output.to_owned(), String::new())
}

fn failure(output: &str, complaints: &str) -> Found {
    (Some(1), output.to_owned(), complaints.to_owned())
}

fn run(program: &str, args: &[&str], input: &[u8]) -> Found {
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        scope.spawn(move || {
            // The program may end before it has read everything.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    });
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// Reads lines on a thread, so that a missing line fails the test instead of blocking it.
fn lines(reader: impl BufRead + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        reader
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| sender.send(line))
    });
    receiver
}
