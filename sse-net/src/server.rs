//! The accept loop, the request heads, and the end.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

use sse_core::{Head, Rejection};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::config::{Config, jittered};
use crate::crew::{Crew, Work};
use crate::incoming::{Answer, Decision, Incoming, Write};
use crate::limit::{Limit, Ticket};
use crate::listener::{Listener, Peer};
use crate::shard::{Arrival, Shard};
use crate::stats::{Disconnect, Snapshot, Stats};
use crate::stream::{Stream, write_all};
use crate::trace;
use crate::transport::{Extension, Transport};

/// Starts to accept, for whoever stands behind the door.
type Accept = Box<dyn FnOnce(Arc<dyn Door>) -> JoinHandle<()>>;

/// How long, and for how many bytes, a peer may go on sending after it has been answered.
const LINGER: (Duration, usize) = (Duration::from_secs(2), 256 << 10);

/// How many connections may be in the course of being refused because the server is full.
const MAX_REFUSALS: usize = 1024;

/// Listens, reads request heads, and gives each to the application to decide.
///
/// ```no_run
/// use std::time::Duration;
/// use sse_core::{Event, Retention};
/// use sse_net::{Config, Routes, Server, Topic};
/// use tokio::net::TcpListener;
///
/// # async fn run() -> std::io::Result<()> {
/// let ticks = Topic::new(Retention::events(10_000));
/// let server = Server::new(Config::default())
///     .listen(TcpListener::bind("127.0.0.1:31337").await?)
///     .serve(Routes::new().topic("/ticks", &ticks));
/// ticks.publish(&Event::new().data("hey"))?;
/// server.drain(Duration::from_secs(5)).await;
/// # Ok(())
/// # }
/// ```
#[must_use = "a server does nothing until it serves"]
pub struct Server {
    config: Config,
    listeners: Vec<Accept>,
}

impl Server {
    /// A server with these settings and no listeners.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            listeners: Vec::new(),
        }
    }

    /// Serves the connections of `listener` too.
    pub fn listen(mut self, listener: impl Listener) -> Self {
        self.listeners
            .push(Box::new(|door| tokio::spawn(accept(listener, door))));
        self
    }

    /// Starts to serve on the current Tokio runtime: each request is answered as `handler`
    /// decides.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn serve(self, handler: impl Handler) -> Running {
        let config = Arc::new(self.config);
        let stats = Arc::new(Stats::default());
        let shards = config
            .shards
            .unwrap_or_else(|| Handle::current().metrics().num_workers());
        let shards = (0..shards.max(1))
            .map(|_| Shard::start(Arc::clone(&config), Arc::clone(&stats)))
            .collect();
        let shared = Arc::new(Shared {
            limit: Limit::new(
                config.max_connections,
                config.max_connections_per_address,
                config.ipv6_prefix,
            ),
            refusals: Limit::new(MAX_REFUSALS, usize::MAX, 128),
            stats,
            shards,
            next_shard: AtomicUsize::new(0),
            phase: watch::Sender::new(Phase::Open),
            config,
        });
        let door: Arc<dyn Door> = Arc::new(Reception {
            shared: Arc::clone(&shared),
            handler,
            crew: Crew::new(),
        });
        let acceptors = self
            .listeners
            .into_iter()
            .map(|start| start(Arc::clone(&door)))
            .collect();
        Running { shared, acceptors }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Decides what a request gets: a function, or [`Routes`](crate::Routes).
pub trait Handler: Send + Sync + 'static {
    /// Decides.
    fn handle(&self, request: Incoming) -> impl Future<Output = Answer> + Send;
}

impl<F, A> Handler for F
where
    F: Fn(Incoming) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send,
{
    fn handle(&self, request: Incoming) -> impl Future<Output = Answer> + Send {
        self(request)
    }
}

/// A server that runs. Dropping it stops accepting; the streams that are up go on.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    acceptors: Vec<JoinHandle<()>>,
}

impl Running {
    /// What is going on.
    #[must_use]
    pub fn stats(&self) -> Snapshot {
        self.shared.stats.snapshot(self.shared.limit.connections())
    }

