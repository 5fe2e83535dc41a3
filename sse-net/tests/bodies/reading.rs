//! Bodies that a handler reads.

use sse_core::{Rejection, Response};
use sse_net::{Request, Server, Tcp};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::common::{WIDE, pass, serve, settle};
use crate::posts::{LIMIT, posts};
use crate::{SECOND, echo, exchange, post, posting};

#[tokio::test(start_paused = true)]
async fn a_body_is_read_whole_or_refused() {
    let (server, net) = serve(posting(), echo);
    for post in posts() {
        for size in [usize::MAX, 100, 1] {
            let client = net.connect(WIDE);
            post.check(&exchange(client.pipe, &post.bytes, size).await);
        }
    }
    settle().await;
    let stats = server.stats();
    assert_eq!(
        (stats.connections, stats.panics, stats.handler_panics),
        (0, 0, 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_read_whole_or_refused_over_tcp() {
    let tcp = Tcp::default().bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let _server = Server::new(posting()).listen(tcp).serve(echo);
    for post in posts() {
        for size in [usize::MAX, 1] {
            let client = TcpStream::connect(address).await.unwrap();
            client.set_nodelay(true).unwrap();
            post.check(&exchange(client, &post.bytes, size).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg(unix)]
async fn a_body_is_read_whole_or_refused_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = sse_net::bind_unix(&path).unwrap();
    let _server = Server::new(posting()).listen(listener).serve(echo);
    for post in posts() {
        let client = tokio::net::UnixStream::connect(&path).await.unwrap();
        post.check(&exchange(client, &post.bytes, 100).await);
    }
}

/// RFC 9110, 10.1.1.
#[tokio::test(start_paused = true)]
async fn a_client_that_waits_gets_100_continue_when_the_handler_asks() {
    let (_server, net) = serve(posting(), async |request: Request| {
        pass(SECOND).await;
        match request.path() {
            "/unwanted" => request.reject(Rejection::FORBIDDEN),
            _ => echo(request).await,
        }
    });
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let mut client = net.ask(WIDE, head).await;
    pass(SECOND / 2).await;
    assert_eq!(client.read().await, "");
    pass(SECOND).await;
    assert_eq!(client.read().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello").await;
    assert!(client.read().await.ends_with("\r\n\r\nhello"));

    for (head, status) in [
        (head.replace(" / ", " /unwanted "), "403"),
        (head.replace(": 5", ": 1001"), "413"),
        (format!("{head}hello"), "200"),
    ] {
        let answer = net.ask(WIDE, &head).await.read_to_end().await;
        assert_eq!(answer.get(9..12), Some(status), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_refused_at_its_deadline() {
    let (_server, net) = serve(posting().body_timeout(SECOND * 5), echo);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n";
    let mut client = net.ask(WIDE, head).await;
    for _ in 0..9 {
        client.send("x").await;
        pass(SECOND / 2).await;
    }
    assert_eq!(client.read().await, "");
    pass(SECOND / 2).await;
    let answer = client.read().await;
    assert!(
        answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\nthe request body took too long to arrive\n"));
}

#[tokio::test(start_paused = true)]
async fn a_json_body_is_parsed_or_refused() {
    let (_server, net) = serve(
        posting().max_json(20),
        async |mut request: Request| match request.json::<Vec<u8>>().await {
            Ok(numbers) => {
                let sum: u8 = numbers.iter().sum();
                request.respond(Response::new(200).with_body("text/plain", sum.to_string()))
            }
            Err(rejection) => request.reject(rejection),
        },
    );
    let json = "Content-Type: application/json; charset=utf-8\r\n";
    let other =
        "the body is not JSON; send Content-Type: application/json and no Content-Encoding\n";
    for (request, status, text) in [
        (post(json, "[1, 2]"), "200", "3"),
        (
            post("Content-Type: application/x+json\r\n", "[]"),
            "200",
            "0",
        ),
        (post("", "[1, 2]"), "415", other),
        (post("Content-Type: text/plain\r\n", "[1, 2]"), "415", other),
        (
            post(&format!("{json}Content-Encoding: gzip\r\n"), "x"),
            "415",
            other,
        ),
        (
            post(json, "[1, 2"),
            "400",
            "the body is not the expected JSON: EOF while parsing a list at line 1 column 5\n",
        ),
        (
            post(json, "[999]"),
            "400",
            "the body is not the expected JSON: invalid value: integer `999`, expected u8 at \
             line 1 column 4\n",
        ),
        (
            post(json, ""),
            "400",
            "the body is not the expected JSON: EOF while parsing a value at line 1 column 0\n",
        ),
        (
            post(json, &format!("[{}]", " ".repeat(20))),
            "413",
            "the body exceeds 20 bytes; send less\n",
        ),
    ] {
        let answer = net.ask(WIDE, &request).await.read_to_end().await;
        assert_eq!(answer.get(9..12), Some(status), "{answer}");
        assert_eq!(answer.split_once("\r\n\r\n").unwrap().1, text);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_can_be_read_once_and_in_another_task() {
    let (_server, net) = serve(posting(), async |mut request: Request| {
        let reading = tokio::spawn(async move {
            let body = request.body(LIMIT).await;
            (request, body)
        });
        let (mut request, body) = reading.await.unwrap();
        assert_eq!(&body.unwrap()[..], b"hello");
        let again = request.body(LIMIT).await.unwrap_err();
        request.reject(again)
    });
    for (before, after) in [("hello", ""), ("", "hello")] {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
        let mut client = net.ask(WIDE, &format!("{head}{before}")).await;
        settle().await;
        client.send(after).await;
        let answer = client.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
        assert!(answer.ends_with("the body has been read before; read it once\n"));
    }
}

/// At most 16 KiB are read before the handler asks, so a client cannot fill the memory.
#[tokio::test(start_paused = true)]
async fn little_of_a_body_is_read_before_the_handler_asks() {
    let (_server, net) = serve(posting(), async |request: Request| {
        pass(SECOND * 60).await;
        request.reject(Rejection::FORBIDDEN)
    });
    let room = 1000;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
    let mut client = net.ask(room, head).await;
    let mut sent = 0;
    let sending = async {
        while sent < 100_000 {
            client.send(&"x".repeat(100)).await;
            sent += 100;
        }
    };
    assert!(timeout(SECOND, sending).await.is_err());
    assert!(
        (16 << 10..(16 << 10) + 2048 + room).contains(&sent),
        "{sent}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_gets_the_refusal_of_a_body_that_it_is_still_sending() {
    let (_server, net) = serve(posting(), async |mut request: Request| {
        let read = request.body(10).await;
        pass(SECOND).await;
        request.reject(read.unwrap_err())
    });
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = net.ask(WIDE, head).await;
    let body = "a0\r\n".to_owned() + &"x".repeat(300_000);
    client.send(&body).await;
    let answer = client.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}
