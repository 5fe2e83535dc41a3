//! The settings of a server, and of a topic.

use std::time::Duration;

use sse_core::{Event, EventType, Retention, Upgrader};

/// Every duration and count of a [`Server`](crate::Server), each with its default and its
/// reason.
///
/// ```
/// use std::time::Duration;
/// use sse_net::Config;
///
/// let config = Config { heartbeat: Duration::from_secs(5), ..Config::default() };
/// # let _ = config;
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    /// What request heads are held to, and what accepted ones are answered with: hosts,
    /// origins, further headers, limits of the head (16 KiB, 100 headers).
    pub upgrader: Upgrader,

    /// How long a request head may take, with the TLS handshake before it: 10 s, in which a
    /// phone on a bad line manages. Until then each connection costs a task and a few KB; the
    /// answer is 408.
    pub head_timeout: Duration,

    /// How long a handler may take to decide on a request, after which it is dropped and the
    /// answer is 503. Default: no limit, because a handler is dropped anyway when its client
    /// leaves. It does not limit the streams that a handler decides on.
    pub handler_timeout: Option<Duration>,

    /// How many connections there may be: 65,536. One that does not stream yet counts too.
    /// Each takes a file descriptor, of which the system must allow as many, and, idle, some
    /// 500 bytes here and several KB in the kernel.
    pub max_connections: usize,

    /// How many connections there may be from one IP address. Default: unlimited, because
    /// behind a proxy every client has the proxy's address. A server that browsers reach
    /// directly does well with some hundreds, since an office has one address, too. Costs an
    /// entry for each address.
    pub max_connections_per_address: usize,

    /// The length in bits of the prefix by which IPv6 addresses are counted for
    /// [`max_connections_per_address`](Self::max_connections_per_address). Default: 64, the
    /// network that one customer has. 128 counts single addresses.
    pub ipv6_prefix: u8,

    /// How a connection is refused for which there is no room: with 503.
    pub at_capacity: AtCapacity,

    /// After how much silence a stream gets a heartbeat: 15 s, since the strictest of the
    /// usual proxies closes after 55 s and one heartbeat may be lost to a slow one. Up to a
    /// tenth less, so that not all are due at once. It also finds peers that have vanished.
    /// Per-client streams get heartbeats while the handler's future waits.
    pub heartbeat: Duration,

    /// What a heartbeat is: an empty comment.
    pub heartbeat_form: Heartbeat,

    /// How long a client may take nothing of what waits for it: 20 s, which outlasts a change
    /// from one network to another. Dead peers are found by this and by heartbeats; until
    /// then each costs what its socket's buffer holds.
    pub write_timeout: Duration,

    /// After what time a stream is ended, so that the client comes back, perhaps to another
    /// server: never. Up to a tenth less, so that who came together does not come back
    /// together. Set it behind a load balancer, where streams stay at the old servers when
    /// there are new ones. A stream of one client's own ends when its program ends it.
    pub max_age: Option<Duration>,

    /// How many bytes a client may send after its request. Default: 64 KiB, which is more than
    /// any client of event streams sends. Beyond that it is disconnected.
    pub max_input: usize,

    /// How long a client is told to wait before it reconnects: 3 s, up to half of it more,
    /// at random, so that not all come back at once. It is told at the beginning and at the
    /// end of a stream.
    pub retry: Duration,

    /// How many shards drive the streams that follow topics: as many as the runtime has worker
    /// threads. Each is a task, and copies the news of each of its topics once.
    pub shards: Option<usize>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            upgrader: Upgrader::new(),
            head_timeout: Duration::from_secs(10),
            handler_timeout: None,
            max_connections: 1 << 16,
            max_connections_per_address: usize::MAX,
            ipv6_prefix: 64,
            at_capacity: AtCapacity::Refuse,
            heartbeat: Duration::from_secs(15),
            heartbeat_form: Heartbeat::Comment,
            write_timeout: Duration::from_secs(20),
            max_age: None,
            max_input: 64 << 10,
            retry: Duration::from_secs(3),
            shards: None,
        }
    }
}

