//! Events of several logs of a hub, merged by ID.

use std::mem;

use bytes::Bytes;

use super::LogId;
use super::slice::{Begun, Slice};

/// Events of one or several logs of a hub, in the order of their IDs.
///
/// A batch is cut after merging. If the events of each log were cut before, a smaller ID could
/// follow a greater one.
///
/// Events of one log, and long ones, are shared with it. Short events that alternate with those
/// of other logs are copied, at most some 64 KiB of them.
///
/// ```
/// use std::time::Duration;
/// use sse_core::{Batch, Epochs, Event, Log, LogId, Retention};
///
/// let now = Duration::from_millis(1_700_000_000_000);
/// let mut epochs = Epochs::new(0, now);
/// let start = epochs.last();
/// let mut logs = [(); 2].map(|()| Log::of_hub(Retention::default(), LogId::default()));
/// for (log, data) in [(0, "a"), (1, "b"), (0, "c")] {
///     logs[log].append_as(epochs.next_id(now), &Event::new().data(data), now);
/// }
/// let slices = logs.iter().map(|log| log.slice_between(start, epochs.last()).unwrap().unwrap());
/// let slices = slices.into_iter().enumerate().map(|(log, slice)| (log, slice, true));
/// let batch = Batch::merge(slices, epochs.last()).unwrap();
/// let text = String::from_utf8(batch.bytes().to_vec()).unwrap();
/// let data: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
/// assert_eq!(data, ["a", "b", "c"]);
/// assert_eq!(batch.position(), epochs.last());
/// let logs: Vec<_> = batch.counts(batch.len()).map(|count| count.log).collect();
/// assert_eq!(logs, [0, 1, 0]);
/// ```
#[derive(Debug, Clone)]
pub struct Batch {
    events: Events,
    position: LogId,
}

/// The number of events of one log in a [`Batch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogCount {
    /// The index that the log had in [`Batch::merge`].
    pub log: usize,
    /// The number of events.
    pub events: usize,
    /// The number of their bytes.
    pub bytes: usize,
}

#[derive(Debug, Clone)]
enum Events {
    /// The index of the log, and its events.
    Shared(usize, Slice),
    Merged(Bytes, Vec<Merged>),
}

#[derive(Debug, Clone, Copy)]
struct Merged {
    /// Where the event ends.
    end: usize,
    id: LogId,
    /// The index of its log.
    log: usize,
}

impl Batch {
    /// Merges slices of different logs, each the first events of its log after some position.
    ///
    /// A slice comes with the index of its log, which [`counts`](Self::counts) returns, and with
    /// `true` if its log has no later event up to `until`. If that is not so, the batch ends with
    /// the slice at the latest. Returns `None` if there is no slice.
    #[must_use]
    pub fn merge(
        slices: impl IntoIterator<Item = (usize, Slice, bool)>,
        until: LogId,
    ) -> Option<Self> {
        let mut limit = until;
        let slices = Vec::from_iter(slices.into_iter().map(|(log, slice, is_all)| {
            if !is_all {
                limit = limit.min(slice.last_id());
            }
            (log, slice)
        }));
        let first = next_of(&slices)?;
        // The events before those of every other log.
        let others = slices.iter().enumerate().filter(|(at, _)| *at != first);
        let other = others.map(|(_, (_, slice))| slice.first_id()).min();
        let (log, slice) = &slices[first];
        if slice.last_id() <= limit && other.is_none() {
            return Some(Self::shared(*log, slice.clone(), limit));
        }
        let run = slice.until(limit, other)?;
        if run.len() >= MIN_SHARED {
            let position = run.last_id();
            return Some(Self::shared(*log, run, position));
        }
        Some(Self::copy(&slices, limit))
    }

    const fn shared(log: usize, slice: Slice, position: LogId) -> Self {
        Self {
            events: Events::Shared(log, slice),
            position,
        }
    }

    /// Copies events up to the ID `limit`, or until there are enough, or a long one follows.
    fn copy(slices: &[(usize, Slice)], limit: LogId) -> Self {
        let places = slices
            .iter()
            .map(|(log, slice)| (*log, slice.events().peekable()));
        let mut places = Vec::from_iter(places);
        let (mut bytes, mut ends) = (Vec::new(), Vec::<Merged>::new());
        let position = loop {
            let next = places
                .iter_mut()
                .filter_map(|(log, events)| {
                    let id = events.peek()?.0;
                    Some((id, *log, events))
                })
                .min_by_key(|(id, ..)| *id);
            let last = ends.last().map(|last| last.id);
            match next {
                Some((id, log, events)) if id <= limit => {
                    let Some((_, event)) = events.next() else {
                        break limit;
                    };
                    if let Some(last) = last
                        && (bytes.len() >= MAX_COPY || event.len() >= MIN_SHARED)
                    {
                        break last;
                    }
                    bytes.extend_from_slice(event);
                    let end = bytes.len();
                    ends.push(Merged { end, id, log });
                }
                _ => break limit,
            }
        };
        Self {
            events: Events::Merged(bytes.into(), ends),
            position,
        }
    }

