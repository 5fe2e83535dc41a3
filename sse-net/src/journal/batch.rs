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

/// Appends the entries after an ID and up to the goal to `out`, up to about twice [`MAX_BATCH`]
/// bytes and an event, in the order of their IDs.
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
    let (parts, until) = take_all(goal, after);
    let evicted = parts.iter().flat_map(|part| &part.evicted);
    let mut evicted: Vec<_> = evicted.copied().collect();
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
    let events = parts.iter().flat_map(Part::events).filter(is_due);
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

/// Takes events of all topics after an ID, and returns the ID up to which they are all.
///
/// A slice has up to 64 KiB. With very many topics that is too much, so then less is taken of each.
fn take_all(goal: &NewEvents, after: LogId) -> (Vec<Part<'_>>, LogId) {
    let (mut until, mut len, mut parts) = (goal.until, 0, Vec::new());
    let max = MAX_BATCH / goal.topics.len().max(1);
    for topic in &goal.topics {
        let part = Part::take(topic, after..until, max);
        until = until.min(part.until);
        len += part.len();
        parts.push(part);
        if len > 2 * MAX_BATCH {
            until = cut(&parts).min(until);
            for part in parts.iter_mut().filter(|part| part.last_id() > until) {
                *part = Part::take(part.topic, after..until, max);
            }
            until = parts.iter().map(|part| part.until).fold(until, LogId::min);
            len = parts.iter().map(Part::len).sum();
        }
    }
    (parts, until)
}

/// Returns the ID up to which the parts have about [`MAX_BATCH`] bytes.
fn cut(parts: &[Part<'_>]) -> LogId {
    let slices = parts.iter().flat_map(|part| &part.slices);
    let events = slices.flat_map(|slice| slice.events.events());
    let mut lens: Vec<_> = events.map(|(id, event)| (id, event.len())).collect();
    lens.sort_unstable();
    let mut len = 0;
    let end = lens.iter().find(|(_, next)| {
        len += next;
        len >= MAX_BATCH
    });
    end.map_or(LogId::MAX, |(id, _)| *id)
}

/// The next events of a topic.
struct Part<'a> {
    topic: &'a Arc<Shared>,
    slices: Vec<KeyedSlice>,
    /// All events up to this ID. If the topic has no more, it is the end of the range: other topics
    /// may have later events.
    until: LogId,
    /// What the topic has evicted: events after the first ID and up to the second one.
    evicted: Vec<(&'a Arc<Shared>, LogId, LogId)>,
}

impl<'a> Part<'a> {
    /// Takes up to about `max` bytes of a topic.
    fn take(topic: &'a Arc<Shared>, range: Range<LogId>, max: usize) -> Self {
        let (mut at, mut len) = (range.start, 0);
        let mut part = Self {
            topic,
            slices: Vec::new(),
            until: range.end,
            evicted: Vec::new(),
        };
        loop {
            let mut state = topic.lock();
            let begin = state.log.evicted();
            let next = state.log.keyed_slice_between(at, range.end);
            if let Ok(None) = next {
                state.rest();
            }
            drop(state);
            match next {
                Ok(Some(_)) if len > max => {
                    part.until = at;
                    return part;
                }
                Ok(Some(slice)) => {
                    len += slice.events.len();
                    at = slice.events.last_id();
                    part.slices.push(slice);
                }
                Ok(None) => return part,
                Err(_) => {
                    part.evicted.push((topic, at, begin));
                    at = begin;
                }
            }
        }
    }

    fn len(&self) -> usize {
        self.slices.iter().map(|slice| slice.events.len()).sum()
    }

    fn last_id(&self) -> LogId {
        let last = self.slices.last();
        last.map_or(LogId::default(), |slice| slice.events.last_id())
    }

    fn events(&self) -> impl Iterator<Item = (LogId, Entry<'_>)> {
        let slices = self.slices.iter();
        slices.flat_map(|slice| events(self.topic, slice))
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

/// About the bytes that are usually written at a time.
const MAX_BATCH: usize = 1 << 20;
