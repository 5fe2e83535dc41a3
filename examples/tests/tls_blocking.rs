//! `tls_blocking`, tested over real connections.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has failed, in a helper too"
)]
#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sse_tls::rustls::crypto::ring;
use sse_tls::rustls::pki_types::ServerName;
use sse_tls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A server that is killed when the test ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_server_without_free_files_serves_again_when_clients_leave() {
    let dir = tempfile::tempdir().unwrap();
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(dir.path().join("cert"), identity.cert.pem()).unwrap();
    fs::write(dir.path().join("key"), identity.signing_key.serialize_pem()).unwrap();
    let limited = r#"ulimit -n 20; exec "$@" cert key --listen 127.0.0.1:0"#;
    let mut server = Command::new("sh")
        .args(["-c", limited, "sh", env!("CARGO_BIN_EXE_tls_blocking")])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let mut errors = BufReader::new(server.stderr.take().unwrap());
    let _server = Killed(server);
    let address: SocketAddr = line
        .split_once("https://")
        .and_then(|(_, rest)| rest.split_once('/'))
        .unwrap()
        .0
        .parse()
        .unwrap();

    let silent = Vec::from_iter((0..20).map(|_| TcpStream::connect(address).unwrap()));
    line.clear();
    errors.read_line(&mut line).unwrap();
    assert!(
        line.starts_with("a connection can't be served: "),
        "{line:?}"
    );
    drop(silent);

    let mut roots = RootCertStore::empty();
    roots.add(identity.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(Arc::new(client), name).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut client = StreamOwned::new(session, socket);
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut status = [0; 15];
    client.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200 OK");
}
