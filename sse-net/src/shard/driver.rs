//! The task of a shard and its queue of work.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;
use sse_core::LogId;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until};

use super::catching::CatchingUp;
use super::connection::Arrival;
use super::connections::Connections;
use super::feed::Feed;
use super::group::Group;
use super::joint::Joint;
use super::mailbox::{Key, Mail, Mailbox};
use super::work::{TICK, Tick, Work, ticks};
use crate::config::Config;
use crate::stats::Stats;
use crate::topic::HubShared;

/// The length of a turn, after which the shard yields to the runtime.
const TURN: Duration = Duration::from_millis(1);

/// The task of a shard.
pub(super) struct Driver {
    pub(super) config: Arc<Config>,
    pub(super) stats: Arc<Stats>,
    pub(super) mailbox: Arc<Mailbox<Arrival>>,
    pub(super) connections: Connections,
    pub(super) feeds: Slab<Feed>,
    /// Feeds by the addresses of their topics.
    pub(super) feed_of_topic: HashMap<usize, u32>,
    /// The topics of each connection that follows several.
    pub(super) joints: Slab<Joint>,
    pub(super) queue: VecDeque<Work>,
    /// Connections that catch up. They may be many, so one alternates with one piece of other
    /// work.
    lagging: VecDeque<u32>,
    /// What is left of the mail that has been taken.
    pub(super) mail: Mail<Arrival>,
    /// Connections whose peers have closed their half and may have left. They are few, so each
    /// connection does without a flag.
    pub(super) half_closed: HashSet<u32>,
    pub(super) catching_up: CatchingUp,
    /// The bytes written in this part of the work.
    pub(super) written: usize,
    pub(super) heartbeat: Bytes,
    /// The number of ticks after which a heartbeat is due. Every write needs it.
    pub(super) heartbeat_time: u32,
    /// The groups and connections whose events linger, with the ends of their waits. A connection
    /// may begin to wait again and again, and waits for the same end.
    lingering: BTreeSet<(Instant, Key)>,
    /// The waits of hubs by their addresses, for connections that follow several topics.
    hub_waits: HashMap<usize, HubWait>,
    pub(super) furthest_lag: Arc<AtomicUsize>,
    started: Instant,
    next_tick: Instant,
    /// Wakes the task at the next tick or the end of the next wait.
    timer: Pin<Box<Sleep>>,
    /// Whether the timer has the task's waker. A task has one waker for all its life.
    is_timer_set: bool,
    pub(super) tick: Option<Tick>,
    /// Ticks since the start.
    pub(super) now: u32,
    /// The tick at which a drain cuts off the remaining connections.
    pub(super) drained: Option<u32>,
}

/// A wait of a hub's events for each other.
struct HubWait {
    /// The events up to this ID do not wait.
    after: LogId,
    until: Instant,
}

/// How a turn ends.
enum Turn {
    /// More work is queued, but other tasks come first.
    Yield,
    /// Nothing is to be done until the task is woken.
    Wait,
    /// The shard has ended.
    Over,
}

impl Driver {
    pub(super) fn new(
        config: Arc<Config>,
        stats: Arc<Stats>,
        mailbox: Arc<Mailbox<Arrival>>,
    ) -> Self {
        let started = Instant::now();
        Self {
            heartbeat: config.heartbeat_form.encode().into(),
            heartbeat_time: ticks(config.heartbeat).max(1),
            furthest_lag: stats.lag(),
            config,
            stats,
            mailbox,
            connections: Connections::new(),
            feeds: Slab::new(),
            feed_of_topic: HashMap::new(),
            joints: Slab::new(),
            queue: VecDeque::new(),
            lagging: VecDeque::new(),
            mail: Mail::default(),
            half_closed: HashSet::new(),
            catching_up: CatchingUp::default(),
            written: 0,
            lingering: BTreeSet::new(),
            hub_waits: HashMap::new(),
            started,
            next_tick: started,
            timer: Box::pin(sleep_until(started)),
            is_timer_set: false,
            tick: None,
            now: 0,
            drained: None,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let has_work = poll_fn(|cx| match self.turn(cx) {
                Turn::Yield => Poll::Ready(true),
                Turn::Wait => Poll::Pending,
                Turn::Over => Poll::Ready(false),
            });
            if !has_work.await {
                return;
            }
            // The runtime then polls its sockets and timers, also without other tasks. A task
            // that merely wakes itself is polled 61 times before that.
            yield_now().await;
        }
    }

