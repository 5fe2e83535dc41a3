//! A log that can wake.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fmt, future, io, mem, slice};

use slab::Slab;
use sse_core::{Cursor, Event, EventId, Forgotten, Log, Resume, Retention};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

#[cfg(feature = "http")]
use crate::burst::{Burst, Recent};
use crate::config::{SlowClients, TopicConfig, UnknownIds};
use crate::disk::failed;
use crate::journal::{Journal, JournalError, JournalState};
use crate::keeper::{Keeper, Progress};
use crate::segments::Segments;
use crate::trace;

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
/// ticks.publish(&Event::new().id(1).data("hey"));
/// ticks.publish(&Event::new().id(2).data("there"));
///
/// let mut bytes = Vec::new();
/// subscription.read(&mut bytes).await.unwrap();
/// assert_eq!(bytes, b"id: 1\ndata: hey\n\nid: 2\ndata: there\n\n");
/// # });
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
    /// journal syncs [every event](crate::SyncPolicy::EveryEvent), this waits for the disk. It
    /// costs the encoding, and a wake-up for each [`Subscription`] that waits, which is left to a
    /// task of theirs where they are many; the clients of a server wait in one for each of its
    /// shards.
    ///
    /// An event without an ID gets one of the log's; see [`Log`].
    pub fn publish(&self, event: &Event<'_>) -> Published {
        self.publish_all(slice::from_ref(event))
    }

    /// Publishes several events as one burst: subscribers are woken once, and no other
    /// publisher's events come between. Otherwise as [`publish`](Self::publish).
    pub fn publish_all(&self, events: &[Event<'_>]) -> Published {
        trace::dropped_ids();
        let state = self.lock();
        if state.is_finished {
            return Published::Refused;
        }
        match self.append(state, events) {
            true => Published::Accepted,
            false => Published::NotKept,
        }
    }

    /// Ends the topic, with a `last` event if there is one to send.
    ///
    /// Who follows it gets what is left, and then the end of its stream. Browsers reconnect
    /// after that: they get what they have not seen, and then 204, on which they stop. What
    /// is published afterwards is not accepted. A topic ends once; doing so again changes
    /// nothing.
    ///
    /// ```
    /// use sse_core::{Event, EventType};
    /// use sse_net::{Topic, TopicConfig};
    ///
    /// const DONE: EventType = EventType::from_static("done");
    ///
    /// let job = Topic::new(TopicConfig::default());
    /// job.publish(&Event::new().data("99 %"));
    /// job.finish(Some(&Event::new().event(DONE).data("")));
    /// let late = job.publish(&Event::new().data("too late"));
    /// assert_eq!(late, sse_net::Published::Refused);
    /// ```
    pub fn finish(&self, last: Option<&Event<'_>>) {
        let mut state = self.lock();
        if !state.is_finished {
            state.is_finished = true;
            self.append(state, last.map_or(&[], slice::from_ref));
        }
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

    /// A subscription that goes on after the event with this ID, or, if there is none, begins
    /// at `start`.
    ///
    /// Where events after that one are no longer kept, or the topic does not know the ID, the
    /// first read gives [`Forgotten`]. Then follows everything that is kept, or what
    /// [`unknown_ids`](TopicConfig::unknown_ids) says.
    ///
    /// ```
    /// use sse_core::{Event, EventId, Retention};
    /// use sse_net::{Start, Topic};
    ///
    /// let topic = Topic::new(Retention::events(10));
    /// topic.publish(&Event::new().id(1).data("hey"));
    /// topic.publish(&Event::new().id(2).data("there"));
    /// let seen = EventId::from(1);
    /// assert_eq!(topic.subscribe_after(seen, Start::Live).lag(), "id: 2\ndata: there\n\n".len());
    /// ```
    #[must_use]
    pub fn subscribe_after(
        &self,
        last_event_id: impl Into<Option<EventId<'static>>>,
        start: Start,
    ) -> Subscription {
        let asked = last_event_id.into();
        let mut state = self.lock();
        let (resume, cursor) = state.locate(asked.as_ref(), start, self.0.config.unknown_ids);
        state.subscriptions += 1;
        if state.runtime.is_none() && state.subscriptions > Wakers::FEW {
            state.runtime = Handle::try_current().ok();
        }
        drop(state);
        Subscription {
            topic: self.clone(),
            cursor,
            place: None,
            lingers_until: None,
            resume,
            missed: match resume {
                Resume::Gap(_) | Resume::Unknown => asked,
                Resume::Fresh | Resume::Resumed(_) => None,
            },
        }
    }

    /// Where a client goes on that has seen events up to `last_event_id`; see
    /// [`Log::resume`].
    ///
    /// A server does this itself: [`Incoming::follow`](crate::Incoming::follow).
    #[must_use]
    pub fn resume(&self, last_event_id: Option<&EventId<'_>>) -> Resume {
        let mut state = self.lock();
        state.log.forget(now());
        state.log.resume(last_event_id)
    }

    /// How many subscriptions there are. All clients of a server that follow the topic share
    /// one for each of its shards.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.lock().subscriptions
    }

    /// What the topic was made with.
    #[must_use]
    pub fn config(&self) -> &TopicConfig {
        &self.0.config
    }

    /// What a subscriber that goes on at `cursor` is told in place of the events that it has
    /// missed: its last event ID, if it gave one, and the ID of the event that comes next.
    pub(crate) fn gap_event(&self, asked: Option<&EventId<'_>>, cursor: Cursor) -> Vec<u8> {
        #[derive(serde::Serialize)]
        struct Gap<'a> {
            asked: Option<&'a str>,
            from: Option<&'a str>,
        }
        let from = self.lock().log.next_id(cursor);
        let gap = Gap {
            asked: asked.map(EventId::as_str),
            from: from.as_ref().map(EventId::as_str),
        };
        let event = Event::new().event(&self.0.config.gap_type);
        let mut out = Vec::new();
        event.json_data(&gap).unwrap_or_default().encode(&mut out);
        out
    }

    /// Appends to `out` the events from `start` to `end`, or as many of them as do not
    /// exceed `max` bytes, but at least one.
    pub(crate) fn copy(
        &self,
        start: Cursor,
        end: Cursor,
        max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Forgotten> {
        let log = &self.lock().log;
        let end = end.min(log.event_end(start.advance(max)));
        log.copy(start, end, out)
    }

    /// Where a client goes on, what became of its last event ID, and whether there is nothing
    /// more to come.
    pub(crate) fn locate(
        &self,
        asked: Option<&EventId<'_>>,
        start: Start,
    ) -> (Resume, Cursor, bool) {
        let mut state = self.lock();
        let (resume, cursor) = state.locate(asked, start, self.0.config.unknown_ids);
        (resume, cursor, state.is_over(cursor))
    }

    /// How many events there are between two cursors.
    pub(crate) fn count(&self, start: Cursor, end: Cursor) -> usize {
        self.lock().log.count(start, end)
    }

    /// What tells this topic from others, as long as it lives.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    pub(crate) fn slow_clients(&self) -> SlowClients {
        self.0.config.slow_clients
    }

    /// After a delivery, for how long what follows is to wait.
    pub(crate) fn linger(&self) -> Duration {
        self.0.config.linger
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Appends `events`, and wakes who waits once the lock is released: a waker is others'
    /// code. Gives whether they are kept as the journal promises, if there is one.
    fn append(&self, mut state: MutexGuard<'_, State>, events: &[Event<'_>]) -> bool {
        let now = now();
        let start = state.log.tip();
        for event in events {
            state.log.append(event, now);
        }
        let end = state.log.tip();
        let wakes_keeper = state.wakes_keeper();
        // What a journal has to write first is held back, and its thread does the waking.
        let wakers = match state.log.end() == end {
            true => state.take_wakers(),
            false => Wakers::default(),
        };
        drop(state);
        if wakes_keeper {
            self.0.news.notify_one();
        }
        wakers.wake();
        match &self.1 {
            Some(keeper) if keeper.is_awaited() => keeper.wait(start, end),
            _ => true,
        }
    }
}

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

