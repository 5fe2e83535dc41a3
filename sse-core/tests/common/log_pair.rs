//! A log and a naive model of it, a list of all appended events. The fuzz target `log` uses it
//! too.

use std::collections::HashMap;
use std::time::Duration;

use sse_core::{Cursor, Event, EventId, Lagged, Log, Now, Resume, Retention};

/// A log and its model. Both receive the same calls and must return the same values.
#[derive(Debug)]
pub(crate) struct Pair {
    bounds: Bounds,
    log: Log,
    /// All appended events.
    events: Vec<Appended>,
    /// The index of the oldest retained event, and of the first event in the replay window.
    retained: usize,
    window: usize,
    /// The ID of the position before the first event, if a client has joined there.
    origin: Option<(u64, u64)>,
    /// The wire bytes of all events.
    wire: Vec<u8>,
    /// The end of the log when it had this many bytes.
    cursors: HashMap<usize, Cursor>,
    /// The offset of a reader that may lag.
    reader: usize,
}

/// The limits of retention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    pub(crate) age: Duration,
    pub(crate) backlog: (Duration, usize),
}

#[derive(Debug)]
struct Appended {
    id: String,
    log_id: (u64, u64),
    appended: u64,
    /// The offset after its last byte.
    end: usize,
}

impl Pair {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let retention = Retention::events(bounds.events).bytes(bounds.bytes);
        let (age, bytes) = bounds.backlog;
        Self {
            bounds,
            log: Log::new(retention.age(bounds.age).backlog(age, bytes)),
            events: Vec::new(),
            retained: 0,
            window: 0,
            origin: None,
            wire: Vec::new(),
            cursors: HashMap::from([(0, Cursor::default())]),
            reader: 0,
        }
    }

    /// Appends an event with its publisher's ID or one of the log, encoded before or not.
    pub(crate) fn append(
        &mut self,
        own_id: Option<EventId<'_>>,
        data: &str,
        now: Now,
        is_encoded: bool,
    ) {
        let last = self.events.last().map(|event| event.log_id);
        let log_id = match last.or(self.origin) {
            Some(last) if millis(now.unix) <= last.0 => (last.0, last.1 + 1),
            _ => (millis(now.unix), 0),
        };
        let id = match &own_id {
            Some(id) => id.to_string(),
            None => format!("{}-{}", log_id.0, log_id.1),
        };
        self.wire.extend(format!("id: {id}\n").bytes());
        for line in data.replace("\r\n", "\n").split(['\r', '\n']) {
            self.wire.extend(format!("data: {line}\n").bytes());
        }
        self.wire.push(b'\n');
        self.events.push(Appended {
            id,
            log_id,
            appended: millis(now.steady),
            end: self.wire.len(),
        });
        self.evict_old(now);

        let event = own_id.into_iter().fold(Event::new(), Event::id).data(data);
        let appended = if is_encoded {
            let encoded = sse_core::Encoded::new(&event);
            assert!(encoded.max_len() >= data.len());
            self.log.append_encoded(encoded, now)
        } else {
            self.log.append(&event, now)
        };
        self.cursors.insert(self.wire.len(), self.log.end());
        assert_eq!(
            (appended.id.millis(), appended.id.sequence()),
            (log_id.0, log_id.1)
        );
    }

    pub(crate) fn evict(&mut self, now: Now) {
        self.evict_old(now);
        drop(self.log.evict(now));
    }

    /// Reads slices until there are `max` bytes, or to the end.
    pub(crate) fn read(&mut self, max: usize) {
        let mut read = 0;
        while read < max {
            let start = self.cursor(self.reader);
            match self.log.slice(start..self.log.end()) {
                Ok(Some(slice)) => {
                    let bytes = slice.bytes();
                    assert_eq!(bytes, self.wire[self.reader..][..bytes.len()]);
                    assert_eq!(slice.start(), start);
                    self.reader += bytes.len();
                    assert_eq!(slice.end(), self.cursor(self.reader));
                    let events = self.ends().filter(|end| *end <= self.reader).count();
                    let before = self.ends().filter(|end| self.cursor(*end) <= start).count();
                    assert_eq!(slice.count(), events - before);
                    read += bytes.len();
                }
                Ok(None) => {
                    assert_eq!(self.reader, self.wire.len());
                    break;
                }
                Err(Lagged { begin }) => {
                    assert!(self.reader < self.end_before(self.retained));
                    self.reader = self.end_before(self.retained);
                    assert_eq!(begin, self.cursor(self.reader));
                }
            }
        }
        assert!(self.ends().any(|end| end == self.reader));
    }

    /// Joins a client at the end, and compares the ID of its position.
    pub(crate) fn join(&mut self, now: Now) {
        if self.events.is_empty() && self.origin.is_none() {
            // No event precedes this position.
            self.origin = Some((millis(now.unix).saturating_sub(1), 0));
        }
        let expected = match (self.events.last(), self.origin) {
            (Some(last), _) => Some(last.id.clone()),
            (None, Some((millis, sequence))) => Some(format!("{millis}-{sequence}")),
            (None, None) => None,
        };
        let position = self.log.position_id(self.log.end(), now);
        let position = position.map(|id| id.to_string());
        assert_eq!(position, expected.filter(|id| !id.is_empty()));
    }

    /// Compares everything that the log returns.
    pub(crate) fn check(&self) {
        let Self { log, wire, .. } = self;
        let begin = self.end_before(self.retained);
        assert_eq!(log.begin(), self.cursor(begin));
        assert_eq!(log.window(), self.cursor(self.end_before(self.window)));
        assert_eq!(log.end(), self.cursor(wire.len()));
        assert_eq!(log.len(), self.events.len() - self.retained);
        assert_eq!(log.is_empty(), self.events.is_empty());

        for (at, end) in self.ends().enumerate() {
            let cursor = self.cursor(end);
            let next = self
                .events
                .get(at.max(self.retained))
                .map(|event| &*event.id);
            assert_eq!(
                log.next_event_id(cursor).as_ref().map(EventId::as_str),
                next
            );
            match log.slice(cursor..log.end()) {
                Ok(Some(slice)) => assert!(wire[end..].starts_with(&slice.bytes())),
                Ok(None) => assert_eq!(end, wire.len()),
                Err(lagged) => {
                    assert!(end < begin);
                    assert_eq!(lagged.begin, self.cursor(begin));
                }
            }
        }
        for count in [0, 1, 2, log.len(), log.len() + 1, usize::MAX] {
            let before = self.events.len().saturating_sub(count).max(self.window);
            let expected = self.cursor(self.end_before(before));
            assert_eq!(log.last(count), expected, "{count}");
        }
        assert_eq!(log.resume(None), (Resume::New, log.end()));
        for event in &self.events {
            self.check_resume(&EventId::new(&event.id).expect("the ID is valid"));
        }
        if let Some((millis, sequence)) = self.origin {
            self.check_resume(
                &EventId::new(format!("{millis}-{sequence}")).expect("the ID is valid"),
            );
        }
    }

    /// Compares how a client with this last event ID resumes.
    pub(crate) fn check_resume(&self, id: &EventId<'_>) {
        let found = self
            .events
            .iter()
            .rposition(|event| event.id == id.as_str());
        let origin = self
            .origin
            .map(|(millis, sequence)| format!("{millis}-{sequence}"));
        let expected = match found {
            _ if id.as_str().is_empty() => (Resume::New, self.log.end()),
            // All events after the last evicted one are retained.
            Some(at) if at + 1 >= self.retained => {
                (Resume::Resumed, self.cursor(self.events[at].end))
            }
            _ if origin.as_deref() == Some(id.as_str()) && self.retained == 0 => {
                (Resume::Resumed, self.cursor(0))
            }
            _ if self.may_be_evicted(id) => {
                (Resume::Gap, self.cursor(self.end_before(self.retained)))
            }
            _ => (Resume::Unknown, self.log.window()),
        };
        assert_eq!(self.log.resume(Some(id)), expected, "{id:?}");
    }

    fn evict_old(&mut self, now: Now) {
        let Bounds {
            events,
            bytes,
            age,
            backlog,
        } = self.bounds;
        let len = self.events.len();
        let age_of = |event: &Appended| millis(now.steady).saturating_sub(event.appended);
        let bytes_from = |at| self.wire.len() - self.end_before(at);
        let mut window = self.window;
        while window + 1 < len
            && (len - window > events
                || bytes_from(window) > bytes
                || age_of(&self.events[window]) > millis(age))
        {
            window += 1;
        }
        let mut retained = self.retained;
        while retained < window
            && (age_of(&self.events[retained]) >= millis(backlog.0)
                || bytes_from(retained) > backlog.1)
        {
            retained += 1;
        }
        (self.window, self.retained) = (window, retained);
    }

    /// Returns whether this may be the log's ID of an evicted event.
    fn may_be_evicted(&self, id: &EventId<'_>) -> bool {
        let Some(last) = self.events.get(self.retained.wrapping_sub(1)) else {
            return false;
        };
        let first = self.origin.unwrap_or(self.events[0].log_id);
        let parsed = id
            .as_str()
            .split_once('-')
            .and_then(|(millis, sequence)| Some((millis.parse().ok()?, sequence.parse().ok()?)));
        parsed.is_some_and(|log_id: (u64, u64)| {
            *id == *format!("{}-{}", log_id.0, log_id.1) && (first..=last.log_id).contains(&log_id)
        })
    }

    /// Returns the offsets between events.
    fn ends(&self) -> impl Iterator<Item = usize> {
        [0].into_iter()
            .chain(self.events.iter().map(|event| event.end))
    }

    /// Returns the cursor after this many bytes, as the log has returned it.
    fn cursor(&self, bytes: usize) -> Cursor {
        self.cursors[&bytes]
    }

    fn end_before(&self, at: usize) -> usize {
        at.checked_sub(1)
            .map_or(0, |before| self.events[before].end)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
