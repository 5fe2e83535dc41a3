//! The task of a shard and its queue of work.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;
use tokio::task::yield_now;
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, interval, sleep_until};

use super::Arrival;
use super::connection::{Connection, Input, Written};
use super::group::Group;
use super::mailbox::{Key, Mailbox, Signal};
use super::tick::{TICK, Tick, next_heartbeat, ticks};
use crate::config::{Config, SlowClients};
use crate::stats::{Disconnect, Stats};

/// How long a turn takes before the shard yields to the runtime.
const TURN: Duration = Duration::from_millis(1);

/// How many connections a part of the work admits, reads from or sends to.
pub(super) const PART: usize = 64;

/// How many bytes a part of the work writes.
pub(super) const PART_BYTES: usize = 256 << 10;

/// The task of a shard.
pub(super) struct Driver {
    pub(super) config: Arc<Config>,
    pub(super) stats: Arc<Stats>,
    pub(super) mailbox: Arc<Mailbox<Arrival>>,
    /// Boxed, because the runtime aligns its part of each socket to 128 bytes: they lie in the
    /// gaps between those.
    pub(super) connections: Slab<Box<Connection>>,
    pub(super) groups: Slab<Group>,
    /// Groups by their topics' addresses.
    group_of_topic: HashMap<usize, u32>,
    pub(super) queue: VecDeque<Work>,
    /// Connections that catch up. They may be many, so one of them alternates with one piece of
    /// other work.
    lagging: VecDeque<u32>,
    arrivals: VecDeque<Arrival>,
    ready: VecDeque<Arc<Signal<Arrival>>>,
    /// Connections whose peers have closed their half and may have gone: few, so they are not
    /// marked where there are very many.
    pub(super) half_closed: HashSet<u32>,
    /// The bytes written in this part of the work.
    pub(super) written: usize,
    pub(super) heartbeat: Bytes,
    /// The groups whose topics linger, and until when.
    lingering: BinaryHeap<Reverse<(Instant, u32)>>,
    linger: Pin<Box<Sleep>>,
    pub(super) furthest_lag: Arc<AtomicUsize>,
    started: Instant,
    interval: Interval,
    pub(super) tick: Option<Tick>,
    /// Ticks since the start.
    pub(super) now: u32,
    /// The tick at which connections that are left in a drain are cut off.
    pub(super) drained: Option<u32>,
    is_closed: bool,
}

/// A piece of work. Each takes a part at a time.
pub(super) enum Work {
    /// Admitting connections.
    Arrivals,
    /// Reading from connections that have become ready, and writing to them.
    Ready,
    /// Writing new events to the members of a group.
    Pass(u32),
    /// Heartbeats, deadlines and ages.
    Tick,
}

/// How a turn ends.
enum Turn {
    /// There is more to do: other tasks come first.
    Yield,
    /// There is nothing to do until the task is woken.
    Wait,
    /// There never will be anything to do.
    Over,
}

