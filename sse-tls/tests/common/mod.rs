//! Certificate authorities, and servers and clients over in-memory pipes on a paused clock.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::{pending, ready};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use sse_core::Event;
use sse_net::{Config, Handler, Listener, Peer, Server, ServerHandle, Topic, Transport};
use sse_tls::{PemFiles, TlsConfig, TlsListener};
use tempfile::TempDir;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A capacity of a pipe that no test fills.
pub(crate) const WIDE: usize = 1 << 20;

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        let name = format!("authority {}", count());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn certify(&self, names: &[&str]) -> Identity {
        self.certify_with(names, |_| {})
    }

    pub(crate) fn certify_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        self.certify_key(&KeyPair::generate().unwrap(), names, change)
    }

    pub(crate) fn certify_key(
        &self,
        key: &KeyPair,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let names = Vec::from_iter(names.iter().map(|name| String::from(*name)));
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let certificate = params.signed_by(key, &self.0).unwrap();
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Identity {
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

/// A temporary directory.
pub(crate) struct Dir(TempDir);

impl Dir {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes `NAME.pem` and `NAME.key`.
    pub(crate) fn identity(&self, name: &str, identity: &Identity) -> (PathBuf, PathBuf) {
        (
            self.write(&format!("{name}.pem"), &identity.certificate),
            self.write(&format!("{name}.key"), &identity.key),
        )
    }

    pub(crate) fn files(&self, identity: &Identity) -> PemFiles {
        let (certificate, key) = self.identity("server", identity);
        PemFiles::new(certificate, key)
    }
}

/// Returns another number at each call.
fn count() -> usize {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

/// An authority, and a configuration for a server with the name `localhost`.
pub(crate) struct World {
    pub(crate) authority: Authority,
    pub(crate) dir: Dir,
    pub(crate) tls: TlsConfig,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_, files| files)
    }

    pub(crate) fn with(change: impl FnOnce(&Dir, PemFiles) -> PemFiles) -> Self {
        let (authority, dir) = (Authority::new(), Dir::new());
        let files = dir.files(&authority.certify(&["localhost"]));
        let tls = change(&dir, files).load().unwrap();
        Self {
            authority,
            dir,
            tls,
        }
    }

    pub(crate) fn serve(&self, handler: impl Handler) -> (ServerHandle, Net) {
        serve(config(), self.tls.clone(), handler)
    }

    /// Returns the configuration of a client that trusts the authority.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Client::new(&self.authority).config()
    }
}

pub(crate) fn config() -> Config {
    Config::default().shards(1)
}

/// Starts a server, and returns the network that connects to it.
pub(crate) fn serve(
    config: Config,
    tls: impl Into<TlsConfig>,
    handler: impl Handler,
) -> (ServerHandle, Net) {
    let (connect, accept) = mpsc::unbounded_channel();
    let listener = TlsListener::new(Pipes(accept), tls);
    let running = Server::new(config).listen(listener).serve(handler);
    (running, Net(connect))
}

pub(crate) fn follow(topic: &Topic) -> impl Handler {
    let topic = topic.clone();
    move |request: sse_net::Request| ready(request.follow(&topic))
}

struct Pipes(mpsc::UnboundedReceiver<DuplexStream>);

impl Listener for Pipes {
    type Handshake = std::future::Ready<io::Result<Transport>>;

    async fn accept(&mut self) -> io::Result<(Self::Handshake, Peer)> {
        match self.0.recv().await {
            Some(pipe) => Ok((ready(Ok(Transport::new(pipe))), Peer::Local)),
            None => pending().await,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Net(mpsc::UnboundedSender<DuplexStream>);

impl Net {
    /// Opens a connection that buffers `capacity` bytes.
    pub(crate) fn connect(&self, capacity: usize) -> Tap {
        let (ours, theirs) = duplex(capacity);
        self.0.send(theirs).unwrap();
        Tap {
            pipe: ours,
            wire: Wire::default(),
            may_write: usize::MAX,
        }
    }

    /// Opens a session for `localhost`.
    pub(crate) async fn session(&self, client: &Arc<ClientConfig>) -> Session {
        self.session_for("localhost", client).await.unwrap()
    }

    pub(crate) async fn session_for(
        &self,
        name: &str,
        client: &Arc<ClientConfig>,
    ) -> io::Result<Session> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::clone(client));
        connector.connect(name, self.connect(WIDE)).await
    }

    /// Opens a session for `localhost` and requests `path`.
    pub(crate) async fn get(&self, path: &str, client: &Arc<ClientConfig>) -> Session {
        let mut session = self.session(client).await;
        ask(&mut session, path).await;
        session
    }
}

pub(crate) type Session = TlsStream<Tap>;

/// Sends a request for `path`.
pub(crate) async fn ask(to: &mut (impl AsyncWrite + Unpin), path: &str) {
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    to.write_all(head.as_bytes()).await.unwrap();
    to.flush().await.unwrap();
}

/// Reads until nothing more arrives.
pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    while let Ok(Ok(1..)) = timeout(Duration::from_millis(1), from.read_buf(&mut text)).await {}
    String::from_utf8(text).unwrap()
}