    /// Works until the turn is over or no work is left.
    fn turn(&mut self, cx: &mut Context<'_>) -> Turn {
        let began = Instant::now();
        self.now = ticks(began - self.started);
        self.take_mail(cx);
        self.queue_due(began);
        while self.has_work() {
            self.work();
            if self.has_work() && began.elapsed() >= TURN {
                return Turn::Yield;
            }
        }
        if self.mail.is_closed && self.connections.is_empty() {
            Turn::Over
        } else if self.poll_timer(cx).is_ready() {
            Turn::Yield
        } else {
            Turn::Wait
        }
    }

    fn has_work(&self) -> bool {
        !(self.queue.is_empty() && self.lagging.is_empty())
    }

    /// Does a part of the next piece of work, and lets one connection catch up.
    fn work(&mut self) {
        self.written = 0;
        match self.queue.pop_front() {
            Some(Work::Arrivals) => self.admit_connections(),
            Some(Work::Ready) => self.serve_ready(),
            Some(Work::Pass(key)) => self.pass(key),
            Some(Work::Tick) => self.tick(),
            None => {}
        }
        if let Some(key) = self.lagging.pop_front() {
            self.written = 0;
            if let Some(connection) = self.connections.get_mut(key) {
                connection.is_queued = false;
            }
            self.serve(key);
        }
    }

    /// Queues a connection that has to catch up.
    pub(super) fn queue_connection(&mut self, key: u32) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !mem::replace(&mut connection.is_queued, true) {
            self.lagging.push_back(key);
        }
    }

    /// Queues the rest of a tick behind one other piece of work.
    pub(super) fn queue_tick(&mut self) {
        let place = self.queue.len().min(1);
        self.queue.insert(place, Work::Tick);
    }

    fn take_mail(&mut self, cx: &Context<'_>) {
        let mail = &mut self.mail;
        let (no_arrivals, none_ready) = (mail.arrivals.is_empty(), mail.ready.is_empty());
        self.mailbox.take(cx, mail);
        if no_arrivals && !mail.arrivals.is_empty() {
            self.queue.push_back(Work::Arrivals);
        }
        if none_ready && !mail.ready.is_empty() {
            self.queue.push_back(Work::Ready);
        }
        if let Some(window) = mail.drain.take() {
            self.drain(window);
        }
    }

    /// Queues a tick when it is due, and the groups and connections whose waits have ended.
    fn queue_due(&mut self, now: Instant) {
        if now >= self.next_tick {
            self.begin_tick();
            self.next_tick = self.started + TICK * self.now.saturating_add(1);
        }
        while let Some(&(until, key)) = self.lingering.first()
            && until <= now
        {
            self.lingering.pop_first();
            match key {
                Key::Connection(key) => self.queue_connection(key),
                Key::Group(key) => self.queue_pass(key),
            }
        }
    }

    /// Sets the timer. Ready if its deadline has passed.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let linger = self.lingering.first().map(|(until, _)| *until);
        let next = linger.map_or(self.next_tick, |until| until.min(self.next_tick));
        if self.timer.deadline() != next {
            self.timer.as_mut().reset(next);
            self.is_timer_set = false;
        }
        if self.is_timer_set {
            return Poll::Pending;
        }
        let polled = self.timer.as_mut().poll(cx);
        self.is_timer_set = polled.is_pending();
        polled
    }

    /// Queues a pass over a group, unless one is queued already.
    pub(super) fn queue_pass(&mut self, key: u32) {
        let Some(group) = self.group_mut(key) else {
            return; // The last member has left since the group became ready.
        };
        if group.is_queued {
            return;
        }
        group.is_queued = true;
        self.queue.push_back(Work::Pass(key));
    }

    /// Returns the feed with this key if it is a group.
    pub(super) fn group_mut(&mut self, key: u32) -> Option<&mut Group> {
        self.feeds.get_mut(key as usize)?.group_mut()
    }

    /// Delays the next pass over a group, or the next batch of a connection.
    pub(super) fn linger(&mut self, key: Key, until: Instant) {
        self.lingering.insert((until, key));
    }

    /// Returns until when the events of a hub that lingers wait for a connection at this position.
    /// Without a wait, one begins for the events that are not visible yet.
    pub(super) fn hub_wait(&mut self, hub: &Arc<HubShared>, position: LogId) -> Option<Instant> {
        let (now, address) = (Instant::now(), Arc::as_ptr(hub).addr());
        if let Some(wait) = self.hub_waits.get(&address)
            && wait.until > now
        {
            // A connection that is behind the others has waited with them before.
            return (position >= wait.after).then_some(wait.until);
        }
        self.hub_waits.retain(|_, wait| wait.until > now);
        if let Some(until) = now.checked_add(hub.linger()) {
            let after = hub.order().visible();
            self.hub_waits.insert(address, HubWait { after, until });
        }
        None
    }
}