impl Config {
    /// The age at which a stream that begins now is ended.
    pub(crate) fn age(&self) -> Duration {
        match self.max_age {
            Some(age) => age - age.mul_f64(fastrand::f64() / 10.0).min(age),
            None => Duration::MAX,
        }
    }

    /// How long goodbyes may take after the window of a drain: 1 s.
    pub(crate) const fn goodbye_timeout(&self) -> Duration {
        Duration::from_secs(1)
    }
}

/// How a connection is refused for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AtCapacity {
    /// With 503, on which load balancers try another server, and browsers give up for good.
    #[default]
    Refuse,
    /// With an empty stream that asks for a later reconnection, as browsers understand it.
    RetryLater,
}

/// What a heartbeat is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Heartbeat {
    /// An empty comment, which pages don't see: two bytes.
    #[default]
    Comment,
    /// An event of this type with empty data, for pages that watch the connection.
    Event(EventType<'static>),
}

impl Heartbeat {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Comment => Event::new().comment(""),
            Self::Event(event_type) => Event::new().event(event_type).data(""),
        }
        .encode(&mut out);
        out
    }
}

/// The settings of a [`Topic`](crate::Topic), each with its default and its reason.
///
/// A [`Retention`] alone converts into one.
///
/// ```
/// use sse_core::{EventType, Retention};
/// use sse_net::TopicConfig;
///
/// let config = TopicConfig {
///     gap_type: EventType::from_static("missed"),
///     ..Retention::events(100).into()
/// };
/// # let _: TopicConfig = config;
/// ```
#[derive(Debug, Clone)]
pub struct TopicConfig {
    /// How much of the past is kept for those who resume or come late: 1,000 events in
    /// 16 MiB, whatever their age. What is kept is in memory, up to twice.
    pub retention: Retention,

    /// The largest event in bytes, encoded. Default: 16 MiB. A larger one is refused with
    /// [`PublishError::TooLarge`](crate::PublishError::TooLarge).
    pub max_event: usize,

    /// What becomes of a client that falls behind what is kept: it is disconnected, since a
    /// client that comes back is told what it has missed, and one that skips ahead has to
    /// listen for that.
    pub slow_clients: SlowClients,

    /// The type of the event that tells a client that it has missed events: `gap`. Its data
    /// is JSON: `asked`, the last event ID that the client gave, or `null`, and `from`, the ID
    /// of the event with which it goes on, or `null` where that is yet to be published. The
    /// event has no ID.
    pub gap_type: EventType<'static>,

    /// What a client gets whose last event ID is none of the topic's, say because the server
    /// has been restarted since: it is told, and gets everything that is kept, since it may
    /// have missed any of that.
    pub unknown_id: UnknownId,

    /// For how long events may wait so that bursts share a write: not at all. With some
    /// milliseconds, the first event after quiet goes out at once, and what follows within
    /// that time goes together at its end. At a thousand events a second, 10 ms make a tenth
    /// of the writes and nearly a tenth of the cost, for 5 ms of delay on average. A server
    /// keeps to it, and so does [`Subscription::read`](crate::Subscription::read).
    pub linger: Duration,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            retention: Retention::default(),
            max_event: 16 << 20,
            slow_clients: SlowClients::default(),
            gap_type: EventType::from_static("gap"),
            unknown_id: UnknownId::default(),
            linger: Duration::ZERO,
        }
    }
}

impl From<Retention> for TopicConfig {
    fn from(retention: Retention) -> Self {
        Self {
            retention,
            ..Self::default()
        }
    }
}

/// What becomes of a client that falls behind what its topic keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SlowClients {
    /// It is disconnected. When it comes back, it resumes by its last event ID, or is told
    /// of the gap.
    #[default]
    Disconnect,
    /// It is told of the gap, and goes on with the oldest event that is kept.
    SkipAhead,
}

/// What a client gets whose last event ID its topic does not know. It is told of the gap in
/// any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum UnknownId {
    /// Everything that is kept.
    #[default]
    ReplayAll,
    /// What a client gets that comes for the first time.
    StartLive,
}

/// `time` and, at random, up to half as much again.
pub(crate) fn jittered(time: Duration) -> Duration {
    time.saturating_add(
        time.min(Duration::from_secs(1 << 32))
            .mul_f64(fastrand::f64() / 2.0),
    )
}
