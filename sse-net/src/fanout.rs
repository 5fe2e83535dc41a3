//! The shards that drive very many plain subscribers.
//!
//! A shard is one task that owns many connections. It is woken once for a burst, copies the
//! new bytes of a topic's log once, and writes the same slice to every connection that is up
//! to date. Only one that could not take it all is remembered, with its cursor, until its
//! socket becomes writable; it then gets everything up to the others' cursor in as few writes
//! as possible. Heartbeats, deadlines and ages come from one coarse tick for all.
//!
//! Between turns every connection stands at the end of an event, or has the rest of one in
//! its [`Lag`]: what the log forgets meanwhile can't tear an event.

use std::collections::{HashMap, HashSet};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use std::{future, mem};

use memchr::memmem;
use slab::Slab;
use sse_core::{Cursor, Event};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::unconstrained;
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, interval, sleep_until};

use crate::config::{Config, SlowClients, jittered};
use crate::incoming::OnEnd;
use crate::limit::Ticket;
use crate::stats::{Disconnect, Stats};
use crate::topic::{Start, Subscription, Topic};
use crate::transport::Transport;

/// How exact heartbeats, deadlines and ages are.
const TICK: Duration = Duration::from_millis(250);

/// How much one connection may be written in a turn before it is the others'.
const TURN: usize = 1 << 20;

/// The mailbox of a shard, whose task runs until this is dropped and all have left.
#[derive(Debug)]
pub(crate) struct Shard(Arc<Mailbox>);

impl Shard {
    /// Starts a shard on the current runtime.
    pub(crate) fn start(config: Arc<Config>, stats: Arc<Stats>) -> Self {
        let mailbox = Arc::new(Mailbox::default());
        let driver = Driver::new(config, stats, Arc::clone(&mailbox));
        tokio::spawn(unconstrained(driver.run()));
        Self(mailbox)
    }

    /// Hands over a connection.
    pub(crate) fn admit(&self, arrival: Arrival) {
        self.0.post(|mail| mail.arrivals.push(arrival));
    }

    /// Says goodbye to all, each at a time of its own within `window`.
    pub(crate) fn drain(&self, window: Duration) {
        self.0.post(|mail| mail.drain = Some(window));
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.0.post(|mail| mail.is_closed = true);
    }
}

/// A subscriber that is handed over to a shard.
pub(crate) struct Arrival {
    pub(crate) transport: Transport,
    pub(crate) topic: Topic,
    pub(crate) cursor: Cursor,
    /// What is written before any event: the response head and what it is followed by.
    pub(crate) preface: Vec<u8>,
    pub(crate) on_end: OnEnd,
    pub(crate) ticket: Ticket,
}

#[derive(Default)]
struct Mailbox(Mutex<Mail>);

#[derive(Default)]
struct Mail {
    arrivals: Vec<Arrival>,
    ready: Vec<Arc<Signal>>,
    drain: Option<Duration>,
    is_closed: bool,
    /// The shard's task, where it waits.
    waker: Option<Waker>,
}

