//! A proxy between nodes and the server that is the primary now.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::AbortHandle;

#[derive(Clone)]
pub(crate) struct Proxy {
    port: u16,
    /// The port of the server; 0 refuses connections.
    target: Arc<AtomicU16>,
    links: Arc<Mutex<Vec<AbortHandle>>>,
    /// The number of connections so far, also of those that were refused.
    accepted: Arc<AtomicUsize>,
    /// The number of those to a server, and of those whose subscribers receive nothing.
    count: Arc<AtomicUsize>,
    muted: Arc<AtomicUsize>,
    /// A part of a command, which cuts all connections instead of being sent.
    trap: Arc<Mutex<Option<&'static [u8]>>>,
    /// A part of a command, after which something happens before the next byte is sent.
    pause: Arc<Mutex<Option<Pause>>>,
    /// A part of a command, which is not sent, and the reply to it.
    answer: Arc<Mutex<Option<ForgedReply>>>,
}

struct ForgedReply {
    to: &'static [u8],
    bytes: Vec<u8>,
}

struct Pause {
    after: &'static [u8],
    action: Box<dyn FnOnce() + Send>,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            target: Arc::new(AtomicU16::new(port)),
            links: Arc::default(),
            accepted: Arc::default(),
            count: Arc::default(),
            muted: Arc::default(),
            trap: Arc::default(),
            pause: Arc::default(),
            answer: Arc::default(),
        };
        let (target, links) = (Arc::clone(&proxy.target), Arc::clone(&proxy.links));
        let trapping = proxy.clone();
        tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    continue;
                };
                trapping.accepted.fetch_add(1, Ordering::SeqCst);
                let port = target.load(Ordering::SeqCst);
                let proxy = trapping.clone();
                let link = tokio::spawn(async move {
                    if port != 0
                        && let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await
                    {
                        proxy.copy(client, server).await;
                    }
                });
                links.lock().unwrap().push(link.abort_handle());
            }
        });
        proxy
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Sends new connections to another server, or refuses them with 0.
    pub(crate) fn switch(&self, port: u16) {
        self.target.store(port, Ordering::SeqCst);
    }

    /// Lets nothing through to the subscribers of today's connections any more.
    pub(crate) fn mute(&self) {
        let count = self.count.load(Ordering::SeqCst);
        self.muted.store(count, Ordering::SeqCst);
    }

    /// Cuts all connections once a command has these bytes.
    pub(crate) fn cut_at(&self, bytes: &'static [u8]) {
        *self.trap.lock().unwrap() = Some(bytes);
    }

    /// Calls a function once a command has these bytes, before what follows them is sent.
    pub(crate) fn pause_after(&self, bytes: &'static [u8], action: impl FnOnce() + Send + 'static) {
        *self.pause.lock().unwrap() = Some(Pause {
            after: bytes,
            action: Box::new(action),
        });
    }

    /// Returns the number of bytes before the pause, and its function.
    fn take_pause(&self, bytes: &[u8]) -> Option<(usize, Box<dyn FnOnce() + Send>)> {
        let mut pause = self.pause.lock().unwrap();
        let after = pause.as_ref()?.after;
        let at = bytes
            .windows(after.len())
            .position(|window| window == after)?;
        Some((at + after.len(), pause.take()?.action))
    }

    /// Replies to the next command with these bytes, which the server does not receive.
    pub(crate) fn answer(&self, command: &'static [u8], reply: &str) {
        *self.answer.lock().unwrap() = Some(ForgedReply {
            to: command,
            bytes: reply.as_bytes().to_vec(),
        });
    }

    /// Whether the connections have been cut since.
    pub(crate) fn has_cut(&self) -> bool {
        self.trap.lock().unwrap().is_none()
    }

    async fn copy(&self, client: TcpStream, server: TcpStream) {
        let (mut from_client, to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let to_client = AsyncMutex::new(to_client);
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        let has_subscribed = AtomicBool::new(false);
        let commands = async {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(len @ 1..) = from_client.read(&mut buffer).await {
                let has = |bytes: &mut &[u8]| {
                    let mut windows = buffer[..len].windows(bytes.len());
                    windows.any(|window| window == *bytes)
                };
                if has(&mut &b"SUBSCRIBE"[..]) {
                    has_subscribed.store(true, Ordering::SeqCst);
                }
                let trapped = self.trap.lock().unwrap().take_if(has);
                if trapped.is_some() {
                    return self.cut();
                }
                let is_meant = |reply: &mut ForgedReply| has(&mut reply.to);
                let forged = self.answer.lock().unwrap().take_if(is_meant);
                if let Some(reply) = forged {
                    if to_client
                        .lock()
                        .await
                        .write_all(&reply.bytes)
                        .await
                        .is_err()
                    {
                        return;
                    }
                    continue;
                }
                let mut sent = 0;
                if let Some((before, action)) = self.take_pause(&buffer[..len]) {
                    if to_server.write_all(&buffer[..before]).await.is_err() {
                        return;
                    }
                    action();
                    sent = before;
                }
                if to_server.write_all(&buffer[sent..len]).await.is_err() {
                    return;
                }
            }
        };
        let replies = async {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(len @ 1..) = from_server.read(&mut buffer).await {
                let is_muted = number < self.muted.load(Ordering::SeqCst);
                if is_muted && has_subscribed.load(Ordering::SeqCst) {
                    continue;
                }
                let mut to_client = to_client.lock().await;
                if to_client.write_all(&buffer[..len]).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = commands => {}
            () = replies => {}
        }
    }

    /// Cuts all connections.
    pub(crate) fn cut(&self) {
        for link in self.links.lock().unwrap().drain(..) {
            link.abort();
        }
    }
}
