//! A client over TLS, on loopback sockets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use sse_core::Retention;
use sse_net::{ClientError, Connect, EventSource, Server, ServerHandle, Tcp, Topic};
use sse_tls::{TlsConfig, TlsConnector, TlsListener};
use tokio::time::timeout;

use common::{Authority, Dir, World, config, follow, publish};

fn listen(tls: &TlsConfig, topic: &Topic) -> (ServerHandle, SocketAddr) {
    let tcp = Tcp::default().bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let server = Server::new(config()).listen(TlsListener::new(tcp, tls.clone()));
    (server.serve(follow(topic)), address)
}

fn feed(host: &str, address: SocketAddr) -> EventSource {
    EventSource::get(format!("https://{host}:{}/", address.port())).unwrap()
}

async fn first(source: EventSource, tls: TlsConnector, topic: &Topic) -> Result<String, String> {
    let mut client = source.connect_with(tls);
    let first = async {
        let opened = client
            .next_item()
            .await
            .map_err(|error| error.to_string())?;
        assert!(
            matches!(opened, Some(sse_net::Item::Opened(_))),
            "{opened:?}"
        );
        publish(topic, 1..2);
        match client.next().await {
            Ok(event) => Ok(event.unwrap().data().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    };
    timeout(Duration::from_secs(20), first).await.unwrap()
}

#[tokio::test]
async fn a_client_trusts_an_authority_for_a_name() {
    let world = World::new();
    let topic = Topic::new(Retention::events(9));
    let (_server, address) = listen(&world.tls, &topic);
    let ca = world.dir.write("ca.pem", world.authority.pem());
    let trusting = TlsConnector::trusting(&ca).unwrap();
    assert_eq!(
        first(feed("localhost", address), trusting.clone(), &topic).await,
        Ok("d".to_owned())
    );

    // Another name, unless the application expects it.
    let error = first(feed("127.0.0.1", address), trusting.clone(), &topic)
        .await
        .unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
    let named = trusting.server_name("localhost").unwrap();
    assert_eq!(
        first(feed("127.0.0.1", address), named, &topic).await,
        Ok("d".to_owned())
    );

    // Another authority. It is final at once.
    let other = world.dir.write("other.pem", Authority::new().pem());
    let other = TlsConnector::trusting(&other).unwrap();
    let mut client = feed("localhost", address).connect_with(other);
    let error = client.next().await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Connect(error) if error.kind() == io::ErrorKind::InvalidData)
    );
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn a_plain_url_is_reached_without_tls() {
    let world = World::new();
    let topic = Topic::new(Retention::events(9));
    let tcp = Tcp::default().bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", tcp.local_addr().unwrap());
    let _server = Server::new(config()).listen(tcp).serve(follow(&topic));
    let ca = world.dir.write("ca.pem", world.authority.pem());
    let tls = TlsConnector::trusting(&ca).unwrap();
    let source = EventSource::get(url).unwrap();
    assert_eq!(first(source, tls, &topic).await, Ok("d".to_owned()));
}

#[tokio::test]
async fn a_client_presents_its_certificate() {
    let authority = Authority::new();
    let ca = authority.pem();
    let world =
        World::with(|dir, files| files.require_client_certificates(dir.write("clients.pem", ca)));
    let topic = Topic::new(Retention::events(9));
    let (_server, address) = listen(&world.tls, &topic);
    let trusting =
        TlsConnector::trusting(world.dir.write("ca.pem", world.authority.pem())).unwrap();
    let (certificate, key) = world
        .dir
        .identity("client", &authority.certify(&["client"]));
    let identified = trusting.clone().identity(&certificate, &key).unwrap();
    assert_eq!(
        first(feed("localhost", address), identified, &topic).await,
        Ok("d".to_owned())
    );

    let source = feed("localhost", address).max_retries(0);
    assert!(first(source, trusting.clone(), &topic).await.is_err());
    let error = trusting.identity(&key, &certificate).unwrap_err();
    assert!(
        error.to_string().contains("contains no certificate"),
        "{error}"
    );
}

/// A stream without a length that ends without `close_notify` may have been cut by anyone.
#[tokio::test]
async fn a_session_without_close_notify_is_cut() {
    let world = World::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let config = world.tls.current();
    let serving = std::thread::spawn(move || {
        use std::io::{Read, Write};
        for is_polite in [true, false] {
            let (socket, _) = listener.accept().unwrap();
            let session = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(session, socket);
            let _ = stream.read(&mut [0; 1000]).unwrap();
            assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
            let response = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: a\n\n";
            stream.write_all(response.as_bytes()).unwrap();
            if is_polite {
                stream.conn.send_close_notify();
            }
            stream.flush().unwrap();
        }
    });
    let ca = world.dir.write("ca.pem", world.authority.pem());
    let tls = TlsConnector::trusting(&ca).unwrap();
    for expected in [Ok(()), Err(())] {
        let source = EventSource::post(format!("https://localhost:{}/", address.port())).unwrap();
        let mut client = source.connect_with(tls.clone());
        assert_eq!(client.next().await.unwrap().unwrap().data(), "a");
        let end = client
            .next()
            .await
            .map(|event| assert!(event.is_none()))
            .map_err(|error| {
                assert!(matches!(error, ClientError::Lost(_)), "{error}");
            });
        assert_eq!(end, expected);
    }
    serving.join().unwrap();
}

#[test]
fn a_file_without_certificates_is_refused() {
    let dir = Dir::new();
    let path = dir.write("ca.pem", "nothing");
    let error = TlsConnector::trusting(&path).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} contains no certificate, which begins with -----BEGIN CERTIFICATE-----",
            path.display()
        )
    );
}

#[cfg(feature = "platform-verifier")]
#[tokio::test]
async fn the_system_does_not_trust_any_authority() {
    let world = World::new();
    let topic = Topic::new(Retention::events(9));
    let (_server, address) = listen(&world.tls, &topic);
    let tls = TlsConnector::new().unwrap();
    let mut client = feed("localhost", address).connect_with(tls);
    let error = client.next().await.unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
}
