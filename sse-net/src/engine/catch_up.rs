//! Catching up with the engine.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sse_core::{Epochs, KnownId, LogId};
use tokio::task::yield_now;

use super::follower::{Follower, GAPPED, Processed, Scope};
use super::link::{Broken, Link};
use super::message::{Entry, Role, Tip};
use super::notice::EngineNotice;
use super::reading::{Reading, changed_since, read, read_newest, read_state};
use super::snapshot::add;
use super::tick::tick;
use crate::topic::Shared;

impl Follower {
    /// Moves the mark to the hub's last ID, and reads what the node has not been notified of.
    ///
    /// After a reconnect and in another epoch, those are all topics that have changed since the
    /// mark, which stands still meanwhile. If the mark is not known any more, everything is.
    pub(super) async fn catch_up(&mut self, link: &mut Link, scope: Scope) -> Result<(), Broken> {
        let request = self.shared.requested.load(Ordering::Relaxed);
        self.unread.extend(self.hub.take_unread());
        for topic in &self.unread {
            // The mark passes its events before they are read.
            topic.note_unread();
            // A known tip is that of a dropped topic of the same name, or of another server.
            self.tips.remove(name_of(topic));
        }
        self.subscribe(link, &self.unread.clone()).await?;
        // The states are read before the tick, so that the mark is not before them.
        let unread = self.unread.clone();
        for topic in unread.iter().filter(|topic| topic.is_keyed()) {
            self.read_state(link, topic, LogId::default()).await?;
        }
        let takes_id = scope == Scope::Unread && self.hub.has_switched();
        let is_other = self.take_tick(link, takes_id, scope).await?;
        let has_id = takes_id && is_other.is_none();
        if let Some((epochs, is_known)) = is_other {
            self.backlog.clear();
            match is_known {
                KnownId::Position => self.read_changed(link, epochs).await?,
                KnownId::Lost(last) => self.begin_anew(link, epochs, last).await?,
                KnownId::Unknown => self.begin_anew(link, epochs, LogId::default()).await?,
            }
            if self.unread.iter().any(|topic| topic.is_keyed()) {
                return Box::pin(self.catch_up(link, Scope::Unread)).await;
            }
        }
        let until = self.epochs.last();
        let (keyed, ordinary): (Vec<_>, Vec<_>) = self
            .unread
            .iter()
            .cloned()
            .partition(|topic| topic.is_keyed());
        self.read_anew(link, &ordinary, until).await?;
        // If the link breaks before this, the topics are still to be read.
        self.unread.clear();
        keyed.iter().for_each(|topic| topic.note_read());
        self.changed.extend(unread);
        if has_id {
            self.hub.assign_changes(until);
        }
        self.show();
        self.shared.looked.send_replace(request);
        Ok(())
    }

    /// Waits for a tick. In the same epoch, processes the notifications before it and moves the
    /// mark to it. Otherwise, or for everything, returns the epochs, and what the mark is in them.
    pub(super) async fn take_tick(
        &mut self,
        link: &mut Link,
        takes_id: bool,
        scope: Scope,
    ) -> Result<Option<(Epochs, KnownId)>, Broken> {
        let (mark, first) = (self.epochs.last(), self.first());
        let (mut tick, mut notifications) = tick(&self.shared, link, first, takes_id).await?;
        if tick.first == first && tick.last < mark {
            // The server has lost its last events without beginning another epoch, so the node
            // asks for all epochs.
            let (again, mut more) =
                super::tick::tick(&self.shared, link, LogId::default(), false).await?;
            notifications.append(&mut more);
            tick = again;
        }
        let is_same = tick.first == first && tick.last >= mark;
        if is_same && scope == Scope::Unread {
            self.backlog.extend(notifications);
            self.process_all(link).await?;
            self.epochs.note_last(tick.last);
            return Ok(None);
        }
        let epochs = if is_same {
            let mut epochs = self.epochs.clone();
            epochs.note_last(tick.last);
            Some(epochs)
        } else {
            tick.epochs()
        };
        let epochs =
            epochs.ok_or_else(|| Broken("the server has no epoch of the hub".to_owned()))?;
        let is_known = epochs.judge(mark, epochs.last());
        Ok(Some((epochs, is_known)))
    }