/// What became of an event that was to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It goes to all who follow the topic; and where its journal syncs
    /// [every event](crate::SyncPolicy::EveryEvent), it is on disk.
    Accepted,
    /// It goes to all who follow the topic, but may not be on disk: the journal syncs every event,
    /// and can't write. What is wrong has been [told](Journal::on_notice).
    NotKept,
    /// It goes to nobody: the topic has been [finished](Topic::finish).
    Refused,
}

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// With what is published from now on.
    #[default]
    Live,
    /// With the last so many events, as far as they are kept.
    Last(usize),
    /// With everything that is kept.
    Kept,
    /// At a cursor, such as one that [`Topic::resume`] gives; beyond the end, that is
    /// [`Live`](Self::Live).
    At(Cursor),
}

/// A cursor into a [`Topic`] that can wait. Dropping it unsubscribes.
///
/// What it reads are the wire bytes of whole events, ready for any writer.
#[derive(Debug)]
pub struct Subscription {
    topic: Topic,
    cursor: Cursor,
    /// Where it waits, or has waited.
    place: Option<Place>,
    /// Until when what follows the last read waits; only where the topic lingers.
    lingers_until: Option<Instant>,
    /// What became of the ID after which it began.
    resume: Resume,
    /// That ID, until it has been told that events after it are missed.
    missed: Option<EventId<'static>>,
}