impl Driver {
    pub(super) fn new(
        config: Arc<Config>,
        stats: Arc<Stats>,
        mailbox: Arc<Mailbox<Arrival>>,
    ) -> Self {
        let mut interval = interval(TICK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self {
            heartbeat: config.heartbeat_form.encode().into(),
            furthest_lag: stats.lag(),
            config,
            stats,
            mailbox,
            connections: Slab::new(),
            groups: Slab::new(),
            group_of_topic: HashMap::new(),
            queue: VecDeque::new(),
            lagging: VecDeque::new(),
            arrivals: VecDeque::new(),
            ready: VecDeque::new(),
            half_closed: HashSet::new(),
            written: 0,
            lingering: BinaryHeap::new(),
            linger: Box::pin(sleep_until(Instant::now())),
            started: Instant::now(),
            interval,
            tick: None,
            now: 0,
            drained: None,
            is_closed: false,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let mut waits = false;
            let turn = poll_fn(|cx| match self.turn(cx) {
                // Whatever wakes the task from now on begins another turn.
                Turn::Wait if !mem::replace(&mut waits, true) => Poll::Pending,
                turn => Poll::Ready(turn),
            });
            match turn.await {
                // The runtime then looks at its sockets and timers, also when it has no other
                // task; a task that merely wakes itself is run 61 times before that.
                Turn::Yield => yield_now().await,
                Turn::Wait => {}
                Turn::Over => return,
            }
        }
    }

    /// Works for as long as a turn may take.
    fn turn(&mut self, cx: &mut Context<'_>) -> Turn {
        let began = Instant::now();
        self.now = ticks(began - self.started);
        self.take_mail(cx);
        self.poll_timers(cx);
        while self.has_work() && began.elapsed() < TURN {
            self.work();
        }
        if !self.has_work() {
            // A group may have begun to linger in this turn.
            self.poll_timers(cx);
        }
        if self.has_work() {
            Turn::Yield
        } else if self.is_closed && self.connections.is_empty() {
            Turn::Over
        } else {
            Turn::Wait
        }
    }

    fn has_work(&self) -> bool {
        !(self.queue.is_empty() && self.lagging.is_empty())
    }

    /// Does a part of the next piece of work, and lets a connection catch up.
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
            if let Some(connection) = self.connections.get_mut(key as usize) {
                connection.is_queued = false;
            }
            self.serve(key);
        }
    }

    /// Queues a connection that is to catch up.
    pub(super) fn queue_connection(&mut self, key: u32) {
        let Some(connection) = self.connections.get_mut(key as usize) else {
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
        let mail = self.mailbox.take(cx);
        if self.arrivals.is_empty() && !mail.arrivals.is_empty() {
            self.queue.push_back(Work::Arrivals);
        }
        if self.ready.is_empty() && !mail.ready.is_empty() {
            self.queue.push_back(Work::Ready);
        }
        self.arrivals.extend(mail.arrivals);
        self.ready.extend(mail.ready);
        self.is_closed = mail.is_closed;
        if let Some(window) = mail.drain {
            self.drain(window);
        }
    }

    fn poll_timers(&mut self, cx: &mut Context<'_>) {
        while self.interval.poll_tick(cx).is_ready() {
            self.begin_tick();
        }
        while let Some(&Reverse((until, key))) = self.lingering.peek() {
            if self.linger.deadline() != until {
                self.linger.as_mut().reset(until);
            }
            if self.linger.as_mut().poll(cx).is_pending() {
                return;
            }
            self.lingering.pop();
            self.queue_pass(key);
        }
    }

    fn admit_connections(&mut self) {
        for _ in 0..PART {
            let Some(arrival) = self.arrivals.pop_front() else {
                return;
            };
            self.admit(arrival);
            if self.written >= PART_BYTES {
                break;
            }
        }
        if !self.arrivals.is_empty() {
            self.queue.push_back(Work::Arrivals);
        }
    }

    fn admit(&mut self, arrival: Arrival) {
        let group = self.group_of(&arrival);
        let members = &mut self.groups[group as usize].members;
        let entry = self.connections.vacant_entry();
        let key = compact(entry.key());
        let leave_at = match self.drained {
            Some(_) => self.now,
            None => self.now.saturating_add(ticks(self.config.age())),
        };
        let mut connection = Box::new(Connection {
            transport: arrival.transport,
            waker: Signal::waker(&self.mailbox, Key::Connection(key)),
            group,
            place: compact(members.len()),
            position: arrival.cursor,
            heartbeat_at: 0,
            leave_at,
            input: 0,
            is_queued: false,
            unsent: None,
            on_end: arrival.on_end,
            permit: arrival.permit,
        });
        connection.set_unsent(arrival.opening.into(), self.now);
        entry.insert(connection);
        members.push(key);
        self.serve(key);
    }

    /// The group of those that follow the arrival's topic.
    fn group_of(&mut self, arrival: &Arrival) -> u32 {
        let address = arrival.topic.address();
        if let Some(key) = self.group_of_topic.get(&address) {
            return *key;
        }
        let entry = self.groups.vacant_entry();
        let key = compact(entry.key());
        let waker = Signal::waker(&self.mailbox, Key::Group(key));
        entry.insert(Group::new(&arrival.topic, waker));
        self.group_of_topic.insert(address, key);
        self.queue_pass(key);
        key
    }

    fn serve_ready(&mut self) {
        for _ in 0..PART {
            let Some(signal) = self.ready.pop_front() else {
                return;
            };
            match signal.lower() {
                Key::Connection(key) => self.serve(key),
                Key::Group(key) => self.queue_pass(key),
            }
            if self.written >= PART_BYTES {
                break;
            }
        }
        if !self.ready.is_empty() {
            self.queue.push_back(Work::Ready);
        }
    }

    /// Queues a pass over a group, unless one is under way, or has to linger.
    fn queue_pass(&mut self, key: u32) {
        let Some(group) = self.groups.get_mut(key as usize) else {
            return; // The last member left after the group had become ready.
        };
        if group.is_queued {
            return;
        }
        group.is_queued = true;
        self.queue.push_back(Work::Pass(key));
    }

    /// Delays the passes over a group.
    pub(super) fn linger(&mut self, key: u32, until: Instant) {
        self.lingering.push(Reverse((until, key)));
    }

    /// Reads from a connection, and writes what it has not got yet.
    fn serve(&mut self, key: u32) {
        if !self.connections.contains(key as usize) {
            return; // It left after it had become ready.
        }
        if let Err(reason) = self.read_input(key).and_then(|()| self.catch_up(key)) {
            self.remove_connection(key, reason);
        }
    }

    /// Keeps a read pending, so that a client that leaves is noticed at once.
    fn read_input(&mut self, key: u32) -> Result<(), Disconnect> {
        let connection = &mut self.connections[key as usize];
        let input = connection.poll_input();
        if connection.input as usize > self.config.max_input {
            return Err(Disconnect::UnexpectedInput);
        }
        match input {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(Input::More)) => {
                self.queue_connection(key);
                Ok(())
            }
            Poll::Ready(Ok(Input::End)) => {
                if self.half_closed.insert(key) {
                    // A closed tab answers a heartbeat with a reset; one nearby has done so
                    // already. A peer that has only closed its own half reads on.
                    self.send_heartbeat(key)?;
                }
                self.connections[key as usize].probe()
            }
            Poll::Ready(Err(reason)) => Err(reason),
        }
    }

    /// Writes what a connection has not got yet, up to the position of its group.
    pub(super) fn catch_up(&mut self, key: u32) -> Result<(), Disconnect> {
        let connection = &mut self.connections[key as usize];
        let group = &self.groups[connection.group as usize];
        // An unsent rest may be empty: then the connection took nothing of what comes next.
        let mut since = connection
            .unsent
            .as_ref()
            .map_or(self.now, |unsent| unsent.since);
        loop {
            if let Some(unsent) = &mut connection.unsent {
                let bytes = mem::take(&mut unsent.bytes);
                let written = connection.try_write(&bytes)?;
                let taken = written.taken(bytes.len());
                self.written += taken;
                self.stats.add_bytes(taken);
                if taken > 0 {
                    since = self.now;
                }
                if let Some(unsent) = &mut connection.unsent {
                    unsent.bytes = bytes.slice(taken..);
                    unsent.since = since;
                }
                match written {
                    Written::All => {}
                    Written::Blocked(_) => return Ok(()),
                    Written::Paused(_) => break,
                }
                connection.heartbeat_at = next_heartbeat(self.now, self.config.heartbeat, key);
            }
            if let Some(unsent) = &mut connection.unsent
                && let Some(close) = &mut unsent.close
            {
                if !close.last.is_empty() {
                    unsent.bytes = mem::take(&mut close.last);
                    continue;
                }
                let reason = close.reason;
                return match connection.poll_shutdown() {
                    Poll::Ready(shut_down) => Err(shut_down.err().unwrap_or(reason)),
                    Poll::Pending => Ok(()),
                };
            }
            connection.unsent = None;
            if connection.position >= group.position() {
                if group.is_finished {
                    connection.close(Bytes::new(), Disconnect::Finished, self.now);
                    continue;
                }
                return Ok(());
            }
            if self.written >= PART_BYTES {
                break;
            }
            match group.slice_after(connection.position) {
                Ok(Some(slice)) => {
                    let bytes = slice.bytes();
                    let written = connection.try_write(&bytes)?;
                    let taken = written.taken(bytes.len());
                    self.written += taken;
                    self.stats.add_bytes(taken);
                    if taken > 0 {
                        since = self.now;
                    }
                    let begun = connection.keep_unsent(&slice, taken, since);
                    self.stats.add_events(begun);
                    match written {
                        Written::All => connection.unsent = None,
                        Written::Blocked(_) => return Ok(()),
                        Written::Paused(_) => break,
                    }
                    connection.heartbeat_at = next_heartbeat(self.now, self.config.heartbeat, key);
                }
                Ok(None) => return Ok(()),
                Err(lagged) => match group.topic().slow_clients() {
                    SlowClients::Disconnect => {
                        connection.close(Bytes::new(), Disconnect::FellBehind, self.now);
                    }
                    SlowClients::SkipAhead => {
                        self.stats.add_gap();
                        let begin = group.begin_after(lagged);
                        connection.position = begin;
                        let gap = group.topic().gap_event(None, begin);
                        connection.set_unsent(gap.into(), self.now);
                    }
                },
            }
        }
        self.queue_connection(key);
        Ok(())
    }

    pub(super) fn remove_connection(&mut self, key: u32, reason: Disconnect) {
        let Some(connection) = self.connections.try_remove(key as usize) else {
            return; // It has left for another reason.
        };
        self.half_closed.remove(&key);
        self.stats.add_disconnect(reason);
        let (place, group_key) = (connection.place, connection.group);
        connection.end(reason);

        let group = &mut self.groups[group_key as usize];
        group.members.swap_remove(place as usize);
        if group.members.is_empty() {
            let group = self.groups.remove(group_key as usize);
            self.group_of_topic.remove(&group.topic().address());
        } else if let Some(&moved) = group.members.get(place as usize) {
            let position = group.position();
            let connection = &mut self.connections[moved as usize];
            connection.place = place;
            // A pass that is under way may have passed this place.
            if connection.unsent.is_none() && connection.position < position {
                self.queue_connection(moved);
            }
        }
    }
}

/// A key or an index as it is kept for each of very many connections.
pub(super) fn compact(key: usize) -> u32 {
    u32::try_from(key).expect("there are fewer connections than that")
}