    /// Processes the backlog, and drops notifications of epochs that have ended or been erased.
    async fn process_all(&mut self, link: &mut Link) -> Result<(), Broken> {
        while !self.backlog.is_empty() {
            if self.process(link).await? == Processed::OtherEpoch {
                self.backlog.pop_front();
                add(&self.shared.counters.skipped, 1);
            }
            yield_now().await;
        }
        Ok(())
    }

    /// Returns the first ID of the current epoch.
    fn first(&self) -> LogId {
        let current = self.epochs.iter().last();
        current.map_or_else(LogId::default, |current| current.first)
    }

    /// Reads what topics have after their tips, up to the last ID of `epochs`.
    async fn read_changed(&mut self, link: &mut Link, epochs: Epochs) -> Result<(), Broken> {
        let until = epochs.last();
        let topics = self
            .changed_topics(link, self.epochs.last().millis())
            .await?;
        for part in topics.chunks(TOPICS) {
            let places = part.iter().map(|(topic, tip)| (name_of(topic), *tip));
            let places: Vec<_> = places.collect();
            let readings = read(link, &self.shared.keys, &places).await?;
            for ((topic, tip), reading) in part.iter().zip(readings) {
                match reading {
                    Err(unreadable) => self.refuse(topic, unreadable),
                    Ok(reading) if topic.is_keyed() && !reading.continues(*tip) => {
                        self.read_state(link, topic, LogId::default()).await?;
                    }
                    Ok(reading) => {
                        self.append_reading(link, topic, reading, until).await?;
                    }
                }
            }
        }
        self.epochs = epochs.clone();
        self.hub.set_epochs(epochs);
        Ok(())
    }

    /// Returns the topics that have changed since a time in milliseconds, with their tips.
    pub(super) async fn changed_topics(
        &self,
        link: &mut Link,
        since: u64,
    ) -> Result<Vec<(Arc<Shared>, LogId)>, Broken> {
        let names = changed_since(link, &self.shared.keys, since).await?;
        let topics = names.iter().filter_map(|name| {
            let tip = *self.tips.get(name.as_str())?;
            let topic = self.hub.find(name)?;
            (tip != GAPPED && topic.is_read()).then_some((topic, tip))
        });
        Ok(topics.collect())
    }

    /// Begins anew after the engine has lost the mark: events after `last` are lost.
    ///
    /// Topics are read before the epochs change, so that no client joins at a lost event. Those
    /// with subscribers are read again afterwards: the subscribers are judged then.
    async fn begin_anew(
        &mut self,
        link: &mut Link,
        epochs: Epochs,
        last: LogId,
    ) -> Result<(), Broken> {
        let mut topics = self.hub.live_topics();
        // Those are read once there is a subscription to them.
        topics.retain(|topic| !self.is_refused(topic));
        // All topics are unread until they have been read. If the link breaks before that, the
        // next server may know the mark.
        let mut unread = mem::replace(&mut self.unread, topics.clone());
        // Holes are still reported: an ID with which a client has passed one may be known.
        self.holes
            .retain(|_, (hole, _)| match epochs.judge(*hole, epochs.last()) {
                KnownId::Position => true,
                KnownId::Lost(last) => {
                    // Later than the last ID: a client may have passed the hole with that.
                    *hole = LogId::new(last.millis(), last.sequence().saturating_add(1));
                    true
                }
                KnownId::Unknown => false,
            });
        let lost = topics.iter().map(|topic| topic.count_after(last));
        let lost = lost.sum();
        if lost > 0 {
            add(&self.shared.counters.lost, lost);
            self.shared.notify(&EngineNotice::Lost(lost));
        }
        let until = epochs.last();
        self.read_anew(link, &topics, until).await?;
        unread.retain(|topic| topic.is_keyed() || self.is_refused(topic));
        self.unread = unread;
        self.epochs = epochs.clone();
        self.hub.set_epochs(epochs);
        self.hub.await_lost_changes();
        let followed = topics.iter().filter(|topic| topic.is_followed());
        let followed: Vec<_> = followed.cloned().collect();
        // Noted before the topics are read, so that their subscribers are judged even if the
        // link breaks.
        self.changed.extend(topics);
        self.read_anew(link, &followed, until).await?;
        self.show();
        Ok(())
    }