impl Subscription {
    /// Waits until there are events and appends them all to `out`. Gives how many bytes
    /// they are; zero when the topic has been finished and everything has been read.
    ///
    /// Where the topic [lingers](TopicConfig::linger), what follows a read within that time
    /// is read together at its end.
    ///
    /// Nothing is lost when this is cancelled.
    ///
    /// # Errors
    ///
    /// [`Forgotten`] when the subscription has fallen behind what the topic keeps. The next
    /// call goes on where that begins.
    pub async fn read(&mut self, out: &mut Vec<u8>) -> Result<usize, Forgotten> {
        self.read_part(usize::MAX, out).await
    }

    /// The same, of at most `max` bytes and what completes their last event.
    pub(crate) async fn read_part(
        &mut self,
        max: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, Forgotten> {
        if let Some(until) = self.lingers_until {
            sleep_until(until).await;
            self.lingers_until = None;
        }
        let read = future::poll_fn(|cx| self.poll_part(cx, max, out)).await;
        let linger = self.topic.linger();
        if !linger.is_zero() {
            self.lingers_until = Instant::now().checked_add(linger);
        }
        read
    }

    /// The polling form of [`read`](Self::read), which does not linger.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Result<usize, Forgotten>> {
        self.poll_part(cx, usize::MAX, out)
    }

    /// The polling form of [`read_part`](Self::read_part).
    pub(crate) fn poll_part(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        out: &mut Vec<u8>,
    ) -> Poll<Result<usize, Forgotten>> {
        let before = out.len();
        let news = self.poll_news(cx, |state, cursor| {
            let log = &state.log;
            let end = match cursor.distance(log.end()) > max {
                true => log.event_end(cursor.advance(max)),
                false => log.end(),
            };
            let copied = log.copy(cursor, end, out);
            (copied.map_or(cursor, |()| end), ())
        });
        news.map_ok(|_| out.len() - before)
    }

