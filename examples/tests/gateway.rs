//! The program `gateway`, with curl and over plain sockets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::{Server, response_to_end};
use serde_json::Value;
use sse_net::{Connect, EventSource};

const PROGRAM: &str = env!("CARGO_BIN_EXE_gateway");
const QUESTION: &str =
    r#"{"model": "parrot", "stream": true, "messages": [{"role": "user", "content": "hey"}]}"#;
const JSON: &str = "Content-Type: application/json";

/// Both servers, by the options that select them.
fn servers() -> impl Iterator<Item = Server> {
    [&[][..], &["--axum"]]
        .into_iter()
        .map(|options| Server::start(PROGRAM, options))
}

/// Runs curl with `input`, and returns what it prints and its exit status.
fn curl(server: &Server, path: &str, args: &[&str], input: &[u8]) -> (String, Option<i32>) {
    let url = format!("http://{}{path}", server.addr);
    let mut curl = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--no-buffer",
            "--max-time",
            "20",
            "-H",
            JSON,
        ])
        .args(args)
        .arg(url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The server may refuse the rest.
    let _ = curl.stdin.take().unwrap().write_all(input);
    let output = curl.wait_with_output().unwrap();
    (
        String::from_utf8(output.stdout).unwrap(),
        output.status.code(),
    )
}

#[track_caller]
fn assert_streams((output, code): &(String, Option<i32>)) {
    assert_eq!(*code, Some(0), "{output}");
    let data = Vec::from_iter(output.split_terminator("\n\n"));
    for token in ["You ", "said: ", "hey"] {
        let token = format!("\"content\":\"{token}\"");
        assert!(data.iter().any(|data| data.contains(&token)), "{output}");
    }
    assert_eq!(data.last(), Some(&"data: [DONE]"));
    for data in data {
        assert!(data.starts_with("data: ") && !data.contains('\n'), "{data}");
    }
}

#[test]
fn curl_posts_a_body_in_every_way_that_it_has() {
    for server in servers() {
        let path = "/v1/chat/completions";
        assert_streams(&curl(&server, path, &["-d", QUESTION], b""));
        // In chunks, of unknown length.
        assert_streams(&curl(
            &server,
            path,
            &["-T", "-", "-X", "POST"],
            QUESTION.as_bytes(),
        ));
        // It waits for "100 Continue" much longer than the test may take.
        let wait = ["--expect100-timeout", "1000", "-H", "Expect: 100-continue"];
        assert_streams(&curl(
            &server,
            path,
            &[&wait[..], &["-d", QUESTION]].concat(),
            b"",
        ));
        let chunks = ["-T", "-", "-X", "POST"];
        let args = [&wait[..], &chunks].concat();
        assert_streams(&curl(&server, path, &args, QUESTION.as_bytes()));
        // OpenAI's clients do so.
        let accept = ["-H", "Accept: application/json", "-d", QUESTION];
        assert_streams(&curl(&server, path, &accept, b""));
        assert_streams(&curl(&server, path, &["-d", QUESTION, "--http1.0"], b""));
    }
}

#[test]
fn curl_sees_the_refusal_of_a_body_that_it_is_still_sending() {
    for server in servers() {
        let large = "x".repeat(40 << 20);
        let status = ["-o", "/dev/null", "-w", "%{http_code}"];
        for (how, expected) in [
            (&["-T", "-", "-X", "POST", "-H", "Expect:"][..], "413"),
            (
                &["--data-binary", "@-", "-H", "Expect: 100-continue"],
                "413",
            ),
            (&["--data-binary", "@-", "-H", "Origin: http://evil"], "403"),
        ] {
            let args = [&status[..], how].concat();
            let (printed, _) = curl(&server, "/v1/chat/completions", &args, large.as_bytes());
            assert_eq!(printed, expected, "{how:?}");
        }
    }
}

