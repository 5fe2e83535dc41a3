//! The settings of a hub.

use std::sync::Arc;
use std::time::Duration;

use sse_core::{EventType, Retention};

use super::TopicConfig;

/// Settings of a [`Hub`](crate::Hub) and its topics.
///
/// A [`TopicConfig`] or a [`Retention`] alone converts into one.
///
/// ```
/// use std::time::Duration;
/// use sse_net::{Hub, HubConfig, Retention, TopicConfig};
///
/// let day = Duration::from_secs(24 * 3600);
/// let inboxes = TopicConfig::from(Retention::events(100).age(day));
/// let hub = Hub::new(HubConfig::default().topics("inbox/", inboxes).max_topics(200_000));
/// # let _ = hub;
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct HubConfig {
    default: Arc<TopicConfig>,
    /// Prefixes of names, the longest first, each with the settings of its topics.
    prefixes: Vec<(Box<str>, Arc<TopicConfig>)>,
    pub(crate) max_topics: usize,
    pub(crate) max_topics_per_stream: usize,
    pub(crate) max_kept_streams: usize,
    pub(crate) max_counted_topics: usize,
}

impl Default for HubConfig {
    fn default() -> Self {
        let hour = Duration::from_secs(3600);
        Self::from(Retention::default().age(hour))
    }
}

impl From<TopicConfig> for HubConfig {
    fn from(config: TopicConfig) -> Self {
        Self {
            default: Arc::new(config),
            prefixes: Vec::new(),
            max_topics: 1 << 17,
            max_topics_per_stream: 256,
            max_kept_streams: 1 << 14,
            max_counted_topics: 100,
        }
    }
}

impl From<Retention> for HubConfig {
    fn from(retention: Retention) -> Self {
        TopicConfig::from(retention).into()
    }
}

impl HubConfig {
    /// Sets the configuration of topics whose names begin with `prefix`. The longest prefix counts.
    ///
    /// Default: the settings that the configuration was made from. Those of
    /// [`HubConfig::default`] are the defaults of [`TopicConfig`] with an age of one hour. The
    /// age also limits how long an absent client can resume in a topic that is unused meanwhile: a
    /// topic is dropped when its last event is older and nobody holds it. The time for which
    /// events [linger](TopicConfig::linger) is the same in all topics.
    pub fn topics(mut self, prefix: &str, config: impl Into<TopicConfig>) -> Self {
        self.prefixes.retain(|(known, _)| **known != *prefix);
        let place = self
            .prefixes
            .partition_point(|(known, _)| known.len() > prefix.len());
        let config = config.into().linger(self.linger());
        let config = Arc::new(config);
        self.prefixes.insert(place, (prefix.into(), config));
        self
    }

    /// Sets the maximum number of topics.
    ///
    /// Default: 131,072. A topic costs some 500 bytes while it is empty. More are refused with
    /// [`TooManyTopics`](crate::TooManyTopics), since names may come from requests. The names of as
    /// many dropped topics are kept for a time, some 150 bytes each.
    pub fn max_topics(mut self, count: usize) -> Self {
        self.max_topics = count;
        self
    }

    /// Sets the maximum number of topics that one stream follows.
    ///
    /// Default: 256. More are refused with
    /// [`FollowError::TooManyTopics`](crate::FollowError::TooManyTopics), since a client may ask
    /// for them one by one. Each event costs a look at the other topics of every stream that
    /// receives it.
    pub fn max_topics_per_stream(mut self, count: usize) -> Self {
        self.max_topics_per_stream = count;
        self
    }

    /// Sets the maximum number of streams without a connection whose topics the hub keeps.
    ///
    /// Default: 16,384. It applies to streams with a [`StreamToken`](crate::StreamToken), whose
    /// clients reconnect. The topics of a stream are kept for the age of the retention that the
    /// configuration was made from; beyond this number, those that have been without a
    /// connection for the longest are dropped. Its client then gets a gap event. A kept stream
    /// holds its topics.
    pub fn max_kept_streams(mut self, count: usize) -> Self {
        self.max_kept_streams = count;
        self
    }

    /// Sets the maximum number of topics that [`Hub::stats`](crate::Hub::stats) counts separately.
    ///
    /// Default: 100, the first that are created; the others are summed. A counter is kept, with
    /// the name of its topic, as long as the hub.
    pub fn max_counted_topics(mut self, count: usize) -> Self {
        self.max_counted_topics = count;
        self
    }

    /// The type of the gap event that reports an unknown token.
    pub(crate) fn gap_type(&self) -> &EventType<'static> {
        &self.default.gap_type
    }

    /// How long the topics of a stream without a connection are kept.
    pub(crate) fn keep_time(&self) -> Duration {
        self.default.retention.max_age()
    }

    pub(crate) fn linger(&self) -> Duration {
        self.default.linger
    }

    /// Returns the settings of the topic with this name.
    pub(crate) fn topic(&self, name: &str) -> &Arc<TopicConfig> {
        let longest = self
            .prefixes
            .iter()
            .find(|(prefix, _)| name.starts_with(&**prefix));
        longest.map_or(&self.default, |(_, config)| config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_of_a_name_counts() {
        let config = |max| TopicConfig::default().max_event(max);
        let hub = HubConfig::from(config(0))
            .topics("a", config(9))
            .topics("ab/", config(3))
            .topics("b", config(4))
            .topics("a", config(1));
        for (name, expected) in [
            ("", 0),
            ("c", 0),
            ("a", 1),
            ("ab", 1),
            ("ab/c", 3),
            ("bab/", 4),
        ] {
            assert_eq!(hub.topic(name).max_event, expected, "{name}");
        }
    }
}