    /// The same as shared bytes, of which there may be more left; none at the end.
    #[cfg(feature = "http")]
    pub(crate) fn poll_burst(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Burst>, Forgotten>> {
        self.poll_news(cx, |state, cursor| {
            let recent = state.recent.get_or_insert_default();
            let burst = recent.read(&state.log, cursor);
            (burst.end, burst)
        })
    }

    /// Takes from the log, where there is something after the cursor, and goes where `take`
    /// says.
    fn poll_news<T>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&mut State, Cursor) -> (Cursor, T),
    ) -> Poll<Result<Option<T>, Forgotten>> {
        if self.missed.take().is_some() {
            let begin = self.cursor;
            return Poll::Ready(Err(Forgotten { begin }));
        }
        let mut state = self.topic.lock();
        match state.log.read(self.cursor) {
            Ok([]) if state.is_over(self.cursor) => Poll::Ready(Ok(None)),
            Ok([]) => {
                let waker = cx.waker().clone();
                let replaced = state.waiting.leave(self.place);
                self.place = Some(state.waiting.enter(waker));
                let wakes_keeper = state.wakes_keeper();
                drop(state);
                if wakes_keeper {
                    self.topic.0.news.notify_one();
                }
                drop(replaced); // It may be the last that a task hangs on, with a subscription.
                Poll::Pending
            }
            Ok(_) => {
                let (cursor, taken) = take(&mut state, self.cursor);
                self.cursor = cursor;
                Poll::Ready(Ok(Some(taken)))
            }
            Err(forgotten) => {
                self.cursor = forgotten.begin;
                Poll::Ready(Err(forgotten))
            }
        }
    }

    /// What became of the ID after which the subscription began.
    #[must_use]
    pub const fn resume(&self) -> Resume {
        self.resume
    }

    /// The gap event, where the subscription began after an ID and has missed events; then
    /// the next read does not tell of that.
    #[cfg(feature = "http")]
    pub(crate) fn take_gap_event(&mut self) -> Option<Vec<u8>> {
        let asked = self.missed.take()?;
        Some(self.topic.gap_event(Some(&asked), self.cursor))
    }

    /// Whether there is nothing more to come.
    #[cfg(feature = "http")]
    pub(crate) fn is_over(&self) -> bool {
        self.topic.lock().is_over(self.cursor)
    }

    /// Writes all events to `writer`, the present and the future, until the topic is
    /// finished; flushes whenever there is nothing more to write. Gives how many bytes were
    /// written.
    ///
    /// A writer that is too slow for what the topic keeps is dealt with as a slow client is:
    /// with [`SlowClients::SkipAhead`] it gets the gap event and goes on, otherwise this ends
    /// with an error.
    ///
    /// When this is cancelled, the writer may have got a part of an event. To end it between
    /// two, finish the topic, or [`read`](Self::read) and write yourself.
    ///
    /// ```
    /// use sse_core::{Event, Retention};
    /// use sse_net::{Start, Topic};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let topic = Topic::new(Retention::events(100));
    /// let mut recording = topic.subscribe(Start::Kept);
    /// let recorder = tokio::spawn(async move {
    ///     let mut file = Vec::new(); // or a tokio::fs::File, a pipe, a socket
    ///     recording.copy_to(&mut file).await?;
    ///     std::io::Result::Ok(file)
    /// });
    /// topic.publish(&Event::new().id(1).data("hey"));
    /// topic.finish(None);
    /// assert_eq!(recorder.await.unwrap().unwrap(), b"id: 1\ndata: hey\n\n");
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// What the writer says; [`Forgotten`], as an error of the kind
    /// [`Other`](io::ErrorKind::Other), when it is too slow.
    pub async fn copy_to(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<u64> {
        let mut bytes = Vec::new();
        let mut written = 0;
        loop {
            let asked = self.missed.clone();
            match self.read(&mut bytes).await {
                Ok(0) => return Ok(written),
                Ok(_) => {}
                Err(forgotten) => match self.topic.slow_clients() {
                    SlowClients::Disconnect => return Err(io::Error::other(forgotten)),
                    SlowClients::SkipAhead => {
                        bytes = self.topic.gap_event(asked.as_ref(), self.cursor);
                    }
                },
            }
            writer.write_all(&bytes).await?;
            writer.flush().await?;
            written += bytes.len() as u64;
            bytes.clear();
        }
    }

    /// The topic.
    #[must_use]
    pub const fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The cursor before the next event that is read.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// How many bytes of events there are to read.
    #[must_use]
    pub fn lag(&self) -> usize {
        self.cursor.distance(self.topic.lock().log.end())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.topic.lock();
        let waker = state.waiting.leave(self.place);
        state.subscriptions -= 1;
        #[cfg(feature = "http")]
        if state.subscriptions == 0 {
            state.recent = None;
        }
        drop(state);
        drop(waker); // With the lock released, for the reason that `poll_news` gives.
    }
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
                waiting: Waiting::default(),
                subscriptions: 0,
                runtime: None,
                is_finished: false,
                #[cfg(feature = "http")]
                recent: None,
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
        // Nothing that runs under the lock panics halfway, and nothing of others' runs there.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct State {
    pub(crate) log: Log,
    waiting: Waiting,
    subscriptions: usize,
    /// Where subscribers were seen to run, once they are many.
    runtime: Option<Handle>,
    is_finished: bool,
    #[cfg(feature = "http")]
    recent: Option<Box<Recent>>,
    /// How far the journal has come, if there is one.
    pub(crate) progress: Option<Box<Progress>>,
}

