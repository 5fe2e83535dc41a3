//! Reads any bytes as a segment: intact records are read, damage is reported. A log written to
//! a segment is restored, however the file is damaged.

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sse_core::{Event, EventId, Events, Log, Record, Restored, Retention, Segment};

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Bytes(&'a [u8]),
    /// Bytes after a correct checksum.
    Checked(&'a [u8]),
    Log(Kept<'a>),
}

#[derive(Arbitrary, Debug)]
struct Kept<'a> {
    events: Vec<Appended<'a>>,
    damage: Option<Damage<'a>>,
}

#[derive(Arbitrary, Debug)]
struct Appended<'a> {
    /// The step of the clock.
    millis: u8,
    id: Option<&'a str>,
    data: Option<&'a str>,
    comment: Option<&'a str>,
}

/// Replaces bytes.
#[derive(Arbitrary, Debug)]
struct Damage<'a> {
    at: u16,
    len: u8,
    put: &'a [u8],
}

fuzz_target!(|input: Input<'_>| match input {
    Input::Bytes(bytes) => {
        read(bytes);
    }
    Input::Checked(bytes) => {
        let mut file = format!(":{:08x} ", crc32fast::hash(bytes)).into_bytes();
        file.extend(bytes);
        read(&file);
    }
    Input::Log(kept) => kept.check(),
});

impl Kept<'_> {
    fn check(&self) {
        let (log, file) = self.keep();
        let whole = read(&file);
        assert_eq!(whole.len(), log.len());
        let (mut restored, mut past) = (Log::new(retention()), Restored::default());
        for record in &whole {
            assert!(past.push(record));
            assert!(!past.push(record), "not twice");
        }
        restored.restore(past, Duration::ZERO);
        assert_eq!(bytes(&restored), bytes(&log));
        for event in &self.events {
            if let Some(id) = event.id() {
                assert_eq!(restored.resume(Some(&id)), log.resume(Some(&id)));
            }
        }

        let Some(damage) = &self.damage else { return };
        let mut damaged = file.clone();
        let start = usize::from(damage.at).min(file.len());
        let end = (start + usize::from(damage.len)).min(file.len());
        damaged.splice(start..end, damage.put.iter().copied());
        if Segment::new(&damaged).is_err() {
            return; // The damage has changed the version.
        }
        let left = read(&damaged);
        let mut at = file.len() - whole.iter().map(|record| len(record)).sum::<usize>();
        for record in &whole {
            let begin = at;
            at += len(record);
            assert!(
                at > start && begin <= end || left.contains(record),
                "{record:?} was not touched"
            );
        }
    }

    /// Returns a log and the segment file with its events.
    fn keep(&self) -> (Log, Vec<u8>) {
        let (mut log, mut file) = (Log::new(retention()), Vec::new());
        let mut now = Duration::ZERO;
        for event in &self.events {
            now += Duration::from_millis(event.millis.into());
            log.append(&event.event(), now);
        }
        let mut cursor = log.begin();
        while let Some(slice) = log.slice(cursor..log.tip()).expect("nothing was evicted") {
            if file.is_empty() {
                Segment::begin(slice.first_id(), &mut file);
            }
            Segment::append(&slice, &mut file);
            cursor = slice.end();
        }
        (log, file)
    }
}

impl Appended<'_> {
    fn event(&self) -> Event<'_> {
        let event = self.id().into_iter().fold(Event::new(), Event::id);
        let event = self.data.into_iter().fold(event, Event::data);
        self.comment.into_iter().fold(event, Event::comment)
    }

    /// Sets its ID, unless that is refused.
    fn id(&self) -> Option<EventId<'_>> {
        EventId::new(self.id?).ok()
    }
}

/// Reads the records of a segment. Each is one event, and records and damage cover every byte.
fn read(bytes: &[u8]) -> Vec<Record<'_>> {
    let Ok(segment) = Segment::new(bytes) else {
        return Vec::new();
    };
    let mut records: Vec<Record<'_>> = Vec::new();
    let (mut read, mut at) = (0, 0);
    for item in segment {
        match item {
            Ok(record) => {
                let events = Events::new(record.event()).count();
                let dispatches = record.event().windows(5).any(|part| part == b"data:");
                assert!(events <= 1 && (events == 0 || dispatches));
                read += len(&record);
                records.push(record);
            }
            Err(damage) => {
                let range = damage.range();
                assert!(at <= range.start && range.start < range.end);
                at = range.end;
                read += range.len();
            }
        }
    }
    let head = bytes
        .len()
        .checked_sub(read)
        .expect("nothing is read twice");
    assert!(head == 0 || bytes[..head].starts_with(b":sse-journal "));
    records
}

fn bytes(log: &Log) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut cursor = log.begin();
    while let Some(slice) = log.slice(cursor..log.end()).expect("nothing was evicted") {
        bytes.extend_from_slice(&slice.bytes());
        cursor = slice.end();
    }
    bytes
}

/// Returns the length of a record in the file.
fn len(record: &Record<'_>) -> usize {
    format!(":00000000 {}\n", record.id()).len() + record.event().len()
}

fn retention() -> Retention {
    Retention::events(usize::MAX).bytes(usize::MAX)
}
