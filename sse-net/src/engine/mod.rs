//! Hubs over several nodes: settings of their engine, which is Redis.
//!
//! Events are published with a function of Redis, which assigns their IDs, appends them to a stream
//! for each topic, and notifies the nodes. These rules keep the order of the hub on every node.
//!
//! *One writer.* Only the task of the subscription changes logs and the mark ([`Follower`]).
//! A notification moves the mark to its ID. A node receives the notifications of its own topics
//! only, so its mark may be before the hub's last ID. A *tick* moves it there: a function that
//! notifies this node of the last ID. Notifications arrive in order, so after the tick the node has
//! received all earlier ones.
//!
//! *Catching up.* After a reconnect, for a topic that is used first, and when an epoch has
//! changed, the node subscribes, waits for a tick, reads the missing events up to the tick's ID,
//! and then moves the mark to it. A stream is read in pages: anew from its end, as much as the log
//! retains, and otherwise from where the log ends.
//!
//! *Epochs.* Another primary may lack the last events of the one before. So its first ID begins
//! a new epoch; see [`sse_core::Epochs`]. `publish.lua` says how it is recognised. If the node's
//! mark is not known any more, all topics of this node are read anew, and streams that may have
//! written a lost ID end. Their clients reconnect and receive a gap event.
//!
//! *Keyed topics.* The newest event of each key is in a hash, which the same function changes. A
//! node reads it together with the topic's last ID when it begins to follow the topic, before the
//! tick, and again when the stream does not continue where the node is.
//!
//! *Runs.* A start is the first entry of its stream, and the ID of that entry is the token of the
//! lease. The function refuses events without the token or after the lease has run out.
//! Then any node may end the run, and nobody starts its work again.
//!
//! *Holes.* Each event names the one before it in its topic. A missing one is read from the
//! stream if the mark has not passed it; otherwise clients of the topic receive a gap event.
//!
//! *Unreadable topics.* After an error of a topic's own keys or channel, only its streams wait; the
//! topic is read again every 5 s.
//!
//! [`Follower`]: follower::Follower

mod address;
mod append;
mod catch_up;
mod error;
mod follower;
mod functions;
mod handle;
mod holes;
mod keys;
mod link;
mod message;
mod notice;
mod publisher;
mod queue;
mod reading;
mod refused;
mod runs;
mod sentinel;
mod shared;
mod snapshot;
mod tick;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use address::Address;

pub use error::EngineError;
pub use notice::EngineNotice;
pub use snapshot::EngineSnapshot;

/// Settings of an engine: the Redis server, and the queue for events while it is away.
///
/// ```no_run
/// use sse_net::{Engine, Event, Hub, HubConfig};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let engine = Engine::redis("redis://127.0.0.1:6379")?.hub("shop")?;
/// let hub = Hub::connect(HubConfig::default(), engine).await?;
/// let published = hub.topic("orders")?.publish(&Event::new().data("one book"))?;
/// println!("stored as {}", published.stored().await?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # Guarantees
///
/// All nodes that connect hubs of one name share its topics and its order of IDs, so a client
/// resumes at any of them with its last event ID. A client sees an event only after Redis has it.
/// While Redis is away, streams stay open, clients resume from what the node has in memory, and
/// events are queued. The node connects again for as long as the hub lives.
///
/// A primary that fails may take its last events with it, also some that clients have received.
/// Those clients receive a gap event. `min-replicas-to-write 1` makes that rare.
///
/// # Limits
///
/// Redis 7 or later. One hub is one slot of a cluster: more load takes more hubs. The nodes of a
/// hub have the same settings of topics, and create the same ones keyed. The keys of a keyed topic
/// are one value of Redis, which a node reads at once, so keep them few enough for that.
///
/// Redis keeps the stream of a topic within the events and the age of its retention, but not within
/// its bytes. A node reads a stream from the newest event back until the bytes of the retention
/// are full: 16 events first, and then pages of 1 MiB, or of 64 events if that is less. It reads 32
/// topics at a time.
///
/// [`Runs`](crate::Runs) have their limits on each node, and are not stopped for want of
/// subscribers. Clients that lag are disconnected, also with
/// [`SlowClients::SkipAhead`](crate::SlowClients::SkipAhead).
///
/// The topics of a stream with a [token](crate::StreamToken) are known to the node that serves it.
/// So the requests with one token must reach one node, or the page sends its topics again.
#[derive(Clone)]
#[must_use]
pub struct Engine {
    address: Address,
    hub: String,
    queue_bytes: usize,
    when_full: WhenQueueFull,
    key_expiry: Duration,
    topic_expiry: Duration,
    max_wait: Duration,
    on_notice: Option<Arc<OnNotice>>,
}

type OnNotice = dyn Fn(&EngineNotice) + Send + Sync;