#[test]
fn the_form_of_another_site_starts_nothing() {
    let question = QUESTION.replace("true", "false");
    for server in servers() {
        for path in ["/v1/chat/completions", "/v1/messages"] {
            let conn = server.send(&format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\nOrigin: https://evil\r\n\
                 Connection: close\r\nContent-Length: {}\r\n\r\n{question}",
                question.len()
            ));
            let (head, body) = response_to_end(conn);
            assert!(head.starts_with("HTTP/1.1 403 "), "{head}{body}");
        }
    }
}

#[test]
fn a_path_that_takes_only_posts_says_so() {
    for server in servers() {
        for path in ["/v1/chat/completions", "/v1/messages"] {
            let conn = server.get(path, "Connection: close\r\n");
            let (head, _) = response_to_end(conn);
            assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
            let allow = head.lines().find_map(|line| line.split_once(": POST"));
            let (name, _) = allow.expect(&head);
            assert!(name.eq_ignore_ascii_case("Allow"), "{head}");
        }
    }
}

#[test]
fn our_client_reads_an_answer_to_its_end() {
    let question: Value = serde_json::from_str(QUESTION).unwrap();
    for server in servers() {
        let post = |path| {
            let source = EventSource::post(format!("http://{}{path}", server.addr));
            source.unwrap().json(&question).unwrap()
        };
        for (source, token) in [
            (
                post("/v1/chat/completions").ends_at_data("[DONE]"),
                "/choices/0/delta/content",
            ),
            (
                post("/v1/messages").ends_at_event("message_stop"),
                "/delta/text",
            ),
        ] {
            // Without the event that ends it, the answer would be an error.
            let mut client = source.connect_blocking();
            let mut answer = String::new();
            while let Some(event) = client.next().unwrap() {
                let data: Value = serde_json::from_str(event.data()).unwrap();
                let token = data.pointer(token).and_then(Value::as_str);
                answer += token.unwrap_or_default();
            }
            assert_eq!(answer, "You said: hey");
        }
    }
}

#[test]
fn an_error_before_the_first_token_is_a_status_and_one_after_it_an_event() {
    for server in servers() {
        let ask = |path: &str, body: &str| {
            let length = body.len();
            response_to_end(server.send(&format!(
                "POST {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n{JSON}\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            )))
        };
        for (path, kind, overload) in [
            ("/v1/chat/completions", "\"type\":\"server_error\"", "503"),
            ("/v1/messages", "\"type\":\"overloaded_error\"", "529"),
        ] {
            let (head, body) = ask(path, &QUESTION.replace("hey", "fail"));
            assert!(head.starts_with(&format!("HTTP/1.1 {overload} ")), "{head}");
            assert!(body.contains(kind), "{body}");

            let (head, body) = ask(path, &QUESTION.replace("hey", "fail later"));
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            assert!(body.contains("said: ") && body.contains(kind), "{body}");
            assert!(
                !body.contains("[DONE]") && !body.contains("message_stop"),
                "{body}"
            );

            for (body, status) in [
                (QUESTION.replace("parrot", "ostrich"), "404"),
                (QUESTION.replace('}', ""), "400"),
                ("{}".to_owned(), "400"),
            ] {
                let (head, body) = ask(path, &body);
                assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
                assert!(body.contains("\"type\":\""), "{body}");
            }
        }
    }
}

#[test]
fn a_signal_ends_the_program_after_its_streams() {
    for mut server in servers() {
        let mut conn = server.send(&format!(
            "POST /v1/messages HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n{JSON}\r\n\
             Content-Length: {}\r\n\r\n{QUESTION}",
            QUESTION.len()
        ));
        let mut first = [0; 1];
        std::io::Read::read_exact(&mut conn, &mut first).unwrap();
        server.signal("TERM");
        let (_, rest) = response_to_end(conn);
        assert!(rest.contains("message_stop"), "{rest}");
        assert_eq!(server.wait(), (Some(0), "stopped\n".to_owned()));
    }
}
