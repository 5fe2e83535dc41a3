//! Interoperability with `openssl` and `curl`.
//!
//! These tests are ignored by default, so that `cargo test` needs nothing but Rust. Run them with
//! `cargo test -p sse-tls --test peers -- --ignored`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::future::ready;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::{Dir, WIDE};
use sse_core::{Event, EventType, Response, Retention};
use sse_net::{Request, Server, ServerHandle, Tcp, Topic};
use sse_tls::{PemFiles, TlsConfig, TlsInfo, TlsListener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::{Duration, timeout};

/// Runs a command in the directory and asserts success.
async fn run(dir: &Dir, command: &str) -> String {
    let (text, is_success) = try_run(dir, command, "").await;
    assert!(is_success, "{command}: {text}");
    text
}

/// Runs a command. Returns both outputs, and whether it succeeded.
async fn try_run(dir: &Dir, command: &str, input: &str) -> (String, bool) {
    let mut child = Command::new("sh")
        .args(["-c", &format!("exec 2>&1; {command}")])
        .current_dir(dir.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    let output = timeout(Duration::from_secs(30), child.wait_with_output());
    let output = output.await.expect(command).unwrap();
    drop(stdin); // Kept open until here, because `s_client` ends with its input.
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        output.status.success(),
    )
}

/// Makes an authority.
async fn authority(dir: &Dir, name: &str) {
    run(
        dir,
        &format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
             -subj /CN={name} -keyout {name}.key -out {name}.pem \
             -addext basicConstraints=critical,CA:TRUE"
        ),
    )
    .await;
}

/// Makes a key and a certificate signed by `authority`.
async fn sign(dir: &Dir, authority: &str, name: &str, new_key: &str) -> (PathBuf, PathBuf) {
    let commands = format!(
        "openssl req {new_key} -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr
         printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\n' > {name}.ext
         openssl x509 -req -in {name}.csr -CA {authority}.pem -CAkey {authority}.key \
             -CAcreateserial -days 30 -extfile {name}.ext -out {name}.pem"
    );
    run(dir, &format!("set -e; {commands}")).await;
    (
        dir.path(&format!("{name}.pem")),
        dir.path(&format!("{name}.key")),
    )
}

const EC: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256";

struct Setup {
    dir: Dir,
    address: SocketAddr,
    topic: Topic,
    _server: ServerHandle,
}

impl Setup {
    async fn new(change: impl FnOnce(&Dir, PemFiles) -> PemFiles) -> Self {
        let dir = Dir::new();
        for name in ["ca", "other-ca"] {
            authority(&dir, name).await;
        }
        let (certificate, key) = sign(&dir, "ca", "server", EC).await;
        let tls = change(&dir, PemFiles::new(certificate, key))
            .load()
            .unwrap();
        Self::with(dir, tls)
    }

    fn with(dir: Dir, tls: TlsConfig) -> Self {
        let tcp = Tcp::default().bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = tcp.local_addr().unwrap();
        let topic = Topic::new(Retention::default());
        let followed = topic.clone();
        let server = Server::new(common::config())
            .listen(TlsListener::new(tcp, tls))
            .serve(move |request: Request| {
                let seen = seen(&request);
                ready(match request.path() {
                    "/events" => request.follow(&followed),
                    _ => request.respond(seen),
                })
            });
        Self {
            dir,
            address,
            topic,
            _server: server,
        }
    }

    /// Runs `openssl s_client` with a request, and returns its output.
    async fn s_client(&self, options: &str) -> (String, bool) {
        let port = self.address.port();
        let command = format!(
            "openssl s_client -connect 127.0.0.1:{port} -servername localhost -CAfile ca.pem \
             -verify_return_error -ign_eof {options}"
        );
        let head = "GET /seen HTTP/1.1\r\nHost: localhost\r\n\r\n";
        try_run(&self.dir, &command, head).await
    }

    async fn curl(&self, options: &str, path: &str) -> (String, bool) {
        let port = self.address.port();
        let command = format!("curl -sSN {options} https://localhost:{port}{path}");
        try_run(&self.dir, &command, "").await
    }
}

fn seen(request: &Request) -> Response {
    let tls = TlsInfo::of(request).unwrap();
    let text = format!(
        "seen: {:?}, {}, {} certificate, {}",
        tls.version(),
        tls.server_name().unwrap_or("nameless"),
        tls.peer_certificate().map_or("no", |_| "a"),
        if tls.is_resumed() { "resumed" } else { "new" }
    );
    Response::new(200).with_body("text/plain", text)
}

