//! Where a client resumes.

use super::chunk::Entry;
use super::cursor::Cursor;
use super::id::LogId;
use super::now::Now;
use super::own_ids::OwnIds;
use super::{KnownId, Log};
use crate::event::EventId;

/// How a client resumes, from the best case to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resume {
    /// The client has no ID.
    New,
    /// The client has missed nothing.
    Resumed,
    /// The client has missed events, which were evicted, or lost before a restart.
    Gap,
    /// The ID is not known.
    ///
    /// It comes from another log or another run, or its event was evicted too long ago.
    Unknown,
}

impl Log {
    /// Finds where a client resumes that has received events up to `last_event_id`.
    ///
    /// After a gap, it is before the oldest retained event after that ID. For a client without an
    /// ID it is the end, and for an unknown ID the beginning of the replay window.
    ///
    /// The empty ID counts as none. Of several events with the same ID, the newest counts. IDs
    /// of the log are found by binary search, those of publishers by hashing. To a log
    /// [of a hub](Self::of_hub) no ID is known: the hub judges them.
    #[must_use]
    pub fn resume(&self, last_event_id: Option<&EventId<'_>>) -> (Resume, Cursor) {
        let unknown = (Resume::Unknown, self.window().min(self.end()));
        let Some(id) = last_event_id.filter(|id| !id.as_str().is_empty()) else {
            return (Resume::New, self.end());
        };
        let Some(own_ids) = &self.own else {
            return unknown;
        };
        let log_id = LogId::parse(id.as_str());
        let own = own_ids.published.end_of(id.as_str());
        let has_log_id = |entry: &&Entry| own_ids.published.id_at(entry.end).is_none();
        let given = log_id.and_then(|id| self.entry(id)).filter(has_log_id);
        let given = given.map(|entry| entry.end);
        let evicted = match &own_ids.last_evicted {
            Some((entry, Some(own_id))) => (**own_id == *id.as_str()).then_some(entry.end),
            Some((entry, None)) => (log_id == Some(entry.id)).then_some(entry.end),
            None => None,
        };
        match own.max(given).max(evicted) {
            // No client has received a held event: the ID equals one of this log by chance.
            Some(end) => (Resume::Resumed, end.min(self.end())),
            None => match log_id {
                Some(id) if own_ids.epochs.is_some() => self.resume_by_epoch(own_ids, id),
                Some(id) if own_ids.origin == Some(id) && own_ids.last_evicted.is_none() => {
                    (Resume::Resumed, self.begin())
                }
                Some(id) if self.has_lost(own_ids, id) => (Resume::Gap, self.after(id)),
                _ => unknown,
            },
        }
    }

    /// Returns an ID with which a client resumes at `cursor`.
    ///
    /// It is that of the last event before `cursor`. Before the first event, it is an ID of the
    /// millisecond before that event or before `now`, and is valid until the first event is
    /// evicted.
    ///
    /// Returns `None` if no ID resumes exactly at `cursor`: the publisher's IDs repeat, the
    /// event before has the empty ID, the first event has a publisher's ID, or events after
    /// `cursor` have been evicted.
    pub fn position_id(&mut self, cursor: Cursor, now: impl Into<Now>) -> Option<EventId<'static>> {
        if cursor < self.begin() {
            return None;
        }
        let own = self.own.as_ref()?;
        let id = match (self.entry_before(cursor), &own.last_evicted) {
            (Some(before), _) => self.event_id(before),
            (None, Some((_, Some(id)))) => EventId::trusted(id.to_string().into()),
            (None, Some((before, None))) => before.id.event_id(),
            (None, None) => self.origin(now.into())?.event_id(),
        };
        (self.resume(Some(&id)) == (Resume::Resumed, cursor)).then_some(id)
    }

    /// Returns the cursor before the first event with a later ID.
    ///
    /// Events that are held back do not count.
    #[must_use]
    pub fn after(&self, id: LogId) -> Cursor {
        let next = self.seek(|entry| entry.id <= id);
        let start = next.map_or(self.tip(), |place| place.start);
        start.clamp(self.begin(), self.end())
    }

    /// Returns the ID that was assigned to the last event before `cursor`.
    ///
    /// If that event was evicted, this is the greatest evicted ID.
    #[must_use]
    pub fn id_before(&self, cursor: Cursor) -> LogId {
        let before = self.entry_before(cursor);
        before.map_or(self.evicted, |before| before.id)
    }

    /// Returns the greatest evicted ID. A client that resumes before it has missed events.
    #[must_use]
    pub const fn evicted(&self) -> LogId {
        self.evicted
    }

    /// Finds where a client resumes whose ID belongs to no event.
    fn resume_by_epoch(&self, own: &OwnIds, id: LogId) -> (Resume, Cursor) {
        let epochs = own.epochs.as_ref();
        match epochs.map_or(KnownId::Unknown, |epochs| epochs.judge(id, epochs.last())) {
            KnownId::Position if id >= self.evicted => (Resume::Resumed, self.after(id)),
            KnownId::Position => (Resume::Gap, self.after(id)),
            KnownId::Lost(last) => (Resume::Gap, self.after(last)),
            KnownId::Unknown => (Resume::Unknown, self.window().min(self.end())),
        }
    }

    /// Returns the ID before the first event.
    fn origin(&mut self, now: Now) -> Option<LogId> {
        let own = self.own.as_deref()?;
        if let Some(epochs) = &own.epochs {
            return Some(self.evicted.max(epochs.origin()));
        }
        if own.origin.is_none() {
            let epoch = own.epoch.unwrap_or_default();
            let first = self.seek(|_| false).map(|first| first.entry);
            let origin = match first {
                Some(first) if own.published.id_at(first.end).is_some() => return None,
                Some(first) => first.id,
                None => LogId::at(now.unix),
            };
            let origin = origin.before(epoch);
            let own = self.own.as_deref_mut()?;
            own.origin = Some(origin);
            own.first_id = own.first_id.min(Some(origin)).or(Some(origin));
        }
        self.own.as_ref()?.origin
    }

    /// Returns the ID of a retained event: its publisher's, or else the log's.
    pub(super) fn event_id(&self, entry: &Entry) -> EventId<'static> {
        let own = self.own.as_ref();
        match own.and_then(|own| own.published.id_at(entry.end)) {
            Some(id) => EventId::trusted(id.to_string().into()),
            None => entry.id.event_id(),
        }
    }

    fn entry(&self, id: LogId) -> Option<&Entry> {
        let place = self.seek(|entry| entry.id < id)?;
        (place.entry.id == id && place.entry.end > self.begin()).then_some(place.entry)
    }

    /// Returns the event that ends at the cursor.
    fn entry_before(&self, cursor: Cursor) -> Option<&Entry> {
        if cursor <= self.begin() {
            return None;
        }
        let place = self.seek(|entry| entry.end < cursor)?;
        (place.entry.end == cursor).then_some(place.entry)
    }

    /// Returns whether the ID is in the range of events that were evicted.
    fn has_lost(&self, own: &OwnIds, id: LogId) -> bool {
        let evicted = own.last_evicted.as_ref().map(|(entry, _)| entry.id);
        let times = own.first_id.zip(evicted);
        let is_of_epoch = own.epoch.is_none_or(|epoch| epoch == id.epoch());
        is_of_epoch && times.is_some_and(|(first, last)| (first..=last).contains(&id))
    }
}