/// Reads a stream, and returns what follows the response head and the first `retry`.
pub(crate) async fn begin(from: &mut (impl AsyncRead + Unpin)) -> String {
    let text = read(from).await;
    after_retry(&text)
        .unwrap_or_else(|| panic!("no stream: {text:?}"))
        .to_owned()
}

/// Reads to the end. Returns an error unless it ends with `close_notify`.
pub(crate) async fn read_to_end(from: &mut (impl AsyncRead + Unpin)) -> (String, io::Result<()>) {
    let mut text = Vec::new();
    let read = from.read_to_end(&mut text).await;
    (String::from_utf8(text).unwrap(), read.map(|_| ()))
}

/// Returns what follows the response head and the first block, which has `retry` and may have `id`.
pub(crate) fn after_retry(text: &str) -> Option<&str> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (block, rest) = body.split_once("\n\n")?;
    let retry = block.lines().last()?.strip_prefix("retry: ")?;
    let is_stream = head.starts_with("HTTP/1.1 200 OK\r\n");
    (is_stream && retry.parse::<u32>().is_ok()).then_some(rest)
}

pub(crate) fn publish(topic: &Topic, ids: std::ops::Range<u32>) {
    let events = Vec::from_iter(ids.map(|id| Event::new().id(id).data("d")));
    topic.publish_all(&events).unwrap();
}

pub(crate) fn published(ids: std::ops::Range<u32>) -> String {
    ids.map(|id| format!("id: {id}\ndata: d\n\n")).collect()
}

pub(crate) type Versions = &'static [&'static SupportedProtocolVersion];

pub(crate) const TLS12: Versions = &[&rustls::version::TLS12];
pub(crate) const TLS13: Versions = &[&rustls::version::TLS13];

/// The settings of a client.
pub(crate) struct Client<'a> {
    pub(crate) authority: &'a Authority,
    pub(crate) versions: Versions,
    pub(crate) alpn: Vec<Vec<u8>>,
    pub(crate) identity: Option<Identity>,
    pub(crate) is_named: bool,
    pub(crate) provider: CryptoProvider,
}

impl<'a> Client<'a> {
    pub(crate) fn new(authority: &'a Authority) -> Self {
        Self {
            authority,
            versions: rustls::ALL_VERSIONS,
            alpn: Vec::new(),
            identity: None,
            is_named: true,
            provider: ring::default_provider(),
        }
    }

    pub(crate) fn config(self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.0.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(self.provider.into())
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match self.identity {
            Some(identity) => {
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                builder
                    .with_client_auth_cert(vec![identity.der()], key)
                    .unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn;
        config.enable_sni = self.is_named;
        config.into()
    }
}

/// The bytes that a client has read, and the number it has written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wire(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    read: Vec<u8>,
    written: usize,
}

impl Wire {
    /// Returns the type and length of each record read since the last call.
    pub(crate) fn records(&self) -> Vec<(u8, usize)> {
        let read = std::mem::take(&mut self.0.lock().unwrap().read);
        let mut rest = &read[..];
        let mut records = Vec::new();
        while let [kind, _, _, high, low, after @ ..] = rest {
            let len = usize::from(u16::from_be_bytes([*high, *low]));
            records.push((*kind, len));
            rest = &after[len..];
        }
        assert_eq!(rest, b"", "a record is incomplete");
        records
    }

    pub(crate) fn written(&self) -> usize {
        self.0.lock().unwrap().written
    }
}

/// A client's end of a connection.
#[derive(Debug)]
pub(crate) struct Tap {
    pipe: DuplexStream,
    pub(crate) wire: Wire,
    /// How many more bytes of the client arrive; the rest is dropped.
    pub(crate) may_write: usize,
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.pipe).poll_read(cx, buffer);
        let mut counts = self.wire.0.lock().unwrap();
        counts.read.extend_from_slice(&buffer.filled()[before..]);
        read
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.may_write == 0 {
            return Poll::Ready(Ok(bytes.len()));
        }
        let bytes = &bytes[..bytes.len().min(self.may_write)];
        let written = Pin::new(&mut self.pipe).poll_write(cx, bytes);
        if let Poll::Ready(Ok(len)) = written {
            self.may_write -= len;
            self.wire.0.lock().unwrap().written += len;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

/// Lets all tasks run until they wait.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
