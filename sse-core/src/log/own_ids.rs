//! The IDs of a log that assigns them, and those of its publishers.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::chunk::Entry;
use super::cursor::Cursor;
use super::epochs::Epochs;
use super::id::{LogId, LogIdText};
use super::slice::id_text;
use crate::event::EventId;

/// The IDs of a log that assigns them, and those of its publishers.
#[derive(Debug, Default)]
pub(super) struct OwnIds {
    /// The number of the epoch, if IDs say which run of the log they are from.
    pub(super) epoch: Option<u16>,
    pub(super) published: Published,
    /// The evicted event that ends at the oldest retained one, with its publisher's ID.
    pub(super) last_evicted: Option<(Entry, Option<Arc<str>>)>,
    /// The ID before the first event, once [`Log::position_id`](super::Log::position_id) has
    /// returned it.
    pub(super) origin: Option<LogId>,
    /// The first assigned ID. Earlier ones belong to another log.
    pub(super) first_id: Option<LogId>,
    /// Those of earlier runs and of this one, if the log continues earlier ones.
    pub(super) epochs: Option<Epochs>,
    pub(super) text: LogIdText,
}

/// The publishers' IDs of the retained events.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// Each with the end of its event, in the order of the log.
    ids: VecDeque<(Cursor, Arc<str>)>,
    /// The end of the last event with each ID.
    ends: HashMap<Arc<str>, Cursor>,
}

impl Published {
    /// Adds the ID of the newest event.
    pub(super) fn push(&mut self, end: Cursor, id: Arc<str>) {
        self.ids.push_back((end, Arc::clone(&id)));
        self.ends.insert(id, end);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Returns the ID of the event that ends at the cursor.
    pub(super) fn id_at(&self, end: Cursor) -> Option<&Arc<str>> {
        let index = self.ids.binary_search_by_key(&end, |(end, _)| *end).ok()?;
        Some(&self.ids[index].1)
    }

    /// Returns the end of the last event with this ID.
    pub(super) fn end_of(&self, id: &str) -> Option<Cursor> {
        self.ends.get(id).copied()
    }

    /// Removes the IDs of the events up to the cursor.
    pub(super) fn remove_until(&mut self, cursor: Cursor) {
        let count = self.ids.partition_point(|(end, _)| *end <= cursor);
        for (end, id) in self.ids.drain(..count) {
            if self.ends.get(&id) == Some(&end) {
                self.ends.remove(&id);
            }
        }
    }

    /// Shrinks each buffer whose capacity exceeds four times its length.
    pub(super) fn shrink(&mut self) {
        self.ids.shrink_to(4 * self.ids.len());
        self.ends.shrink_to(4 * self.ends.len());
    }
}

/// Returns the ID of an event with the log's ID `id`, if its publisher has set another one.
pub(super) fn published_id(event: &[u8], id: LogId) -> Option<&str> {
    let text = str::from_utf8(id_text(event)?).ok()?;
    let is_own = LogId::parse(text) != Some(id) && EventId::new(text).is_ok();
    is_own.then_some(text)
}
