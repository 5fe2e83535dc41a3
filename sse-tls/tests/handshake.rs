//! Handshakes, from a connection's first byte to its request.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::future::ready;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use common::{Authority, Client, Net, TLS12, TLS13, World, ask, begin, follow, read, read_to_end};
use rcgen::{KeyPair, PKCS_ED25519};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, SignatureScheme};
use sse_core::{Response, Retention, Upgrader};
use sse_net::{Answer, Listener, Peer, Request, Server, Tcp, Topic, Transport};
use sse_tls::{PemFiles, TlsInfo, TlsListener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// Responds with the `TlsInfo` of the request.
fn describe(request: Request) -> std::future::Ready<Answer> {
    let tls = TlsInfo::of(&request).unwrap();
    let text = format!(
        "{:?} {} {} certificate {}",
        tls.version(),
        tls.server_name().unwrap_or("nameless"),
        tls.peer_certificate().map_or("no", |_| "a"),
        if tls.is_resumed() { "resumed" } else { "new" },
    );
    ready(request.respond(Response::new(200).with_body("text/plain", text)))
}

async fn description(net: &Net, client: &Arc<ClientConfig>) -> String {
    try_description(net, client).await.unwrap()
}

async fn try_description(net: &Net, client: &Arc<ClientConfig>) -> io::Result<String> {
    let mut session = net.session_for("localhost", client).await?;
    ask(&mut session, "/").await;
    let (text, end) = read_to_end(&mut session).await;
    end?;
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    Ok(body.to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_handler_gets_the_negotiated_parameters() {
    let world = World::new();
    let (_server, net) = world.serve(describe);
    for (versions, is_named, expected) in [
        (
            TLS12,
            true,
            "TLSv1_2 localhost no certificate new, then resumed",
        ),
        (
            TLS13,
            true,
            "TLSv1_3 localhost no certificate new, then resumed",
        ),
        (
            rustls::ALL_VERSIONS,
            false,
            "TLSv1_3 nameless no certificate new, then resumed",
        ),
    ] {
        let client = Client {
            versions,
            is_named,
            ..Client::new(&world.authority)
        };
        let client = client.config();
        let first = description(&net, &client).await;
        let second = description(&net, &client).await;
        let end = second.rsplit(' ').next().unwrap();
        assert_eq!(format!("{first}, then {end}"), expected);
    }
}

/// Reads the line of a load balancer before each connection (version 1 of the PROXY protocol).
struct Proxied<L>(L);

/// The address of the client of a load balancer.
struct ClientAddress(String);

impl<L: Listener> Listener for Proxied<L> {
    type Handshake = Pin<Box<dyn Future<Output = io::Result<Transport>> + Send>>;

    async fn accept(&mut self) -> io::Result<(Self::Handshake, Peer)> {
        let (inner, peer) = self.0.accept().await?;
        let handshake = async move {
            let mut transport = inner.await?;
            let mut line = String::new();
            while !line.ends_with("\r\n") {
                line.push(transport.read_u8().await?.into());
            }
            let address = line.split(' ').nth(2).unwrap_or_default();
            Ok(transport.with_extension(ClientAddress(address.to_owned())))
        };
        Ok((Box::pin(handshake), peer))
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_gets_what_the_listener_under_tls_attached() {
    let world = World::new();
    let (listener, clients) = sse_net::testing::pipes();
    let listener = TlsListener::new(Proxied(listener), world.tls.clone());
    let _server = Server::new(common::config())
        .listen(listener)
        .serve(|request: Request| {
            let address = request.extension().map(|ClientAddress(text)| text.clone());
            let text = format!("{address:?} {:?}", TlsInfo::of(&request).unwrap().version());
            ready(request.respond(Response::new(200).with_body("text/plain", text)))
        });
    let mut client = clients.connect().unwrap();
    let line = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n";
    client.write_all(line).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(world.client());
    let name = "localhost".try_into().unwrap();
    let mut session = connector.connect(name, client).await.unwrap();
    ask(&mut session, "/").await;
    let (text, end) = read_to_end(&mut session).await;
    end.unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "Some(\"203.0.113.7\") TLSv1_3");
}

#[tokio::test(start_paused = true)]
async fn plain_http_gets_a_response_of_400() {
    let world = World::new();
    let (server, net) = world.serve(describe);
    for head in [
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "\r\nPOST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
        "get",
    ] {
        let mut client = net.connect(common::WIDE);
        client.write_all(head.as_bytes()).await.unwrap();
        let text = read(&mut client).await;
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 400 Bad Request\r\nDate: "),
            "{head}"
        );
        assert_eq!(body, "this port requires TLS; use https://\n");
        drop(client);
    }
    common::settle().await;
    assert_eq!(server.stats().connections, 0);
}

/// A page from plain HTTP may have been changed on the way.
#[tokio::test(start_paused = true)]
async fn the_servers_own_origin_is_https() {
    let world = World::new();
    let config =
        common::config().upgrader(Upgrader::new().allow_origin("https://b.example").unwrap());
    let topic = Topic::new(Retention::default());
    let (_server, net) = common::serve(config, world.tls.clone(), follow(&topic));
    for (origin, status) in [
        ("https://localhost", "200"),
        ("http://localhost", "403"),
        ("https://b.example", "200"),
        ("https://c.example", "403"),
    ] {
        let mut session = net.session(&world.client()).await;
        let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\r\n");
        session.write_all(head.as_bytes()).await.unwrap();
        let answer = read(&mut session).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        let allowed = format!("\r\nAccess-Control-Allow-Origin: {origin}\r\n");
        assert_eq!(answer.contains(&allowed), status == "200", "{answer}");
        assert!(answer.contains("\r\nVary: Origin\r\n"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalid_handshake_gets_an_alert() {
    let world = World::new();
    let (server, net) = world.serve(describe);
    for garbage in [
        &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0][..], // an empty ClientHello
        &[0x16, 3, 1, 0xff, 0xff, 1, 2, 3, 4, 5],
        &[0x80, 0x2e, 1, 3, 1, 0, 0, 0, 0, 0], // SSLv2
        &[0; 10],
        &[0xff; 10],
    ] {
        let mut client = net.connect(common::WIDE);
        client.write_all(garbage).await.unwrap();
        client.shutdown().await.unwrap();
        let (_, _) = read_to_end_bytes(&mut client).await;
        let alerts = client.wire.records();
        assert!(matches!(alerts[..], [(21, 2)]), "{garbage:?}: {alerts:?}");
    }
    assert_eq!(server.stats().connections, 0);
}

/// A socket that is closed before its input has been read is reset.
#[tokio::test]
async fn a_refused_peer_that_is_still_sending_gets_the_whole_reply() {
    let world = World::new();
    let tcp = Tcp::default().bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let _server = Server::new(common::config())
        .listen(TlsListener::new(tcp, world.tls.clone()))
        .serve(describe);
    for (first, begins, ends) in [
        (b'G', &b"HTTP/1.1 400 "[..], &b"use https://\n"[..]),
        (0x16, &[21, 3], &[]), // an alert
    ] {
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut input = vec![b'x'; 64 << 10];
        input[0] = first;
        let _ = client.write_all(&input).await;
        client.shutdown().await.unwrap();
        let mut reply = Vec::new();
        client.read_to_end(&mut reply).await.unwrap();
        assert!(
            reply.starts_with(begins) && reply.ends_with(ends),
            "{first}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_peer_that_reads_nothing_is_disconnected_soon() {
    let world = World::new();
    let (server, net) = world.serve(describe);
    let mut client = net.connect(16);
    client.write_all(b"GET").await.unwrap();
    common::settle().await;
    assert_eq!(server.stats().connections, 1);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(server.stats().connections, 0);
}

async fn read_to_end_bytes(from: &mut common::Tap) -> (Vec<u8>, io::Result<usize>) {
    let mut bytes = Vec::new();
    let read = from.read_to_end(&mut bytes).await;
    (bytes, read)
}

#[tokio::test(start_paused = true)]
async fn a_stalled_handshake_delays_no_other_client() {
    let world = World::new();
    let topic = Topic::new(Retention::default());
    let (server, net) = world.serve(follow(&topic));
    for versions in [TLS13, TLS12] {
        let client = Client {
            versions,
            ..Client::new(&world.authority)
        }
        .config();
        let session = net.session(&client).await;
        let whole = session.get_ref().0.wire.written();
        drop(session);

        let start = Instant::now();
        let stalled = Vec::from_iter((0..whole).map(|may_write| {
            let mut tap = net.connect(common::WIDE);
            tap.may_write = may_write;
            // A new configuration, because resumed sessions have shorter handshakes.
            let client = Client {
                versions,
                ..Client::new(&world.authority)
            }
            .config();
            let name = "localhost".try_into().unwrap();
            let connector = tokio_rustls::TlsConnector::from(client);
            tokio::spawn(async move {
                let ended = match connector.connect(name, tap).await {
                    // A client of TLS 1.3 is done before its last message has arrived.
                    Ok(mut session) => read_to_end(&mut session).await.1.err().unwrap(),
                    Err(error) => error,
                };
                (ended.kind(), start.elapsed())
            })
        }));
        let mut healthy = net.get("/", &client).await;
        assert_eq!(begin(&mut healthy).await, "");
        common::publish(&topic, 1..3);
        assert_eq!(read(&mut healthy).await, common::published(1..3));
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "a client had to wait"
        );

        for (at, stalled) in stalled.into_iter().enumerate() {
            let (kind, time) = stalled.await.unwrap();
            assert_eq!(kind, io::ErrorKind::UnexpectedEof, "{at}");
            let deadline = Duration::from_secs(10);
            assert!(time >= deadline && time < deadline * 2, "{at}: {time:?}");
        }
        drop(healthy);
    }
    common::settle().await;
    assert_eq!(server.stats().connections, 0);
}

#[tokio::test(start_paused = true)]
async fn protocols_are_negotiated_or_refused_with_an_alert() {
    let world = World::new();
    let (_server, net) = world.serve(describe);
    for (alpn, agreed) in [
        (&[][..], Ok(None)),
        (&["http/1.1"], Ok(Some("http/1.1"))),
        (&["h2", "http/1.1"], Ok(Some("http/1.1"))),
        (&["http/1.0"], Ok(Some("http/1.0"))),
        (&["h2"], Err("received fatal alert: NoApplicationProtocol")),
    ] {
        let client = Client {
            alpn: alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
            ..Client::new(&world.authority)
        };
        let session = net.session_for("localhost", &client.config()).await;
        match (session, agreed) {
            (Ok(session), Ok(agreed)) => {
                let found = session.get_ref().1.alpn_protocol();
                assert_eq!(found, agreed.map(str::as_bytes), "{alpn:?}");
            }
            (Err(error), Err(sentence)) => assert_eq!(error.to_string(), sentence),
            (found, _) => panic!("{alpn:?}: {found:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_gets_the_certificate_for_the_requested_name() {
    let (authority, dir) = (Authority::new(), common::Dir::new());
    let mut files: Option<PemFiles> = None;
    let mut identities = Vec::new();
    for (name, names) in [
        ("first", &["first.test"][..]),
        ("wild", &["*.wild.test", "wild.test"]),
        ("localhost", &["localhost", "127.0.0.1"]),
    ] {
        let identity = authority.certify(names);
        let (certificate, key) = dir.identity(name, &identity);
        files = Some(match files {
            None => PemFiles::new(certificate, key),
            Some(files) => files.certificate(certificate, key),
        });
        identities.push(identity);
    }
    let tls = files.unwrap().load().unwrap();
    let (_server, net) = common::serve(common::config(), tls, describe);
    for (name, is_named, expected) in [
        ("first.test", true, Some(0)),
        ("a.wild.test", true, Some(1)),
        ("WILD.test", true, Some(1)),
        ("localhost", true, Some(2)),
        ("first.test", false, Some(0)),
        ("127.0.0.1", true, None), // Not sent as a name, so the first certificate is used.
        ("a.a.wild.test", true, None),
        ("elsewhere.test", true, None),
    ] {
        let client = Client {
            is_named,
            ..Client::new(&authority)
        };
        let session = net.session_for(name, &client.config()).await;
        let shown = session.ok().map(|session| shown(&session));
        let expected = expected.map(|at: usize| identities[at].der());
        assert_eq!(shown, expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_gets_a_certificate_whose_key_it_can_use() {
    let (authority, dir) = (Authority::new(), common::Dir::new());
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let names = &["localhost"];
    let identities = [
        authority.certify_key(&key, names, |_| {}),
        authority.certify(names), // ECDSA with P-256
    ];
    let [first, second] = [0, 1].map(|at| dir.identity(&at.to_string(), &identities[at]));
    let files = PemFiles::new(first.0, first.1).certificate(second.0, second.1);
    let (_server, net) = common::serve(common::config(), files.load().unwrap(), describe);
    for (knows_ed25519, expected) in [(true, 0), (false, 1)] {
        for is_named in [true, false] {
            let mut client = Client {
                is_named,
                ..Client::new(&authority)
            };
            let algorithms = &mut client.provider.signature_verification_algorithms;
            let known = algorithms.mapping.iter().copied();
            let known = known.filter(|(scheme, _)| {
                knows_ed25519 || *scheme == SignatureScheme::ECDSA_NISTP256_SHA256
            });
            algorithms.mapping = Vec::leak(known.collect());
            let session = net.session(&client.config()).await;
            assert_eq!(shown(&session), identities[expected].der(), "{is_named}");
        }
    }
}

fn shown(session: &common::Session) -> CertificateDer<'static> {
    session.get_ref().1.peer_certificates().unwrap()[0].clone()
}

#[tokio::test(start_paused = true)]
async fn client_certificates_are_requested_and_verified() {
    let (clients, others) = (Authority::new(), Authority::new());
    let some = Some(clients.certify(&["client.test"]));
    let bad = Some(others.certify(&["client.test"]));
    let files =
        |dir: &common::Dir| dir.write("clients.pem", format!("{}{}", clients.pem(), clients.pem()));
    let required = World::with(|dir, pem| pem.require_client_certificates(files(dir)));
    let optional = World::with(|dir, pem| pem.allow_client_certificates(files(dir)));
    let not_asked = World::new();

    const SEEN: Result<&str, &str> = Ok("a certificate new");
    const UNSEEN: Result<&str, &str> = Ok("no certificate new");
    for (world, identity, expected) in [
        (&required, &some, SEEN),
        (
            &required,
            &None,
            Err("received fatal alert: CertificateRequired"),
        ),
        (&required, &bad, Err("received fatal alert: UnknownCA")),
        (&optional, &some, SEEN),
        (&optional, &None, UNSEEN),
        (&optional, &bad, Err("received fatal alert: UnknownCA")),
        (&not_asked, &some, UNSEEN),
        (&not_asked, &bad, UNSEEN),
    ] {
        for versions in [TLS13, TLS12] {
            let (_server, net) = world.serve(describe);
            let client = Client {
                versions,
                identity: identity.clone(),
                ..Client::new(&world.authority)
            };
            match (try_description(&net, &client.config()).await, expected) {
                (Ok(found), Ok(expected)) => assert!(found.ends_with(expected), "{found}"),
                (Err(error), Err(expected)) => {
                    // The alerts of TLS 1.2 differ.
                    let text = error.to_string();
                    assert!(text.starts_with("received fatal alert"), "{text}");
                    if versions == TLS13 {
                        assert_eq!(text, expected);
                    }
                }
                (found, _) => panic!("{found:?}, not {expected:?}"),
            }
        }
    }
}
