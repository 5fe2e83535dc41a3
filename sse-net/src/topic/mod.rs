//! A log that can wake.

mod clock;
mod subscription;
mod waiters;

use std::ops::Range;
use std::sync::TryLockError;
use std::time::Duration;
use std::{error, fmt, io, slice};

pub(crate) use clock::now;
use sse_core::{
    Cursor, Encoded, Event, EventId, Evicted, Lagged, Log, LogId, Resume, Retention, Slice,
};
pub use subscription::Subscription;
use tokio::runtime::Handle;
use waiters::Waiters;
pub(crate) use waiters::Wakers;

use crate::config::{SlowClients, TopicConfig, UnknownIds};
use crate::disk::failed;
use crate::journal::{Journal, JournalError, JournalState};
use crate::keeper::{Keeper, Progress};
use crate::segments::Segments;
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, lock};

/// One log of events, which any number of subscribers follow, each at its own pace.
///
/// Publishing encodes the event once, appends it to the log and wakes who has caught up; it
/// never waits for a subscriber. The log is the only queue: a subscriber is a cursor. Cheap
/// to clone; all clones are the same topic. An idle topic costs a few hundred bytes, so one
/// for each user is in order.
///
/// ```
/// use sse_core::{Event, Retention};
/// use sse_net::{Start, Topic};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let ticks = Topic::new(Retention::events(10_000));
/// let mut subscription = ticks.subscribe(Start::Live);
/// ticks.publish(&Event::new().id(1).data("hey"))?;
/// ticks.publish(&Event::new().id(2).data("there"))?;
///
/// let bytes = subscription.read_bytes().await.unwrap().unwrap();
/// assert_eq!(bytes, "id: 1\ndata: hey\n\nid: 2\ndata: there\n\n");
/// # Ok::<(), sse_net::PublishError>(())
/// # }).unwrap();
/// ```
///
/// What else than its retention can be set stands in [`TopicConfig`]:
///
/// ```
/// use std::time::Duration;
/// use sse_core::Retention;
/// use sse_net::{SlowClients, Topic, TopicConfig};
///
/// let quotes = Topic::new(TopicConfig {
///     retention: Retention::events(100).age(Duration::from_secs(60)),
///     slow_clients: SlowClients::SkipAhead,
///     linger: Duration::from_millis(10),
///     ..TopicConfig::default()
/// });
/// # let _ = quotes;
/// ```
#[derive(Clone)]
pub struct Topic(Arc<Shared>, Option<Arc<Keeper>>);

impl Topic {
    /// A topic with these settings: a [`TopicConfig`], or just a
    /// [`Retention`](sse_core::Retention).
    #[must_use]
    pub fn new(config: impl Into<TopicConfig>) -> Self {
        let config = config.into();
        let log = Log::new(config.retention);
        Self(Shared::new(config, log), None)
    }

    /// A topic that keeps what it publishes in a [`Journal`], and begins with what is there:
    /// as much as its retention allows. Clients that come back after a restart go on where
    /// they left off.
    ///
    /// This reads as many segments as what it restores may be in, or one more, each once: damage
    /// in others is not told. The topic costs a thread, which writes, and
    /// with [`SyncPolicy::Interval`](crate::SyncPolicy::Interval) another. When its last handle
    /// is dropped, what is left is written and synced, unless the disk fails, which is told; that
    /// waits for the disk.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when another topic has the journal open, here or in another process,
    /// when it is of a newer format, and when files can't be opened or read. Damage is none:
    /// it is [told](Journal::on_notice) and skipped.
    pub fn open(config: impl Into<TopicConfig>, journal: &Journal) -> Result<Self, JournalError> {
        let config = config.into();
        let mut tell = |notice| journal.tell(&notice);
        let (segments, log) = Segments::open(journal, config.retention, now(), &mut tell)?;
        let shared = Shared::new(config, log);
        let keeper = Keeper::start(&shared, journal.clone(), segments);
        let keeper = keeper.map_err(failed("write", &journal.dir))?;
        Ok(Self(shared, Some(Arc::new(keeper))))
    }

