//! The task of the subscription: it alone appends events to logs, and moves the mark.
//!
//! ```text
//!              dialled                 caught up
//!   away ───────────────> catching up ──────────> following ── a new topic, another epoch,
//!    ^ ^                    │   ^                    │  │      a request, 5 s ─┐
//!    │ └──── broken ────────┘   └────────────────────┼──┴──────────────────────┘
//!    └────────────────────── broken, or no tick ─────┘
//! ```

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sse_core::{Epochs, LogId};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until};

use super::link::{Broken, Link, Push, pause};
use super::message::{Entry, Frame, Notification, Role, Tip};
use super::notice::EngineNotice;
use super::reading::{Reading, read};
use super::shared::EngineShared;
use super::snapshot::add;
use super::tick::tick;
use crate::config::HubConfig;
use crate::topic::{HubCore, Shared};

pub(super) struct Follower {
    pub(super) shared: Arc<EngineShared>,
    pub(super) hub: Arc<HubCore>,
    /// The epochs of the engine. The last ID is the mark.
    pub(super) epochs: Epochs,
    /// The last event of each topic that has been read, or [`GAPPED`].
    pub(super) tips: HashMap<Arc<str>, LogId>,
    /// Topics that are to be read.
    pub(super) unread: Vec<Arc<Shared>>,
    /// Topics with a hole that the mark has passed.
    pub(super) gapped: Vec<Arc<Shared>>,
    /// Topics that had a hole, with the ID up to which their events count as evicted, and until
    /// when. A topic may be dropped and created anew meanwhile.
    pub(super) holes: HashMap<Arc<str>, (LogId, Instant)>,
    /// Notifications that have not been appended yet.
    pub(super) backlog: VecDeque<Notification>,
    /// Topics with events after the mark that clients see.
    pub(super) changed: Vec<Arc<Shared>>,
    /// Until when the tips of changed topics have been compared, in milliseconds.
    pub(super) compared: u64,
    next_comparison: Instant,
}

/// The topics that a catch-up reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// New topics, and the last ID of the hub.
    Unread,
    /// Everything that may have changed.
    All,
}

/// The progress with the backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Processed {
    Part,
    /// The next notification is of another epoch than the mark.
    OtherEpoch,
}

/// The tip of a topic with a hole: nothing is appended to it until that has been reported.
pub(super) const GAPPED: LogId = LogId::MAX;

impl Follower {
    /// Asks a server for the epochs of the hub, and creates the hub.
    pub(super) async fn begin(
        shared: &Arc<EngineShared>,
        mut link: Link,
        config: HubConfig,
    ) -> Result<(Self, Arc<HubCore>, Link), Broken> {
        link.subscribe(std::slice::from_ref(&shared.keys.node))
            .await?;
        let (tick, _) = tick(shared, &mut link, LogId::default(), false).await?;
        let epochs = tick
            .epochs()
            .ok_or_else(|| Broken("there is no epoch".to_owned()))?;
        let hub = Arc::new(HubCore::followed(config, epochs.clone()));
        let follower = Self {
            shared: Arc::clone(shared),
            hub: Arc::clone(&hub),
            compared: epochs.last().millis(),
            epochs,
            tips: HashMap::new(),
            unread: Vec::new(),
            gapped: Vec::new(),
            holes: HashMap::new(),
            backlog: VecDeque::new(),
            changed: Vec::new(),
            next_comparison: Instant::now() + COMPARISON,
        };
        Ok((follower, hub, link))
    }

