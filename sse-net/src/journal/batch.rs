//! What is written next.

use std::borrow::Cow;
use std::iter;
use std::sync::Arc;

use sse_core::{Finish, KeyedSlice, LogId, Record, Segment, SegmentEntry as Entry};

use crate::topic::{News, Shared, Source};

/// What has been collected.
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
/// `is_rewritten` after a failure. Then a keyed topic may have lost the superseded ones of events
/// that clients have seen, so if only a part of this gets to the disk, clients begin anew.
pub(super) fn collect<'a>(
    goal: &'a News,
    after: LogId,
    is_rewritten: bool,
    out: &mut Vec<u8>,
) -> Collected<'a> {
    let (mut until, mut evicted, mut slices) = (goal.until, Vec::new(), Vec::new());
    let mut dropped = Vec::new();
    let max = MAX_BATCH / goal.topics.len().max(1);
    for topic in &goal.topics {
        let (mut at, mut len) = (after, 0);
        loop {
            let mut state = topic.lock();
            let begin = state.log.evicted();
            if state.log.is_keyed() && at == after {
                let dropped_until = if is_rewritten { goal.until } else { begin };
                dropped.extend((after < dropped_until).then_some((topic, dropped_until)));
            }
            let next = state.log.keyed_slice_between(at, goal.until);
            drop(state);
            match next {
                Ok(Some(slice)) => {
                    len += slice.events.len();
                    at = slice.events.last_id();
                    slices.push((topic, slice));
                }
                Ok(None) => break,
                Err(_) => {
                    evicted.push((topic, at, begin));
                    at = begin;
                }
            }
            if len > max {
                until = until.min(at);
                break;
            }
        }
    }
    for (topic, _, begin) in &evicted {
        Entry::Evicted(*begin, name(topic)).encode(out);
    }
    for (topic, id) in dropped {
        Entry::Dropped(id, name(topic).unwrap_or_default()).encode(out);
    }
    let events = slices
        .iter()
        .flat_map(|(topic, slice)| events(topic, slice));
    let entries = ends(goal).chain(events);
    let is_due = |(id, _): &(LogId, _)| after < *id && *id <= until;
    let mut entries: Vec<_> = entries.filter(is_due).collect();
    entries.sort_by_key(|(id, _)| *id);
    let last = entries.last().map_or(after, |(id, _)| *id);
    entries.iter().for_each(|(_, entry)| entry.encode(out));
    if last < until {
        Entry::UpTo(until).encode(out);
    }
    Collected { until, evicted }
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
fn ends(goal: &News) -> impl Iterator<Item = (LogId, Entry<'_>)> {
    let finished = |last, id, topic: &str| {
        let topic = topic.to_owned();
        (id, Entry::Finished(Finish { last, id, topic }))
    };
    let ends = goal.topics.iter().filter_map(move |topic| {
        let (name, end) = (topic.name()?, topic.lock().end?);
        Some(finished(end.last, end.id, name))
    });
    let removed = goal.removed.iter().flat_map(move |(id, name)| {
        let evicted = Entry::Evicted(*id, Some((&**name).into()));
        [finished(*id, *id, name), (*id, evicted)]
    });
    ends.chain(removed)
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