/// The treatment of an event that does not fit in the queue for the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenQueueFull {
    /// It is refused with [`PublishError::QueueFull`](crate::PublishError::QueueFull).
    Refuse,
    /// The oldest events of the queue are dropped, and counted as
    /// [`dropped`](EngineSnapshot::dropped).
    DropOldest,
}

impl Engine {
    /// Sets the Redis server by its URL, such as `redis://:password@host:6379/0`.
    ///
    /// With `rediss`, the connections are encrypted. The user needs the permissions that the
    /// section on several nodes of `DEPLOYMENT.md` names.
    ///
    /// `redis+sentinel://:password@host:26379,host:26379/name/0` names Sentinels and a primary:
    /// they are asked for its address whenever the node connects, and a node leaves an old primary
    /// at a failover. The user and the password are those for Redis. With `rediss+sentinel`, all
    /// connections are encrypted.
    ///
    /// # Errors
    ///
    /// [`EngineError::Url`] if this is not such a URL.
    pub fn redis(url: &str) -> Result<Self, EngineError> {
        Ok(Self {
            address: Address::parse(url)?,
            hub: "hub".to_owned(),
            queue_bytes: 16 << 20,
            when_full: WhenQueueFull::Refuse,
            key_expiry: Duration::from_secs(3600),
            topic_expiry: Duration::from_secs(7 * 24 * 3600),
            max_wait: Duration::from_secs(10),
            on_notice: None,
        })
    }

    /// Sets the user and the password for Sentinel, if the URL names any. Default: none.
    ///
    /// The user may be empty.
    pub fn sentinel_login(mut self, user: &str, password: &str) -> Self {
        if let Address::Sentinels(sentinels) = &mut self.address {
            sentinels.set_login(user, password);
        }
        self
    }

    /// Sets the name of the hub, which all of its keys begin with. Default: `hub`.
    ///
    /// Hubs of one server need different names, also in different databases, because databases
    /// share channels.
    ///
    /// # Errors
    ///
    /// [`EngineError::HubName`] unless it has 1 to 128 bytes, and none of them is a brace, which
    /// would change the slot of a cluster.
    pub fn hub(mut self, name: impl Into<String>) -> Result<Self, EngineError> {
        self.hub = name.into();
        match (1..=128).contains(&self.hub.len()) && !self.hub.contains(['{', '}']) {
            true => Ok(self),
            false => Err(EngineError::HubName(self.hub)),
        }
    }

    /// Sets the maximum number of bytes of events that wait for Redis. Default: 16 MiB.
    pub const fn queue_bytes(mut self, count: usize) -> Self {
        self.queue_bytes = count;
        self
    }

    /// Sets the treatment of events beyond [`queue_bytes`](Self::queue_bytes). Default: refuse.
    pub const fn when_full(mut self, action: WhenQueueFull) -> Self {
        self.when_full = action;
        self
    }

    /// Sets the time after which a key of [`publish_once`](crate::Topic::publish_once) expires.
    ///
    /// Default: one hour.
    pub const fn key_expiry(mut self, age: Duration) -> Self {
        self.key_expiry = age;
        self
    }

    /// Sets the time without events after which a topic expires in Redis. Default: 7 days.
    ///
    /// Its events are removed, too, even if the retention has no age. A keyed topic with keys
    /// never expires. A client that reconnects after a longer time may receive a gap event for a
    /// topic in which it has missed nothing.
    pub const fn topic_expiry(mut self, age: Duration) -> Self {
        self.topic_expiry = age;
        self
    }

    /// Sets how long the answer to a request waits for the engine. Default: 10 s.
    ///
    /// It waits if the node uses a topic first, or has not heard of the client's last event ID.
    /// After this time, the stream ends with a reconnection time.
    pub const fn max_wait(mut self, time: Duration) -> Self {
        self.max_wait = time;
        self
    }

    /// Sets a callback for interruptions, and for events that are not stored or lost.
    ///
    /// It is called from the tasks of the hub, which wait until it returns, and from
    /// [`publish`](crate::Topic::publish) if that drops the end of a topic from a full queue. A
    /// panic of the callback is caught and logged. With the feature `tracing`, notices are logged,
    /// too.
    pub fn on_notice(mut self, notify: impl Fn(&EngineNotice) + Send + Sync + 'static) -> Self {
        self.on_notice = Some(Arc::new(notify));
        self
    }
}

impl fmt::Debug for Engine {
    /// Leaves out the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("address", &self.address.to_string())
            .field("hub", &self.hub)
            .field("queue_bytes", &self.queue_bytes)
            .field("when_full", &self.when_full)
            .field("key_expiry", &self.key_expiry)
            .field("topic_expiry", &self.topic_expiry)
            .field("max_wait", &self.max_wait)
            .finish_non_exhaustive()
    }
}
