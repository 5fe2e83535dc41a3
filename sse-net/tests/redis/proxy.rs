//! A proxy between nodes and the server that is the primary now.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

#[derive(Clone)]
pub(crate) struct Proxy {
    port: u16,
    /// The port of the server; 0 refuses connections.
    target: Arc<AtomicU16>,
    links: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            target: Arc::new(AtomicU16::new(port)),
            links: Arc::default(),
        };
        let (target, links) = (Arc::clone(&proxy.target), Arc::clone(&proxy.links));
        tokio::spawn(async move {
            loop {
                let Ok((mut client, _)) = listener.accept().await else {
                    continue;
                };
                let port = target.load(Ordering::SeqCst);
                let link = tokio::spawn(async move {
                    if port != 0
                        && let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await
                    {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
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

    /// Sends new connections to another server, or refuses them with 0.
    pub(crate) fn switch(&self, port: u16) {
        self.target.store(port, Ordering::SeqCst);
    }

    /// Cuts all connections.
    pub(crate) fn cut(&self) {
        for link in self.links.lock().unwrap().drain(..) {
            link.abort();
        }
    }
}
