//! Streams whose topics change while they run.
//!
//! A stream of several topics may have a token, which is in its URL. The hub keeps the topics of
//! the stream under the token, and a handle changes them while clients follow. The rules:
//!
//! - *A change has an ID of the hub.* Everything with a smaller ID is sent before it, and
//!   everything else after it. So the IDs of a response do not fall, and a client's last event ID
//!   says which changes it has received.
//! - *A response applies a change when its position reaches the ID.* It sends an event `topics`
//!   that names the topics with replayed events, then those events up to the change, without `id`
//!   lines, and then an event `topics` with the ID of the change. A client that is cut off in
//!   between has a smaller ID, and gets all of that again.
//! - *Changes are not queued.* The set has its current topics, each with the ID of the change
//!   that added it, and the ID of the last removal. A response with the position X follows the
//!   topics that were added up to X, and takes the others as changes that are to come. So a client
//!   that comes back and one that is slow are the same case, and many changes cost nothing.
//! - *An engine assigns the ID of a change*, and until then the change is to come. It is an ID that
//!   no event has, and the set has it before the mark moves to it.
//! - *Nobody waits.* A change takes the set's lock, and the hub's for the ID; a response looks at
//!   the ID of the last change without a lock.
//!
//! A set without a response is kept for some time, since `EventSource` reconnects with its old URL.

#[cfg(feature = "redis")]
mod assigned;
mod kept;
mod set;
mod token;
mod view;

use std::borrow::Borrow;
use std::fmt;
use std::mem;

use sse_core::{EventId, LogId, Resume};

pub(super) use self::kept::KeptStreams;
use self::set::{Joins, release};
pub(crate) use self::set::{Member, PENDING, TopicSet};
pub use self::token::StreamToken;
pub(crate) use self::view::{Piece, View};
use self::view::{encode_first, encode_unknown};
use super::choice::{FollowError, distinct};
use super::clock::now;
use super::handle::Topic;
use super::hub::{Hub, HubShared, Judged};
use super::state::Shared;
use crate::config::Start;
use crate::sync::Arc;

impl Hub {
    /// Returns the topics of the stream with this token, to change them while clients follow.
    ///
    /// `None` if no stream has the token, or it has been without a connection for longer than
    /// [it is kept](crate::HubConfig::max_kept_streams).
    #[must_use]
    pub fn stream_topics(&self, token: &StreamToken) -> Option<StreamTopics> {
        let hub = self.shared();
        hub.sweep_streams();
        let set = hub.streams().get(token)?;
        Some(StreamTopics {
            hub: Arc::clone(hub),
            set,
        })
    }
}

/// The topics of a stream, which change while clients follow it.
///
/// A request has such a stream if it has a token; see
/// [`Request::with_token`](crate::Request::with_token). A handler looks the topics up by the token
/// in another request, usually a `POST`, and decides whether its user may follow a topic, as for
/// any request.
///
/// The stream continues on its connection. At each change the client gets an event `topics`, with
/// the names of the topics in JSON, as `{"topics":["feed","inbox/ann"]}`, and with an ID. If past
/// events of an added topic are sent, they come before it and without IDs, after another event
/// `topics` that announces them: in `{"topics":[…],"from":{"inbox/ann":null}}`, `from` has the name
/// of each such topic, and the event ID after which it continues, or `null` for its beginning. A
/// page clears what it shows of a topic that comes from its beginning: if the connection is lost
/// meanwhile, everything comes again. Each response also opens with an event `topics`.
///
/// ```
/// use sse_net::{Answer, Hub, Rejection, Request, Response, Start, StreamToken};
///
/// fn follow(request: Request, hub: &Hub, token: StreamToken) -> Answer {
///     match hub.topic("news") {
///         Ok(news) => request.with_token(token).follow_all([&news]),
///         Err(_) => request.reject(Rejection::UNAVAILABLE),
///     }
/// }
///
/// /// Responds to the `POST` of a page that has switched a topic on.
/// fn add(request: Request, hub: &Hub, token: &StreamToken, name: &str) -> Answer {
///     let Some(topics) = hub.stream_topics(token) else {
///         return request.reject(Rejection::NOT_FOUND);
///     };
///     let Ok(topic) = hub.topic(name) else {
///         return request.reject(Rejection::UNAVAILABLE);
///     };
///     match topics.add([&topic], Start::Live) {
///         Ok(()) => request.respond(Response::new(204)),
///         Err(error) => request.reject(Rejection::BAD_REQUEST.because(error.to_string())),
///     }
/// }
/// # let _ = (follow, add);
/// ```
#[derive(Clone)]
pub struct StreamTopics {
    hub: Arc<HubShared>,
    set: Arc<TopicSet>,
}