impl Mailbox {
    fn post(&self, put: impl FnOnce(&mut Mail)) {
        let mut mail = self.lock();
        put(&mut mail);
        let waker = mail.waker.take();
        drop(mail);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

/// What can become ready.
#[derive(Clone, Copy)]
enum Key {
    Connection(u32),
    Group(u32),
}

/// Tells the shard which of its very many has become ready.
struct Signal {
    mailbox: Arc<Mailbox>,
    key: Key,
    is_raised: AtomicBool,
}

impl Signal {
    fn waker(mailbox: &Arc<Mailbox>, key: Key) -> Waker {
        let signal = Self {
            mailbox: Arc::clone(mailbox),
            key,
            is_raised: AtomicBool::new(false),
        };
        Waker::from(Arc::new(signal))
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_raised.swap(true, Ordering::AcqRel) {
            self.mailbox.post(|mail| mail.ready.push(Arc::clone(self)));
        }
    }
}

/// The task of a shard.
struct Driver {
    config: Arc<Config>,
    stats: Arc<Stats>,
    mailbox: Arc<Mailbox>,
    /// Boxed, because each comes with a socket whose part of the runtime is aligned to 128 bytes:
    /// in the gaps between those there is room.
    connections: Slab<Box<Connection>>,
    groups: Slab<Group>,
    /// Groups by their topics' addresses.
    group_of_topic: HashMap<usize, u32>,
    /// Those that go on in the next turn.
    again: Vec<u32>,
    /// Those whose peers have ended their half, and may be gone: few, so they are not marked
    /// where there are very many.
    half_closed: HashSet<u32>,
    /// Those that leave in this turn.
    leaving: Vec<(u32, Disconnect)>,
    scratch: Vec<u8>,
    heartbeat: Vec<u8>,
    /// The groups whose topics linger, and until when.
    lingering: Vec<(Instant, u32)>,
    linger: Pin<Box<Sleep>>,
    furthest_lag: Arc<AtomicUsize>,
    started: Instant,
    interval: Interval,
    /// Ticks since the start.
    now: u32,
    /// When whoever is left is cut off.
    drained: Option<u32>,
}

impl Driver {
    fn new(config: Arc<Config>, stats: Arc<Stats>, mailbox: Arc<Mailbox>) -> Self {
        let mut interval = interval(TICK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self {
            heartbeat: config.heartbeat_form.encode(),
            furthest_lag: stats.lag(),
            config,
            stats,
            mailbox,
            connections: Slab::new(),
            groups: Slab::new(),
            group_of_topic: HashMap::new(),
            again: Vec::new(),
            half_closed: HashSet::new(),
            leaving: Vec::new(),
            scratch: Vec::new(),
            lingering: Vec::new(),
            linger: Box::pin(sleep_until(Instant::now())),
            started: Instant::now(),
            interval,
            now: 0,
            drained: None,
        }
    }

    async fn run(mut self) {
        future::poll_fn(|cx| self.turn(cx)).await;
    }

    /// One turn: whoever has something to do does it once.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // First, so that who takes something now has not done so at the last tick.
        self.now = ticks(self.started.elapsed());
        let mail = self.take_mail(cx);
        for arrival in mail.arrivals {
            self.admit(arrival);
        }
        for key in mem::take(&mut self.again) {
            self.serve(key);
        }
        for signal in mail.ready {
            signal.is_raised.store(false, Ordering::Release);
            match signal.key {
                Key::Connection(key) => self.serve(key),
                Key::Group(key) => self.deliver_or_linger(key),
            }
        }
        self.end_lingers(cx);
        if let Some(window) = mail.drain {
            self.drain(window);
        }
        while self.interval.poll_tick(cx).is_ready() {
            self.tick();
        }
        for (key, reason) in mem::take(&mut self.leaving) {
            self.part(key, reason);
        }
        if !self.again.is_empty() {
            cx.waker().wake_by_ref();
        }
        match mail.is_closed && self.connections.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    fn take_mail(&self, cx: &Context<'_>) -> Mail {
        let mut mail = self.mailbox.lock();
        let is_closed = mail.is_closed;
        let waiting = Mail {
            waker: Some(cx.waker().clone()),
            is_closed,
            ..Mail::default()
        };
        mem::replace(&mut mail, waiting)
    }

    fn admit(&mut self, arrival: Arrival) {
        let group = self.group(&arrival.topic);
        // So that the group is not behind a subscriber that has just been there.
        self.deliver(group);
        let members = &mut self.groups[group as usize].members;
        let entry = self.connections.vacant_entry();
        let key = compact(entry.key());
        let lag = Lag::new(arrival.cursor, arrival.preface, self.now);
        entry.insert(Box::new(Connection {
            transport: arrival.transport,
            waker: Signal::waker(&self.mailbox, Key::Connection(key)),
            group,
            place: compact(members.len()),
            beat_at: 0,
            leave_at: match self.drained {
                Some(_) => self.now,
                None => self.now.saturating_add(ticks(self.config.age())),
            },
            lag: Some(Box::new(lag)),
            on_end: arrival.on_end,
            _ticket: arrival.ticket,
        }));
        members.push(key);
        self.serve(key);
    }

    /// The group of those that follow `topic`.
    fn group(&mut self, topic: &Topic) -> u32 {
        if let Some(key) = self.group_of_topic.get(&topic.address()) {
            return *key;
        }
        let entry = self.groups.vacant_entry();
        let key = compact(entry.key());
        entry.insert(Group {
            subscription: topic.subscribe(Start::Live),
            waker: Signal::waker(&self.mailbox, Key::Group(key)),
            members: Vec::new(),
            lingers_until: None,
            is_finished: false,
        });
        self.group_of_topic.insert(topic.address(), key);
        key
    }

    /// Reads from a connection, and writes what it lags behind.
    fn serve(&mut self, key: u32) {
        if !self.connections.contains(key as usize) {
            return; // It left after it had become ready.
        }
        if let Err(reason) = self.read(key).and_then(|()| self.catch_up(key)) {
            // At once: it does not lag any more, and would get news past what it has missed.
            self.part(key, reason);
        }
    }

    /// Keeps a read pending, so that a peer that leaves is noticed at once.
    fn read(&mut self, key: u32) -> Result<(), Disconnect> {
        let connection = &mut self.connections[key as usize];
        let mut bytes = [0; 1024];
        for _ in 0..16 {
            let mut buffer = ReadBuf::new(&mut bytes);
            match connection.poll_read(&mut buffer) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(_)) => return Err(Disconnect::Gone),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    if self.half_closed.insert(key) {
                        // A closed tab answers a heartbeat with a reset; one nearby has done
                        // so already. A peer that has only ended its own half reads on.
                        self.beat(key)?;
                    }
                    return self.connections[key as usize].probe();
                }
                Poll::Ready(Ok(())) => {}
            }
        }
        self.again.push(key);
        Ok(())
    }