impl State {
    /// Where to go on after `asked`, or else to begin.
    fn locate(
        &mut self,
        asked: Option<&EventId<'_>>,
        start: Start,
        unknown_ids: UnknownIds,
    ) -> (Resume, Cursor) {
        self.log.forget(now());
        let resume = self.log.resume(asked);
        let cursor = match (resume, unknown_ids) {
            (Resume::Resumed(cursor) | Resume::Gap(cursor), _) => cursor,
            (Resume::Unknown, UnknownIds::Kept) => self.log.begin(),
            (Resume::Unknown, UnknownIds::AsFresh) | (Resume::Fresh, _) => match start {
                Start::Live => self.log.end(),
                Start::Last(count) => self.log.last(count),
                Start::Kept => self.log.begin(),
                Start::At(cursor) => cursor.min(self.log.end()),
            },
        };
        (resume, cursor)
    }

    /// Whether the journal's thread has to be told that there is something to write.
    fn wakes_keeper(&mut self) -> bool {
        let (tip, has_waiting) = (self.log.tip(), self.has_waiting());
        let progress = self.progress.as_mut();
        progress.is_some_and(|progress| progress.wakes(tip, has_waiting))
    }

    /// Whether a subscriber that has caught up waits.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.wakers.is_empty()
    }

    /// Who has caught up and waits.
    pub(crate) fn take_wakers(&mut self) -> Wakers {
        Wakers {
            wakers: self.waiting.call(),
            runtime: self.runtime.clone(),
        }
    }

    /// Whether nothing comes after `cursor`.
    fn is_over(&self, cursor: Cursor) -> bool {
        self.is_finished && cursor >= self.log.tip()
    }
}

/// The wakers of those that have caught up. All are called at once, and then it is another
/// round, so that this costs the publisher the same however many they are.
#[derive(Default)]
struct Waiting {
    round: u64,
    wakers: Slab<Waker>,
}

/// Who has waited in which round.
#[derive(Debug, Clone, Copy)]
struct Place {
    round: u64,
    key: usize,
}

impl Waiting {
    fn enter(&mut self, waker: Waker) -> Place {
        Place {
            round: self.round,
            key: self.wakers.insert(waker),
        }
    }

    /// The waker that is at that place, if it is still that round.
    fn leave(&mut self, place: Option<Place>) -> Option<Waker> {
        let place = place.filter(|place| place.round == self.round)?;
        self.wakers.try_remove(place.key)
    }

    fn call(&mut self) -> Slab<Waker> {
        self.round += 1;
        let next = Slab::with_capacity(self.wakers.len());
        mem::replace(&mut self.wakers, next)
    }
}

/// Who is to be woken, with the lock released: a waker is others' code.
#[derive(Default)]
pub(crate) struct Wakers {
    wakers: Slab<Waker>,
    runtime: Option<Handle>,
}

impl Wakers {
    /// How many the publisher wakes itself.
    const FEW: usize = 100;

    /// Wakes them, or, where they are many, lets a task do it: at some 0.1 µs each, it would
    /// hold the publisher up.
    pub(crate) fn wake(mut self) {
        if self.wakers.len() > Self::FEW
            && let Some(runtime) = self.runtime.take()
        {
            runtime.spawn(async move { drop(self) });
        }
    }
}

impl Drop for Wakers {
    /// Nobody is forgotten, also when the runtime has ended and drops the task.
    fn drop(&mut self) {
        self.wakers.drain().for_each(Waker::wake);
    }
}