    /// Stops accepting, ends every stream that follows a topic at a time of its own within
    /// `window`, asking the client to come back after a jittered time, and returns when all
    /// have gone.
    ///
    /// A stream of one client's own may go on until the end of the window, and is then ended
    /// in the same way: [`Stream::gone`](crate::Stream::gone) returns, and a call after that
    /// fails with [`SendError::Closed`](sse_core::SendError::Closed). Whoever is left a second
    /// after the window is cut off.
    pub async fn drain(mut self, window: Duration) {
        self.stop();
        for acceptor in &mut self.acceptors {
            let _ = acceptor.await;
        }
        let shared = &self.shared;
        for shard in &shared.shards {
            shard.drain(window);
        }
        let _ = timeout(window, shared.limit.idle()).await;
        shared.phase.send_replace(Phase::Goodbyes);
        let goodbye_timeout = shared.config.goodbye_timeout();
        let _ = timeout(goodbye_timeout, shared.limit.idle()).await;
        shared.phase.send_replace(Phase::CutOff);
        // A program that blocks the runtime's threads must not keep this from returning.
        let _ = timeout(goodbye_timeout, shared.limit.idle()).await;
    }

    fn stop(&self) {
        for acceptor in &self.acceptors {
            acceptor.abort();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Debug)]
struct Shared {
    config: Arc<Config>,
    stats: Arc<Stats>,
    limit: Limit,
    refusals: Limit,
    shards: Vec<Shard>,
    next_shard: AtomicUsize,
    phase: watch::Sender<Phase>,
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Streams go on, until the end of a drain's window.
    Open,
    /// Those that are left say goodbye.
    Goodbyes,
    /// Those that are left are cut off.
    CutOff,
}

impl Phase {
    fn is_over(self) -> bool {
        self != Self::Open
    }
}

impl Shared {
    fn shard(&self) -> &Shard {
        let next = self.next_shard.fetch_add(1, Ordering::Relaxed);
        &self.shards[next % self.shards.len()]
    }
}

/// Where a listener brings its connections, whatever the handler is.
trait Door: Send + Sync {
    fn enter(self: Arc<Self>, handshake: Handshake, peer: Peer);
    fn tell_accept_error(&self);
}

type Handshake = Pin<Box<dyn Future<Output = io::Result<Transport>> + Send>>;

/// Accepts for ever. Errors, such as too many open files, are waited out.
async fn accept(mut listener: impl Listener, door: Arc<dyn Door>) {
    let mut pause = MIN_PAUSE;
    loop {
        match listener.accept().await {
            Ok((handshake, peer)) => {
                pause = MIN_PAUSE;
                Arc::clone(&door).enter(Box::pin(handshake), peer);
            }
            Err(error) => {
                trace::accept_error(&error);
                door.tell_accept_error();
                sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }
}

const MIN_PAUSE: Duration = Duration::from_millis(5);
const MAX_PAUSE: Duration = Duration::from_secs(1);

struct Reception<H> {
    shared: Arc<Shared>,
    handler: H,
    crew: Crew<Guest<H>>,
}

/// A connection to be received.
struct Guest<H> {
    reception: Arc<Reception<H>>,
    handshake: Handshake,
    peer: Peer,
    ticket: Ticket,
    is_full: bool,
}

impl<H: Handler> Work for Guest<H> {
    async fn run(self) {
        let mut phase = self.reception.shared.phase.subscribe();
        let peer = self.peer;
        let receiving = trace::connection(peer, self.receive());
        tokio::select! {
            _ = phase.wait_for(|phase| *phase == Phase::CutOff) => {}
            // Its connection fails, and it alone; the stats tell.
            _ = receiving => {}
        }
    }
}

impl<H: Handler> Door for Reception<H> {
    fn enter(self: Arc<Self>, handshake: Handshake, peer: Peer) {
        let (ticket, is_full) = match self.shared.limit.admit(address(peer)) {
            Some(ticket) => (ticket, false),
            None => {
                self.shared.stats.add_refused();
                trace::refused(peer);
                match self.shared.refusals.admit(None) {
                    Some(ticket) => (ticket, true),
                    None => return,
                }
            }
        };
        self.crew.assign(Guest {
            reception: Arc::clone(&self),
            handshake,
            peer,
            ticket,
            is_full,
        });
    }

    fn tell_accept_error(&self) {
        self.shared.stats.add_accept_error();
    }
}

impl<H: Handler> Guest<H> {
    /// From a connection's beginning to the answer, or to the shard.
    ///
    /// A task takes as much room as the most that it may come to, and very many may wait for
    /// their heads at once: what else may come is boxed.
    async fn receive(self) -> io::Result<()> {
        let reception = &*self.reception;
        let (transport, head) = reception.meet(self.handshake).await?;
        let (transport, extension) = transport.into_parts();
        let deciding = reception.decide(head, self.peer, extension, self.is_full);
        let answer = Box::pin(deciding).await;
        let on_end = answer.on_end;
        match answer.decision {
            Decision::Respond(bytes) => {
                let responded = Box::pin(reception.respond(transport, &bytes)).await;
                on_end.tell(Disconnect::Finished);
                responded
            }
            Decision::Follow {
                topic,
                resume,
                cursor,
                opening,
            } => {
                reception.shared.stats.add_resume(resume);
                reception.shared.shard().admit(Arrival {
                    transport,
                    topic,
                    cursor,
                    opening,
                    on_end,
                    ticket: self.ticket,
                });
                Ok(())
            }
            Decision::Stream { preface, write } => {
                let written = Box::pin(reception.stream(transport, preface, write)).await;
                let reason = match reception.shared.phase.borrow().is_over() {
                    true => Disconnect::Drained,
                    false => Disconnect::of(&written),
                };
                reception.shared.stats.add_disconnect(reason);
                on_end.tell(reason);
                written
            }
        }
    }
}

impl<H: Handler> Reception<H> {
    /// Makes the handshake, if there is one, and reads the request head.
    async fn meet(&self, handshake: Handshake) -> io::Result<(Transport, Result<Head, Rejection>)> {
        let mut transport = None;
        let reading = timeout(self.shared.config.head_timeout, async {
            let shaken = handshake.await.inspect_err(trace::handshake_error);
            let transport = transport.insert(shaken?);
            self.read_head(transport).await
        });
        let head = match reading.await {
            Ok(head) => head?,
            Err(_) => Err(Rejection::REQUEST_TIMEOUT),
        };
        match transport {
            Some(transport) => Ok((transport, head)),
            None => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn decide(
        &self,
        head: Result<Head, Rejection>,
        peer: Peer,
        extension: Option<Extension>,
        is_full: bool,
    ) -> Answer {
        let config = &self.shared.config;
        let request = match head {
            Ok(head) => Incoming {
                head,
                peer,
                upgrader: config.upgrader.clone(),
                retry: config.retry,
                extension,
            },
            Err(rejection) => return Answer::refuse(rejection),
        };
        match config.upgrader.check(&request.head) {
            Err(rejection) => request.reject(rejection),
            Ok(()) if request.head.method() == "OPTIONS" => request.options(),
            Ok(()) if is_full => request.turn_away(config.when_full),
            Ok(()) => self.handler.handle(request).await,
        }
    }

    /// Lets the application write a stream.
    async fn stream(&self, transport: Transport, preface: Vec<u8>, write: Write) -> io::Result<()> {
        let config = &self.shared.config;
        let (mut phase, retry) = (self.shared.phase.subscribe(), config.retry);
        let mut stream = Stream::new(transport, config.write_timeout)
            .heartbeat(config.heartbeat)
            .goodbye(async move {
                let _ = phase.wait_for(|phase| phase.is_over()).await;
                jittered(retry)
            });
        stream.write_raw(&preface).await?;
        write(stream).await
    }

    async fn read_head(&self, transport: &mut Transport) -> io::Result<Result<Head, Rejection>> {
        let mut reader = self.shared.config.upgrader.head_reader();
        loop {
            let read =
                read_piece(transport, |piece| match piece {
                    [] if reader.is_empty() => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                    [] => Ok(Err(Rejection::BAD_REQUEST
                        .because("the connection ended within the request head"))),
                    mut piece => Ok(reader.read(&mut piece)),
                });
            if let Some(read) = read.await??.transpose() {
                return Ok(read);
            }
        }
    }

    /// Writes an answer, and waits a while until the peer has it: dropping a connection with
    /// unread input resets it, and the answer would be lost.
    async fn respond(&self, mut transport: Transport, bytes: &[u8]) -> io::Result<()> {
        let (time, mut room) = LINGER;
        let write_timeout = self.shared.config.write_timeout;
        write_all(&mut transport, bytes, write_timeout).await?;
        timeout(write_timeout, transport.shutdown()).await??;
        let _ = timeout(time, async {
            while room > 0
                && let Ok(len @ 1..) = read_piece(&mut transport, <[u8]>::len).await
            {
                room = room.saturating_sub(len);
            }
        })
        .await;
        Ok(())
    }
}

/// Reads a piece and gives it to `take`. While it waits it keeps no buffer, for very many may
/// wait at once.
async fn read_piece<T>(
    transport: &mut Transport,
    mut take: impl FnMut(&[u8]) -> T,
) -> io::Result<T> {
    poll_fn(|cx| {
        let mut piece = [0; 2048];
        let mut buffer = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut *transport).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(take(buffer.filled())))
    })
    .await
}

fn address(peer: Peer) -> Option<IpAddr> {
    match peer {
        Peer::Tcp(address) => Some(address.ip()),
        Peer::Local => None,
    }
}