#[track_caller]
fn assert_succeeds((text, is_success): &(String, bool), expected: &str) {
    let is_found = text.contains(expected);
    assert!(*is_success && is_found, "no {expected:?} in {text}");
}

#[track_caller]
fn assert_fails((text, is_success): &(String, bool), expected: &str) {
    let is_found = text.contains(expected);
    assert!(!*is_success && is_found, "no {expected:?} in {text}");
}

#[tokio::test]
#[ignore = "needs openssl and curl"]
async fn openssl_connects_with_both_versions_and_resumes() {
    let setup = Setup::new(|_, files| files).await;
    for (option, version) in [("-tls1_2", "TLSv1_2"), ("-tls1_3", "TLSv1_3")] {
        let first = setup.s_client(&format!("{option} -sess_out session")).await;
        let expected = format!("seen: {version}, localhost, no certificate, new");
        assert_succeeds(&first, &expected);
        assert_succeeds(&first, "Verify return code: 0 (ok)");
        assert_succeeds(&first, "closed"); // by close_notify: anything else is an error
        let again = setup.s_client(&format!("{option} -sess_in session")).await;
        let expected = format!("seen: {version}, localhost, no certificate, resumed");
        assert_succeeds(&again, &expected);
    }
    assert_fails(&setup.s_client("-tls1_1").await, "alert");
    assert_succeeds(
        &setup.s_client("-alpn h2,http/1.1").await,
        "ALPN protocol: http/1.1",
    );
    assert_fails(
        &setup.s_client("-alpn h2").await,
        "alert no application protocol",
    );
    let distrust = setup.s_client("-CAfile other-ca.pem").await;
    assert_fails(&distrust, "certificate verify failed");
}

#[tokio::test]
#[ignore = "needs openssl and curl"]
async fn client_certificates_are_verified() {
    for (is_required, without) in [(true, None), (false, Some("no certificate"))] {
        let setup = Setup::new(|dir, files| {
            if is_required {
                files.require_client_certificates(dir.path("ca.pem"))
            } else {
                files.allow_client_certificates(dir.path("ca.pem"))
            }
        })
        .await;
        sign(&setup.dir, "ca", "client", EC).await;
        sign(&setup.dir, "other-ca", "stranger", EC).await;
        for version in ["-tls1_2", "-tls1_3"] {
            let with = |name| format!("{version} -cert {name}.pem -key {name}.key");
            let client = setup.s_client(&with("client")).await;
            assert_succeeds(&client, ", a certificate");
            let stranger = setup.s_client(&with("stranger")).await;
            assert_fails(&stranger, "alert unknown ca");
            let nobody = setup.s_client(version).await;
            match without {
                Some(expected) => assert_succeeds(&nobody, expected),
                None => assert_fails(&nobody, "alert"),
            }
        }
        let curl = "--cacert ca.pem --cert client.pem --key client.key";
        assert_succeeds(&setup.curl(curl, "/").await, ", a certificate");
    }
}

#[tokio::test]
#[ignore = "needs openssl and curl"]
async fn curl_follows_a_stream_to_its_end() {
    let setup = Setup::new(|_, files| files).await;
    let topic = setup.topic.clone();
    let publishing = async {
        while topic.subscriptions() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        common::publish(&topic, 0..100);
        topic
            .finish(Some(
                &Event::new().event(EventType::from_static("close")).data(""),
            ))
            .unwrap();
    };
    let (stream, ()) = tokio::join!(setup.curl("--cacert ca.pem", "/events"), publishing);
    // Without close_notify, curl would fail: "unexpected eof while reading".
    assert_succeeds(&stream, &common::published(0..100));
    assert_succeeds(&stream, "event: close\ndata: \n\n");

    for (options, version) in [
        ("--tls-max 1.2", "TLSv1_2"),
        ("--tlsv1.3", "TLSv1_3"),
        ("--http1.0", "TLSv1_3"),
        ("--http2", "TLSv1_3"),
    ] {
        let found = setup.curl(&format!("--cacert ca.pem {options}"), "/").await;
        assert_succeeds(&found, &format!("seen: {version}, localhost"));
    }
    let distrust = setup.curl("--cacert other-ca.pem", "/").await;
    assert_fails(&distrust, "unable to get local issuer certificate");

    let port = setup.address.port();
    let plain = try_run(
        &setup.dir,
        &format!("curl -sSi http://localhost:{port}/"),
        "",
    )
    .await;
    assert_succeeds(&plain, "HTTP/1.1 400 Bad Request");
    assert_succeeds(&plain, "this port requires TLS; use https://");
}

