//! The ends of topics, as they are written to a segment.

use std::sync::Arc;

use sse_core::{Finish, LogId, SegmentState};

use crate::topic::Shared;

/// Returns the ends of topics after `written` and up to `until`, in the order of their IDs.
///
/// They are written in the order of the IDs, and before an event with the same one. So an event
/// that was published with the end of its topic is not visible before the end is stored.
pub(super) fn ends(
    topics: &[Arc<Shared>],
    removed: &[(LogId, Arc<str>)],
    written: LogId,
    until: LogId,
) -> Vec<(LogId, SegmentState)> {
    let is_due = |id: LogId| id > written && id <= until;
    let finished = topics.iter().filter_map(|topic| {
        let (name, end) = (topic.name()?, topic.lock_packed().end?);
        is_due(end.id).then(|| (end.id, state(name, end.last, end.id)))
    });
    let removed = removed.iter().filter(|(id, _)| is_due(*id));
    let removed = removed.map(|(id, name)| {
        let mut state = state(name, *id, *id);
        state.evicted.push((*id, Some(name.to_string())));
        (*id, state)
    });
    let mut ends: Vec<_> = finished.chain(removed).collect();
    ends.sort_by_key(|(id, _)| *id);
    ends
}

fn state(topic: &str, last: LogId, id: LogId) -> SegmentState {
    let topic = topic.to_owned();
    SegmentState {
        finished: vec![Finish { last, id, topic }],
        ..SegmentState::default()
    }
}
