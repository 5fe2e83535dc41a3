//! Which IDs a hub has assigned, over all of its runs.
//!
//! A client that comes back sends the last ID that it has received. The hub has to tell three
//! cases apart, without a list of all IDs that it ever assigned:
//!
//! - The ID is *known*: it was assigned here, and so was nothing that is missing before it. It
//!   is a position, also when its event has been evicted.
//! - The ID is *lost*: an earlier run assigned it, and the end of that run was lost in a crash
//!   or a failover.
//! - The ID is *unknown*: another hub assigned it, or an earlier process that left nothing.
//!
//! So each run of a hub is an *epoch* with a random number below 65,536. The sequence numbers of
//! its IDs begin with that number and rise in steps of 65,536, so every ID says which epoch it is
//! from. The hub keeps the first and the last ID of each epoch.

use std::time::Duration;

use super::id::LogId;

/// The epochs of a hub, the last of which assigns IDs.
///
/// IDs rise strictly, within an epoch and from one to the next, even when the clock is set back.
///
/// ```
/// use std::time::Duration;
/// use sse_core::{Epochs, KnownId, LogId};
///
/// let now = Duration::from_millis(1_700_000_000_000);
/// let mut epochs = Epochs::new(517, now);
/// assert_eq!(epochs.last().to_string(), "1700000000000-517");
/// assert_eq!(epochs.next_id(now).to_string(), "1700000000000-66053");
///
/// // After a crash, from which the journal kept the events up to that one:
/// let past = epochs.iter();
/// let epochs = Epochs::restore(past, 8, now);
/// let judge = |id| epochs.judge(LogId::parse(id).unwrap(), epochs.last());
/// assert_eq!(judge("1700000000000-66053"), KnownId::Position);
/// let last = LogId::parse("1700000000000-66053").unwrap();
/// assert_eq!(judge("1700000000000-131589"), KnownId::Lost(last));
/// assert_eq!(judge("1700000000000-66054"), KnownId::Unknown);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epochs {
    /// In the order of their IDs.
    past: Vec<Epoch>,
    current: Epoch,
}

/// A run of a hub: the range of IDs that it assigned.
///
/// An event may have any of them but the first, which is a position before all events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// The first ID, which says where the epoch begins.
    pub first: LogId,
    /// The last ID, or the first one if there is no event.
    pub last: LogId,
}

/// What a hub knows of an ID that a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownId {
    /// It is a position of the hub.
    Position,
    /// It was lost with its event, after this last ID of its epoch.
    Lost(LogId),
    /// It is from another hub, or from an epoch that left nothing.
    Unknown,
}

impl Epochs {
    /// The maximum number of past epochs. The oldest are dropped, and their IDs become unknown.
    pub const MAX_PAST: usize = 1000;

    /// Begins the first epoch. `random` chooses its number.
    #[must_use]
    pub fn new(random: u16, now: Duration) -> Self {
        Self::restore([], random, now)
    }

    /// Begins an epoch after those of earlier runs. `random` chooses its number.
    #[must_use]
    pub fn restore(past: impl IntoIterator<Item = Epoch>, random: u16, now: Duration) -> Self {
        let mut past = Vec::from_iter(past);
        past.sort_unstable_by_key(|epoch| epoch.last);
        past.drain(..past.len().saturating_sub(Self::MAX_PAST));
        let is_free = |number: &u16| past.iter().all(|epoch| epoch.first.epoch() != *number);
        let mut numbers = (0..=u16::MAX).map(|step| random.wrapping_add(step));
        let number = numbers.find(is_free).unwrap_or(random);
        let last = past.last().map(|epoch| epoch.last).unwrap_or_default();
        let first = last.next_at(now, number);
        Self {
            past,
            current: Epoch { first, last: first },
        }
    }

    /// Takes the epochs of a hub whose IDs are assigned elsewhere.
    ///
    /// `None` if there are none. The last one by its IDs is the current one. Of very many, the
    /// oldest are dropped.
    #[must_use]
    pub fn assigned(epochs: impl IntoIterator<Item = Epoch>) -> Option<Self> {
        let mut past = Vec::from_iter(epochs);
        past.sort_unstable_by_key(|epoch| epoch.first);
        let current = past.pop()?;
        past.drain(..past.len().saturating_sub(Self::MAX_PAST));
        Some(Self { past, current })
    }

    /// Notes that an ID of the current epoch was assigned elsewhere.
    pub fn note_last(&mut self, id: LogId) {
        self.current.last = self.current.last.max(id);
    }

    /// Assigns the next ID.
    pub fn next_id(&mut self, now: Duration) -> LogId {
        self.current.last = self.current.last.next_at(now, self.number());
        self.current.last
    }

    /// Assigns the next `count` IDs.
    pub fn next_ids(&mut self, count: usize, now: Duration) -> Ids {
        let number = self.number();
        let mut last = self.current.last;
        let first = last.next_at(now, number);
        if count > 0 {
            last = first;
        }
        for _ in 1..count {
            last = last.next_of(number);
        }
        self.current.last = last;
        Ids { next: first, last }
    }

    /// Returns the last ID that was assigned, or the first one of the epoch.
    #[must_use]
    pub const fn last(&self) -> LogId {
        self.current.last
    }

    /// Returns a position before all events of all epochs.
    #[must_use]
    pub fn origin(&self) -> LogId {
        self.past.first().unwrap_or(&self.current).first
    }

