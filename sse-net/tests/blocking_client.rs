//! The client without a runtime, over sockets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use socket2::{Domain, SockAddr, Socket, Type};
use sse_core::MessageEvent;
use sse_net::{BlockingConnection, ClientError, Connect, EventSource, Item};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

/// Serves each connection with one of these texts, and returns the requests.
fn serve(texts: &'static [&'static str]) -> (String, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let mut requests = Vec::new();
        for text in texts {
            let (mut socket, _) = listener.accept().unwrap();
            requests.push(request(&mut socket));
            socket.write_all(text.as_bytes()).unwrap();
        }
        requests
    });
    (url, serving)
}

fn request(socket: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    String::from_utf8(request).unwrap()
}

#[test]
fn a_stream_is_resumed_until_204() {
    let (url, serving) = serve(&[
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nid: 1\ndata: a\n\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nid: 2\ndata: b\n\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ]);
    let source = EventSource::get(url).unwrap();
    let source = source
        .reconnection_time(Duration::ZERO)
        .min_delay(Duration::from_millis(1));
    let events: Vec<_> = source.connect_blocking().map(Result::unwrap).collect();
    let events: Vec<_> = events.iter().map(MessageEvent::data).collect();
    assert_eq!(events, ["a", "b"]);
    let requests = serving.join().unwrap();
    assert!(requests[1].contains("Last-Event-ID: 1\r\n"));
    assert!(requests[2].contains("Last-Event-ID: 2\r\n"));
}

#[test]
fn silence_is_noticed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        request(&mut socket);
        socket.write_all(HEAD.as_bytes()).unwrap();
        socket
    });
    let source = EventSource::get(url)
        .unwrap()
        .silence(Duration::from_millis(100));
    let mut client = source.connect_blocking();
    assert!(matches!(client.next_item(), Ok(Some(Item::Opened(_)))));
    let opened = Instant::now();
    let Ok(Some(Item::Closed(closed))) = client.next_item() else {
        panic!("not closed");
    };
    assert_eq!(
        closed.reason.to_string(),
        "nothing was received within 100ms; raise silence if that is too short"
    );
    assert!(opened.elapsed() < Duration::from_secs(5));
    drop(serving.join().unwrap());
}

#[test]
fn a_call_fails_with_the_servers_answer() {
    let (url, serving) = serve(&["HTTP/1.1 401 X\r\nContent-Length: 9\r\n\r\nno access"]);
    let mut client = EventSource::post(url).unwrap().connect_blocking();
    let error = client.next().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the server responded with 401: no access"
    );
    assert!(client.next().unwrap().is_none());
    serving.join().unwrap();
}

#[test]
fn a_hook_and_a_connector_of_the_application_are_called() {
    let (url, serving) = serve(&["HTTP/1.1 204 X\r\n\r\n"]);
    let mut client = EventSource::get(url)
        .unwrap()
        .connect_blocking_with(|url: &sse_net::Url, _: Duration| -> io::Result<TcpStream> {
            TcpStream::connect((url.host(), url.port()))
        })
        .before_attempt(|source| source.header("Authorization", "fresh"));
    assert!(client.next().unwrap().is_none());
    assert!(serving.join().unwrap()[0].contains("Authorization: fresh\r\n"));
}

/// As for the async client: "The connect timeout covers the hook."
#[test]
fn a_hook_takes_its_time_from_the_connect_timeout() {
    let timeout = Duration::from_secs(60);
    let hook_time = Duration::from_millis(10);
    let mut client = EventSource::get("http://a/")
        .unwrap()
        .connect_timeout(timeout)
        .connect_blocking_with(move |_: &sse_net::Url, rest| -> io::Result<TcpStream> {
            assert!(rest <= timeout - hook_time, "{rest:?}");
            Err(io::ErrorKind::Unsupported.into())
        })
        .before_attempt(move |source| {
            thread::sleep(hook_time);
            Ok::<_, io::Error>(source)
        });
    assert!(matches!(client.next(), Err(ClientError::Connect(_))));

    let mut client = EventSource::get("http://a/")
        .unwrap()
        .connect_timeout(Duration::from_millis(1))
        .max_retries(0)
        .connect_blocking_with(|_: &sse_net::Url, _| -> io::Result<TcpStream> {
            panic!("no time is left")
        })
        .before_attempt(move |source| {
            thread::sleep(hook_time);
            Ok::<_, io::Error>(source)
        });
    let error = client.next().unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn a_unix_socket_is_a_server_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let serving = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let _ = socket.read(&mut [0; 1000]).unwrap();
        socket
            .write_all(format!("{HEAD}data: a\n\n").as_bytes())
            .unwrap();
    });
    let source = EventSource::get(format!("unix:{}:/", path.display())).unwrap();
    let mut client = source.connect_blocking();
    assert_eq!(client.next().unwrap().unwrap().data(), "a");
    serving.join().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_unix_socket_that_accepts_nothing_is_left_at_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let address = SockAddr::unix(&path).unwrap();
    listener.bind(&address).unwrap();
    listener.listen(0).unwrap();
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.connect(&address).is_ok().then_some(socket)
    };
    let _queued = Vec::from_iter(std::iter::from_fn(connect));
    let source = EventSource::get(format!("unix:{}:/", path.display())).unwrap();
    let source = source.connect_timeout(Duration::from_millis(50));
    let mut client = source.max_retries(0).connect_blocking();
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(client.next().unwrap_err().to_string()));
    let error = result.recv_timeout(Duration::from_secs(30)).unwrap();
    assert_eq!(error, "no connection could be opened: timed out");
}

/// A connection whose buffer never reaches the server, as far as it knows.
struct Unflushable(TcpStream);

impl Read for Unflushable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Unflushable {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

impl BlockingConnection for Unflushable {
    fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_timeout(timeout)
    }
}

#[test]
fn a_call_is_sent_once_even_if_the_flush_fails() {
    let (url, serving) = serve(&[""]);
    let source = EventSource::post(url).unwrap();
    let source = source
        .reconnection_time(Duration::ZERO)
        .min_delay(Duration::from_millis(1));
    let mut client =
        source.connect_blocking_with(|url: &sse_net::Url, _: Duration| -> io::Result<_> {
            let socket = TcpStream::connect((url.host(), url.port()))?;
            Ok(Unflushable(socket))
        });
    let error = client.next().unwrap_err();
    assert!(matches!(error, ClientError::Lost(_)), "{error}");
    serving.join().unwrap();
}
