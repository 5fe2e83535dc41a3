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

use super::catch_up::name_of;
use super::link::{Broken, Link, Push, pause};
use super::message::{Notification, Role};
use super::notice::EngineNotice;
use super::shared::EngineShared;
use super::snapshot::add;
use super::tick::tick;
use crate::config::HubConfig;
use crate::topic::{HubCore, Shared};
use crate::unwind::{Panicked, catch_async};

pub(super) struct Follower {
    pub(super) shared: Arc<EngineShared>,
    pub(super) hub: Arc<HubCore>,
    /// The epochs of the engine. The last ID is the mark.
    pub(super) epochs: Epochs,
    /// The last event of each topic that has been read, or [`GAPPED`].
    pub(super) tips: HashMap<Arc<str>, LogId>,
    /// Topics that are to be read.
    pub(super) unread: Vec<Arc<Shared>>,
    /// By their names, why topics cannot be read.
    pub(super) refused: HashMap<Arc<str>, String>,
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
        link.subscribe(&shared.keys.node).await?;
        let (tick, _) = tick(shared, &mut link, LogId::default(), false).await?;
        let epochs = tick
            .epochs()
            .ok_or_else(|| Broken("the server has no epoch of the hub".to_owned()))?;
        let hub = Arc::new(HubCore::followed(config, epochs.clone()));
        let follower = Self {
            shared: Arc::clone(shared),
            hub: Arc::clone(&hub),
            compared: epochs.last().millis(),
            epochs,
            tips: HashMap::new(),
            unread: Vec::new(),
            refused: HashMap::new(),
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
                Ok(link) => {
                    let following = pin!(self.follow(link));
                    let followed = catch_async("the follower of an engine", following);
                    let reason = "the follower of the engine has panicked";
                    followed
                        .await
                        .unwrap_or_else(|Panicked| Err(Broken(reason.to_owned())))
                }
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
        link.subscribe(&self.shared.keys.node).await?;
        // Topics that have not been read are included: a catch-up may have been broken off.
        self.subscribe(&mut link, &self.hub.live_topics()).await?;
        add(&self.shared.counters.connects, 1);
        self.catch_up(&mut link, Scope::All).await?;
        self.shared.link.send_replace(Some(link.clone()));
        self.shared.set_ready(true);
        let addr = link.primary.info.addr().to_string();
        self.shared.notify(&EngineNotice::Connected(addr));
        let mut due = pin!(sleep_until(self.next_comparison));
        loop {
            self.shared.check(link.number)?;
            // Collected only when the backlog is empty, so that the inbox bounds what a slow node
            // has not processed.
            if self.backlog.is_empty() {
                self.collect(&link)?;
            }
            if self.process(&mut link).await? == Processed::OtherEpoch {
                self.catch_up(&mut link, Scope::All).await?;
            }
            let is_due = self.next_comparison <= Instant::now();
            let is_awaited = self.hub.has_unread() || self.hub.has_switched();
            if is_due {
                self.retry_refused();
            }
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
                () = self.shared.wakeup.notified() => {}
                () = &mut due => {}
            }
        }
    }

    /// Subscribes to topics.
    pub(super) async fn subscribe(
        &mut self,
        link: &mut Link,
        topics: &[Arc<Shared>],
    ) -> Result<(), Broken> {
        let channels = topics.iter().map(|topic| name_of(topic));
        let channels = channels.map(|name| self.shared.keys.channel(name));
        let refused = link.subscribe_all(&Vec::from_iter(channels)).await?;
        for (at, unreadable) in refused {
            self.refuse(&topics[at], unreadable);
        }
        Ok(())
    }

    /// Moves received notifications to the backlog.
    fn collect(&mut self, link: &Link) -> Result<(), Broken> {
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

    /// Appends the next notifications, and moves the mark.
    pub(super) async fn process(&mut self, link: &mut Link) -> Result<Processed, Broken> {
        let mut processed = Processed::Part;
        for _ in 0..PART {
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
}

/// The most notifications that are processed at a time.
const PART: usize = 1024;

/// The time between two comparisons of the last IDs of changed topics.
const COMPARISON: Duration = Duration::from_secs(5);
