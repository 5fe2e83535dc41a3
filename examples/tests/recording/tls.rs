//! Recording over TLS.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;

use sse_core::testing::Comparison;
use sse_core::{Event, Retention};
use sse_net::{Config, Routes, Start, Tcp, Topic};
use sse_tls::{PemFiles, TlsListener};

use crate::common::response;
use crate::{Dir, HEAD, RECORD, ids, run, start, text};

#[test]
fn https_is_recorded_from_a_server_that_the_ca_file_trusts() {
    let dir = Dir::new();
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(dir.file("cert"), identity.cert.pem()).unwrap();
    fs::write(dir.file("key"), identity.signing_key.serialize_pem()).unwrap();
    let tls = PemFiles::new(dir.file("cert"), dir.file("key"))
        .load()
        .unwrap();

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let topic = Topic::new(Retention::events(10));
    topic.publish(&Event::new().id(1).data("secret")).unwrap();
    topic.finish(None).unwrap();
    let (port, _server) = runtime.block_on(async {
        let tcp = Tcp::default().bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let server = sse_net::Server::new(Config::default()).listen(TlsListener::new(tcp, tls));
        let routes = Routes::new().topic_from("/", &topic, Start::Earliest);
        (port, server.serve(routes))
    });
    let url = format!("https://localhost:{port}");

    let output = run(RECORD, &[&url, &dir.file("a")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("certificate"), "{output:?}");

    let trusting = [&*url, &dir.file("a"), "--once", "--ca", &dir.file("cert")];
    let output = run(RECORD, &trusting);
    assert!(output.status.success(), "{output:?}");
    let ids = ids(&dir.items("a"));
    assert_eq!(ids, ["1"]);
}

/// RFC 9112, section 9.8: without `close_notify`, an attacker may have cut the stream.
#[test]
fn a_tls_stream_is_complete_only_with_close_notify() {
    use sse_tls::rustls::{self, ServerConfig, ServerConnection};

    let dir = Dir::new();
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(dir.file("cert"), identity.cert.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![identity.cert.der().clone()],
            identity.signing_key.into(),
        )
        .unwrap();
    let config = Arc::new(config);
    let lost = "the connection was lost: peer closed connection without sending TLS close_notify";
    for (headers, is_closed, complaint) in [
        ("", true, ""),
        ("", false, lost),
        ("Content-Length: 9\r\n", false, ""),
        ("Content-Length: 10\r\n", false, lost),
        (
            "Content-Length: 10\r\n",
            true,
            "the body is incomplete: the connection ended after 9 of 10 bytes",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!(
            "https://localhost:{}",
            listener.local_addr().unwrap().port()
        );
        let file = dir.file("a");
        let ca = dir.file("cert");
        let recorder = start(RECORD, &[&url, &file, "--once", "--ca", &ca]);
        let (mut conn, _) = listener.accept().unwrap();
        let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, &mut conn);
        response(&mut stream);
        stream
            .write_all(format!("{HEAD}{headers}\r\ndata: a\n\n").as_bytes())
            .unwrap();
        if is_closed {
            stream.conn.send_close_notify();
        }
        stream.flush().unwrap();
        drop(conn);
        let output = recorder.wait_with_output().unwrap();
        assert!(text(&output.stderr).starts_with(complaint), "{output:?}");
        assert_eq!(output.status.success(), complaint.is_empty(), "{output:?}");
        Comparison::new().assert_same(&b"data: a\n\n"[..], &dir.read("a")[..]);
        fs::remove_file(file).unwrap();
    }
}
