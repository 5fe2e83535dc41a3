//! The accept loop, the request heads, and the end.

mod crew;
pub(crate) mod limit;
mod per_client;
pub(crate) mod presence;
pub(crate) mod request;
mod routes;
pub(crate) mod unwind;

pub use request::{Answer, Request};
pub use routes::Routes;

use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sse_core::{Head, Rejection, Upgrader};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::config::Config;
use crate::server::crew::{Crew, Work};
use crate::server::limit::{Limit, Permit};
use crate::server::per_client::PerClient;
use crate::server::presence::Presence;
use crate::server::unwind::catch_async;
use crate::shard::{Arrival, Shard};
use crate::stats::{Disconnect, Snapshot, Stats};
use crate::trace;
use crate::transport::{Extended, Extension, Transport};
use crate::transport::{Listener, Peer};
use request::{Decision, reply};

/// Starts to accept, for whoever stands behind the door.
type Accept = Box<dyn FnOnce(Arc<dyn Door>) -> JoinHandle<()>>;

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
    pub fn serve(self, handler: impl Handler) -> ServerHandle {
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
            https: config.upgrader.clone().https(),
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
        ServerHandle { shared, acceptors }
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
///
/// The future is dropped when its client leaves before it is done, or at the
/// [time limit](crate::Config::handler_timeout), which the client is answered with 503. A
/// panic is answered with 500. The client's own sending is thrown away meanwhile, within
/// [`max_input`](crate::Config::max_input).
pub trait Handler: Send + Sync + 'static {
    /// Decides.
    fn handle(&self, request: Request) -> impl Future<Output = Answer> + Send;
}

impl<F, A> Handler for F
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send,
{
    fn handle(&self, request: Request) -> impl Future<Output = Answer> + Send {
        self(request)
    }
}

/// A server that runs. Dropping it stops accepting; the streams that are up go on.
#[derive(Debug)]
pub struct ServerHandle {
    shared: Arc<Shared>,
    acceptors: Vec<JoinHandle<()>>,
}

impl ServerHandle {
    /// What is going on.
    #[must_use]
    pub fn stats(&self) -> Snapshot {
        self.shared.stats.snapshot(self.shared.limit.connections())
    }

