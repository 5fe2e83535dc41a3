//! The names of keys and channels.

/// The keys of a hub. All have its name as their hash tag, so they are in one slot of a cluster.
pub(super) struct Keys {
    prefix: String,
    /// Hash: the last ID, the first ID of the epoch, the primary, the floor, and the last ID of
    /// each topic.
    pub(super) hub: String,
    /// List: the first and the last ID of past epochs.
    pub(super) epochs: String,
    /// Sorted set: the topics by the milliseconds of the first event in the second of their last.
    pub(super) changed: String,
    /// Hash: for each keyed topic, the greatest ID of a dropped removal, and its bytes.
    pub(super) keyed: String,
    /// Sorted set: the topics of running runs by the ends of their leases, in milliseconds.
    pub(super) runs: String,
    /// Channel: the ticks of this node.
    pub(super) node: String,
}

impl Keys {
    pub(super) fn new(hub: &str) -> Self {
        let prefix = format!("sse:{{{hub}}}:");
        let key = |name: &str| format!("{prefix}{name}");
        Self {
            hub: key("hub"),
            epochs: key("epochs"),
            changed: key("changed"),
            keyed: key("keyed"),
            runs: key("runs"),
            node: key(&format!("node:{:016x}", fastrand::u64(..))),
            prefix,
        }
    }

    /// Returns the field of the hub that has the last ID of a topic.
    pub(super) fn field(topic: &str) -> String {
        format!("topic:{topic}")
    }

    /// Stream: the events of a topic.
    pub(super) fn stream(&self, topic: &str) -> String {
        format!("{}topic:{topic}", self.prefix)
    }

    /// Hash: the newest event of each key of a keyed topic. `publish.lua` names it, too.
    pub(super) fn state(&self, topic: &str) -> String {
        format!("{}state:{topic}", self.prefix)
    }

    /// Hash: the run of a topic, and its lease.
    pub(super) fn run(&self, topic: &str) -> String {
        format!("{}run:{topic}", self.prefix)
    }

    /// Channel: the notifications of a topic.
    pub(super) fn channel(&self, topic: &str) -> String {
        format!("{}events:{topic}", self.prefix)
    }

    /// String: the ID of the event that was published under a key.
    pub(super) fn once(&self, key: &str) -> String {
        format!("{}once:{key}", self.prefix)
    }

    /// Returns the topic of a channel.
    pub(super) fn topic_of<'a>(&self, channel: &'a [u8]) -> Option<&'a str> {
        let name = channel.strip_prefix(self.prefix.as_bytes())?;
        str::from_utf8(name.strip_prefix(b"events:")?).ok()
    }
}
