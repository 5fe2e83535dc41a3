//! Which IDs a segment covers.

use sse_core::LogId;

/// The ranges of IDs that a segment has, collected from its entries in their order.
#[derive(Default)]
pub(super) struct Spans {
    /// Each after its first ID and up to its second one.
    pub(super) ranges: Vec<(LogId, LogId)>,
    /// Whether bytes have just been skipped.
    is_broken: bool,
}

impl Spans {
    /// The entries that follow are all after this ID.
    pub(super) fn begin(&mut self, from: LogId) {
        self.is_broken = false;
        if self.ranges.last().is_none_or(|(_, to)| *to < from) {
            self.ranges.push((from, from));
        }
    }

    /// This entry is the next one.
    pub(super) fn add(&mut self, id: LogId) {
        if self.is_broken || self.ranges.is_empty() {
            self.begin(before(id));
        }
        if let Some((_, to)) = self.ranges.last_mut() {
            *to = id.max(*to);
        }
    }

    /// Entries may be missing here.
    pub(super) const fn add_damage(&mut self) {
        self.is_broken = true;
    }
}

/// Returns the greatest ID that is smaller.
pub(super) const fn before(id: LogId) -> LogId {
    match id.sequence().checked_sub(1) {
        Some(sequence) => LogId::new(id.millis(), sequence),
        None => LogId::new(id.millis().saturating_sub(1), u64::MAX),
    }
}