    /// Stops accepting, ends every stream that follows a topic at a time of its own within
    /// `window`, asking the client to come back after a jittered time, and returns when all
    /// have gone.
    ///
    /// A per-client stream may go on until the end of the window, and is then ended in the same
    /// way: its future is dropped. Whoever is left a second after the window is cut off.
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

impl Drop for ServerHandle {
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
    /// The configured upgrader, for connections of TLS.
    https: Upgrader,
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
    fn stats(&self) -> &Stats;
}

type Handshake = Pin<Box<dyn Future<Output = io::Result<Transport>> + Send>>;

/// Accepts for ever. Errors, such as too many open files, and panics are waited out.
async fn accept(mut listener: impl Listener, door: Arc<dyn Door>) {
    let mut pause = MIN_PAUSE;
    loop {
        match catch_async("a listener", listener.accept()).await {
            Ok(Ok((handshake, peer))) => {
                pause = MIN_PAUSE;
                Arc::clone(&door).enter(Box::pin(handshake), peer);
                continue;
            }
            Ok(Err(error)) => {
                trace::accept_error(&error);
                door.stats().add_accept_error();
            }
            Err(_) => door.stats().add_accept_panic(),
        }
        sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
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
    permit: Permit,
    is_full: bool,
}

impl<H: Handler> Work for Guest<H> {
    async fn run(self) {
        let shared = Arc::clone(&self.reception.shared);
        let mut phase = shared.phase.subscribe();
        let peer = self.peer;
        let receiving = catch_async("a connection", self.receive());
        tokio::select! {
            _ = phase.wait_for(|phase| *phase == Phase::CutOff) => {}
            received = trace::connection(peer, receiving) => {
                // Its connection fails, and it alone; the stats tell.
                if received.is_err() {
                    shared.stats.add_disconnect(Disconnect::Panicked);
                }
            }
        }
    }
}

impl<H: Handler> Door for Reception<H> {
    fn enter(self: Arc<Self>, handshake: Handshake, peer: Peer) {
        let (permit, is_full) = match self.shared.limit.admit(address(peer)) {
            Some(permit) => (permit, false),
            None => {
                self.shared.stats.add_refused();
                trace::refused(peer);
                match self.shared.refusals.admit(None) {
                    Some(permit) => (permit, true),
                    None => return,
                }
            }
        };
        self.crew.assign(Guest {
            reception: Arc::clone(&self),
            handshake,
            peer,
            permit,
            is_full,
        });
    }

    fn stats(&self) -> &Stats {
        &self.shared.stats
    }
}

impl<H: Handler> Guest<H> {
    /// From a connection's beginning to the answer, or to the shard.
    ///
    /// A task takes as much room as the most that it may come to, and very many may wait for
    /// their heads at once: what else may come is boxed.
    async fn receive(self) -> io::Result<()> {
        let reception = &*self.reception;
        let stats = &reception.shared.stats;
        let (transport, head) = reception.meet(self.handshake).await?;
        let Extended {
            transport,
            extension,
            is_https,
        } = transport.into_extended();
        let max_input = reception.shared.config.max_input;
        let early = head.as_ref().map_or(0, |(_, early)| *early);
        let mut conversation = Conversation {
            transport,
            presence: Presence::new(max_input.saturating_sub(early)),
            sent: 0,
        };
        let asked = Asked {
            head: head.map(|(head, _)| head),
            peer: self.peer,
            extension,
            is_https,
            is_full: self.is_full,
        };
        let deciding = reception.decide(&mut conversation, asked);
        let answer = match Box::pin(deciding).await {
            Ok(answer) => answer,
            Err(reason) => {
                stats.add_disconnect(reason);
                return Ok(());
            }
        };
        let Conversation {
            transport,
            presence,
            sent,
        } = conversation;
        let on_end = answer.on_end;
        match answer.decision {
            Decision::Respond(bytes) => {
                let write_timeout = reception.shared.config.write_timeout;
                let finishing = transport.finish(&bytes[sent..], write_timeout);
                let finished = Box::pin(finishing).await;
                on_end.tell(Disconnect::Finished);
                finished
            }
            Decision::Follow {
                topic,
                resume,
                cursor,
                mut opening,
            } => {
                opening.drain(..sent);
                stats.add_resume(resume);
                reception.shared.shard().admit(Arrival {
                    transport,
                    topic,
                    cursor,
                    opening,
                    on_end,
                    permit: self.permit,
                });
                Ok(())
            }
            Decision::Stream {
                mut preface,
                write,
                is_detached,
            } => {
                preface.drain(..sent);
                let shared = &reception.shared;
                let mut phase = shared.phase.subscribe();
                let stream = PerClient::new(
                    transport,
                    presence,
                    preface,
                    (write, is_detached),
                    async move { _ = phase.wait_for(|phase| phase.is_over()).await },
                    (Arc::clone(&shared.config), Arc::clone(&shared.stats)),
                );
                let running = catch_async("a per-client stream", stream.run());
                let reason = Box::pin(running).await.unwrap_or(Disconnect::Panicked);
                stats.add_disconnect(reason);
                on_end.tell(reason);
                Ok(())
            }
        }
    }
}

/// A request that has been read, or why not, and what is known of its connection.
struct Asked {
    head: Result<Head, Refused>,
    peer: Peer,
    extension: Option<Extension>,
    is_https: bool,
    is_full: bool,
}

/// A connection whose request is being decided on.
struct Conversation {
    transport: Transport,
    presence: Presence,
    /// How many bytes of the response the client has had already.
    sent: usize,
}

impl<H: Handler> Reception<H> {
    /// Makes the handshake, if there is one, and reads the request head.
    async fn meet(
        &self,
        handshake: Handshake,
    ) -> io::Result<(Transport, Result<(Head, usize), Refused>)> {
        let mut transport = None;
        let reading = timeout(self.shared.config.head_timeout, async {
            let shaken = handshake.await.inspect_err(trace::handshake_error);
            let transport = transport.insert(shaken?);
            self.read_head(transport).await
        });
        let head = match reading.await {
            Ok(head) => head?,
            Err(_) => Err((Rejection::REQUEST_TIMEOUT, None)),
        };
        match transport {
            Some(transport) => Ok((transport, head)),
            None => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Decides on a request, or finds out why there is nobody left to be answered.
    async fn decide(
        &self,
        conversation: &mut Conversation,
        asked: Asked,
    ) -> Result<Answer, Disconnect> {
        let config = &self.shared.config;
        let upgrader = match asked.is_https {
            true => &self.shared.https,
            false => &config.upgrader,
        };
        let head = match asked.head {
            Ok(head) => Arc::new(head),
            Err((rejection, head)) => {
                let bytes = reply(upgrader, rejection, head.as_ref());
                return Ok(Answer::new(Decision::Respond(bytes)));
            }
        };
        let request = Request {
            head: Arc::clone(&head),
            peer: asked.peer,
            upgrader: upgrader.clone(),
            retry: config.retry,
            extension: asked.extension,
        };
        match upgrader.check(&head) {
            Err(rejection) => return Ok(request.reject(rejection)),
            Ok(()) if head.method() == "OPTIONS" => return Ok(request.options()),
            Ok(()) if asked.is_full => return Ok(request.turn_away(config.at_capacity)),
            Ok(()) => {}
        }
        let handling = catch_async("a handler", self.handler.handle(request));
        let (rejection, reason) = tokio::select! {
            biased;
            answer = handling => match answer {
                Ok(answer) => return Ok(answer),
                Err(_) => (Rejection::INTERNAL_SERVER_ERROR, Disconnect::HandlerPanicked),
            },
            reason = conversation.left() => return Err(reason),
            () = elapsed(config.handler_timeout) => {
                (Rejection::UNAVAILABLE.because(TOOK_TOO_LONG), Disconnect::HandlerTimedOut)
            }
        };
        self.shared.stats.add_disconnect(reason);
        let bytes = reply(upgrader, rejection, Some(&head));
        Ok(Answer::new(Decision::Respond(bytes)))
    }

    /// A head, and how many bytes have come after it.
    async fn read_head(
        &self,
        transport: &mut Transport,
    ) -> io::Result<Result<(Head, usize), Refused>> {
        let mut reader = self.shared.config.upgrader.head_reader();
        loop {
            let read =
                transport.read_piece(|piece| match piece {
                    [] if reader.is_empty() => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                    [] => Ok(Err(Rejection::BAD_REQUEST
                        .because("the connection ended within the request head"))),
                    mut piece => {
                        let read = reader.read(&mut piece);
                        Ok(read.map(|head| head.map(|head| (head, piece.len()))))
                    }
                });
            match read.await?? {
                Ok(None) => {}
                Ok(Some(read)) => return Ok(Ok(read)),
                Err(rejection) => return Ok(Err((rejection, reader.refused().cloned()))),
            }
        }
    }
}

impl Conversation {
    /// Waits until the client is gone.
    async fn left(&mut self) -> Disconnect {
        self.presence
            .left(&mut self.transport, &mut self.sent)
            .await
    }
}

/// Why a head was refused, and what is known of it all the same.
type Refused = (Rejection, Option<Head>);

const TOOK_TOO_LONG: &str = "the server took too long to answer; come back later";

async fn elapsed(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => pending().await,
    }
}

fn address(peer: Peer) -> Option<IpAddr> {
    match peer {
        Peer::Tcp(address) => Some(address.ip()),
        Peer::Local => None,
    }
}