    /// Delivers the news of a topic, unless it is to wait for what follows.
    fn deliver_or_linger(&mut self, key: u32) {
        match self
            .groups
            .get(key as usize)
            .and_then(|group| group.lingers_until)
        {
            Some(until) if until > Instant::now() => self.lingering.push((until, key)),
            _ => self.deliver(key),
        }
    }

    fn end_lingers(&mut self, cx: &mut Context<'_>) {
        while let Some(&(until, _)) = self.lingering.iter().min() {
            if self.linger.deadline() != until {
                self.linger.as_mut().reset(until);
            }
            if self.linger.as_mut().poll(cx).is_pending() {
                return;
            }
            for (_, key) in self
                .lingering
                .extract_if(.., |due| due.0 <= until)
                .collect::<Vec<_>>()
            {
                self.deliver(key);
            }
        }
    }

    /// Writes the news of a topic to those that are up to date.
    fn deliver(&mut self, key: u32) {
        let Some(group) = self.groups.get_mut(key as usize) else {
            return; // The last member left after there was news.
        };
        let cx = &mut Context::from_waker(&group.waker);
        loop {
            let start = group.subscription.cursor();
            self.scratch.clear();
            let read = match group.subscription.poll_read(cx, &mut self.scratch) {
                Poll::Pending => return,
                Poll::Ready(read) => read,
            };
            let linger = group.subscription.topic().linger();
            group.lingers_until = match linger.is_zero() {
                true => None,
                false => Instant::now().checked_add(linger),
            };
            let topic = group.subscription.topic();
            let (mut clients, mut events, mut taken) = (0, 0, 0);
            for &member in &group.members {
                let connection = &mut self.connections[member as usize];
                if connection.lag.is_some() {
                    continue; // It gets the news when it has caught up.
                }
                let mut lag = Lag::new(start, Vec::new(), self.now);
                if let Ok(1..) = read {
                    connection.beat_at = next_beat(self.now, self.config.heartbeat, member);
                    let offered = connection.offer(&self.scratch);
                    taken += offered.taken;
                    match offered.state {
                        Poll::Ready(Ok(())) => {
                            clients += 1;
                            continue;
                        }
                        Poll::Ready(Err(reason)) => self.leaving.push((member, reason)),
                        Poll::Pending => {}
                    }
                    lag.pass(&self.scratch, offered.taken);
                    events += topic.count(start, lag.cursor);
                } else {
                    // The end, or a gap: a matter between it and the topic.
                    self.again.push(member);
                }
                connection.lag = Some(Box::new(lag));
            }
            events += clients * topic.count(start, group.subscription.cursor());
            self.stats.add_events(events);
            self.stats.add_bytes(taken);
            if read == Ok(0) {
                group.is_finished = true;
                return;
            }
        }
    }

