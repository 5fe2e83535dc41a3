//! Streams inside axum, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::response::IntoResponse;
use axum::routing::get;
use sse_core::{Event, Retention};
use sse_net::{Body, Config, LastEventId, Responder, Start, Tcp, Topic};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct App {
    responder: Responder,
    feed: Topic,
}

/// The block of the README, as the test `documents` compares.
mod readme {
    use axum::extract::{Request, State};
    use axum::response::IntoResponse;

    use super::App;

    struct Model(std::slice::Iter<'static, &'static str>);

    impl Model {
        fn ask() -> Self {
            Self(["a", "token"].iter())
        }

        async fn next(&mut self) -> Option<String> {
            self.0.next().map(|token| (*token).to_owned())
        }
    }

    pub(super) async fn follow(State(app): State<App>, request: Request) -> impl IntoResponse {
        app.responder.follow(&request, &app.feed) // resumes after Last-Event-ID
    }

    pub(super) async fn ask(State(app): State<App>, request: Request) -> impl IntoResponse {
        app.responder.stream(&request, async |mut stream| {
            let mut model = Model::ask();
            while let Some(token) = model.next().await {
                stream.write_str(&token).await?;
            }
            stream.close().await // the page closes its EventSource; otherwise it would reconnect
        })
    }
}

struct Server {
    app: App,
    address: SocketAddr,
    shutdown: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

fn serve() -> Server {
    let app = App {
        responder: Responder::new(Config::default()),
        feed: Topic::new(Retention::events(10)),
    };
    let subscribe = get(async |State(app): State<App>, id: LastEventId| {
        app.feed.subscribe_after(id, Start::Live)
    });
    let upgrade = get(
        async |State(app): State<App>, request: Request| -> Result<_, Response<Body>> {
            let (response, mut stream) = app.responder.upgrade(&request)?;
            tokio::spawn(async move {
                stream.write_str("hey").await?;
                stream.close().await
            });
            Ok(response)
        },
    );
    let think = get(async |State(app): State<App>, request: Request| {
        let thinking = app.responder.stream(&request, async |mut stream| {
            stream.write_str("let me think").await?;
            std::future::pending().await
        });
        thinking.into_response()
    });
    let router = Router::new()
        .route("/follow", get(readme::follow))
        .route("/ask", get(readme::ask))
        .route("/subscribe", subscribe)
        .route("/upgrade", upgrade)
        .route("/think", think)
        .with_state(app.clone());
    let listener = Tcp::default().bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (shutdown, is_shut_down) = oneshot::channel();
    let served = tokio::spawn(async move {
        let shutdown = async { _ = is_shut_down.await };
        let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown);
        serving.await.unwrap();
    });
    Server {
        app,
        address,
        shutdown,
        served,
    }
}

async fn ask(address: SocketAddr, target: &str, headers: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

/// Reads until `what` has arrived.
async fn read_until(socket: &mut TcpStream, what: &str) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&bytes).contains(what) {
            let len = socket.read_buf(&mut bytes).await.unwrap();
            assert_ne!(len, 0, "{}", String::from_utf8_lossy(&bytes));
        }
    };
    timeout(20 * SECOND, reading).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn every_way_to_return_a_stream_works() {
    let server = serve();
    server
        .app
        .feed
        .publish(&Event::new().id(1).data("one"))
        .unwrap();
    server
        .app
        .feed
        .publish(&Event::new().id(2).data("two"))
        .unwrap();
    for (target, headers, expected) in [
        ("/follow", "Last-Event-ID: 1\r\n", "id: 2\ndata: two\n\n"),
        ("/follow?lastEventId=1", "", "id: 2\ndata: two\n\n"),
        ("/subscribe", "Last-Event-ID: 1\r\n", "id: 2\ndata: two\n\n"),
        ("/subscribe?last_event_id=1", "", "id: 2\ndata: two\n\n"),
        ("/subscribe", "Last-Event-ID: x\r\n", "event: gap\n"),
        ("/upgrade", "", "data: hey\n\n"),
        ("/ask", "", "data: a\n\ndata: token\n\nevent: close\n"),
    ] {
        let mut socket = ask(server.address, target, headers).await;
        let got = read_until(&mut socket, expected).await;
        assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got}");
        assert!(got.contains("content-type: text/event-stream\r\n"), "{got}");
    }
    for target in ["/follow", "/upgrade"] {
        let mut socket = ask(server.address, target, "Accept: text/html\r\n").await;
        let got = read_until(&mut socket, "\r\n\r\n").await;
        assert!(got.starts_with("HTTP/1.1 406 "), "{got}");
    }
}

#[tokio::test]
async fn a_connection_serves_another_request_after_a_stream() {
    let server = serve();
    let mut socket = ask(server.address, "/upgrade", "").await;
    read_until(&mut socket, "0\r\n\r\n").await;
    let head = b"GET /upgrade HTTP/1.1\r\nHost: a\r\n\r\n";
    socket.write_all(head).await.unwrap();
    read_until(&mut socket, "data: hey\n\n").await;
}

#[tokio::test]
async fn a_graceful_shutdown_ends_soon_after_the_drain() {
    let mut server = serve();
    let mut sockets = Vec::new();
    for target in ["/follow", "/think", "/follow", "/think"] {
        let mut socket = ask(server.address, target, "").await;
        read_until(&mut socket, "retry: ").await;
        sockets.push(socket);
    }
    server.shutdown.send(()).unwrap();
    let waited = timeout(SECOND / 10, &mut server.served).await;
    assert!(waited.is_err(), "the shutdown waits for streams");
    server.app.responder.drain(SECOND / 2).await;
    timeout(SECOND * 10, server.served).await.unwrap().unwrap();
    for mut socket in sockets {
        let mut rest = String::new();
        socket.read_to_string(&mut rest).await.unwrap();
        assert!(
            rest.contains("retry: ") && rest.ends_with("0\r\n\r\n"),
            "{rest}"
        );
    }
    assert_eq!(server.app.responder.stats().drained, 4);
}