    /// Judges the ID of a client, when events up to `visible` are visible.
    #[must_use]
    pub fn judge(&self, id: LogId, visible: LogId) -> KnownId {
        let epoch = self.iter().find(|epoch| epoch.first.epoch() == id.epoch());
        let Some(epoch) = epoch.filter(|epoch| epoch.first <= id) else {
            return KnownId::Unknown;
        };
        let last = epoch.last.min(visible);
        if id <= last {
            KnownId::Position
        } else {
            KnownId::Lost(last)
        }
    }

    /// Returns the epochs in the order of their IDs. The last one is the current one.
    pub fn iter(&self) -> impl Iterator<Item = Epoch> {
        self.past.iter().chain([&self.current]).copied()
    }

    fn number(&self) -> u16 {
        self.current.first.epoch()
    }
}

/// IDs that a hub has assigned to a batch of events.
#[derive(Debug)]
pub struct Ids {
    next: LogId,
    last: LogId,
}

impl Iterator for Ids {
    type Item = LogId;

    fn next(&mut self) -> Option<LogId> {
        let next = (self.next <= self.last).then_some(self.next)?;
        self.next = next.next_of(next.epoch());
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn ids_rise_in_an_epoch_and_from_one_to_the_next() {
        let mut epochs = Epochs::new(7, at(5));
        let mut ids = vec![epochs.last()];
        for now in [5, 5, 3, 6, 0] {
            ids.push(epochs.next_id(at(now)));
        }
        // The clock has been set back.
        let mut epochs = Epochs::restore(epochs.iter(), 6, at(1));
        ids.push(epochs.last());
        ids.push(epochs.next_id(at(1)));
        let mut epochs = Epochs::restore(epochs.iter(), 8, at(1));
        ids.push(epochs.next_id(at(9)));
        let ids: Vec<_> = ids.iter().map(LogId::to_string).collect();
        assert_eq!(
            ids.join(" "),
            "5-7 5-65543 5-131079 5-196615 6-7 6-65543 6-131078 6-196614 9-8"
        );
    }

    #[test]
    fn ids_rise_up_to_the_greatest_one() {
        let mut epochs = Epochs::new(u16::MAX, Duration::MAX);
        let past = Epoch {
            first: LogId::new(3, 7),
            last: LogId::new(3, u64::MAX),
        };
        assert_eq!(epochs.next_id(at(1)).sequence(), 131_071);
        let epochs = Epochs::restore([past], 9, at(1));
        assert_eq!(epochs.last(), LogId::new(4, 9));
    }

    #[test]
    fn a_number_is_used_once() {
        let first = Epochs::new(u16::MAX, at(1));
        let second = Epochs::restore(first.iter(), u16::MAX, at(2));
        assert_eq!(second.last(), LogId::new(2, 0));
        let third = Epochs::restore(second.iter(), u16::MAX, at(3));
        assert_eq!(third.last(), LogId::new(3, 1));
    }

    #[test]
    fn an_id_is_known_lost_or_unknown() {
        let mut epochs = Epochs::new(7, at(10));
        epochs.next_id(at(12));
        let mut epochs = Epochs::restore(epochs.iter(), 9, at(20));
        for now in [21, 22, 23] {
            epochs.next_id(at(now));
        }
        let visible = LogId::new(22, 9);
        for (id, expected) in [
            ("10-7", KnownId::Position),
            ("11-7", KnownId::Position),
            ("12-7", KnownId::Position),
            ("12-65543", KnownId::Lost(LogId::new(12, 7))),
            ("13-7", KnownId::Lost(LogId::new(12, 7))),
            ("22-7", KnownId::Lost(LogId::new(12, 7))),
            ("9-7", KnownId::Unknown),
            ("11-8", KnownId::Unknown),
            ("20-9", KnownId::Position),
            ("22-9", KnownId::Position),
            ("23-9", KnownId::Lost(visible)),
            ("99-9", KnownId::Lost(visible)),
            ("19-9", KnownId::Unknown),
            ("0-0", KnownId::Unknown),
        ] {
            let id = LogId::parse(id).unwrap();
            assert_eq!(epochs.judge(id, visible), expected, "{id}");
        }
    }

    #[test]
    fn epochs_that_are_assigned_elsewhere_judge_like_those_of_a_hub() {
        assert_eq!(Epochs::assigned([]), None);
        let epoch = |first, last, number| Epoch {
            first: LogId::new(first, number),
            last: LogId::new(last, number),
        };
        let mut epochs = Epochs::assigned([epoch(20, 20, 9), epoch(10, 12, 7)]).unwrap();
        assert_eq!(epochs.origin(), LogId::new(10, 7));
        epochs.note_last(LogId::new(25, 9));
        epochs.note_last(LogId::new(24, 9));
        assert_eq!(epochs.last(), LogId::new(25, 9));
        let judge = |millis, number| epochs.judge(LogId::new(millis, number), epochs.last());
        assert_eq!(judge(24, 9), KnownId::Position);
        assert_eq!(judge(12, 7), KnownId::Position);
        assert_eq!(judge(13, 7), KnownId::Lost(LogId::new(12, 7)));
        assert_eq!(judge(13, 8), KnownId::Unknown);
        let many = (0..2000).map(|number| epoch(number, number, number));
        let many = Epochs::assigned(many).unwrap();
        assert_eq!(many.iter().count(), Epochs::MAX_PAST + 1);
    }

    #[test]
    fn the_oldest_of_very_many_epochs_are_dropped() {
        let mut epochs = Epochs::new(0, at(1));
        let first = epochs.last();
        for now in 0..1100 {
            epochs = Epochs::restore(epochs.iter(), 0, at(now));
        }
        assert_eq!(epochs.iter().count(), Epochs::MAX_PAST + 1);
        assert_eq!(epochs.judge(first, epochs.last()), KnownId::Unknown);
    }
}
