//! The settings of servers and topics.

mod hub;
mod topic;

use std::time::Duration;

use sse_core::{Event, EventType, Upgrader};

pub use self::hub::HubConfig;
pub use self::topic::{SlowClients, Start, TopicConfig, UnknownId};

/// Settings of a [`Server`](crate::Server): limits, deadlines and intervals.
///
/// ```
/// use std::time::Duration;
/// use sse_net::{Config, Upgrader};
///
/// # fn main() -> Result<(), sse_net::FieldError> {
/// let config = Config::default()
///     .upgrader(Upgrader::new().allow_host("feed.example.org")?)
///     .max_connections(20_000)
///     .max_connections_per_address(300) // browsers connect directly, without a proxy
///     .max_age(Duration::from_secs(3600)) // streams move to other servers within an hour
///     .heartbeat(Duration::from_secs(10));
/// # let _ = config;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Config {
    pub(crate) upgrader: Upgrader,
    pub(crate) head_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) max_json: u64,
    pub(crate) handler_timeout: Option<Duration>,
    pub(crate) max_connections: usize,
    pub(crate) max_refusals: usize,
    pub(crate) max_connections_per_address: usize,
    pub(crate) ipv6_prefix: u8,
    pub(crate) at_capacity: AtCapacity,
    pub(crate) heartbeat: Duration,
    pub(crate) heartbeat_form: Heartbeat,
    pub(crate) write_timeout: Duration,
    pub(crate) max_age: Option<Duration>,
    pub(crate) max_input: usize,
    pub(crate) retry: Duration,
    pub(crate) shards: Option<usize>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            upgrader: Upgrader::new(),
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            max_json: 2 << 20,
            handler_timeout: None,
            max_connections: 1 << 16,
            max_refusals: 1024,
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
    /// Sets the upgrader, which checks request heads and writes response heads.
    ///
    /// It has the allowed hosts, origins and methods, the headers of streams, and the limits of
    /// heads. Default: [`Upgrader::new`], which allows heads of 16 KiB with 100 headers.
    pub fn upgrader(mut self, upgrader: Upgrader) -> Self {
        self.upgrader = upgrader;
        self
    }

    /// Sets the time for the TLS handshake and the request head.
    ///
    /// Default: 10 s, enough for a phone on a bad line. The response is then 408. Until the
    /// head is complete, a connection costs a task and a few KB.
    pub fn head_timeout(mut self, timeout: Duration) -> Self {
        self.head_timeout = timeout;
        self
    }

    /// Sets the time for a request body, from when the handler asks for it.
    ///
    /// Default: 30 s. The response is then 408. Raise it for large bodies over slow networks.
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.body_timeout = timeout;
        self
    }

    /// Sets the maximum body in bytes that [`Request::json`](crate::Request::json) reads.
    ///
    /// Default: 2 MiB. Each connection that is sending a body may take up to twice that.
    pub fn max_json(mut self, bytes: u64) -> Self {
        self.max_json = bytes;
        self
    }

    /// Sets the time after which a handler is dropped and the response is 503.
    ///
    /// Default: unlimited, because a handler is dropped when its client disconnects. The
    /// stream that a handler returns is not limited.
    pub fn handler_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.handler_timeout = timeout.into();
        self
    }

    /// Sets the maximum number of open connections, including those that are not streaming yet.
    ///
    /// Default: 65,536. Each takes a file descriptor, so the limit of open files has to be
    /// above this and [`max_refusals`](Self::max_refusals). An idle one costs about 500 bytes here
    /// and several KB in the kernel.
    pub fn max_connections(mut self, count: usize) -> Self {
        self.max_connections = count;
        self
    }

    /// Sets the maximum number of connections beyond the limits that are being refused.
    ///
    /// Default: 1,024. Each takes a file descriptor and a few KB, until it has got its response or
    /// the [`head_timeout`](Self::head_timeout) has passed. With more, and with zero, connections
    /// are closed without a response.
    pub fn max_refusals(mut self, count: usize) -> Self {
        self.max_refusals = count;
        self
    }

    /// Sets the maximum number of open connections from one IP address.
    ///
    /// Default: unlimited, because behind a proxy every client has the proxy's address. Where
    /// browsers connect directly, set some hundreds: all clients of one office may share an
    /// address. Costs a map entry per address.
    pub fn max_connections_per_address(mut self, count: usize) -> Self {
        self.max_connections_per_address = count;
        self
    }

    /// Sets the length in bits of the prefix that counts as one IPv6 address.
    ///
    /// Default: 64, the network that one customer has. With 128, every address is counted by
    /// itself. Used by
    /// [`max_connections_per_address`](Self::max_connections_per_address).
    ///
    /// # Panics
    ///
    /// If `bits` is greater than 128.
    #[track_caller]
    pub fn ipv6_prefix(mut self, bits: u8) -> Self {
        assert!(
            bits <= 128,
            "an IPv6 prefix has at most 128 bits, not {bits}"
        );
        self.ipv6_prefix = bits;
        self
    }

    /// Sets the response to connections beyond [`max_connections`](Self::max_connections).
    ///
    /// Default: [`AtCapacity::Refuse`].
    pub fn at_capacity(mut self, response: AtCapacity) -> Self {
        self.at_capacity = response;
        self
    }

    /// Sets the silence after which a stream gets a heartbeat, which also finds dead peers.
    ///
    /// Default: 15 s. The strictest of the usual proxies closes idle connections after 55 s,
    /// and one heartbeat may be lost to a slow proxy. The interval is shortened at random by
    /// up to 10 %, so that clients do not all wake together. Per-client streams get heartbeats
    /// while the handler's future waits.
    pub fn heartbeat(mut self, silence: Duration) -> Self {
        self.heartbeat = silence;
        self
    }

    /// Sets the form of a heartbeat. Default: [`Heartbeat::Comment`].
    pub fn heartbeat_form(mut self, form: Heartbeat) -> Self {
        self.heartbeat_form = form;
        self
    }

    /// Sets the time after which a client that accepts no pending byte is disconnected.
    ///
    /// Default: 20 s, which outlasts a phone's change of network. Together with heartbeats
    /// this finds dead peers; until then each costs the contents of its socket's buffer.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// Sets the age at which a topic's stream is ended, so that its client reconnects.
    ///
    /// Default: unlimited. Set it behind a load balancer, so that clients move to new servers.
    /// The age is shortened at random by up to 10 %, so that clients that connected together
    /// do not reconnect together. Per-client streams are not limited.
    pub fn max_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.max_age = age.into();
        self
    }

    /// Sets how many bytes a client may send after its request.
    ///
    /// Default: 64 KiB, more than any client of event streams sends. A client that sends more is
    /// disconnected. A body that the handler has not read counts.
    pub fn max_input(mut self, bytes: usize) -> Self {
        self.max_input = bytes;
        self
    }

    /// Sets the reconnection time, sent at the start and the end of a stream.
    ///
    /// Default: 3 s. It is lengthened at random by up to 50 %, so that clients do not all
    /// reconnect together.
    pub fn retry(mut self, time: Duration) -> Self {
        self.retry = time;
        self
    }

    /// Sets the number of shards, the tasks that drive the streams of topics.
    ///
    /// Default: one per worker thread of the runtime. Each shard copies the new events of each
    /// of its topics once.
    ///
    /// # Panics
    ///
    /// If `count` is zero.
    #[track_caller]
    pub fn shards(mut self, count: usize) -> Self {
        assert!(count > 0, "a server needs at least one shard");
        self.shards = Some(count);
        self
    }
}