    /// Reads the events of topics up to an ID, as many as their logs retain.
    async fn read_anew(
        &mut self,
        link: &mut Link,
        topics: &[Arc<Shared>],
        until: LogId,
    ) -> Result<(), Broken> {
        let (keyed, ordinary): (Vec<_>, Vec<_>) =
            topics.iter().cloned().partition(|topic| topic.is_keyed());
        for topic in keyed {
            self.read_state(link, &topic, LogId::default()).await?;
        }
        for part in ordinary.chunks(TOPICS) {
            let places = part
                .iter()
                .map(|topic| (name_of(topic), topic.retention().max_bytes()));
            let places: Vec<_> = places.collect();
            let readings = read_newest(link, &self.shared.keys, &places, until).await?;
            for (topic, reading) in part.iter().zip(readings) {
                match reading {
                    Ok(reading) => self.refill(topic, reading, until),
                    Err(unreadable) => self.refuse(topic, unreadable),
                }
            }
        }
        Ok(())
    }

    /// Reads the newest event of each key of a keyed topic. Clients with an ID before `missed`
    /// receive a gap event.
    pub(super) async fn read_state(
        &mut self,
        link: &mut Link,
        topic: &Arc<Shared>,
        missed: LogId,
    ) -> Result<(), Broken> {
        let name: Arc<str> = name_of(topic).into();
        let state = match read_state(link, &self.shared.keys, &name).await? {
            Ok(state) => state,
            Err(unreadable) => {
                self.refuse(topic, unreadable);
                return Ok(());
            }
        };
        self.accept(&name);
        let hole = self.holes.get(&name).map_or(missed, |(id, _)| *id);
        let foreign = state.foreign;
        let count = state.entries.len();
        let events = state.entries.into_iter().filter_map(Entry::into_followed);
        let events: Vec<_> = events.collect();
        add(
            &self.shared.counters.skipped,
            foreign + count - events.len(),
        );
        add(&self.shared.counters.received, events.len());
        topic.refill(state.dropped.max(hole).max(missed), &events);
        if state.tip.is_end {
            topic.end_followed(state.tip.id);
        }
        self.changed.push(Arc::clone(topic));
        self.tips.insert(name, state.tip.id);
        Ok(())
    }

    fn refill(&mut self, topic: &Arc<Shared>, reading: Reading, until: LogId) {
        let Some(name) = topic.name() else {
            return;
        };
        let hole = self.holes.get(name).map_or(LogId::default(), |(id, _)| *id);
        let (mut tip, mut evicted) = (hole, hole);
        let mut events = Vec::new();
        self.shared
            .counters
            .skipped
            .fetch_add(reading.foreign, Ordering::Relaxed);
        if reading.entries.is_empty() {
            tip = tip.max(reading.tip.id.min(until));
            evicted = tip;
        }
        let mut end = Some(reading.tip).filter(|tip| tip.is_end && tip.id <= until);
        for entry in reading.entries {
            if entry.before.min(until) > tip {
                // Earlier events have been evicted, or another program has deleted them.
                evicted = entry.before.min(until);
                (tip, events) = (evicted, Vec::new());
            }
            if entry.id <= tip || entry.id > until {
                continue;
            }
            tip = entry.id;
            let is_end = entry.role == Role::End;
            let is_event = entry.role == Role::Event;
            end = is_end.then_some(Tip { id: tip, is_end });
            match entry.into_followed() {
                Some(followed) => events.push(followed),
                None if !is_event => {}
                None => add(&self.shared.counters.skipped, 1),
            }
        }
        add(&self.shared.counters.received, events.len());
        topic.refill(evicted, &events);
        if let Some(end) = end {
            topic.end_followed(end.id);
        }
        topic.note_read();
        self.accept(name);
        self.tips.insert(Arc::clone(name), tip);
    }
}

/// Returns the name of a topic, which one of a hub has.
pub(super) fn name_of(topic: &Shared) -> &str {
    topic.name().map_or("", |name| name)
}

/// The most topics that are read at a time.
const TOPICS: usize = 32;
