//! Requests with a body, over TLS.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{World, config, read_to_end, serve};
use rustls::pki_types::ServerName;
use sse_core::{Headers, Response, Upgrader};
use sse_net::{Config, Request, Server, Tcp};
use sse_tls::TlsListener;
use tokio::io::{AsyncWriteExt, split};
use tokio::net::TcpSocket;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_rustls::TlsConnector;

#[path = "../../sse-core/tests/common/posts.rs"]
mod posts;
use posts::{LIMIT, posts};

fn posting() -> Config {
    let upgrader = Upgrader::new().allow_methods(["GET", "POST"]);
    config().upgrader(upgrader.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_body_is_read_whole_or_refused() {
    let world = World::new();
    let (_server, net) = serve(
        posting(),
        world.tls.clone(),
        async |mut request: Request| match request.body(LIMIT).await {
            Ok(body) => request.respond(Response::new(200).with_body("text/plain", body)),
            Err(rejection) => request.reject(rejection),
        },
    );
    let client = world.client();
    for mut post in posts() {
        if post.name == "the server's own page" {
            let text = String::from_utf8(post.bytes).unwrap();
            post.bytes = text.replace("Origin: http:", "Origin: https:").into();
        }
        for size in [usize::MAX, 100] {
            let mut session = net.session(&client).await;
            for piece in post.bytes.chunks(size) {
                let sent = session.write_all(piece).await;
                if sent.is_err() || session.flush().await.is_err() {
                    break; // The response may have been sent already.
                }
            }
            let _ = session.shutdown().await;
            let (output, ended) = read_to_end(&mut session).await;
            post.check(output.as_bytes());
            assert!(ended.is_ok(), "{}: {ended:?}", post.name);
        }
    }
}

/// A socket that is closed while its peer sends is reset, and the peer does not receive what is
/// still on its way. So these are real sockets, whose clients receive little at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_reaches_a_client_that_is_still_sending() {
    let world = World::new();
    let tcp = Tcp::default().bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let is_answered = Arc::new(Notify::new());
    let answered = Arc::clone(&is_answered);
    let (sent, mut sent_so_far) = watch::channel(0);
    let (sent, sent_at_server) = (Arc::new(sent), sent_so_far.clone());
    let _server = Server::new(posting())
        .listen(TlsListener::new(tcp, world.tls.clone()))
        .serve(move |mut request: Request| {
            let (answered, mut sent) = (Arc::clone(&answered), sent_at_server.clone());
            async move {
                if request.path() == "/stream" {
                    return request.stream(async move |mut stream| {
                        stream.write_str(&"x".repeat(10_000)).await?;
                        answered.notify_one();
                        stream.close().await
                    });
                }
                let refusal = request.body(LIMIT).await.unwrap_err();
                sent.wait_for(|bytes| *bytes >= 5).await.unwrap();
                answered.notify_one();
                let long = Headers::new().with("X-Long", "x".repeat(10_000));
                request.with_headers(long.unwrap()).reject(refusal)
            }
        });
    let connector = TlsConnector::from(world.client());
    for (path, headers, end) in [
        ("/", "Content-Length: 9999999", "send less\n"),
        ("/", "Transfer-Encoding: chunked", "below 2^64\n"),
        ("/", "X: y", "in chunks\n"),
        ("/stream", "Content-Length: 9999999", "data: \n\n"),
    ] {
        sent.send_replace(0);
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2048).unwrap();
        let socket = socket.connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let (mut reader, mut writer) = split(connector.connect(name, socket).await.unwrap());
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n");
        writer.write_all(head.as_bytes()).await.unwrap();
        let sent = Arc::clone(&sent);
        let sending = tokio::spawn(async move {
            while writer.write_all(b"x").await.is_ok() && writer.flush().await.is_ok() {
                sent.send_modify(|bytes| *bytes += 1);
                sleep(Duration::from_millis(1)).await;
            }
            sent.send_replace(usize::MAX);
        });
        is_answered.notified().await;
        // The client sends on before it reads, so a socket that the server has closed is reset.
        let before: usize = *sent_so_far.borrow();
        let more = before.saturating_add(20);
        sent_so_far.wait_for(|bytes| *bytes >= more).await.unwrap();
        let (answer, ended) = read_to_end(&mut reader).await;
        assert!(answer.ends_with(end), "{path}: {ended:?}");
        assert!(ended.is_ok(), "{path}: {ended:?}");
        sending.abort();
        let _ = sending.await;
    }
}
