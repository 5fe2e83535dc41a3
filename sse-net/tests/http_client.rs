//! A client over hyper.

#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::rt::TokioIo;
use sse_core::Retention;
use sse_net::{
    BodyEvents, Client, ClientError, Config, Connect, Event, EventSource, Item, Routes, Server,
    ServerHandle, Start, Tcp, Topic,
};
use tokio::net::TcpStream;
use tokio::time::timeout;

type BoxError = Box<dyn Error + Send + Sync>;

/// Sends a request by hyper, on a connection of its own.
async fn send(
    address: SocketAddr,
    request: http::Request<Full<Bytes>>,
) -> Result<http::Response<hyper::body::Incoming>, BoxError> {
    let socket = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    let (mut parts, body) = request.into_parts();
    parts.headers.insert("host", "localhost".parse()?);
    parts.uri = parts.uri.path_and_query().unwrap().as_str().parse()?;
    Ok(sender
        .send_request(http::Request::from_parts(parts, body))
        .await?)
}

fn serve(topic: &Topic) -> (ServerHandle, SocketAddr) {
    let tcp = Tcp::default().bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let routes = Routes::new().topic_from("/sse", topic, Start::Earliest);
    let server = Server::new(
        Config::default()
            .shards(1)
            .max_age(Duration::from_millis(200)),
    );
    (server.listen(tcp).serve(routes), address)
}

fn connect(source: EventSource, address: SocketAddr) -> Client {
    source.connect_over(move |request| send(address, request.map(Full::new)))
}

#[tokio::test]
async fn a_client_follows_and_reconnects_over_hyper() {
    let topic = Topic::new(Retention::events(100));
    let (_server, address) = serve(&topic);
    let source = EventSource::get(format!("http://{address}/sse")).unwrap();
    let millis = Duration::from_millis;
    let mut client = connect(source.min_delay(millis(1)).max_delay(millis(10)), address);
    let (mut opened, mut received) = (0, 0_u64);
    // The server ends each stream at its maximum age, so the client reconnects.
    let following = async {
        while opened < 3 || received < 3 {
            match client.next_item().await.unwrap().unwrap() {
                Item::Opened(_) => {
                    opened += 1;
                    topic
                        .publish(&Event::new().data(opened.to_string()))
                        .unwrap();
                }
                Item::Event(event) if event.event() == "message" => {
                    received += 1;
                    assert_eq!(event.data(), received.to_string());
                }
                _ => {}
            }
        }
    };
    timeout(Duration::from_secs(20), following).await.unwrap();
    topic.finish(None).unwrap();
    let rest = async { while client.next().await.unwrap().is_some() {} };
    timeout(Duration::from_secs(20), rest)
        .await
        .expect("204 ends it");
}

#[tokio::test]
async fn errors_of_the_library_and_of_the_server_are_reported() {
    let source = || EventSource::post("http://a/").unwrap();
    let mut client = source().connect_over(|_| async {
        Err::<http::Response<Full<Bytes>>, BoxError>("no route".into())
    });
    let error = client.next().await.unwrap_err();
    assert_eq!(error.to_string(), "the connection was lost: no route");

    let mut client = source().connect_over(|_| async {
        let response = http::Response::builder().status(401);
        Ok::<_, Infallible>(response.body(Full::new(Bytes::from("who?"))).unwrap())
    });
    let error = client.next().await.unwrap_err();
    assert_eq!(error.to_string(), "the server responded with 401: who?");

    let mut client = source().ends_at_data("[DONE]").connect_over(|_| async {
        let response = http::Response::builder().header("content-type", "text/event-stream");
        let frames = [
            Ok(http_body::Frame::data(Bytes::from("data: a\n\ndat"))),
            Err("cut"),
        ];
        let body = StreamBody::new(tokio_stream::iter(frames)).map_err(BoxError::from);
        Ok::<_, Infallible>(response.body(body).unwrap())
    });
    assert_eq!(client.next().await.unwrap().unwrap().data(), "a");
    let error = client.next().await.unwrap_err();
    assert!(matches!(error, ClientError::Truncated { events: 1, .. }));
    assert_eq!(
        error.to_string(),
        "the stream ended before its last event, after 1 event: the connection was lost: cut"
    );
}

#[tokio::test]
async fn a_body_is_a_stream_of_events() {
    let frames = [
        "da",
        "ta: a\n\n: x\n\nid: 7\ndata: b\n\ndata: c",
        "\n\ndata: torn",
    ];
    let frames = frames.map(|text| Ok::<_, Infallible>(http_body::Frame::data(Bytes::from(text))));
    let mut events = BodyEvents::new(StreamBody::new(tokio_stream::iter(frames)));
    let mut got = String::new();
    while let Some(event) = events.next().await.unwrap() {
        got += &format!("{} #{} ", event.data(), event.last_event_id());
    }
    assert_eq!(got, "a # b #7 c #7 ");
    assert_eq!(events.decoder().last_event_id(), "7");
}

/// Others have their turn.
#[tokio::test]
async fn endless_comments_block_nobody() {
    let comments = || {
        let frames = std::iter::repeat_with(|| http_body::Frame::data(Bytes::from(":\n")));
        StreamBody::new(tokio_stream::iter(frames.map(Ok::<_, Infallible>)))
    };
    let mut events = BodyEvents::new(comments());
    let source = EventSource::get("http://a/").unwrap();
    let mut client = source.connect_over(move |_| async move {
        let response = http::Response::builder().header("content-type", "text/event-stream");
        response.body(comments())
    });
    for _ in 0..100 {
        tokio::select! {
            biased;
            _ = events.next() => unreachable!("there is no event"),
            _ = client.next() => unreachable!("there is no event"),
            () = std::future::ready(()) => {}
        }
    }
}
