//! Misbehaving connections affect no other connection.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::future::ready;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use common::{WIDE, config, publish, published, serve, serve_topic, settle};
use sse_core::Retention;
use sse_net::{Disconnect, Request, Start, Topic, Transport};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::time::timeout;

const SECOND: Duration = Duration::from_secs(1);

/// The function of a transport or hook that panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Read,
    Write,
    Shutdown,
    Drop,
    Hook,
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_only_its_own_connection() {
    for fault in [
        Fault::Read,
        Fault::Write,
        Fault::Shutdown,
        Fault::Drop,
        Fault::Hook,
    ] {
        let topic = Topic::new(Retention::default());
        let followed = topic.clone();
        let (server, net) = serve(config(), move |request: Request| {
            let is_faulty = fault == Fault::Hook && request.path() == "/faulty";
            let answer = request.follow(&followed);
            ready(if is_faulty {
                answer.on_end(|_| panic!("the hook"))
            } else {
                answer
            })
        });
        let (mut ours, theirs) = duplex(WIDE);
        let is_armed = Arc::new(AtomicBool::new(false));
        let healthy = net.get("/").await;
        net.accept(Transport::new(Faulty {
            pipe: theirs,
            fault,
            is_armed: Arc::clone(&is_armed),
        }));
        ours.write_all(b"GET /faulty HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let mut clients = [healthy, net.get("/").await];
        for client in &mut clients {
            client.follow().await;
        }
        assert_eq!(server.stats().connections, 3, "{fault:?}");

        is_armed.store(true, Relaxed);
        let _ = ours.write_all(b"x").await;
        settle().await;
        publish(&topic, 0..1);
        settle().await;
        match fault {
            Fault::Shutdown => {} // The drain does that.
            _ => drop(ours),
        }
        for client in &mut clients {
            assert_eq!(client.read().await, published(0..1), "{fault:?}");
        }
        let mut later = net.get("/").await;
        assert_eq!(later.follow().await, "", "{fault:?}");
        publish(&topic, 1..2);
        for client in clients.iter_mut().chain([&mut later]) {
            assert_eq!(client.read().await, published(1..2), "{fault:?}");
        }
        let left = 3 + usize::from(fault == Fault::Shutdown);
        assert_eq!(server.stats().connections, left, "{fault:?}");
        let drained = timeout(60 * SECOND, server.drain(SECOND)).await;
        assert!(drained.is_ok(), "{fault:?}: the drain does not return");
    }
}

/// A connection that panics once it is armed.
struct Faulty {
    pipe: DuplexStream,
    fault: Fault,
    is_armed: Arc<AtomicBool>,
}

impl Faulty {
    fn fail(&self, fault: Fault) {
        assert!(
            self.fault != fault || !self.is_armed.load(Relaxed),
            "a fault in {fault:?}"
        );
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.fail(Fault::Drop);
    }
}

impl AsyncRead for Faulty {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.fail(Fault::Read);
        Pin::new(&mut self.pipe).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Faulty {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.fail(Fault::Write);
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fail(Fault::Shutdown);
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_uploads_is_disconnected_at_its_limit() {
    const ROOM: usize = 4 << 10;
    let topic = Topic::new(Retention::default());
    let (server, net, ends) = serve_topic(config(), &topic, Start::Live);
    let mut chatty = net.get_slow("/", ROOM).await;
    let mut endless = net.get_slow("/", ROOM).await;
    chatty.send(&"x".repeat(60 << 10)).await;

    let mut sent = 0;
    while sent < 1 << 20
        && let Ok(Ok(())) = timeout(SECOND, endless.pipe.write_all(&[b'x'; 1024])).await
    {
        sent += 1024;
    }
    let budget = 64 << 10;
    assert!(
        (budget - ROOM..=budget + 2 * ROOM).contains(&sent),
        "{sent}"
    );
    settle().await;
    let reasons = ends.take();
    assert_eq!(reasons.len(), 1);
    assert_ne!(
        reasons,
        [Disconnect::ClientClosed],
        "the reason is specific"
    );

    publish(&topic, 0..1);
    assert_eq!(chatty.read().await, published(0..1));
    assert_eq!(server.stats().connections, 1);
}