    /// Publishes an event.
    ///
    /// Never waits, and works from any thread, within a runtime or without; but where a
    /// journal syncs [every event](crate::SyncPolicy::EveryEvent), this waits for the disk.
    /// Costs one encoding and one wake-up per waiting [`Subscription`] (many are woken from a
    /// task); the clients of a server wait in one for each of its shards.
    ///
    /// An event without an ID gets one of the log's; see [`Log`].
    ///
    /// # Errors
    ///
    /// [`PublishError`]: the topic has been finished, or the event is too large. Nothing was
    /// published.
    pub fn publish(&self, event: &Event<'_>) -> Result<Published, PublishError> {
        self.publish_all(slice::from_ref(event))
    }

    /// Publishes several events as one batch: subscribers are woken once, and no other
    /// publisher's events come between. Other publishers and readers wait for as long as the
    /// batch takes, some 0.1 µs per event.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish); none of the events was published.
    pub fn publish_all(&self, events: &[Event<'_>]) -> Result<Published, PublishError> {
        let large = self.encode_large(events)?;
        let state = self.lock();
        if state.is_finished {
            return Err(PublishError::Finished);
        }
        Ok(self.append(state, events, large))
    }

    /// Ends the topic, with a `last` event if there is one to send.
    ///
    /// Subscribers get the events that they have not read, and then the end of their stream.
    /// Browsers reconnect after that: they get what they have not seen, and then 204, on which
    /// they stop. A topic ends once; doing so again changes nothing.
    ///
    /// ```
    /// use sse_core::{Event, EventType};
    /// use sse_net::{PublishError, Topic, TopicConfig};
    ///
    /// const DONE: EventType = EventType::from_static("done");
    ///
    /// let job = Topic::new(TopicConfig::default());
    /// job.publish(&Event::new().data("99 %"))?;
    /// job.finish(Some(&Event::new().event(DONE).data("")))?;
    /// let late = job.publish(&Event::new().data("too late")).unwrap();
    /// assert_eq!(late.unwrap_err(), PublishError::Finished);
    /// # Ok::<(), PublishError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`PublishError::TooLarge`]: the topic has not been finished.
    pub fn finish(&self, last: Option<&Event<'_>>) -> Result<(), PublishError> {
        let events = last.map_or(&[][..], slice::from_ref);
        let large = self.encode_large(events)?;
        let mut state = self.lock();
        if !state.is_finished {
            state.is_finished = true;
            self.append(state, events, large);
        }
        Ok(())
    }

    /// Whether the topic has been [finished](Self::finish).
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.lock().is_finished
    }

    /// How the topic's journal is doing, if it has one.
    #[must_use]
    pub fn journal(&self) -> Option<JournalState> {
        let state = self.lock();
        let tip = state.log.tip();
        state.progress.as_ref().map(|progress| progress.state(tip))
    }

    /// Waits until everything that has been published is in the topic's journal, and on disk
    /// unless its policy is [`SyncPolicy::Never`](crate::SyncPolicy::Never). Gives whether it is; without a journal it
    /// is not.
    ///
    /// Dropping the topic's last handle does so too. This is for programs that end otherwise.
    pub fn flush(&self) -> bool {
        self.1.as_ref().is_some_and(|keeper| keeper.flush())
    }

    /// A subscription that begins at `start`. Dropping it unsubscribes.
    #[must_use]
    pub fn subscribe(&self, start: Start) -> Subscription {
        self.subscribe_after(None, start)
    }