    /// Returns the wire bytes of the events.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        match &self.events {
            Events::Shared(_, slice) => slice.bytes(),
            Events::Merged(bytes, _) => bytes.clone(),
        }
    }

    /// Returns the events with IDs later than `id`, or `None` if there are none.
    #[must_use]
    pub fn after(&self, id: LogId) -> Option<Self> {
        let events = match &self.events {
            Events::Shared(log, slice) => Events::Shared(*log, slice.after_id(id)?),
            Events::Merged(bytes, ends) => {
                let left = &ends[ends.partition_point(|event| event.id <= id)..];
                let skipped = ends.len() - left.len();
                let start = skipped.checked_sub(1).map_or(0, |before| ends[before].end);
                left.first()?;
                let left = left.iter().map(|event| Merged {
                    end: event.end - start,
                    ..*event
                });
                Events::Merged(bytes.slice(start..), left.collect())
            }
        };
        Some(Self {
            events,
            position: self.position,
        })
    }

    /// Returns the number of wire bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a batch has an event")]
    pub fn len(&self) -> usize {
        match &self.events {
            Events::Shared(_, slice) => slice.len(),
            Events::Merged(bytes, _) => bytes.len(),
        }
    }

    /// Returns the number of events.
    #[must_use]
    pub const fn count(&self) -> usize {
        match &self.events {
            Events::Shared(_, slice) => slice.count(),
            Events::Merged(_, ends) => ends.len(),
        }
    }

    /// Returns the position after the batch: its logs have no other event up to this ID.
    #[must_use]
    pub const fn position(&self) -> LogId {
        self.position
    }

    /// Returns the events that begin within the first `taken` bytes.
    ///
    /// They are their number, their bytes, and the position after them: `None` if there are
    /// none.
    #[must_use]
    pub fn begun(&self, taken: usize) -> (usize, usize, Option<LogId>) {
        match &self.events {
            Events::Shared(_, slice) => {
                let begun = slice.begun(taken);
                (begun.count, begun.len, begun.id)
            }
            Events::Merged(_, ends) => {
                let count = match taken {
                    0 => return (0, 0, None),
                    _ => ends.partition_point(|event| event.end < taken) + 1,
                };
                let count = count.min(ends.len());
                let Merged { end, id, .. } = ends[count - 1];
                (count, end, Some(id))
            }
        }
    }

    /// Returns the numbers of events within the first `taken` bytes, by their logs.
    ///
    /// An event counts if it begins there. A log is returned more than once if events of another
    /// one are between its own.
    pub fn counts(&self, taken: usize) -> impl Iterator<Item = LogCount> {
        let (shared, merged) = match &self.events {
            Events::Shared(log, slice) => (Some(LogCount::of(*log, &slice.begun(taken))), &[][..]),
            Events::Merged(_, ends) => (None, &ends[..self.begun(taken).0]),
        };
        let mut start = 0;
        let merged = merged.iter().map(move |event| LogCount {
            log: event.log,
            events: 1,
            bytes: event.end - mem::replace(&mut start, event.end),
        });
        shared.into_iter().chain(merged)
    }
}

impl LogCount {
    const fn of(log: usize, begun: &Begun) -> Self {
        Self {
            log,
            events: begun.count,
            bytes: begun.len,
        }
    }
}

/// Returns the index of the slice with the smallest ID.
fn next_of(slices: &[(usize, Slice)]) -> Option<usize> {
    let first_id = |at: &usize| slices[*at].1.first_id();
    (0..slices.len()).min_by_key(first_id)
}

/// The minimum bytes of consecutive events of one log that are shared.
const MIN_SHARED: usize = 8 << 10;

