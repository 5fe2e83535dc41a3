//! Requests with a body.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod answering;
mod reading;

use std::time::Duration;

use common::config;
use sse_core::{Response, Upgrader};
use sse_net::{Answer, Config, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

#[path = "../../../sse-core/tests/common/posts.rs"]
mod posts;
use posts::LIMIT;

const SECOND: Duration = Duration::from_secs(1);

fn posting() -> Config {
    let upgrader = Upgrader::new().allow_methods(["GET", "HEAD", "POST"]);
    config().upgrader(upgrader.unwrap())
}

/// Responds with the body.
async fn echo(mut request: Request) -> Answer {
    match request.body(LIMIT).await {
        Ok(body) => request.respond(Response::new(200).with_body("text/plain", body)),
        Err(rejection) => request.reject(rejection),
    }
}

fn post(headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

/// Sends `bytes` in pieces of `size`, closes the client's half, and returns the response.
async fn exchange(
    mut connection: impl AsyncRead + AsyncWrite + Unpin,
    bytes: &[u8],
    size: usize,
) -> Vec<u8> {
    for piece in bytes.chunks(size) {
        if connection.write_all(piece).await.is_err() {
            break; // The response may have been sent already.
        }
        connection.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    let _ = connection.shutdown().await;
    let mut output = Vec::new();
    let _ = connection.read_to_end(&mut output).await;
    output
}
