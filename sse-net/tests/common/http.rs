//! In-memory HTTP servers for the clients of [`Net`](super::Net).

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, client, server};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sse_net::{Body, Transport};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex, split};
use tokio::sync::mpsc;

use super::{Net, WIDE};

type Answer = Arc<dyn Fn(Request<Incoming>) -> Response<Body> + Send + Sync>;

/// Serves over HTTP/1, or over HTTP/2 behind a proxy that speaks HTTP/1 to clients.
pub(crate) fn serve(
    is_http2: bool,
    answer: impl Fn(Request<Incoming>) -> Response<Body> + Send + Sync + 'static,
) -> Net {
    let answer: Answer = Arc::new(answer);
    let (connect, mut accept) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok((transport, _))) = accept.recv().await {
            let answer = Arc::clone(&answer);
            if is_http2 {
                tokio::spawn(forward(transport, answer));
            } else {
                tokio::spawn(serve_http1(transport, answer));
            }
        }
    });
    Net(connect)
}

async fn serve_http1(transport: Transport, answer: Answer) {
    let service = service_fn(move |request| ready(Ok::<_, Infallible>(answer(request))));
    let _ = server::conn::http1::Builder::new()
        .keep_alive(false)
        .title_case_headers(true)
        .max_buf_size(8192) // hyper's minimum
        .serve_connection(TokioIo::new(transport), service)
        .await;
}

async fn serve_http2(connection: impl AsyncRead + AsyncWrite + Unpin, answer: Answer) {
    let service = service_fn(move |request| ready(Ok::<_, Infallible>(answer(request))));
    let _ = server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(connection), service)
        .await;
}

/// Forwards a request over HTTP/2 and its response over HTTP/1.
///
/// It buffers no more than the HTTP/2 window.
async fn forward(mut transport: Transport, answer: Answer) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if transport.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let (ours, theirs) = duplex(WIDE);
    let serving = tokio::spawn(serve_http2(theirs, answer));
    let (mut sender, connection) = client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW)
        .max_header_list_size(1 << 16)
        .handshake(TokioIo::new(ours))
        .await
        .unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(request(&head)).await.unwrap();
    let (mut reader, mut writer) = split(transport);
    let writing = async {
        let mut head = format!("HTTP/1.1 {}\r\n", response.status());
        for (name, value) in response.headers() {
            let name = name.as_str().replace("content-type", "Content-Type");
            head += &format!("{name}: {}\r\n", value.to_str().unwrap());
        }
        writer.write_all((head + "\r\n").as_bytes()).await?;
        let mut body = response.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            writer.write_all(frame.data_ref().unwrap()).await?;
        }
        writer.shutdown().await
    };
    let byte = &mut [0];
    tokio::select! {
        _ = writing => {}
        _ = reader.read(byte) => {} // The client has disconnected.
    }
    drop(sender);
    let _ = serving.await;
}

/// The window of an HTTP/2 stream in bytes.
const WINDOW: u32 = 1000;

fn request(head: &[u8]) -> Request<Empty<Bytes>> {
    let head = str::from_utf8(head).unwrap();
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap().split(' ');
    let method = words.next().unwrap();
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://a{}", words.next().unwrap()));
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if name != "Host" {
            request = request.header(name, value);
        }
    }
    request.body(Empty::new()).unwrap()
}
