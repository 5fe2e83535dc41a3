//! Topics that cannot be read, because of their keys or channels. The others go on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use redis::{RedisError, ServerError};

use super::catch_up::name_of;
use super::follower::Follower;
use super::functions::text;
use super::link::Broken;
use super::notice::EngineNotice;
use crate::topic::Shared;

/// Why a topic cannot be read.
#[derive(Debug)]
pub(super) struct Unreadable(pub(super) String);

impl Unreadable {
    /// Returns the reason if an error is one of a key or a channel alone.
    pub(super) fn of(error: RedisError) -> Result<Self, Broken> {
        let errors = error.clone().into_server_errors();
        let errors = errors.as_deref().unwrap_or_default();
        match errors.first() {
            Some((_, first)) if errors.iter().all(|(_, error)| is_of_key(error)) => {
                Ok(Self(text(first)))
            }
            _ => Err(error.into()),
        }
    }

    pub(super) fn odd() -> Self {
        Self("the server sent an unknown reply".to_owned())
    }
}

/// Returns whether another key or channel may be used in spite of the error.
fn is_of_key(error: &ServerError) -> bool {
    let details = error.details().unwrap_or_default();
    match error.code() {
        "WRONGTYPE" => true,
        // The other kind is that the user must not use a command at all.
        "NOPERM" => !details.ends_with("command"),
        _ => false,
    }
}

impl Follower {
    /// Lets a topic that cannot be read count as not read: no client joins, and its streams wait.
    /// It is read again with the next comparison.
    pub(super) fn refuse(&mut self, topic: &Arc<Shared>, unreadable: Unreadable) {
        let (name, Unreadable(reason)) = (Arc::<str>::from(name_of(topic)), unreadable);
        self.unread.retain(|unread| !Arc::ptr_eq(unread, topic));
        topic.note_unread();
        self.tips.remove(&name);
        if self.refused.get(&name) != Some(&reason) {
            let notice = EngineNotice::Unreadable(name.to_string(), reason.clone());
            self.shared.notify(&notice);
            self.refused.insert(name, reason);
        }
        self.count_refused();
    }

    /// Returns whether a topic could not be read when that was last tried.
    pub(super) fn is_refused(&self, topic: &Shared) -> bool {
        self.refused.contains_key(name_of(topic))
    }

    /// Notes that a topic has been read.
    pub(super) fn accept(&mut self, name: &str) {
        if self.refused.remove(name).is_some() {
            self.count_refused();
        }
    }

    /// Lets the next catch-up read the topics that could not be read.
    pub(super) fn retry_refused(&mut self) {
        let (hub, unread) = (&self.hub, &mut self.unread);
        self.refused.retain(|name, _| {
            let topic = hub.find(name);
            let is_used = topic.is_some();
            unread.extend(topic);
            is_used
        });
        self.count_refused();
    }

    fn count_refused(&self) {
        let count = self.refused.len() as u64;
        let unreadable = &self.shared.counters.unreadable;
        unreadable.store(count, Ordering::Relaxed);
    }
}