    /// Follows the engine until the hub is dropped.
    pub(super) async fn run(mut self, link: Link) {
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            () = self.follow_always(link) => {}
            () = shared.closing() => {}
        }
    }

    async fn follow_always(&mut self, first: Link) {
        let (mut dialled, mut number, mut failures) = (Ok(first), 1, 0);
        let mut reported = String::new();
        loop {
            let begun = Instant::now();
            let broken = match dialled {
                Ok(link) => self.follow(link).await,
                Err(broken) => Err(broken),
            };
            if self.shared.set_ready(false) {
                reported.clear();
            }
            if let Err(Broken(reason)) = broken {
                self.shared.report_broken(number, &reason);
                if reason != reported {
                    self.shared
                        .notify(&EngineNotice::Disconnected(reason.clone()));
                    reported = reason;
                }
            }
            if begun.elapsed() > Duration::from_secs(1) {
                failures = 0;
            }
            sleep(pause(failures)).await;
            failures += 1;
            number += 1;
            dialled = Link::dial(&self.shared, number).await;
        }
    }

    /// Follows the engine over one link.
    async fn follow(&mut self, mut link: Link) -> Result<(), Broken> {
        self.backlog.clear();
        // Not only of those that have been read: a catch-up may have been broken off.
        let topics = self.hub.live_topics();
        let names = topics.iter().filter_map(|topic| topic.name());
        let mut channels: Vec<_> = names.map(|name| self.shared.keys.channel(name)).collect();
        channels.push(self.shared.keys.node.clone());
        link.subscribe(&channels).await?;
        add(&self.shared.counters.connects, 1);
        self.catch_up(&mut link, Scope::All).await?;
        self.shared.link.send_replace(Some(link.clone()));
        self.shared.set_ready(true);
        let addr = link.primary.info.addr().to_string();
        self.shared.notify(&EngineNotice::Connected(addr));
        let mut due = pin!(sleep_until(self.next_comparison));
        loop {
            self.collect(&link)?;
            if self.process(&mut link, PART).await? == Processed::OtherEpoch {
                self.catch_up(&mut link, Scope::All).await?;
            }
            let is_due = self.next_comparison <= Instant::now();
            let is_awaited = self.hub.has_unread() || self.hub.has_switched();
            if is_due || is_awaited || self.shared.is_requested() {
                self.catch_up(&mut link, Scope::Unread).await?;
            }
            if is_due {
                self.compare(&mut link).await?;
                self.next_comparison = Instant::now() + COMPARISON;
                due.as_mut().reset(self.next_comparison);
            }
            self.report_gaps(&mut link).await?;
            if !self.backlog.is_empty() {
                yield_now().await;
                continue;
            }
            tokio::select! {
                () = link.inbox.filled() => {}
                () = self.shared.bell.notified() => {}
                () = &mut due => {}
            }
        }
    }

    /// Moves received notifications to the backlog.
    fn collect(&mut self, link: &Link) -> Result<(), Broken> {
        self.shared.check(link.number)?;
        let (pushes, skipped) = link.inbox.take()?;
        self.shared
            .counters
            .skipped
            .fetch_add(skipped, Ordering::Relaxed);
        for push in pushes {
            match push {
                Push::Event(notification) => self.backlog.push_back(notification),
                Push::Tick(_) => {} // Of a wait that was given up.
            }
        }
        Ok(())
    }

    /// Appends up to `count` notifications, and moves the mark.
    pub(super) async fn process(
        &mut self,
        link: &mut Link,
        count: usize,
    ) -> Result<Processed, Broken> {
        let mut processed = Processed::Part;
        for _ in 0..count {
            let Some(next) = self.backlog.pop_front() else {
                break;
            };
            if next.entry.role == Role::Stop {
                self.shared.note_stop(&next.topic);
                continue;
            }
            if next.entry.id.epoch() != self.epochs.last().epoch() {
                self.backlog.push_front(next);
                processed = Processed::OtherEpoch;
                break;
            }
            self.append(link, next).await?;
        }
        self.show();
        Ok(processed)
    }

    /// Makes the appended events visible.
    pub(super) fn show(&mut self) {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable_by_key(Arc::as_ptr);
        changed.dedup_by(|one, other| Arc::ptr_eq(one, other));
        self.hub.advance(self.epochs.last(), &changed);
    }

    /// Appends an event of the current epoch, and moves the mark to it.
    async fn append(&mut self, link: &mut Link, next: Notification) -> Result<(), Broken> {
        let Notification { topic: name, entry } = next;
        let (id, mark) = (entry.id, self.epochs.last());
        let tip = self.tips.get(&*name).copied();
        let topic = self.hub.find(&name);
        if let (Some(topic), Some(tip)) = (topic, tip)
            && id > tip
        {
            if id <= mark {
                self.note_gap(topic);
            } else if entry.before <= tip && !matches!(entry.frame, Frame::InStream) {
                self.append_entry(&topic, entry);
            } else {
                let readings = read(link, &self.shared.keys, &[(&name, tip)], id).await?;
                for reading in readings {
                    if reading.continues(tip) && reading.begins_after(mark) {
                        self.fill(&topic, reading, id);
                    } else if topic.is_keyed() && entry.before <= tip {
                        // Only its frame has been evicted from the stream.
                        self.read_state(link, &topic, LogId::default()).await?;
                    } else {
                        self.note_gap(Arc::clone(&topic));
                    }
                }
            }
        }
        self.epochs.note_last(id);
        Ok(())
    }

    /// Appends events that were not notified, and that no client has missed.
    fn fill(&mut self, topic: &Arc<Shared>, reading: Reading, until: LogId) {
        let count = reading.entries.iter().filter(|entry| entry.id <= until);
        add(&self.shared.counters.filled, count.count() - 1);
        self.append_reading(topic, reading, until);
    }

    /// Appends the events that have been read after the topic's tip, up to an ID.
    pub(super) fn append_reading(&mut self, topic: &Arc<Shared>, reading: Reading, until: LogId) {
        self.shared
            .counters
            .skipped
            .fetch_add(reading.foreign, Ordering::Relaxed);
        let is_empty = reading.entries.is_empty();
        for entry in reading.entries {
            if entry.id <= until {
                self.append_entry(topic, entry);
            }
        }
        if is_empty {
            self.note_evicted(topic, reading.tip.id.min(until));
        }
        self.note_end(topic, reading.tip);
    }

    /// Ends a topic that has been read up to its end.
    fn note_end(&mut self, topic: &Arc<Shared>, tip: Tip) {
        let read = topic.name().and_then(|name| self.tips.get(name));
        if tip.is_end && read == Some(&tip.id) {
            topic.end_followed(tip.id);
            self.changed.push(Arc::clone(topic));
        }
    }

    /// Notes that events up to an ID were evicted before they were read.
    fn note_evicted(&mut self, topic: &Arc<Shared>, evicted: LogId) {
        if let Some(name) = topic.name()
            && self.tips.get(name).is_some_and(|tip| *tip < evicted)
        {
            topic.refill(evicted, &[]);
            add(&self.shared.counters.gaps, 1);
            self.shared.notify(&EngineNotice::Gap(name.to_string()));
            self.tips.insert(Arc::clone(name), evicted);
        }
    }

    /// Appends an event after the topic's tip.
    fn append_entry(&mut self, topic: &Arc<Shared>, entry: Entry) {
        let Some(name) = topic.name() else {
            return;
        };
        let tip = self.tips.get(name).copied();
        if tip.is_none_or(|tip| tip >= entry.id) {
            return;
        }
        if topic.is_keyed() && tip.is_some_and(|tip| tip < entry.before) {
            return self.note_gap(Arc::clone(topic)); // Another program has deleted entries.
        }
        self.note_evicted(topic, entry.before);
        self.tips.insert(Arc::clone(name), entry.id);
        let (id, role) = (entry.id, entry.role);
        if role == Role::Begin {
            topic.refill(entry.before, &[]);
        }
        if let Some(followed) = entry.into_followed() {
            if topic.append_followed(&followed) {
                add(&self.shared.counters.received, 1);
            } else {
                add(&self.shared.counters.skipped, 1);
            }
            let last = self.changed.last();
            if !last.is_some_and(|last| Arc::ptr_eq(last, topic)) {
                self.changed.push(Arc::clone(topic));
            }
        } else if role == Role::Event {
            add(&self.shared.counters.skipped, 1);
        }
        let is_end = role == Role::End;
        self.note_end(topic, Tip { id, is_end });
    }
}

/// The most notifications that are processed at a time.
const PART: usize = 1024;

/// The time between two comparisons of the last IDs of changed topics.
const COMPARISON: Duration = Duration::from_secs(5);
