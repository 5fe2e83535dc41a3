//! Shards: tasks that each drive many thousands of connections.
//!
//! The connections of a shard that follow the same topic are a *group*. New events of a topic
//! wake the shard once. It takes one slice of the topic's log and, in a *pass* over the group,
//! writes the same bytes to every connection that is up to date. A connection that cannot take
//! all of it keeps its position and the rest of the event in which it stopped, shared as well.
//! When its socket becomes writable, it catches up with the group.
//!
//! A connection that follows several topics of a hub is a member of the group of each. A pass
//! serves it like any other if none of its other topics has anything new; otherwise it catches up
//! by itself, with the events of all of its topics merged. `joint.rs` has the rules.
//!
//! From `publish` to the sockets an event costs five rounds of a lock, whatever the number of
//! subscribers, and at most one copy (none, if it is long):
//!
//! 1. the topic's, to append and to take the shard's waker,
//! 2. the mailbox's, to put the group into the ready list,
//! 3. the mailbox's, by the shard, to take that list,
//! 4. the topic's, to take the slice, where the newest chunk of the log is copied,
//! 5. the topic's, after the pass, to find nothing new and register the waker.
//!
//! A pass that takes longer than a turn also locks the mailbox once a turn.
//!
//! A shard has one queue of work. Each piece of work takes a part, some sends or reads, and
//! returns to the back of the queue if there is more to do. One connection that catches up
//! alternates with each piece. After a millisecond the shard yields to the runtime. So neither
//! a fast publisher nor many late joiners keep it from admitting clients, sending heartbeats,
//! noticing clients that leave, or draining.

mod arrivals;
mod catch_up;
mod catching;
mod connection;
mod connections;
mod driver;
mod feed;
mod group;
mod joint;
mod mailbox;
mod members;
mod merge;
mod pass;
mod tick;
mod work;

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::unconstrained;

pub(crate) use self::connection::{Arrival, Follow};
use self::driver::Driver;
use self::mailbox::Mailbox;
use crate::config::Config;
use crate::stats::Stats;

/// A handle of a shard. Its task runs until this is dropped and all connections have ended.
#[derive(Debug)]
pub(crate) struct Shard(Arc<Mailbox<Arrival>>);

impl Shard {
    /// Starts a shard on the current runtime.
    pub(crate) fn start(config: Arc<Config>, stats: Arc<Stats>) -> Self {
        let mailbox = Arc::default();
        let driver = Driver::new(config, stats, Arc::clone(&mailbox));
        // Tokio's budget would make writes pending after 128 of them; a turn has its own budget.
        tokio::spawn(unconstrained(driver.run()));
        Self(mailbox)
    }

    /// Returns a handle that shows whether the task runs.
    pub(crate) fn liveness(&self) -> Liveness {
        Liveness(Arc::downgrade(&self.0))
    }

    /// Hands a connection over.
    pub(crate) fn admit(&self, arrival: Arrival) {
        self.0.post(|mail| mail.arrivals.push_back(arrival));
    }

    /// Ends each stream at a random time within `window`.
    pub(crate) fn drain(&self, window: Duration) {
        self.0.post(|mail| mail.drain = Some(window));
    }
}

/// Shows whether the task of a shard runs.
#[derive(Debug)]
pub(crate) struct Liveness(Weak<Mailbox<Arrival>>);

impl Liveness {
    /// Returns `false` if the task has ended before the [`Shard`] was dropped.
    ///
    /// Both hold the mailbox.
    pub(crate) fn is_live(&self) -> bool {
        self.0.strong_count() != 1
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.0.post(|mail| mail.is_closed = true);
    }
}
