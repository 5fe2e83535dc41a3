//! The client for tests.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io;
use std::time::Duration;

use common::{WIDE, config, pass, publish, serve_topic};
use sse_core::{Decoded, Retention};
use sse_net::testing::RawClient;
use sse_net::{Start, Topic};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
const EVENTS: &str = "retry: 10\n\n: beat\nid: 1\ndata: a\n\nevent: tick\ndata: b\ndata: c\n\n";

/// A client whose peer has sent `answer` in pieces of `size` bytes, and has closed.
fn answered(answer: &str, size: usize) -> RawClient<DuplexStream> {
    let (ours, mut theirs) = duplex(WIDE);
    let answer = answer.to_owned();
    tokio::spawn(async move {
        for piece in answer.as_bytes().chunks(size) {
            theirs.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        theirs.shutdown().await.unwrap();
        let _ = theirs.read_to_end(&mut Vec::new()).await;
    });
    RawClient::new(ours)
}

#[tokio::test(start_paused = true)]
async fn bodies_of_all_framings_are_read() {
    let chunked = |size: usize| {
        let chunks = EVENTS.as_bytes().chunks(size).map(|chunk| {
            format!(
                "{:x};x=y\r\n{}\r\n",
                chunk.len(),
                std::str::from_utf8(chunk).unwrap()
            )
        });
        let chunks: String = chunks.collect();
        format!(
            "{HEAD}Transfer-Encoding: identity\r\nTransfer-Encoding: Chunked\r\n\r\n{chunks}0\r\nTrailer: x\r\n\r\n"
        )
    };
    let sized = format!("{HEAD}Content-Length: {}\r\n\r\n{EVENTS}", EVENTS.len());
    for answer in [
        format!("{HEAD}\r\n{EVENTS}"),
        sized.clone(),
        sized + "data: of somebody else\n\n",
        chunked(1),
        chunked(7),
        chunked(1000),
    ] {
        for size in [1, 3, 1000] {
            let mut client = answered(&answer, size);
            let head = client.get("/").await.unwrap();
            assert_eq!(head.status(), 200);
            assert_eq!(head.header("CONTENT-type"), Some("text/event-stream"));
            assert_eq!(head.header("x"), None);
            assert!(answer.starts_with(head.text()) && head.text().ends_with("\r\n\r\n"));
            assert_eq!(
                client.next().await.unwrap(),
                Some(Decoded::Retry(Duration::from_millis(10)))
            );
            assert_eq!(client.event().await.unwrap().data(), "a");
            assert_eq!(client.last_event_id(), "1");
            assert_eq!(client.event_of("tick").await.unwrap().data(), "b\nc");
            assert_eq!(client.next().await.unwrap(), None);
            assert_eq!(client.read().await.unwrap(), None);

            let mut client = answered(&answer, size);
            client.get("/").await.unwrap();
            let mut body = Vec::new();
            while let Some(part) = client.read().await.unwrap() {
                body.extend(part);
            }
            assert_eq!(String::from_utf8(body).unwrap(), EVENTS);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn interim_responses_are_skipped() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let answer = format!("HTTP/1.1 100 Continue\r\n\r\n{hints}{hints}{HEAD}\r\n{EVENTS}");
    for size in [1, 3, 1000] {
        let mut client = answered(&answer, size);
        let head = client.get("/").await.unwrap();
        assert_eq!((head.status(), head.header("link")), (200, None));
        assert_eq!(head.text(), format!("{HEAD}\r\n"));
        assert_eq!(client.event().await.unwrap().data(), "a");
    }

    // After this one, another protocol is spoken.
    let mut client = answered("HTTP/1.1 101 Switching Protocols\r\n\r\nhey", 1000);
    assert_eq!(client.get("/").await.unwrap().status(), 101);
    assert_eq!(client.read().await.unwrap(), Some(b"hey".to_vec()));

    let mut client = answered(&hints.repeat(10_000), WIDE);
    let error = client.get("/").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the response head exceeds 65536 bytes; raise max_head if that is legitimate"
    );

    let (ours, mut theirs) = duplex(WIDE);
    let mut client = RawClient::new(ours).limit(Duration::from_secs(2));
    let hinting = async {
        for _ in 0..3 {
            pass(Duration::from_secs(1)).await;
            theirs.write_all(hints.as_bytes()).await.unwrap();
        }
    };
    let (answered, ()) = tokio::join!(client.get("/"), hinting);
    let error = answered.unwrap_err();
    assert_eq!(error.to_string(), "no response head was received within 2s");
}

#[tokio::test(start_paused = true)]
async fn errors_list_the_types_of_other_events() {
    let tick = "event: tick\ndata: a\n\n";
    for (answer, kind, sentence) in [
        (
            "HTTP/1.1 200 OK\r\nConte",
            io::ErrorKind::UnexpectedEof,
            r#"the connection ended within a response head, after "HTTP/1.1 200 OK\r\nConte""#,
        ),
        (
            "220 ready\r\n",
            io::ErrorKind::InvalidData,
            "the response does not begin with \"HTTP/1.\"; the server speaks another protocol",
        ),
        (
            &format!("{HEAD}Content-Length: 9\r\nContent-Length: 17\r\n\r\n{tick}"),
            io::ErrorKind::InvalidData,
            "Content-Length has different values; send one",
        ),
        (
            &format!("{HEAD}\r\n{tick}{tick}: beat\n"),
            io::ErrorKind::UnexpectedEof,
            r#"the stream has ended; no event of the type "tock" was received, only of ["tick", "tick"]"#,
        ),
        (
            &format!("{HEAD}\r\n{}", tick.repeat(1000)),
            io::ErrorKind::UnexpectedEof,
            &format!(
                "the stream has ended; no event of the type \"tock\" was received, only of {:?}",
                ["tick"; 10]
            ),
        ),
        (
            &format!("{HEAD}Content-Length: 99\r\n\r\n{tick}"),
            io::ErrorKind::UnexpectedEof,
            "the body is incomplete: the connection ended after 21 of 99 bytes",
        ),
        (
            &format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\ndata:"),
            io::ErrorKind::UnexpectedEof,
            "the body is incomplete: the connection ended after 5 bytes, before the last chunk",
        ),
        (
            &format!("{HEAD}Transfer-Encoding: chunked\r\n\r\nfive\r\ndata:"),
            io::ErrorKind::InvalidData,
            "a chunk size is not a hexadecimal number below 2^64",
        ),
        (
            &format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n1\r\ndata:"),
            io::ErrorKind::InvalidData,
            "the data of a chunk is not followed by CR LF",
        ),
    ] {
        let mut client = answered(answer, WIDE);
        let error = match client.get("/").await {
            Ok(_) => client.event_of("tock").await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!((error.kind(), &*error.to_string()), (kind, sentence));
    }
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(100_000));
    let mut client = answered(&endless, WIDE);
    let error = client.get("/").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the response head exceeds 65536 bytes; raise max_head if that is legitimate"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_times_out_loses_nothing() {
    let (ours, mut theirs) = duplex(WIDE);
    let mut client = RawClient::new(ours).limit(Duration::from_secs(2));
    let began = Instant::now();
    let error = client.get("/").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(error.to_string(), "no response head was received within 2s");
    assert_eq!(began.elapsed(), Duration::from_secs(2));

    let answer = format!("{HEAD}\r\nevent: tick\ndata: a\n\ndata: b");
    theirs.write_all(answer.as_bytes()).await.unwrap();
    client.ask(b"").await.unwrap();
    let error = client.event_of("tock").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"no event of the type "tock" was received, only of ["tick"] within 2s"#
    );
    let error = client.next().await.unwrap_err();
    assert_eq!(error.to_string(), "nothing was received within 2s");
    let later = async {
        pass(Duration::from_secs(1)).await;
        theirs.write_all(b"\n\n").await.unwrap();
    };
    let (event, ()) = tokio::join!(client.event(), later);
    assert_eq!(event.unwrap().data(), "b");
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_a_call_waits_forever() {
    let (ours, mut theirs) = duplex(WIDE);
    let mut client = RawClient::new(ours).limit(Duration::MAX);
    let serving = async {
        for part in [HEAD, "\r\n", "data: a\n\n", "data: b\n\n", ": c\n", "d"] {
            pass(Duration::from_secs(86_400)).await;
            theirs.write_all(part.as_bytes()).await.unwrap();
        }
    };
    let asking = async {
        assert_eq!(client.get("/").await.unwrap().status(), 200);
        assert_eq!(client.event().await.unwrap().data(), "a");
        assert_eq!(client.event_of("message").await.unwrap().data(), "b");
        let comment = client.next().await.unwrap();
        assert_eq!(comment, Some(Decoded::Comment("c".into())));
        assert_eq!(client.read().await.unwrap(), Some(b"d".to_vec()));
    };
    tokio::join!(serving, asking);
}

/// `read` returns the bytes that `next` has not decoded.
#[tokio::test(start_paused = true)]
async fn events_and_bytes_may_be_read_in_turn() {
    let mut client = answered(&format!("{HEAD}\r\n{EVENTS}"), WIDE);
    client.get("/").await.unwrap();
    assert_eq!(client.event().await.unwrap().data(), "a");
    let rest = b"event: tick\ndata: b\ndata: c\n\n".to_vec();
    assert_eq!(client.read().await.unwrap(), Some(rest));
    assert_eq!(client.read().await.unwrap(), None);
    assert_eq!(client.next().await.unwrap(), None);
}

/// No byte of a body is returned twice or lost, and none after the body is returned.
#[tokio::test(start_paused = true)]
async fn bytes_before_an_error_are_returned_first() {
    let answer = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n");
    for size in [1, 3, 1000] {
        let mut client = answered(&answer, size);
        client.get("/").await.unwrap();
        let mut body = Vec::new();
        let error = loop {
            match client.read().await {
                Ok(part) => body.extend(part.unwrap()),
                Err(error) => break error,
            }
        };
        assert_eq!(body, b"hello");
        assert_eq!(
            error.to_string(),
            "a chunk size is not a hexadecimal number below 2^64"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_carries_several_responses() {
    let two = format!(
        "{HEAD}Content-Length: 9\r\n\r\ndata: tor{HEAD}Content-Length: 99\r\n\r\n\
         {HEAD}Transfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n0\r\n\r\n"
    );
    for size in [1, 3, 1000] {
        let mut client = answered(&two, size);
        client.get("/").await.unwrap();
        assert_eq!(client.next().await.unwrap(), None);
        // RFC 9112, 6.3: a response to HEAD has no body.
        client.ask(b"HEAD / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(client.read().await.unwrap(), None);
        client.get("/").await.unwrap();
        assert_eq!(client.event().await.unwrap().data(), "a");
        assert_eq!(client.next().await.unwrap(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_resumed_client_keeps_its_id_until_an_event_has_another() {
    let answer = format!("{HEAD}\r\ndata: a\n\nid: 8\ndata: b\n\nid\ndata: c\n\n");
    let mut client = answered(&answer, WIDE);
    assert_eq!(client.last_event_id(), "");
    client.resume("/", "7").await.unwrap();
    assert_eq!(client.last_event_id(), "7");
    for id in ["7", "8", ""] {
        assert_eq!(client.event().await.unwrap().last_event_id(), id);
        assert_eq!(client.last_event_id(), id);
    }
}

#[tokio::test(start_paused = true)]
async fn arguments_cannot_inject_into_the_request() {
    let (ours, mut theirs) = duplex(WIDE);
    let mut client = RawClient::new(ours).limit(Duration::from_secs(1));
    let error = client.read().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no response to read; send a request first"
    );
    let error = client.get("/a b\r\nX: y").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the target "/a b\r\nX: y" has a space or a control character"#
    );
    let error = client.resume("/", "7\r\nX: y").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    drop(client);
    let mut sent = String::new();
    theirs.read_to_string(&mut sent).await.unwrap();
    assert_eq!(sent, "");
}

#[tokio::test(start_paused = true)]
async fn a_client_follows_a_server_and_resumes() {
    let topic = Topic::new(Retention::events(10));
    publish(&topic, 0..3);
    let (_running, net, _) = serve_topic(config(), &topic, Start::Live);
    let mut client = RawClient::new(net.connect(WIDE).pipe);
    assert_eq!(client.resume("/", "0").await.unwrap().status(), 200);
    for id in ["1", "2"] {
        assert_eq!(client.event().await.unwrap().last_event_id(), id);
    }
    publish(&topic, 3..4);
    assert_eq!(
        client.event_of("message").await.unwrap().last_event_id(),
        "3"
    );
}