    /// A subscription that continues after the event with this ID, or, without an ID, begins
    /// at `start`.
    ///
    /// If events after that ID were evicted, or the ID is not known, the first read returns
    /// [`Lagged`], and the next continues with the oldest event that is kept, or where
    /// [`unknown_ids`](TopicConfig::unknown_ids) says.
    ///
    /// ```
    /// use sse_core::{Event, EventId, Retention};
    /// use sse_net::{Start, Topic};
    ///
    /// let topic = Topic::new(Retention::events(10));
    /// topic.publish(&Event::new().id(1).data("hey"))?;
    /// topic.publish(&Event::new().id(2).data("there"))?;
    /// let seen = EventId::from(1);
    /// assert_eq!(topic.subscribe_after(seen, Start::Live).lag(), "id: 2\ndata: there\n\n".len());
    /// # Ok::<(), sse_net::PublishError>(())
    /// ```
    #[must_use]
    pub fn subscribe_after(
        &self,
        last_event_id: impl Into<Option<EventId<'static>>>,
        start: Start,
    ) -> Subscription {
        let asked = last_event_id.into();
        let mut state = self.lock();
        let unknown_ids = self.0.config.unknown_ids;
        let (resume, cursor, evicted) = state.locate(asked.as_ref(), start, unknown_ids);
        state.subscriptions += 1;
        if state.runtime.is_none() && state.subscriptions > Wakers::FEW {
            state.runtime = Handle::try_current().ok();
        }
        drop(state);
        drop(evicted);
        let missed = match resume {
            Resume::Gap(_) | Resume::Unknown => asked,
            Resume::New | Resume::Resumed(_) => None,
        };
        Subscription::new(self.clone(), cursor, resume, missed)
    }

    /// Finds where a client continues that has seen events up to `last_event_id`; see
    /// [`Log::resume`].
    ///
    /// A server does this itself: [`Incoming::follow`](crate::Incoming::follow).
    #[must_use]
    pub fn resume(&self, last_event_id: Option<&EventId<'_>>) -> Resume {
        let mut state = self.lock();
        let evicted = state.log.evict(now());
        let resume = state.log.resume(last_event_id);
        drop(state);
        drop(evicted);
        resume
    }