/// The time since the Unix epoch.
pub(crate) fn now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use sse_core::{EventType, Retention};

    use super::*;

    fn poll(subscription: &mut Subscription) -> Poll<Result<String, Forgotten>> {
        let mut out = Vec::new();
        subscription
            .poll_read(&mut Context::from_waker(Waker::noop()), &mut out)
            .map_ok(|_| String::from_utf8(out).unwrap())
    }

    fn publish(topic: &Topic, ids: std::ops::Range<u32>) {
        for id in ids {
            topic.publish(&Event::new().id(id));
        }
    }

    #[test]
    fn a_subscription_begins_where_it_says() {
        let topic = Topic::new(Retention::events(3));
        publish(&topic, 0..4);
        let Resume::Resumed(after_two) = topic.resume(Some(&2.into())) else {
            panic!()
        };
        for (start, expected) in [
            (Start::Live, Poll::Pending),
            (Start::Last(0), Poll::Pending),
            (Start::Last(1), Poll::Ready(Ok("id: 3\n\n".to_owned()))),
            (
                Start::Last(9),
                Poll::Ready(Ok("id: 1\n\nid: 2\n\nid: 3\n\n".to_owned())),
            ),
            (
                Start::Kept,
                Poll::Ready(Ok("id: 1\n\nid: 2\n\nid: 3\n\n".to_owned())),
            ),
            (
                Start::At(after_two),
                Poll::Ready(Ok("id: 3\n\n".to_owned())),
            ),
        ] {
            assert_eq!(poll(&mut topic.subscribe(start)), expected, "{start:?}");
        }
        assert_eq!(topic.subscriptions(), 0, "dropping unsubscribes");
    }

    #[test]
    fn falling_behind_is_told_once() {
        let topic = Topic::new(Retention::events(2));
        let mut subscription = topic.subscribe(Start::Live);
        publish(&topic, 0..3);
        assert!(matches!(
            poll(&mut subscription),
            Poll::Ready(Err(Forgotten { .. }))
        ));
        assert_eq!(
            poll(&mut subscription),
            Poll::Ready(Ok("id: 1\n\nid: 2\n\n".to_owned()))
        );
        assert!(poll(&mut subscription).is_pending());
    }

    #[tokio::test]
    async fn what_is_published_wakes_who_waits_and_the_end_comes_last() {
        let topic = Topic::new(Retention::default());
        let mut subscription = topic.subscribe(Start::Live);
        let reader = tokio::spawn(async move {
            let mut out = Vec::new();
            while subscription.read(&mut out).await.unwrap() > 0 {}
            out
        });
        tokio::task::yield_now().await;
        let publisher = topic.clone();
        std::thread::spawn(move || {
            publish(&publisher, 0..2);
            publisher.finish(None);
        });
        assert_eq!(reader.await.unwrap(), b"id: 0\n\nid: 1\n\n");
        assert_eq!(topic.subscriptions(), 0);
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn an_idle_topic_is_small() {
        assert!(size_of::<Shared>() <= 552, "{}", size_of::<Shared>());
    }

    #[test]
    fn a_finished_topic_accepts_nothing_and_ends_once() {
        let topic = Topic::new(Retention::events(10));
        let mut subscription = topic.subscribe(Start::Live);
        let last = EventType::from_static("last");
        assert_eq!(topic.publish(&Event::new().id(1)), Published::Accepted);
        topic.finish(Some(&Event::new().id(2).event(&last).data("")));
        topic.finish(Some(&Event::new().id(3)));
        assert_eq!(topic.publish(&Event::new().id(4)), Published::Refused);
        assert_eq!(topic.publish_all(&[]), Published::Refused);
        assert!(topic.is_finished());
        assert_eq!(
            poll(&mut subscription),
            Poll::Ready(Ok("id: 1\n\nid: 2\nevent: last\ndata: \n\n".to_owned()))
        );
        for _ in 0..2 {
            assert_eq!(poll(&mut subscription), Poll::Ready(Ok(String::new())));
        }
        for (asked, is_over) in [(None, true), (Some(2), true), (Some(1), false)] {
            let asked = asked.map(EventId::from);
            let (_, _, over) = topic.locate(asked.as_ref(), Start::Live);
            assert_eq!(over, is_over, "{asked:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_quiet_an_event_is_read_at_once_and_what_follows_lingers() {
        let topic = Topic::new(TopicConfig {
            linger: Duration::from_millis(10),
            ..TopicConfig::default()
        });
        let mut subscription = topic.subscribe(Start::Live);
        let start = Instant::now();
        let publisher = topic.clone();
        tokio::spawn(async move {
            for (id, millis) in [(0, 100), (1, 101), (2, 105), (3, 200)] {
                sleep_until(start + Duration::from_millis(millis)).await;
                publish(&publisher, id..id + 1);
            }
        });
        for (millis, expected) in [(100, "0"), (110, "1 2"), (200, "3")] {
            let mut bytes = Vec::new();
            subscription.read(&mut bytes).await.unwrap();
            let text = String::from_utf8(bytes).unwrap();
            let ids: Vec<_> = text
                .split("\n\n")
                .map(|id| id.trim_start_matches("id: "))
                .collect();
            assert_eq!(ids.join(" ").trim_end(), expected);
            assert_eq!(start.elapsed().as_millis(), millis, "{expected}");
        }
    }

    #[test]
    fn many_are_woken_by_a_task_and_without_one_all_the_same() {
        struct Count(Mutex<u32>);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                *self.0.lock().unwrap() += 1;
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let topic = Topic::new(Retention::events(10));
        let guard = runtime.enter();
        let subscribe = |_| topic.subscribe(Start::Live);
        let mut subscriptions: Vec<_> = (0..1000).map(subscribe).collect();
        drop(guard);
        let count = Arc::new(Count(Mutex::new(0)));
        let woken = || mem::take(&mut *count.0.lock().unwrap());
        let waker = Waker::from(Arc::clone(&count));
        let mut wait = || {
            for subscription in &mut subscriptions {
                let cx = &mut Context::from_waker(&waker);
                while subscription.poll_read(cx, &mut Vec::new()).is_ready() {}
            }
        };
        wait();
        publish(&topic, 0..1);
        assert_eq!(woken(), 0, "the publisher is not held up");
        runtime.block_on(tokio::task::yield_now());
        assert_eq!(woken(), 1000);

        wait();
        publish(&topic, 1..2);
        drop(runtime);
        assert_eq!(woken(), 1000, "the task was dropped");
        wait();
        publish(&topic, 2..3);
        assert_eq!(woken(), 1000, "there is no runtime any more");
    }

    #[test]
    fn a_waker_may_use_the_topic() {
        struct Nosy(Topic, Mutex<Option<Subscription>>);
        impl std::task::Wake for Nosy {
            fn wake(self: Arc<Self>) {
                assert!(!self.0.is_finished());
                drop(self.1.lock().unwrap().take());
            }
        }
        let topic = Topic::new(Retention::events(10));
        let other = topic.subscribe(Start::Live);
        let waker = Waker::from(Arc::new(Nosy(topic.clone(), Mutex::new(Some(other)))));
        let mut subscription = topic.subscribe(Start::Live);
        let cx = &mut Context::from_waker(&waker);
        assert!(subscription.poll_read(cx, &mut Vec::new()).is_pending());
        publish(&topic, 0..1);
        assert_eq!(topic.subscriptions(), 1);
    }

    #[tokio::test]
    async fn a_writer_follows_as_a_client_does() {
        for (slow_clients, expected) in [
            (SlowClients::Disconnect, None),
            (
                SlowClients::SkipAhead,
                Some("event: gap\ndata: {\"asked\":null,\"from\":\"2\"}\n\nid: 2\n\nid: 3\n\n"),
            ),
        ] {
            let topic = Topic::new(TopicConfig {
                retention: Retention::events(2),
                slow_clients,
                ..TopicConfig::default()
            });
            let mut subscription = topic.subscribe(Start::Live);
            publish(&topic, 0..4);
            topic.finish(None);
            let mut file = Vec::new();
            let copied = subscription.copy_to(&mut file).await;
            match expected {
                Some(expected) => {
                    assert_eq!(file, expected.as_bytes());
                    assert_eq!(copied.unwrap(), expected.len() as u64);
                }
                None => assert_eq!(
                    copied.unwrap_err().to_string(),
                    "the reader has fallen behind what the log keeps; go on where that begins"
                ),
            }
        }
    }
}
