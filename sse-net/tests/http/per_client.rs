//! Bodies of per-client streams.

use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex};

use http::StatusCode;
use http_body::Body as _;
use sse_core::Event;
use tokio::time::{Instant, timeout};

use crate::common::{http as server, is_jittered, pass, settle};
use crate::{SECOND, get, next, poll, responder, skip_retry};

#[tokio::test(start_paused = true)]
async fn an_upgrade_returns_response_and_stream() {
    let (response, mut stream) = responder().upgrade(&get("/")).unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    skip_retry(&mut body);
    assert!(poll(&mut body).is_pending());
    stream.set_id(54).unwrap();
    stream.write_json(&["hey", "there"]).await.unwrap();
    stream.send(&Event::new().data("two\nlines")).await.unwrap();
    assert_eq!(
        next(&mut body).await.unwrap().unwrap(),
        "id: 54\ndata: [\"hey\",\"there\"]\n\ndata: two\ndata: lines\n\n"
    );
    stream.close().await.unwrap();
    let end = next(&mut body).await.unwrap().unwrap();
    assert_eq!(end, "event: close\ndata: \n\n");
    assert!(next(&mut body).await.is_none() && body.is_end_stream());

    let mut post = get("/");
    *post.method_mut() = http::Method::POST;
    let headers = post.headers_mut();
    headers.insert("origin", "https://evil".parse().unwrap());
    let response = responder().upgrade(&post).unwrap_err();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(
        next(&mut response.into_body()).await.unwrap().unwrap(),
        "pages of this origin may not send such requests\n"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_written_only_as_fast_as_its_body_is_read() {
    let (response, mut stream) = responder().upgrade(&get("/")).unwrap();
    let mut body = response.into_body();
    skip_retry(&mut body);
    let mut accepted = 0;
    while timeout(SECOND, stream.write_str(&"x".repeat(1000)))
        .await
        .is_ok()
    {
        accepted += 1;
    }
    assert!((16..=18).contains(&accepted), "{accepted}");
    // The event of a cancelled call was accepted, and is neither torn nor doubled.
    let mut read = next(&mut body).await.unwrap().unwrap();
    stream.write_str("last").await.unwrap();
    read += &next(&mut body).await.unwrap().unwrap();
    let expected = format!("data: {}\n\n", "x".repeat(1000)).repeat(accepted + 1);
    assert_eq!(read, expected + "data: last\n\n");

    let start = Instant::now();
    let error = loop {
        if let Err(error) = stream.write_str(&"x".repeat(1000)).await {
            break io::Error::from(error);
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(start.elapsed() >= SECOND * 20);
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_body_is_dropped_is_closed() {
    let start = Instant::now();
    let responder = responder();
    let (response, mut stream) = responder.upgrade(&get("/")).unwrap();
    tokio::spawn(async move {
        pass(SECOND).await;
        drop(response);
    });
    stream.closed().await;
    let error = io::Error::from(stream.write_str("more").await.unwrap_err());
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (io::ErrorKind::BrokenPipe, "the client has disconnected")
    );

    let (response, mut stream) = responder.upgrade(&get("/")).unwrap();
    tokio::spawn(async move {
        pass(SECOND).await;
        drop(response);
    });
    let error = loop {
        if let Err(error) = stream.write_str("more").await {
            break io::Error::from(error);
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert!(start.elapsed() < SECOND * 3);
    let stats = responder.stats();
    assert_eq!((stats.connections, stats.client_closed), (0, 2));
}

/// Counts how often it is dropped.
struct Model(Arc<Mutex<u32>>);

impl Drop for Model {
    fn drop(&mut self) {
        *self.0.lock().unwrap() += 1;
    }
}

#[tokio::test(start_paused = true)]
async fn the_future_of_a_stream_is_dropped_with_its_client() {
    let (responder, stopped) = (responder(), Arc::new(Mutex::new(0)));
    let (shared, stops) = (responder.clone(), Arc::clone(&stopped));
    for is_http2 in [false, true] {
        let (shared, stops) = (shared.clone(), Arc::clone(&stops));
        let net = server::serve(is_http2, move |request| {
            let model = Model(Arc::clone(&stops));
            shared.stream(&request, async move |mut stream| {
                let _model = model;
                stream.write_str("let me think").await?;
                pending().await
            })
        });
        let mut client = net.get("/").await;
        assert_eq!(client.follow().await, "data: let me think\n\n");
        pass(SECOND * 15).await;
        assert_eq!(
            client.read().await,
            ":\n",
            "a heartbeat while the future waits"
        );
        let before = *stopped.lock().unwrap();
        drop(client);
        pass(SECOND / 20).await;
        assert_eq!(*stopped.lock().unwrap(), before + 1);
    }
    let stats = responder.stats();
    assert_eq!((stats.connections, stats.client_closed), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_future_that_fails_aborts_the_response() {
    let responder = responder();
    let response = responder.stream(&get("/"), async |mut stream| {
        stream.write_str("hey").await?;
        Err(io::Error::other("the model failed"))
    });
    let mut body = response.into_body();
    skip_retry(&mut body);
    assert_eq!(next(&mut body).await.unwrap().unwrap(), "data: hey\n\n");
    let error = next(&mut body).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the model failed");
    assert!(next(&mut body).await.is_none() && body.is_end_stream());
    assert_eq!(responder.stats().handler_failures, 1);

    let response = responder.stream(&get("/"), async |_| panic!("the model failed"));
    let mut body = response.into_body();
    skip_retry(&mut body);
    let error = next(&mut body).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the handler has panicked");
    let stats = responder.stats();
    assert_eq!((stats.handler_panics, stats.connections), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_per_client_streams_after_its_window() {
    let responder = responder();
    let mut ends = Vec::new();
    for seconds in [3, 60] {
        let response = responder.stream(&get("/"), async move |mut stream| {
            pass(SECOND * seconds).await;
            stream.write_str("done").await?;
            stream.close().await
        });
        ends.push(tokio::spawn(async move {
            let mut body = response.into_body();
            let mut all = String::new();
            while let Some(frame) = next(&mut body).await {
                all += &frame.unwrap();
            }
            (all.split_once("\n\n").unwrap().1.to_owned(), Instant::now())
        }));
    }
    settle().await;
    let start = Instant::now();
    responder.drain(SECOND * 10).await;
    assert!(start.elapsed() <= SECOND * 10 + SECOND / 10);
    let mut ends = ends.into_iter();
    let (text, end) = ends.next().unwrap().await.unwrap();
    assert_eq!(text, "data: done\n\nevent: close\ndata: \n\n");
    assert!(end - start < SECOND * 4);
    let (text, end) = ends.next().unwrap().await.unwrap();
    assert!(end - start >= SECOND * 10);
    assert!(
        is_jittered(text.strip_prefix("retry: ").unwrap().trim_end()),
        "{text}"
    );
    let stats = responder.stats();
    assert_eq!(
        (stats.finished, stats.drained, stats.connections),
        (1, 1, 0)
    );
}