    /// The number of subscriptions. All clients of a server that follow the topic share one
    /// for each of its shards.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.lock().subscriptions
    }

    /// What the topic was made with.
    #[must_use]
    pub fn config(&self) -> &TopicConfig {
        &self.0.config
    }

    /// The event that reports a gap: with the last event ID that the subscriber gave, and the
    /// ID of the event at `cursor`, with which it continues.
    pub(crate) fn gap_event(&self, asked: Option<&EventId<'_>>, cursor: Cursor) -> Vec<u8> {
        #[derive(serde::Serialize)]
        struct Gap<'a> {
            asked: Option<&'a str>,
            from: Option<&'a str>,
        }
        let from = self.lock().log.next_event_id(cursor);
        let gap = Gap {
            asked: asked.map(EventId::as_str),
            from: from.as_ref().map(EventId::as_str),
        };
        let event = Event::new().event(&self.0.config.gap_type);
        let mut out = Vec::new();
        event.json_data(&gap).unwrap_or_default().encode(&mut out);
        out
    }

    /// Appends what precedes a client's first event: the gap event, if it has missed events
    /// after an ID, and then a block with the reconnection time and the ID of its position, so that a
    /// client that is cut off before its first event resumes.
    ///
    /// In this order, a client that has got the ID has got the gap event, too.
    pub(crate) fn encode_opening(
        &self,
        missed: Option<&EventId<'_>>,
        cursor: Cursor,
        retry: Duration,
        out: &mut Vec<u8>,
    ) {
        if missed.is_some() {
            out.extend_from_slice(&self.gap_event(missed, cursor));
        }
        let block = Event::new().retry(retry);
        match self.position_id(cursor) {
            Some(id) => block.id(id),
            None => block,
        }
        .encode(out);
    }

    fn position_id(&self, cursor: Cursor) -> Option<EventId<'static>> {
        self.lock().log.position_id(cursor, now())
    }

    /// The first events in `range` that lie together in the log.
    pub(crate) fn slice(&self, range: Range<Cursor>) -> Result<Option<Slice>, Lagged> {
        let state = self.lock();
        let end = range.end.min(state.log.end());
        state.log.slice(range.start..end)
    }

    /// Evicts what has become too old.
    pub(crate) fn evict(&self) {
        let evicted = self.lock().log.evict(now());
        drop(evicted);
    }

    /// Finds where a client continues after `asked`, or begins.
    pub(crate) fn locate(&self, asked: Option<&EventId<'_>>, start: Start) -> Located {
        let mut state = self.lock();
        let unknown_ids = self.0.config.unknown_ids;
        let (resume, cursor, evicted) = state.locate(asked, start, unknown_ids);
        let is_over = state.is_over(cursor);
        drop(state);
        drop(evicted);
        Located {
            resume,
            cursor,
            is_over,
            missed: match resume {
                Resume::Gap(_) | Resume::Unknown => asked.map(|id| id.clone().into_owned()),
                Resume::New | Resume::Resumed(_) => None,
            },
        }
    }

    /// Identifies the topic for as long as it lives.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    pub(crate) fn slow_clients(&self) -> SlowClients {
        self.0.config.slow_clients
    }

    /// How long events that follow a delivery wait.
    pub(crate) fn linger(&self) -> Duration {
        self.0.config.linger
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Encodes the events that are too large to be encoded under the lock, with their indices.
    fn encode_large(&self, events: &[Event<'_>]) -> Result<Vec<(usize, Encoded)>, PublishError> {
        let max = self.0.config.max_event;
        let is_large = |(_, event): &(usize, &Event<'_>)| {
            let len = event.text_len();
            len > SMALL || len.saturating_mul(7).saturating_add(128) > max
        };
        let large = events.iter().enumerate().filter(is_large);
        large
            .map(|(index, event)| {
                let encoded = Encoded::new(event);
                match encoded.max_len() {
                    len if len > max => Err(PublishError::TooLarge { len, max }),
                    _ => Ok((index, encoded)),
                }
            })
            .collect()
    }

    /// Appends `events`, and wakes subscribers once the lock is released: a waker is others'
    /// code, and memory is freed there, too.
    fn append(
        &self,
        mut state: MutexGuard<'_, State>,
        events: &[Event<'_>],
        large: Vec<(usize, Encoded)>,
    ) -> Published {
        let now = now();
        let start = state.log.tip();
        let (mut id, mut evicted) = (None, Evicted::default());
        let mut large = large.into_iter().peekable();
        for (index, event) in events.iter().enumerate() {
            let appended = match large.next_if(|(at, _)| *at == index) {
                Some((_, encoded)) => state.log.append_encoded(encoded, now),
                None => state.log.append(event, now),
            };
            id = (!event.has_id()).then_some(appended.id);
            evicted.append(appended.evicted);
        }
        let end = state.log.tip();
        let wakes_keeper = state.wakes_keeper();
        // A journal writes events that are held back first, and its thread does the waking.
        let wakers = if state.log.end() == end {
            state.take_wakers()
        } else {
            Wakers::default()
        };
        drop(state);
        drop(evicted);
        if wakes_keeper {
            self.0.news.notify_one();
        }
        wakers.wake();
        let is_stored = match &self.1 {
            Some(keeper) if keeper.is_awaited() => keeper.wait(start, end),
            _ => true,
        };
        Published { id, is_stored }
    }
}

/// The most text that is encoded under the lock: at worst, each byte becomes a line.
const SMALL: usize = 8 << 10;

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Topic")
            .field("events", &state.log.len())
            .field("subscriptions", &state.subscriptions)
            .field("is_finished", &state.is_finished)
            .finish_non_exhaustive()
    }
}

/// An event that a topic has accepted, or the last one of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    id: Option<LogId>,
    is_stored: bool,
}

impl Published {
    /// The ID that the topic gave the event; `None` if the publisher had given it one.
    #[must_use]
    pub const fn id(&self) -> Option<LogId> {
        self.id
    }

    /// Returns `false` if the topic's journal syncs
    /// [every event](crate::SyncPolicy::EveryEvent) and could not: the event is delivered, but
    /// may not be on disk. The reason is [reported](Journal::on_notice).
    #[must_use]
    pub const fn is_stored(&self) -> bool {
        self.is_stored
    }
}