impl StreamTopics {
    /// Adds topics, from `start` on. [`Start::Live`] is the position of the stream.
    ///
    /// A [keyed](crate::Hub::keyed_topic) topic begins with its state, whatever the start.
    /// Those that the stream follows already stay as they are. Costs an ID of the hub, and looks
    /// at the stream's topics.
    ///
    /// # Errors
    ///
    /// [`FollowError`]: a topic does not belong to the hub, or they are too many. Nothing has
    /// been added.
    pub fn add(
        &self,
        topics: impl IntoIterator<Item = impl Borrow<Topic>>,
        start: Start,
    ) -> Result<(), FollowError> {
        self.add_after(topics, None, start)
    }

    /// Adds topics, after the event with this ID, or without one from `start` on.
    ///
    /// A page whose token the hub did not know any more sends its topics again, with its last
    /// event ID. Gaps are reported by a gap event with the topic's name.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn add_after(
        &self,
        topics: impl IntoIterator<Item = impl Borrow<Topic>>,
        last_event_id: Option<EventId<'_>>,
        start: Start,
    ) -> Result<(), FollowError> {
        let max = self.hub.config().max_topics_per_stream;
        let topics = distinct(topics, max)?;
        topics.iter().try_for_each(|topic| self.check(topic))?;
        let mut state = self.set.lock();
        let is_new = |topic: &&Topic| {
            let mut members = state.topics.iter();
            members.all(|member| topic.name() != Some(member.name()))
        };
        let added: Vec<_> = topics.iter().filter(is_new).collect();
        if state.topics.len() + added.len() > max {
            return Err(FollowError::TooManyTopics { max });
        }
        if added.is_empty() {
            return Ok(());
        }
        let asked = last_event_id.map(EventId::into_owned);
        let joins = Joins { asked, start };
        let (change, judged) = self.hub.change(&self.set, joins.asked.as_ref());
        let members = added.iter().map(|topic| match change {
            PENDING => Member::pending(&topic.shared, &joins),
            _ => Member::added(&topic.shared, change, &judged, &joins),
        });
        state.topics.extend(members);
        drop(state);
        self.end_change();
        Ok(())
    }

    /// Removes the topics with these names. Those that the stream does not follow are skipped.
    ///
    /// A stream without topics continues, so that topics can be added.
    pub fn remove(&self, names: impl IntoIterator<Item = impl AsRef<str>>) {
        let names: Vec<_> = names.into_iter().collect();
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        let is_removed = |member: &mut Member| names.contains(&member.name());
        let mut state = self.set.lock();
        let removed: Vec<_> = state.topics.extract_if(.., is_removed).collect();
        if removed.is_empty() {
            return;
        }
        (state.removed, _) = self.hub.change(&self.set, None);
        drop(state);
        release(&self.hub, removed.into_iter().map(|member| member.topic));
        self.end_change();
    }

    /// Returns the names of the topics.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let state = self.set.lock();
        let names = state.topics.iter().map(|member| member.name().to_owned());
        names.collect()
    }

    fn check(&self, topic: &Topic) -> Result<(), FollowError> {
        match topic.hub() {
            Some(hub) if Arc::ptr_eq(hub, &self.hub) => Ok(()),
            Some(_) => Err(FollowError::DifferentHubs),
            None => Err(FollowError::StandsAlone),
        }
    }

    /// Wakes the responses, and the storage if a mark has to move to the change.
    fn end_change(&self) {
        self.set.wake();
        if let Some(storage) = self.hub.storage() {
            storage.wake();
        }
    }
}

