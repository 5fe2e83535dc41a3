//! What is written next.

use std::borrow::Cow;
use std::iter;
use std::ops::Range;
use std::sync::Arc;

use sse_core::{Finish, KeyedSlice, LogId, Record, Segment, SegmentEntry as Entry};

use super::contents::reaches;
use crate::topic::{End, NewEvents, Shared, Source};

/// The result of [`collect`].
pub(super) struct Collected<'a> {
    /// All entries up to this ID.
    pub(super) until: LogId,
    /// Topics that have evicted events after the first ID and up to the second one.
    pub(super) evicted: Vec<(&'a Arc<Shared>, LogId, LogId)>,
}

/// Appends the entries after an ID and up to the goal to `out`, about [`MAX_BATCH`] bytes of
/// them, in the order of their IDs.
///
/// The end of a topic comes before an event with the same ID, which was published with it. So
/// that event is not visible before the end is stored.
///
/// What topics have evicted comes first, because a crash may cut the rest off, and again at its
/// place among the IDs: damage to the first leaves the second, and damage to both lacks entries.
///
/// `is_rewritten` after a failure. Then a keyed topic may have lost the superseded ones of events
/// that clients have seen, so if only a part of this gets to the disk, clients begin anew.
pub(super) fn collect<'a>(
    goal: &'a NewEvents,
    after: LogId,
    is_rewritten: bool,
    out: &mut Vec<u8>,
) -> Collected<'a> {
    let (mut until, mut slices, mut evicted) = (goal.until, Vec::new(), Vec::new());
    let max = MAX_BATCH / goal.topics.len().max(1);
    for topic in &goal.topics {
        let taken = take(topic, after..until, max, &mut slices, &mut evicted);
        until = until.min(taken);
    }
    let mut evictions = Vec::new();
    for (topic, _, end) in &mut evicted {
        *end = until.min(*end);
        evictions.push((*end, Entry::Evicted(*end, name(topic))));
    }
    for topic in goal.topics.iter().filter(|topic| topic.is_keyed()) {
        // Removals may be dropped until all events have been taken.
        let dropped = topic.lock().log.evicted();
        let dropped = if is_rewritten { goal.until } else { dropped };
        if after < dropped {
            let name = name(topic).unwrap_or_default();
            evictions.push((until.min(dropped), Entry::Dropped(dropped, name)));
        }
    }
    // Events of topics that are removed later are left out, too.
    for (_, name) in goal.removed.iter().filter(|(id, _)| *id > goal.until) {
        evictions.push((until, Entry::Evicted(until, Some((&**name).into()))));
    }
    for (_, entry) in &evictions {
        entry.encode(out);
    }
    let is_due = |(id, _): &(LogId, _)| after < *id && *id <= until;
    let events = slices
        .iter()
        .flat_map(|(topic, slice)| events(topic, slice));
    let events = events.filter(is_due);
    let mut entries: Vec<_> = ends(goal).filter(is_due).chain(evictions).collect();
    let mut last = after;
    let encode = |(_, entry): (LogId, Entry<'_>)| {
        entry.encode(out);
        last = reaches(&entry).unwrap_or(last);
    };
    if goal.topics.len() == 1 && entries.is_empty() {
        events.for_each(encode); // They are in order.
    } else {
        entries.extend(events);
        entries.sort_by_key(|(id, _)| *id);
        entries.into_iter().for_each(encode);
    }
    if last < until {
        Entry::UpTo(until).encode(out);
    }
    Collected { until, evicted }
}

/// Takes up to about `max` bytes of a topic, and returns the ID up to which that is all. If the
/// topic has no more, it is the end of the range: other topics may have later events.
fn take<'a>(
    topic: &'a Arc<Shared>,
    range: Range<LogId>,
    max: usize,
    slices: &mut Vec<(&'a Arc<Shared>, KeyedSlice)>,
    evicted: &mut Vec<(&'a Arc<Shared>, LogId, LogId)>,
) -> LogId {
    let (mut at, mut len) = (range.start, 0);
    loop {
        let mut state = topic.lock();
        let begin = state.log.evicted();
        let next = state.log.keyed_slice_between(at, range.end);
        if let Ok(None) = next {
            state.rest();
        }
        drop(state);
        match next {
            Ok(Some(_)) if len > max => return at,
            Ok(Some(slice)) => {
                len += slice.events.len();
                at = slice.events.last_id();
                slices.push((topic, slice));
            }
            Ok(None) => return range.end,
            Err(_) => {
                evicted.push((topic, at, begin));
                at = begin;
            }
        }
    }
}

fn events<'a>(
    topic: &'a Shared,
    slice: &'a KeyedSlice,
) -> impl Iterator<Item = (LogId, Entry<'a>)> {
    // An ordinary topic has no keys.
    let keys = slice.keys.iter().map(|key| Some(Cow::Borrowed(key)));
    let keys = keys.chain(iter::repeat(None));
    slice.events.events().zip(keys).map(|((id, event), key)| {
        let record = Record {
            id,
            topic: name(topic),
            event,
            key,
        };
        (id, Entry::Event(record))
    })
}

/// Returns the ends of topics that have been finished, or removed from their hub.
fn ends(goal: &NewEvents) -> impl Iterator<Item = (LogId, Entry<'_>)> {
    let ends = goal.topics.iter().filter_map(|topic| {
        let End { last, id, .. } = topic.lock_packed().end?;
        Some((id, Entry::Finished(Finish { last, id }, name(topic)?)))
    });
    // A removed topic may have a keyed one of the same name after it.
    let before_keyed = goal.topics.iter().filter_map(|topic| {
        let removed = topic.lock_packed().log.removed()?;
        Some((removed, topic.name()?))
    });
    let removed = goal.removed.iter().map(|(id, name)| (*id, name));
    let removed = removed.chain(before_keyed);
    ends.chain(removed.map(|(id, name)| (id, Entry::Removed(id, (&**name).into()))))
}

fn name(topic: &Shared) -> Option<Cow<'_, str>> {
    topic.name().map(|name| (&**name).into())
}

/// Returns the beginning of a segment that has all events after an ID.
pub(super) fn head(source: &Source, from: LogId, synced: LogId) -> Vec<u8> {
    let mut head = Segment::HEAD.to_vec();
    let epochs = source.epochs();
    for (index, epoch) in epochs.iter().enumerate() {
        let is_past = index + 1 < epochs.len();
        Entry::Epoch(epoch.first, is_past.then_some(epoch.last)).encode(&mut head);
    }
    Entry::From(from).encode(&mut head);
    Entry::Synced(synced).encode(&mut head);
    head
}

/// About the bytes that are written at a time.
const MAX_BATCH: usize = 1 << 20;