/// Why an event was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic has been [finished](Topic::finish).
    Finished,
    /// The event is longer than the topic's [`max_event`](TopicConfig::max_event).
    TooLarge {
        /// The length of the encoded event in bytes, with the longest possible ID.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("the topic has been finished; it accepts no events"),
            Self::TooLarge { len, max } => write!(
                f,
                "the event has {len} bytes and the topic accepts {max}; raise `max_event` or \
                 split the event"
            ),
        }
    }
}

impl error::Error for PublishError {}

impl From<PublishError> for io::Error {
    fn from(error: PublishError) -> Self {
        Self::other(error)
    }
}

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// With the next event that is published.
    #[default]
    Live,
    /// With the last events of the replay window, as many as this.
    Last(usize),
    /// With the whole replay window.
    Earliest,
}

/// Where a client continues.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) resume: Resume,
    pub(crate) cursor: Cursor,
    /// Whether there is nothing more to come.
    pub(crate) is_over: bool,
    /// The client's last event ID, if it has missed events after it.
    pub(crate) missed: Option<EventId<'static>>,
}

pub(crate) struct Shared {
    config: TopicConfig,
    state: Mutex<State>,
    /// Tells a journal's thread that there is something to do.
    pub(crate) news: Condvar,
    /// Tells who waits for that thread.
    pub(crate) synced: Condvar,
}

impl Shared {
    fn new(config: TopicConfig, log: Log) -> Arc<Self> {
        Arc::new(Self {
            config,
            state: Mutex::new(State {
                log,
                waiters: Waiters::default(),
                subscriptions: 0,
                runtime: None,
                is_finished: false,
                progress: None,
            }),
            news: Condvar::new(),
            synced: Condvar::new(),
        })
    }

    pub(crate) const fn retention(&self) -> Retention {
        self.config.retention
    }

    /// The lock, if nobody has it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

pub(crate) struct State {
    pub(crate) log: Log,
    waiters: Waiters,
    subscriptions: usize,
    /// Where subscribers were seen to run, once they are many.
    runtime: Option<Handle>,
    is_finished: bool,
    /// How far the journal has come, if there is one.
    pub(crate) progress: Option<Box<Progress>>,
}

impl State {
    /// Finds where to continue after `asked`, or to begin.
    fn locate(
        &mut self,
        asked: Option<&EventId<'_>>,
        start: Start,
        unknown_ids: UnknownIds,
    ) -> (Resume, Cursor, Evicted) {
        let evicted = self.log.evict(now());
        let resume = self.log.resume(asked);
        let cursor = match (resume, unknown_ids) {
            (Resume::Resumed(cursor) | Resume::Gap(cursor), _) => cursor,
            (Resume::Unknown, UnknownIds::Kept) => self.log.window().min(self.log.end()),
            (Resume::Unknown, UnknownIds::AsFresh) | (Resume::New, _) => match start {
                Start::Live => self.log.end(),
                Start::Last(count) => self.log.last(count),
                Start::Earliest => self.log.window().min(self.log.end()),
            },
        };
        (resume, cursor, evicted)
    }

    /// Whether the journal's thread has to be told that there is something to write.
    fn wakes_keeper(&mut self) -> bool {
        let (tip, has_waiting) = (self.log.tip(), self.has_waiting());
        let progress = self.progress.as_mut();
        progress.is_some_and(|progress| progress.wakes(tip, has_waiting))
    }

    /// Whether a subscriber that has caught up waits.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// Who has caught up and waits.
    pub(crate) fn take_wakers(&mut self) -> Wakers {
        self.waiters.take(self.runtime.as_ref())
    }

    /// Whether nothing comes after `cursor`.
    fn is_over(&self, cursor: Cursor) -> bool {
        self.is_finished && cursor >= self.log.tip()
    }
}

#[cfg(test)]
mod tests;