    /// Writes what a connection lags behind, until it is up to date with its group.
    fn catch_up(&mut self, key: u32) -> Result<(), Disconnect> {
        let connection = &mut self.connections[key as usize];
        let group = &self.groups[connection.group as usize];
        let topic = group.subscription.topic();
        let mut room = TURN;
        while let Some(mut lag) = connection.lag.take() {
            let offered = connection.offer(lag.rest());
            lag.advance(offered.taken, self.now);
            self.stats.add_bytes(offered.taken);
            if let Poll::Ready(written) = offered.state {
                written?;
            } else {
                connection.lag = Some(lag);
                return Ok(());
            }
            connection.beat_at = next_beat(self.now, self.config.heartbeat, key);
            if lag.cursor == group.subscription.cursor() && lag.farewell.is_none() {
                if !group.is_finished {
                    return Ok(());
                }
                lag.farewell = Some(Disconnect::Finished);
            }
            if let Some(reason) = lag.farewell {
                return match connection.poll_shutdown() {
                    Poll::Ready(_) => Err(reason),
                    Poll::Pending => {
                        connection.lag = Some(lag);
                        Ok(())
                    }
                };
            }
            if room == 0 {
                connection.lag = Some(lag);
                self.again.push(key);
                return Ok(());
            }
            self.scratch.clear();
            match topic.copy(
                lag.cursor,
                group.subscription.cursor(),
                room,
                &mut self.scratch,
            ) {
                Ok(()) => {
                    let offered = connection.offer(&self.scratch);
                    self.stats.add_bytes(offered.taken);
                    let start = lag.cursor;
                    lag.pass(&self.scratch, offered.taken);
                    self.stats.add_events(topic.count(start, lag.cursor));
                    if offered.taken > 0 {
                        lag.since = self.now;
                    }
                    room = room.saturating_sub(self.scratch.len());
                    connection.lag = Some(lag);
                    match offered.state {
                        Poll::Pending => return Ok(()),
                        Poll::Ready(written) => written?,
                    }
                }
                Err(forgotten) => match topic.slow_clients() {
                    SlowClients::Disconnect => {
                        lag.farewell = Some(Disconnect::FellBehind);
                        connection.lag = Some(lag);
                    }
                    SlowClients::SkipAhead => {
                        self.stats.add_gap();
                        let gap = topic.gap_event(None, forgotten.begin);
                        connection.lag = Some(Box::new(Lag::new(forgotten.begin, gap, self.now)));
                    }
                },
            }
        }
        Ok(())
    }

    /// What the passing of time asks for.
    fn tick(&mut self) {
        for key in &self.half_closed {
            if let Err(reason) = self.connections[*key as usize].probe() {
                self.leaving.push((*key, reason));
            }
        }
        for key in 0..compact(self.connections.capacity()) {
            if self.connections.contains(key as usize)
                && let Err(reason) = self.look_after(key)
            {
                self.leaving.push((key, reason));
            }
        }
        let lags = self.connections.iter().filter_map(|(_, connection)| {
            let group = &self.groups[connection.group as usize];
            let lag = connection.lag.as_ref()?;
            Some(lag.cursor.distance(group.subscription.cursor()))
        });
        let furthest = lags.max().unwrap_or_default();
        self.furthest_lag.store(furthest, Ordering::Relaxed);
    }

    fn look_after(&mut self, key: u32) -> Result<(), Disconnect> {
        let connection = &self.connections[key as usize];
        if self.drained.is_some_and(|drained| drained <= self.now) {
            return Err(Disconnect::Drained);
        }
        if let Some(lag) = &connection.lag {
            // Two more, for what both ends are rounded down by: nobody is cut before the time.
            let time = ticks(self.config.write_timeout.saturating_add(2 * TICK));
            match lag.since.saturating_add(time) <= self.now {
                true => return Err(Disconnect::WriteTimeout),
                false if lag.farewell.is_some() => return Ok(()),
                false => {}
            }
        }
        if connection.leave_at <= self.now {
            return self.say_goodbye(key);
        }
        match connection.lag.is_none() && connection.beat_at <= self.now {
            true => self.beat(key),
            false => Ok(()),
        }
    }