#[tokio::test]
#[ignore = "needs openssl and curl"]
async fn every_key_format_of_openssl_is_read() {
    let dir = Dir::new();
    authority(&dir, "ca").await;
    for (new_key, convert, begins) in [
        (EC, "cat server.key", "-----BEGIN PRIVATE KEY-----"),
        (
            EC,
            "openssl ec -in server.key",
            "-----BEGIN EC PRIVATE KEY-----",
        ),
        (
            "-newkey rsa:2048",
            "openssl rsa -in server.key -traditional",
            "-----BEGIN RSA PRIVATE KEY-----",
        ),
        (
            "-newkey ed25519",
            "cat server.key",
            "-----BEGIN PRIVATE KEY-----",
        ),
    ] {
        let (certificate, _) = sign(&dir, "ca", "server", new_key).await;
        run(&dir, &format!("{convert} 2>&1 >key.pem")).await;
        let key = dir.path("key.pem");
        let text = std::fs::read_to_string(&key).unwrap();
        assert!(text.starts_with(begins), "{text}");
        let tls = PemFiles::new(certificate, &key).load().unwrap();
        assert_handshake_succeeds(&dir, tls).await;
        assert_encrypted_is_refused(&dir, &key, convert).await;
    }
}

async fn assert_handshake_succeeds(dir: &Dir, tls: TlsConfig) {
    let inner = Dir::new();
    std::fs::copy(dir.path("ca.pem"), inner.path("ca.pem")).unwrap();
    let setup = Setup::with(inner, tls);
    assert_succeeds(&setup.s_client("").await, "Verify return code: 0 (ok)");
}

async fn assert_encrypted_is_refused(dir: &Dir, key: &Path, convert: &str) {
    // In the same format as the key: traditional or PKCS #8.
    let encrypt = match convert.split(' ').nth(1) {
        Some("ec") => "openssl ec -aes128 -passout pass:hello",
        Some("rsa") => "openssl rsa -traditional -aes128 -passout pass:hello",
        _ => "openssl pkey -aes128 -passout pass:hello",
    };
    run(
        dir,
        &format!("{encrypt} -in {} -out secret.pem", key.display()),
    )
    .await;
    let secret = dir.path("secret.pem");
    let error = PemFiles::new(dir.path("server.pem"), &secret)
        .load()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} contains an encrypted private key; decrypt it with openssl pkey -in FILE -out PLAIN",
            secret.display()
        )
    );
}

#[tokio::test]
#[ignore = "needs openssl and curl"]
async fn a_stream_continues_while_the_certificate_is_replaced() {
    let dir = Dir::new();
    authority(&dir, "ca").await;
    let (certificate, key) = sign(&dir, "ca", "server", EC).await;
    let tls = PemFiles::new(certificate, key).load().unwrap();
    let setup = Setup::with(dir, tls.clone());
    let serial = "openssl x509 -in server.pem -noout -serial";
    let port = setup.address.port();
    let shown = format!(
        "openssl s_client -connect 127.0.0.1:{port} </dev/null 2>/dev/null | openssl x509 -noout -serial"
    );
    let first = run(&setup.dir, &shown).await;
    assert_eq!(first, run(&setup.dir, serial).await);

    let topic = setup.topic.clone();
    let replacing = async {
        while topic.subscriptions() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        common::publish(&topic, 0..10);
        sign(&setup.dir, "ca", "server", EC).await;
        assert!(tls.reload().unwrap());
        let second = run(&setup.dir, &shown).await;
        assert_eq!(second, run(&setup.dir, serial).await);
        assert_ne!(second, first);
        common::publish(&topic, 10..20);
        topic.finish(None).unwrap();
    };
    let (stream, ()) = tokio::join!(setup.curl("--cacert ca.pem", "/events"), replacing);
    assert_succeeds(&stream, &common::published(0..20));
}

#[tokio::test]
#[ignore = "needs openssl and curl"]
async fn garbage_on_the_port_does_not_affect_other_clients() {
    let setup = Setup::new(|_, files| files).await;
    let mut garbage = 1_u32;
    for len in (1..3000).step_by(97) {
        let mut socket = tokio::net::TcpStream::connect(setup.address).await.unwrap();
        let mut bytes = vec![0x16, 3, 1];
        bytes.extend((0..len).map(|_| {
            garbage = garbage.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            garbage.to_be_bytes()[0]
        }));
        let _ = socket.write_all(&bytes[len % 4..]).await;
        let _ = socket.shutdown().await;
        let mut answer = Vec::with_capacity(WIDE);
        let reading = socket.read_to_end(&mut answer);
        let _ = timeout(Duration::from_secs(5), reading).await.unwrap();
    }
    assert_succeeds(&setup.curl("--cacert ca.pem", "/").await, "seen: TLSv1_3");
}