/// The number of bytes after which no further event is copied.
const MAX_COPY: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::{Encoded, Epochs, Log, Retention};
    use super::*;
    use crate::event::Event;

    /// Logs of one hub, and all of their events in the order of their IDs.
    struct Logs {
        logs: Vec<Log>,
        events: Vec<(LogId, usize, String)>,
        start: LogId,
    }

    impl Logs {
        /// Appends an event to the log of each index, with this many bytes of data.
        fn new(program: &[(usize, usize)]) -> Self {
            let mut epochs = Epochs::new(7, Duration::ZERO);
            let retention = Retention::events(usize::MAX);
            let log = |_| Log::of_hub(retention, LogId::default());
            let mut logs = Self {
                logs: (0..4).map(log).collect(),
                events: Vec::new(),
                start: epochs.last(),
            };
            for (log, len) in program {
                let data = "x".repeat(*len);
                let (id, event) = (epochs.next_id(Duration::ZERO), Event::new().data(&data));
                logs.events
                    .push((id, *log, format!("id: {id}\ndata: {data}\n\n")));
                let log = &mut logs.logs[*log];
                drop(log.append_encoded_as(id, Encoded::new(&event), Duration::ZERO));
            }
            logs
        }

        fn batch(&self, after: LogId, until: LogId) -> Option<Batch> {
            let logs = self.logs.iter().enumerate();
            let slices = logs.filter_map(|(index, log)| {
                let slice = log.slice_between(after, until).unwrap()?;
                let is_all = slice.last_id() >= log.newest_id().min(until);
                Some((index, slice, is_all))
            });
            Batch::merge(slices, until)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn batches_are_all_events_in_the_order_of_their_ids(
            program in prop::collection::vec(
                (0..4_usize, prop_oneof![9 => 0..100_usize, 1 => 0..20_000_usize]),
                0..60,
            ),
            repeated in prop_oneof![3 => Just(1_usize), 1 => Just(60)],
            until in 0..100_usize,
        ) {
            let logs = Logs::new(&program.repeat(repeated));
            let until = logs.events.get(until).or(logs.events.last());
            let until = until.map_or(logs.start, |(id, ..)| *id);
            let mut expected = logs.events.iter().filter(|(id, ..)| *id <= until);
            let mut position = logs.start;
            while let Some(batch) = logs.batch(position, until) {
                let (bytes, mut len) = (batch.bytes(), 0);
                let mut of_logs = [(0, 0); 4];
                prop_assert!(batch.count() > 0);
                for count in 1..=batch.count() {
                    let (id, log, event) = expected.next().unwrap();
                    prop_assert!(bytes[len..].starts_with(event.as_bytes()));
                    for taken in [len + 1, len + event.len()] {
                        let end = len + event.len();
                        prop_assert_eq!(batch.begun(taken), (count, end, Some(*id)));
                    }
                    len += event.len();
                    of_logs[*log].0 += 1;
                    of_logs[*log].1 += event.len();
                    let mut counted = [(0, 0); 4];
                    for count in batch.counts(len) {
                        counted[count.log].0 += count.events;
                        counted[count.log].1 += count.bytes;
                    }
                    prop_assert_eq!(counted, of_logs);
                    prop_assert!(*id > position && *id <= batch.position());
                    let left = batch.after(*id);
                    let left_bytes = left.as_ref().map(Batch::bytes).unwrap_or_default();
                    prop_assert_eq!(left_bytes, &bytes[len..]);
                    let left_count = left.map_or(0, |left| left.count());
                    prop_assert_eq!(left_count, batch.count() - count);
                }
                prop_assert_eq!(bytes.len(), len);
                prop_assert_eq!(batch.begun(0), (0, 0, None));
                position = batch.position();
            }
            prop_assert!(expected.next().is_none());
            prop_assert!(logs.events.is_empty() || position == until);
        }
    }

    #[test]
    fn long_and_consecutive_events_are_shared_and_few_are_copied() {
        let short = |log| (log, 100);
        let alternating: Vec<_> = (0..1000).map(|number| short(number % 2)).collect();
        for (program, is_shared, max) in [
            (vec![short(0), short(0), short(0)], true, 1000),
            (vec![(0, 10_000), short(1)], true, 10_200),
            (
                [short(0)]
                    .repeat(100)
                    .into_iter()
                    .chain([short(1)])
                    .collect(),
                true,
                20_000,
            ),
            (alternating, false, 65 << 10),
            (vec![short(0), (1, 1 << 20), short(0)], false, 200),
        ] {
            let logs = Logs::new(&program);
            let until = logs.events.last().unwrap().0;
            let batch = logs.batch(logs.start, until).unwrap();
            assert_eq!(
                matches!(batch.events, Events::Shared(..)),
                is_shared,
                "{program:?}"
            );
            assert!(batch.bytes().len() <= max, "{}", batch.bytes().len());
        }
    }
}