impl fmt::Debug for StreamTopics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamTopics")
            .field("names", &self.names())
            .finish_non_exhaustive()
    }
}

impl Member {
    /// A topic that a change adds.
    fn added(topic: &Arc<Shared>, change: LogId, judged: &Judged, joins: &Joins) -> Self {
        let Joins { asked, start } = joins;
        let position = judged.position().filter(|_| !topic.is_keyed());
        let (after, from, unknown) = match (position, start) {
            (Some(position), _) => {
                let lost = asked.as_ref().filter(|_| judged.has_lost());
                (Some(position), position, lost)
            }
            (None, Start::Live) if judged.asked.is_none() && !topic.is_keyed() => {
                (None, change, None)
            }
            _ => {
                let (state, found) = topic.find_judged(*judged, *start);
                drop(state);
                let from = found.position.unwrap_or_default();
                match found.resume {
                    Resume::Resumed => (Some(from), from, None),
                    _ => (None, from, asked.as_ref()),
                }
            }
        };
        Self {
            topic: Arc::clone(topic),
            change,
            from: from.min(change),
            after,
            unknown: unknown.cloned(),
            joins: None,
        }
    }

    /// A topic that is added once the change has an ID.
    fn pending(topic: &Arc<Shared>, joins: &Joins) -> Self {
        Self {
            topic: Arc::clone(topic),
            change: PENDING,
            from: PENDING,
            after: None,
            unknown: None,
            joins: Some(Box::new(joins.clone())),
        }
    }
}

/// The first view of a response, and what it follows.
pub(super) struct Opened {
    pub(super) view: View,
    pub(super) members: Vec<Member>,
    /// The events with which the response begins.
    pub(super) opening: Vec<u8>,
    pub(super) is_unknown: bool,
}

impl HubShared {
    /// Begins a response of the stream with this token. `first` are its topics if it is unknown.
    ///
    /// A client without an ID has the position that `locate` returns for the first topics.
    pub(super) fn begin_response(
        self: &Arc<Self>,
        token: StreamToken,
        first: &[Topic],
        asked: Option<&EventId<'_>>,
        position: impl FnOnce(&[Member]) -> LogId,
    ) -> Opened {
        self.sweep_streams();
        let topics = first.iter().map(|topic| Arc::clone(&topic.shared));
        let (set, is_known) = self.streams().begin(&token, || TopicSet::new(topics));
        let initial: Vec<_> = set
            .lock()
            .members(self, LogId::default())
            .cloned()
            .collect();
        let position = position(&initial);
        let view = View::new(Arc::clone(self), token, Arc::clone(&set), position);
        let members: Vec<_> = set.lock().members(self, position).cloned().collect();
        let (mut opening, is_unknown) = (Vec::new(), !is_known && asked.is_some());
        if is_unknown {
            encode_unknown(self.config().gap_type(), asked, &mut opening);
        }
        encode_first(&members, &mut opening);
        Opened {
            view,
            members,
            opening,
            is_unknown,
        }
    }

    /// Ends a response.
    fn end_response(&self, token: &StreamToken) {
        let until = now().steady.saturating_add(self.config().keep_time());
        self.streams().end(token, until);
        self.sweep_streams();
    }

    /// Drops streams that are no longer kept.
    fn sweep_streams(&self) {
        let max = self.config().max_kept_streams;
        let dropped = self.streams().sweep(max, now().steady);
        for set in dropped {
            let topics = mem::take(&mut set.lock().topics);
            release(self, topics.into_iter().map(|member| member.topic));
        }
    }

    /// Takes an ID for a change of a set, which is locked, and judges the ID of the client.
    fn change(&self, set: &Arc<TopicSet>, asked: Option<&EventId<'_>>) -> (LogId, Judged) {
        let mut order = self.order();
        let judged = order.judge(asked);
        (order.assign_change(set, now()), judged)
    }
}
