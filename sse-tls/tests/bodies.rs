//! Requests with a body, over TLS.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{World, config, read_to_end, serve};
use sse_core::{Response, Upgrader};
use sse_net::Request;
use tokio::io::AsyncWriteExt;

#[path = "../../sse-core/tests/common/posts.rs"]
mod posts;
use posts::{LIMIT, posts};

#[tokio::test(start_paused = true)]
async fn a_body_is_read_whole_or_refused() {
    let world = World::new();
    let upgrader = Upgrader::new().allow_methods(["GET", "POST"]).unwrap();
    let config = config().upgrader(upgrader);
    let (_server, net) = serve(
        config,
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
