//! Which IDs a segment covers.

use sse_core::{LogId, SegmentState};

/// Collects the ranges of IDs that a segment has, from its blocks in their order.
#[derive(Default)]
pub(super) struct Spans {
    /// As the states of the segment say. The second ID is `None` while the segment grows.
    stated: Vec<(LogId, Option<LogId>)>,
    has_state: bool,
    first: Option<LogId>,
    last: LogId,
    /// Damaged ranges: after the first ID and before the second one.
    holes: Vec<(LogId, LogId)>,
    damaged_after: Option<LogId>,
}

impl Spans {
    pub(super) fn add_record(&mut self, id: LogId) {
        if let Some(after) = self.damaged_after.take() {
            self.holes.push((after, id));
        }
        self.first.get_or_insert(id);
        self.last = self.last.max(id);
    }

    pub(super) fn add_state(&mut self, state: &SegmentState) {
        self.has_state = true;
        for span in &state.spans {
            self.stated.push((span.from, span.to));
            self.last = self.last.max(span.from);
        }
        for finish in &state.finished {
            self.last = self.last.max(finish.id);
        }
        // No event comes before the first ID of its epoch.
        let begin = state.epochs.last().map(|current| current.first);
        self.last = self.last.max(begin.unwrap_or_default());
    }

    pub(super) fn add_damage(&mut self) {
        self.damaged_after.get_or_insert(self.last);
    }

    /// Whether nothing has been read.
    pub(super) const fn is_empty(&self) -> bool {
        self.first.is_none() && !self.has_state
    }

    /// Returns the ranges, each after its first ID and up to its second one.
    pub(super) fn finish(mut self) -> Vec<(LogId, LogId)> {
        let mut spans = Vec::new();
        for (from, to) in self.stated {
            if let (Some(after), Some(to)) = (self.damaged_after, to) {
                self.holes.push((after, to));
            }
            spans.push((from, to.unwrap_or(self.last)));
        }
        if spans.is_empty() {
            // The state is damaged.
            spans.extend(self.first.map(|first| (first, self.last)));
        }
        for (after, before) in self.holes {
            if let Some(span) = spans
                .iter_mut()
                .find(|span| span.0 < before && before <= span.1)
            {
                let rest = (before, span.1);
                span.1 = after.max(span.0);
                spans.push(rest);
            }
        }
        spans
    }
}