    /// Writes a heartbeat, unless events are on their way anyhow.
    fn beat(&mut self, key: u32) -> Result<(), Disconnect> {
        let connection = &mut self.connections[key as usize];
        if connection.lag.is_some() {
            return Ok(());
        }
        connection.beat_at = next_beat(self.now, self.config.heartbeat, key);
        self.stats.add_heartbeat();
        let offered = connection.offer(&self.heartbeat);
        self.stats.add_bytes(offered.taken);
        if let Poll::Ready(written) = offered.state {
            return written;
        }
        let cursor = self.groups[connection.group as usize].subscription.cursor();
        let rest = self.heartbeat[offered.taken..].to_vec();
        connection.lag = Some(Box::new(Lag::new(cursor, rest, self.now)));
        Ok(())
    }

    /// Ends a stream so that the client comes back at a time of its own.
    fn say_goodbye(&mut self, key: u32) -> Result<(), Disconnect> {
        let connection = &mut self.connections[key as usize];
        let cursor = self.groups[connection.group as usize].subscription.cursor();
        let lag = connection
            .lag
            .get_or_insert_with(|| Box::new(Lag::new(cursor, Vec::new(), self.now)));
        Event::new()
            .retry(jittered(self.config.retry))
            .encode(&mut lag.tail);
        lag.farewell = Some(match self.drained {
            Some(_) => Disconnect::Drained,
            None => Disconnect::MaxAge,
        });
        self.catch_up(key)
    }

    fn drain(&mut self, window: Duration) {
        for (_, connection) in &mut self.connections {
            let wait = ticks(window.mul_f64(fastrand::f64()));
            connection.leave_at = connection.leave_at.min(self.now.saturating_add(wait));
        }
        let end = window.saturating_add(self.config.goodbye_timeout());
        self.drained = Some(self.now.saturating_add(ticks(end)));
    }

    fn part(&mut self, key: u32, reason: Disconnect) {
        let Some(connection) = self.connections.try_remove(key as usize) else {
            return; // It has left for another reason.
        };
        self.half_closed.remove(&key);
        self.stats.add_disconnect(reason);
        connection.on_end.tell(reason);

        let group = &mut self.groups[connection.group as usize];
        group.members.swap_remove(connection.place as usize);
        if let Some(&moved) = group.members.get(connection.place as usize) {
            self.connections[moved as usize].place = connection.place;
        }
        if group.members.is_empty() {
            let group = self.groups.remove(connection.group as usize);
            self.group_of_topic
                .remove(&group.subscription.topic().address());
        }
    }
}

/// The connections of a shard that follow the same topic.
struct Group {
    /// Its cursor is that of every member that does not lag.
    subscription: Subscription,
    waker: Waker,
    members: Vec<u32>,
    /// Until when news wait, if the topic lingers.
    lingers_until: Option<Instant>,
    is_finished: bool,
}

struct Connection {
    transport: Transport,
    waker: Waker,
    group: u32,
    /// Where it stands among the group's members.
    place: u32,
    /// When it gets a heartbeat, if nothing is written before.
    beat_at: u32,
    /// When it has to go.
    leave_at: u32,
    /// What it could not take; without, it is up to date with its group.
    lag: Option<Box<Lag>>,
    on_end: OnEnd,
    _ticket: Ticket,
}

impl Connection {
    fn poll_read(&mut self, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let cx = &mut Context::from_waker(&self.waker);
        Pin::new(&mut self.transport).poll_read(cx, buffer)
    }

    /// Ends the stream: a TLS session says so, and a socket ends its own half.
    fn poll_shutdown(&mut self) -> Poll<io::Result<()>> {
        let cx = &mut Context::from_waker(&self.waker);
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }

