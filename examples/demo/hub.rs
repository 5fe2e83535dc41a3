//! The hub: its topics, and the stream of those that a page has switched on.

use cli::Ending;
use sse_core::Rejection;
use sse_net::{Answer, Hub, HubConfig, Journal, Request, Start, Topic, TopicConfig};

use crate::feed::Feed;
use crate::{inbox, values};

/// All topics of the demo. They share one order of IDs, so one last event ID resumes them all.
#[derive(Clone)]
pub(crate) struct Demo {
    pub(crate) feed: Feed,
    pub(crate) values: Topic,
    pub(crate) hub: Hub,
}

impl Demo {
    /// Opens the hub, restored from the journal if there is one.
    pub(crate) fn open(journal: Option<&str>) -> Result<Self, Ending> {
        let hub = match journal {
            None => Hub::new(config()),
            Some(dir) => {
                let journal = Journal::new(dir).on_notice(|notice| cli::print_error(notice));
                Hub::open(config(), &journal).map_err(Ending::failure)?
            }
        };
        Ok(Self {
            feed: Feed::new(hub.topic("feed").map_err(Ending::failure)?),
            values: values::topic(&hub).map_err(Ending::failure)?,
            hub,
        })
    }

    /// Streams the topics in `topics`, separated by commas, such as `?topics=feed,values`.
    ///
    /// `inbox` is the inbox of the visitor in `visitor`. A real server takes the visitor from
    /// its session instead: a name is no authorisation.
    pub(crate) fn follow(&self, request: Request) -> Answer {
        match self.chosen_topics(&request) {
            Ok(topics) => {
                let answer = request.follow_all_from(topics, Start::Last(HISTORY));
                self.feed.count_client(answer)
            }
            Err(rejection) => request.reject(rejection),
        }
    }

    fn chosen_topics(&self, request: &Request) -> Result<Vec<Topic>, Rejection> {
        let names = request.query_value("topics").unwrap_or_default();
        let topic = |name| match name {
            "feed" => Ok(self.feed.topic.clone()),
            "values" => Ok(self.values.clone()),
            "inbox" => self.inbox(&request.query_value("visitor").unwrap_or_default()),
            _ => Err(Rejection::BAD_REQUEST.because(TOPICS)),
        };
        names.split(',').map(topic).collect()
    }
}

/// The inboxes may be many and are dropped when unused; the feed's events have no age.
fn config() -> HubConfig {
    HubConfig::from(TopicConfig::default())
        .topics(values::TOPIC, values::config())
        .topics(inbox::PREFIX, inbox::config())
        .max_topics(MAX_TOPICS)
}

/// The number of past events that a new client gets of each topic. Of the values it gets the
/// newest of each river.
const HISTORY: usize = 24;

const MAX_TOPICS: usize = 10_000;

const TOPICS: &str = "`topics` has to list some of feed, values and inbox, separated by commas";
