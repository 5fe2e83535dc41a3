//! The async stream.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::future::{self, pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use common::{Ends, WIDE, config, pass, serve, settle};
use sse_core::{Event, SendError};
use sse_net::{Disconnect, Request, Stream};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

fn pipe(room: usize) -> (Stream<DuplexStream>, DuplexStream) {
    let (ours, theirs) = duplex(room);
    (Stream::new(ours, SECOND * 20), theirs)
}

/// Makes the same calls on the blocking and the async stream, and compares what they write.
macro_rules! both {
    ($($call:ident($($argument:expr),*) $($wait:ident)?;)*) => {{
        let mut blocking = sse_core::Stream::new(Vec::new());
        let (mut stream, mut client) = pipe(WIDE);
        $(
            let expected = format!("{:?}", blocking.$call($($argument),*));
            let result = stream.$call($($argument),*)$(.$wait)?;
            assert_eq!(format!("{result:?}"), expected, stringify!($call));
        )*
        let expected = blocking.close().unwrap();
        stream.close().await.unwrap();
        let mut written = Vec::new();
        client.read_to_end(&mut written).await.unwrap();
        assert_eq!(String::from_utf8(written), String::from_utf8(expected));
    }};
}

#[tokio::test(start_paused = true)]
async fn it_has_the_methods_of_the_blocking_stream() {
    both! {
        set_id(54);
        set_event("hey-you");
        set_event("no\nsuch");
        set_retry(SECOND);
        comment("a\nb") await;
        write_str("yes, that's data\n") await;
        write_bytes(b"bytes") await;
        write_bytes(b"\xff") await;
        write_json(&[Some("text"), None]) await;
        write_int(-7) await;
        write_int(u128::MAX) await;
        write_float(0.1) await;
        write_float(f64::NAN) await;
        write_display(&format_args!("{}\n{}", 1, 2)) await;
        write_event("1", "tick", "data") await;
        write_event("\0", "tick", "data") await;
        send(&Event::new().id(55).data("two\nlines")) await;
        flush() await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_returns_when_the_connection_has_accepted_the_event() {
    let (mut stream, mut client) = pipe(10);
    let reader = async {
        pass(SECOND).await;
        let mut text = [0; 26];
        client.read_exact(&mut text).await.unwrap();
        text
    };
    let start = Instant::now();
    let write = async {
        stream.write_str("more than ten bytes").await.unwrap();
        start.elapsed()
    };
    let (text, waited) = tokio::join!(reader, write);
    assert!(waited >= SECOND && waited < SECOND * 2);
    assert!(text.starts_with(b"data: more than ten bytes\n"));
    assert!(stream.pending().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_neither_tears_nor_doubles_its_event() {
    for room in 1..60 {
        let (mut stream, mut client) = pipe(room);
        let reading = tokio::spawn(async move {
            let mut text = String::new();
            pass(SECOND).await;
            client.read_to_string(&mut text).await.unwrap();
            text
        });
        let mut expected = String::new();
        for n in 0..5 {
            let _ = timeout(SECOND / 10, stream.write_int(n)).await;
            expected += &format!("data: {n}\n\n");
        }
        stream.close().await.unwrap();
        expected += "event: close\ndata: \n\n";
        assert_eq!(reading.await.unwrap(), expected, "{room}");
    }
}

#[tokio::test(start_paused = true)]
async fn pending_bytes_of_cancelled_calls_are_bounded() {
    let (stream, _client) = pipe(1);
    let mut stream = stream.max_pending(100);
    let mut refused = 0;
    for _ in 0..100 {
        let writing = timeout(SECOND / 10, stream.write_str("0123456789"));
        if let Ok(Err(SendError::Full { .. })) = writing.await {
            refused += 1;
        }
        assert!(stream.pending().len() < 200);
    }
    let (_, pending) = stream.into_parts();
    assert!(
        pending.len() >= 100 && refused == 0,
        "a call waits for room first"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_fails_for_a_stalled_client_but_not_for_a_slow_one() {
    let (mut stream, mut client) = pipe(10);
    let slow = tokio::spawn(async move {
        for _ in 0..10 {
            pass(SECOND * 15).await;
            client.read_exact(&mut [0; 10]).await.unwrap();
        }
        client
    });
    stream.write_str(&"x".repeat(92)).await.unwrap();
    let _client = slow.await.unwrap();
    let start = Instant::now();
    let error = stream.write_str(&"x".repeat(92)).await.unwrap_err();
    assert!((SECOND * 20..SECOND * 21).contains(&start.elapsed()));
    assert_eq!(
        error.to_string(),
        "the writer failed, and the event is still in the buffer: \
         the client took no byte within the write timeout"
    );
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::TimedOut);
    assert!(!stream.pending().is_empty());
}

/// A connection that takes bytes after 15 s, and is flushed 15 s later.
struct Slow(Pin<Box<Sleep>>);

impl Slow {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.0.as_mut().poll(cx));
        self.0 = Box::pin(sleep(SECOND * 15));
        Poll::Ready(())
    }
}

impl AsyncRead for Slow {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Slow {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_ready(cx).map(|()| Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_ready(cx).map(Ok)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn the_write_timeout_begins_anew_when_bytes_were_taken() {
    let start = Instant::now();
    let connection = Slow(Box::pin(sleep(SECOND * 15)));
    let mut stream = Stream::new(connection, SECOND * 20);
    stream.write_str("hey").await.unwrap();
    assert!((SECOND * 30..SECOND * 31).contains(&start.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_ends_every_waiting_call() {
    let start = Instant::now();
    for room in [10, WIDE] {
        let (mut stream, client) = pipe(room);
        tokio::spawn(async move {
            pass(SECOND).await;
            drop(client);
        });
        stream.closed().await;
        stream.closed().await;
        let error = io::Error::from(stream.write_str("more").await.unwrap_err());
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);

        let (mut stream, client) = pipe(room);
        tokio::spawn(async move {
            pass(SECOND).await;
            drop(client);
        });
        let error = stream.write_str(&"x".repeat(WIDE)).await.unwrap_err();
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::BrokenPipe);
    }
    assert!(start.elapsed() < SECOND * 5);
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_client_still_gets_events() {
    let (mut stream, mut client) = pipe(WIDE);
    client.shutdown().await.unwrap();
    let gone = timeout(SECOND * 3600, stream.closed()).await;
    assert!(gone.is_err());
    stream.write_str("hey").await.unwrap();
    stream.close().await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, ":\ndata: hey\n\nevent: close\ndata: \n\n");
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_client_that_disconnects_is_found() {
    let (mut stream, mut client) = pipe(WIDE);
    client.shutdown().await.unwrap();
    assert!(timeout(SECOND * 10, stream.closed()).await.is_err());
    drop(client);
    timeout(SECOND, stream.closed()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn closed_sends_heartbeats_and_pending_bytes_while_it_waits() {
    let (stream, mut client) = pipe(4);
    let mut stream = stream.heartbeat(SECOND * 15);
    assert!(timeout(SECOND, stream.write_str("hey")).await.is_err());
    let reading = tokio::spawn(async move {
        let mut times = Vec::new();
        let mut text = String::new();
        let mut piece = [0; 2];
        while client.read_exact(&mut piece).await.is_ok() {
            text += str::from_utf8(&piece).unwrap();
            times.push(Instant::now());
        }
        (text, times)
    });
    // In a `select!` it is called again in each iteration.
    for _ in 0..46 {
        let _ = timeout(SECOND, stream.closed()).await;
    }
    let _ = timeout(SECOND / 2, stream.closed()).await;
    drop(stream);
    let (text, times) = reading.await.unwrap();
    assert_eq!(
        text,
        "data: hey\n\n:\n:\n:\n"[..16].to_owned() + &text[16..]
    );
    let beats = &times[times.len() - 3..];
    for pair in beats.windows(2) {
        assert_eq!((pair[1] - pair[0]).as_secs(), 15);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_ends_when_its_client_disconnects() {
    struct Model(Arc<Mutex<u32>>);

    impl Drop for Model {
        fn drop(&mut self) {
            *self.0.lock().unwrap() += 1;
        }
    }

    let (ends, stopped) = (Ends::default(), Arc::new(Mutex::new(0)));
    let (told, stops) = (ends.clone(), Arc::clone(&stopped));
    let (server, net) = serve(config(), move |request: Request| {
        let model = Model(Arc::clone(&stops));
        let is_lost_in_thought = request.path() == "/think";
        let answer = request.stream(async move |mut stream| {
            let _model = model;
            stream.write_str("let me think").await?;
            if is_lost_in_thought {
                tokio::select! {
                    () = pending() => {}
                    () = stream.closed() => return Err(io::ErrorKind::BrokenPipe.into()),
                }
            }
            stream.close().await
        });
        future::ready(told.watch(answer))
    });

    let mut client = net.get("/think").await;
    assert_eq!(client.follow().await, "data: let me think\n\n");
    pass(SECOND * 20).await;
    assert_eq!(client.read().await, ":\n", "the server's heartbeat");
    drop(client);
    pass(SECOND / 20).await;
    assert_eq!(
        (ends.take(), *stopped.lock().unwrap()),
        (vec![Disconnect::ClientClosed], 1)
    );

    let mut client = net.get("/").await;
    assert_eq!(
        client.follow().await,
        "data: let me think\n\nevent: close\ndata: \n\n"
    );
    settle().await;
    assert_eq!(ends.take(), [Disconnect::Finished]);
    let stats = server.stats();
    assert_eq!(
        (stats.client_closed, stats.finished, stats.connections),
        (1, 1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_sent_nothing_gets_heartbeats() {
    let (stream, mut client) = pipe(WIDE);
    let mut stream = stream.heartbeat(SECOND * 15);
    for _ in 0..31 {
        assert!(timeout(SECOND, stream.closed()).await.is_err());
    }
    drop(stream);
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, ":\n:\n");
}

#[tokio::test(start_paused = true)]
async fn heartbeats_have_a_minimum_interval() {
    let (stream, mut client) = pipe(WIDE);
    let mut stream = stream.heartbeat(Duration::ZERO);
    stream.write_str("hey").await.unwrap();
    let _ = timeout(SECOND, stream.closed()).await;
    drop(stream);
    let mut got = String::new();
    client.read_to_string(&mut got).await.unwrap();
    let beats = got.strip_prefix("data: hey\n\n").unwrap();
    assert!((1..=4).contains(&beats.matches(":\n").count()), "{got}");
}

/// What the future writes is sent in the poll that it is in: it does not wake its task.
#[tokio::test(start_paused = true)]
async fn a_future_is_not_polled_again_for_what_it_has_written() {
    let polls = Arc::new(AtomicUsize::new(0));
    let (tokens, received) = mpsc::unbounded_channel::<&str>();
    let (counted, received) = (Arc::clone(&polls), Mutex::new(Some(received)));
    let (_server, net) = serve(config(), move |request: Request| {
        let (polls, received) = (Arc::clone(&counted), received.lock().unwrap().take());
        future::ready(request.stream(move |mut stream| {
            let mut writing = Box::pin(async move {
                let mut received = received.unwrap();
                while let Some(token) = received.recv().await {
                    stream.write_str(token).await?;
                }
                Ok(())
            });
            poll_fn(move |cx| {
                polls.fetch_add(1, Ordering::Relaxed);
                writing.as_mut().poll(cx)
            })
        }))
    });
    let mut client = net.get("/").await;
    client.follow().await;
    settle().await;
    let before = polls.load(Ordering::Relaxed);
    for _ in 0..10 {
        tokens.send("hey").unwrap();
        assert_eq!(client.read().await, "data: hey\n\n");
        settle().await;
    }
    // Once for the token, and once because the pipe has room again.
    let polls = polls.load(Ordering::Relaxed) - before;
    assert!(polls <= 20, "{polls} polls");
}
