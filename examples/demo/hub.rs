//! The hub: its topics, and the stream of those that a page has switched on.

use std::borrow::Cow;

use cli::Ending;
use serde::Deserialize;
use sse_core::{EventId, Rejection, Response};
use sse_net::{
    Answer, Engine, Hub, HubConfig, Journal, Request, Start, StreamToken, Topic, TopicConfig,
};

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
    /// Opens the hub, restored from the journal if there is one, or connected to Redis.
    pub(crate) async fn open(journal: Option<&str>, redis: Option<&str>) -> Result<Self, Ending> {
        let hub = match (journal, redis) {
            (None, None) => Hub::new(config()),
            (Some(dir), _) => {
                let journal = Journal::new(dir).on_notice(|notice| cli::print_error(notice));
                Hub::open(config(), &journal).map_err(Ending::failure)?
            }
            (None, Some(url)) => {
                let engine = Engine::redis(url).and_then(|engine| engine.hub("demo"));
                let hub = Hub::connect(config(), engine.map_err(Ending::failure)?).await;
                hub.map_err(Ending::failure)?
            }
        };
        let values = match hub.engine_snapshot() {
            Some(_) => hub.topic(values::TOPIC).map_err(Ending::failure)?,
            None => values::topic(&hub).map_err(Ending::failure)?,
        };
        Ok(Self {
            feed: Feed::new(hub.topic("feed").map_err(Ending::failure)?),
            values,
            hub,
        })
    }

    /// Streams the topics in `topics`, separated by commas, such as `?topics=feed,values`.
    ///
    /// `inbox` is the inbox of the visitor in `visitor`. A real server takes the visitor from
    /// its session instead: a name is no authorisation. With a `token`, the topics can be changed
    /// while the client follows.
    pub(crate) async fn follow(&self, request: Request) -> Answer {
        let names = request.query_value("topics").unwrap_or_default();
        let topics = self.topics(&request, names.split(','));
        match (topics, token(&request)) {
            (Ok(topics), Ok(token)) => {
                let request = match token {
                    Some(token) => request.with_token(token),
                    None => request,
                };
                let answer = request.follow_all_from(topics, Start::Last(HISTORY));
                self.feed.count_client(answer).await
            }
            (Err(rejection), _) | (_, Err(rejection)) => request.reject(rejection),
        }
    }

    /// Changes the topics of a stream, which is named like in the `GET` that opened it.
    pub(crate) async fn switch(&self, mut request: Request) -> Answer {
        let result = match request.json::<Switch>().await {
            Ok(switch) => self.apply(&request, &switch),
            Err(rejection) => Err(rejection),
        };
        match result {
            Ok(()) => request.respond(Response::new(204)),
            Err(rejection) => request.reject(rejection),
        }
    }

    /// Adds the feed from now on, and other topics with their past.
    fn apply(&self, request: &Request, switch: &Switch) -> Result<(), Rejection> {
        let token = token(request)?.ok_or(Rejection::BAD_REQUEST.because(TOKEN))?;
        let stream = self.hub.stream_topics(&token);
        let stream = stream.ok_or(Rejection::NOT_FOUND.because(UNKNOWN))?;
        let names = |names: &[String]| self.topics(request, names.iter().map(String::as_str));
        let (added, removed) = (names(&switch.add)?, names(&switch.remove)?);
        stream.remove(removed.iter().filter_map(Topic::name));
        let after = switch.after.as_deref().filter(|after| !after.is_empty());
        let after = after.and_then(|after| EventId::new(after).ok());
        let is_feed = |topic: &Topic| topic.name() == self.feed.topic.name();
        let (feed, others): (Vec<_>, Vec<_>) = added.into_iter().partition(is_feed);
        stream
            .add_after(feed, after.clone(), Start::Live)
            .and_then(|()| stream.add_after(others, after, Start::Last(HISTORY)))
            .map_err(|error| Rejection::BAD_REQUEST.because(error.to_string()))
    }

    /// Returns the topics with these names, as the pages call them.
    fn topics<'a>(
        &self,
        request: &Request,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<Topic>, Rejection> {
        let topic = |name| match name {
            "feed" => Ok(self.feed.topic.clone()),
            "values" => Ok(self.values.clone()),
            "inbox" => self.inbox(&visitor(request)),
            _ => Err(Rejection::BAD_REQUEST.because(TOPICS)),
        };
        names.map(topic).collect()
    }
}

/// The change of a stream's topics.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    #[serde(default)]
    add: Vec<String>,
    #[serde(default)]
    remove: Vec<String>,
    /// The event ID after which the added topics continue.
    after: Option<String>,
}

/// Returns the token of the stream, if it has one. It is of no use to another visitor.
fn token(request: &Request) -> Result<Option<StreamToken>, Rejection> {
    let Some(text) = request.query_value("token") else {
        return Ok(None);
    };
    let token = StreamToken::parse(&text).ok_or(Rejection::BAD_REQUEST.because(TOKEN))?;
    Ok(Some(token.bound_to(&visitor(request))))
}

fn visitor(request: &Request) -> Cow<'_, str> {
    request.query_value("visitor").unwrap_or_default()
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

const TOKEN: &str = "`token` has to be 22 to 64 letters, digits, hyphens and underscores";

const UNKNOWN: &str = "there is no stream with this token; open it first";
