//! A log beside a naive model of it: a list of all that was ever appended. The fuzz target
//! `log` leans on it too.

use std::time::Duration;

use sse_core::{Cursor, Event, EventId, Forgotten, Log, Resume, Retention};

/// A log and its model, which are told the same and must say the same.
#[derive(Debug)]
pub(crate) struct Pair {
    bounds: Bounds,
    log: Log,
    /// All that was ever appended, and which of it is the oldest that is kept.
    events: Vec<Appended>,
    kept: usize,
    /// The bytes of all events.
    wire: Vec<u8>,
    /// Where a reader is that comes back now and then.
    reader: usize,
}

/// What is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    pub(crate) age: Duration,
}

#[derive(Debug)]
struct Appended {
    id: String,
    stamp: (u64, u64),
    /// Where its bytes end.
    end: usize,
}

impl Pair {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let retention = Retention::events(bounds.events).bytes(bounds.bytes);
        Self {
            bounds,
            log: Log::new(retention.age(bounds.age)),
            events: Vec::new(),
            kept: 0,
            wire: Vec::new(),
            reader: 0,
        }
    }

    /// Appends an event with its publisher's ID or one of the log's.
    pub(crate) fn append(&mut self, own_id: Option<EventId<'_>>, data: &str, now: Duration) {
        let stamp = match self.events.last() {
            Some(Appended { stamp, .. }) if millis(now) <= stamp.0 => (stamp.0, stamp.1 + 1),
            _ => (millis(now), 0),
        };
        let id = match &own_id {
            Some(id) => id.to_string(),
            None => format!("{}-{}", stamp.0, stamp.1),
        };
        self.wire.extend(format!("id: {id}\n").bytes());
        for line in data.replace("\r\n", "\n").split(['\r', '\n']) {
            self.wire.extend(format!("data: {line}\n").bytes());
        }
        self.wire.push(b'\n');
        let end = self.wire.len();
        self.events.push(Appended { id, stamp, end });
        self.drop_old(now);

        let event = own_id.into_iter().fold(Event::new(), Event::id);
        assert_eq!(self.log.append(&event.data(data), now), cursor(end));
    }

    pub(crate) fn forget(&mut self, now: Duration) {
        self.drop_old(now);
        self.log.forget(now);
    }

    /// Lets the reader go on with at most `max` bytes, and what completes the event.
    pub(crate) fn read(&mut self, max: usize) {
        let start = cursor(self.reader);
        let end = self.log.event_end(start.advance(max));
        let mut bytes = Vec::new();
        match self.log.copy(start, end, &mut bytes) {
            Ok(()) => {
                let kept = &self.wire[self.reader..];
                assert_eq!(bytes, kept[..bytes.len()]);
                assert_eq!(bytes.len(), start.distance(end));
                assert!(bytes.len() >= max.min(kept.len()));
                self.reader += bytes.len();
            }
            Err(Forgotten { begin }) => self.reader = cursor(0).distance(begin),
        }
        assert!(self.ends().any(|end| end == self.reader));
    }

    /// Compares all that can be asked.
    pub(crate) fn check(&self) {
        self.check_shared();
        let Self { log, wire, .. } = self;
        let begin = self.end_before(self.kept);
        assert_eq!(log.begin(), cursor(begin));
        assert_eq!(log.end(), cursor(wire.len()));
        assert_eq!(log.len(), self.events.len() - self.kept);
        assert_eq!(log.is_empty(), self.events.is_empty());

        for (at, end) in self.ends().enumerate() {
            let next = self.events.get(at.max(self.kept)).map(|event| &*event.id);
            assert_eq!(log.next_id(cursor(end)).as_ref().map(EventId::as_str), next);
            match log.read(cursor(end)) {
                Ok(piece) => {
                    assert!(wire[end..].starts_with(piece), "from {end}");
                    assert_eq!(piece.is_empty(), end == wire.len());
                }
                Err(forgotten) => {
                    assert!(end < begin);
                    assert_eq!(forgotten.begin, cursor(begin));
                }
            }
        }
        for count in [0, 1, 2, log.len(), log.len() + 1, usize::MAX] {
            let before = self.events.len().saturating_sub(count).max(self.kept);
            assert_eq!(log.last(count), cursor(self.end_before(before)), "{count}");
        }
        let mut ends = self.ends().filter(|end| *end >= begin).peekable();
        for at in 0..=wire.len() {
            while ends.next_if(|end| *end < at).is_some() {}
            let end = ends.peek().copied().unwrap_or(begin);
            assert_eq!(log.event_end(cursor(at)), cursor(end), "at {at}");
        }
        let beyond = log.end().advance(usize::MAX);
        assert_eq!(log.event_end(beyond), log.end());
        assert_eq!(log.read(beyond), Ok(&b""[..]));

        assert_eq!(log.resume(None), Resume::Fresh);
        for event in &self.events {
            self.ask(&EventId::new(&event.id).expect("it was one before"));
        }
    }

    /// Compares what can be shared with what can be read.
    fn check_shared(&self) {
        for end in self.ends() {
            match self.log.excerpt(cursor(end)) {
                Ok(Some(shared)) => {
                    assert_eq!(self.log.read(cursor(end)), Ok(shared.bytes()));
                    assert_eq!(cursor(end).advance(shared.bytes().len()), shared.end());
                    assert!(self.ends().any(|end| cursor(end) == shared.end()));
                }
                Ok(None) => assert_eq!(end, self.wire.len()),
                Err(forgotten) => assert_eq!(self.log.read(cursor(end)), Err(forgotten)),
            }
        }
    }

    /// Compares where a client goes on that comes with this ID.
    pub(crate) fn ask(&self, id: &EventId<'_>) {
        let found = self
            .events
            .iter()
            .rposition(|event| event.id == id.as_str());
        let expected = match found {
            _ if id.as_str().is_empty() => Resume::Fresh,
            // The last forgotten one is as good as kept: what comes after it is.
            Some(at) if at + 1 >= self.kept => Resume::Resumed(cursor(self.events[at].end)),
            _ if self.is_of_forgotten_time(id) => Resume::Gap(cursor(self.end_before(self.kept))),
            _ => Resume::Unknown,
        };
        assert_eq!(self.log.resume(Some(id)), expected, "{id:?}");
    }

    fn drop_old(&mut self, now: Duration) {
        let since = millis(now.saturating_sub(self.bounds.age));
        while self.kept + 1 < self.events.len()
            && (self.events.len() - self.kept > self.bounds.events
                || self.wire.len() - self.end_before(self.kept) > self.bounds.bytes
                || self.events[self.kept].stamp.0 < since)
        {
            self.kept += 1;
        }
    }

    /// Whether an ID has the form of the log's and lies among those that are forgotten.
    fn is_of_forgotten_time(&self, id: &EventId<'_>) -> bool {
        let [Some(first), Some(last)] =
            [0, self.kept.wrapping_sub(1)].map(|at| self.events.get(at))
        else {
            return false;
        };
        let stamp = id
            .as_str()
            .split_once('-')
            .and_then(|(millis, sequence)| Some((millis.parse().ok()?, sequence.parse().ok()?)));
        stamp.is_some_and(|stamp: (u64, u64)| {
            *id == *format!("{}-{}", stamp.0, stamp.1)
                && (first.stamp..=last.stamp).contains(&stamp)
        })
    }

    /// The places between events.
    fn ends(&self) -> impl Iterator<Item = usize> {
        [0].into_iter()
            .chain(self.events.iter().map(|event| event.end))
    }

    fn end_before(&self, at: usize) -> usize {
        at.checked_sub(1)
            .map_or(0, |before| self.events[before].end)
    }
}

/// The cursor after so many bytes.
fn cursor(bytes: usize) -> Cursor {
    Log::new(Retention::default()).begin().advance(bytes)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