impl Config {
    /// Returns the age at which a stream that starts now is ended.
    pub(crate) fn age(&self) -> Duration {
        match self.max_age {
            Some(age) => shortened(age),
            None => Duration::MAX,
        }
    }

    /// Returns the time for writing last events after the window of a drain: 1 s.
    ///
    /// It needs no setting, because the window has one. The system sends what a socket has accepted
    /// even after that.
    pub(crate) const fn goodbye_timeout(&self) -> Duration {
        Duration::from_secs(1)
    }
}

/// The response to a connection beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AtCapacity {
    /// 503: load balancers try another server, and browsers do not reconnect.
    #[default]
    Refuse,
    /// A stream that ends at once with a reconnection time, after which browsers reconnect.
    ///
    /// Requests with another method than `GET` and `HEAD` get 503, because their clients do not
    /// reconnect; and from a [`Server`](crate::Server) so do those whose `Accept` does not name
    /// `text/event-stream`, such as those of pages and of the probes of load balancers.
    RetryLater,
}

impl AtCapacity {
    /// Returns whether a request with this method may get a stream.
    pub(crate) fn has_stream_for(self, method: &str) -> bool {
        self == Self::RetryLater && matches!(method, "GET" | "HEAD")
    }
}

/// The form of a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Heartbeat {
    /// An empty comment of two bytes, which pages do not see.
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

/// Returns `time`, shortened at random by up to 10 %, so that clients do not all wake together.
pub(crate) fn shortened(time: Duration) -> Duration {
    time - time.mul_f64(fastrand::f64() / 10.0).min(time)
}

/// Returns `time`, lengthened at random by up to 50 %.
pub(crate) fn jittered(time: Duration) -> Duration {
    time.saturating_add(
        time.min(Duration::from_secs(1 << 32))
            .mul_f64(fastrand::f64() / 2.0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "an IPv6 prefix has at most 128 bits, not 129")]
    fn an_ipv6_prefix_beyond_128_bits_is_refused() {
        let _ = Config::default().ipv6_prefix(128).ipv6_prefix(129);
    }

    #[test]
    #[should_panic(expected = "a server needs at least one shard")]
    fn zero_shards_are_refused() {
        let _ = Config::default().shards(1).shards(0);
    }
}