    /// Finds out whether the peer has reset the connection, which nothing tells after it has
    /// ended its half: reads go on to find that end.
    fn probe(&mut self) -> Result<(), Disconnect> {
        let cx = &mut Context::from_waker(&self.waker);
        match Pin::new(&mut self.transport).poll_write(cx, b"") {
            Poll::Ready(Err(_)) => Err(Disconnect::Gone),
            _ => Ok(()),
        }
    }

    /// Writes as much of `bytes` as the connection takes now.
    fn offer(&mut self, bytes: &[u8]) -> Offered {
        let cx = &mut Context::from_waker(&self.waker);
        let mut transport = Pin::new(&mut self.transport);
        let mut taken = 0;
        while taken < bytes.len() {
            match transport.as_mut().poll_write(cx, &bytes[taken..]) {
                Poll::Ready(Ok(written)) if written > 0 => taken += written,
                Poll::Ready(_) => {
                    return Offered {
                        taken,
                        state: Poll::Ready(Err(Disconnect::Gone)),
                    };
                }
                Poll::Pending => {
                    return Offered {
                        taken,
                        state: Poll::Pending,
                    };
                }
            }
        }
        let state = transport.poll_flush(cx).map_err(|_| Disconnect::Gone);
        Offered { taken, state }
    }
}

struct Offered {
    taken: usize,
    state: Poll<Result<(), Disconnect>>,
}

/// How far a connection is behind.
struct Lag {
    /// Where it goes on, after the rest of `tail`; always between two events.
    cursor: Cursor,
    /// What precedes that: a response head, the rest of an event.
    tail: Vec<u8>,
    taken: usize,
    /// When it last took something.
    since: u32,
    /// Why it leaves after `tail`.
    farewell: Option<Disconnect>,
}

impl Lag {
    fn new(cursor: Cursor, tail: Vec<u8>, now: u32) -> Self {
        Self {
            cursor,
            tail,
            taken: 0,
            since: now,
            farewell: None,
        }
    }

    fn rest(&self) -> &[u8] {
        &self.tail[self.taken..]
    }

    fn advance(&mut self, taken: usize, now: u32) {
        self.taken += taken;
        if taken > 0 {
            self.since = now;
        }
    }

    /// Goes past the first `taken` of `events`, and keeps the rest of the one in which that
    /// ends.
    fn pass(&mut self, events: &[u8], taken: usize) {
        let from = taken.saturating_sub(2);
        let end = match taken {
            0 => 0,
            _ => memmem::find(&events[from..], b"\n\n").map_or(events.len(), |at| from + at + 2),
        };
        self.cursor = self.cursor.advance(end);
        self.tail = events[taken..end].to_vec();
        self.taken = 0;
    }
}

fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX)
}

/// When a connection that is written to now gets a heartbeat: up to a tenth early, so that not
/// all are due at once.
fn next_beat(now: u32, heartbeat: Duration, key: u32) -> u32 {
    let time = ticks(heartbeat).max(1);
    let early = key % (time / 10 + 1);
    now.saturating_add(time - early)
}

/// A key or a place as it is kept for each of very many connections.
fn compact(key: usize) -> u32 {
    u32::try_from(key).expect("there are fewer connections than that")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn what_is_kept_for_each_connection_stays_small() {
        // 8 bytes less where assertions are off, which the socket has for its own.
        assert!(size_of::<Connection>() <= 96);
        assert!(size_of::<Signal>() <= 24);
    }

    #[test]
    fn the_rest_of_an_event_is_what_follows_until_its_blank_line() {
        let events = b"data: a\n\ndata: b\n\n";
        for (taken, rest) in [
            (0, ""),
            (1, "ata: a\n\n"),
            (8, "\n"),
            (9, ""),
            (10, "ata: b\n\n"),
            (17, "\n"),
            (18, ""),
        ] {
            let mut lag = Lag::new(Cursor::default(), Vec::new(), 0);
            lag.pass(events, taken);
            assert_eq!(lag.rest(), rest.as_bytes(), "{taken}");
            let passed = Cursor::default().distance(lag.cursor);
            assert_eq!(passed, taken + rest.len(), "{taken}");
        }
    }
}
