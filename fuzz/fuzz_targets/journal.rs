//! Reads any bytes as a segment: every byte is covered once. Entries that were written are read,
//! however the file around them is damaged.

#![no_main]

use std::borrow::Cow;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sse_core::{Event, EventKey, LogId, Record, Restored, Segment, SegmentEntry as Entry};

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Bytes(&'a [u8]),
    /// A line with a correct checksum, and an event.
    Checked(&'a str, &'a [u8]),
    Journal(Vec<Written<'a>>, Option<Damage<'a>>),
}

#[derive(Arbitrary, Debug)]
enum Written<'a> {
    Event(u16, Option<&'a str>, &'a str),
    Epoch(u16, Option<u16>),
    Span(u16, u16),
    Evicted(u16, Option<&'a str>),
}

/// Replaces bytes.
#[derive(Arbitrary, Debug)]
struct Damage<'a> {
    at: u16,
    len: u8,
    put: &'a [u8],
}

fuzz_target!(|input: Input<'_>| match input {
    Input::Bytes(bytes) => drop(read(bytes)),
    Input::Checked(fields, event) => {
        let line = format!("{fields} {} {:08x}", event.len(), crc32fast::hash(event));
        let mut file = format!(":{:08x} {line}\n", crc32fast::hash(line.as_bytes())).into_bytes();
        file.extend(event);
        read(&file);
    }
    Input::Journal(written, damage) => check(&written, damage.as_ref()),
});

fn check(written: &[Written<'_>], damage: Option<&Damage<'_>>) {
    let (mut file, mut ends) = (Segment::HEAD.to_vec(), Vec::new());
    let mut expected = Vec::new();
    for written in written {
        let mut event = Vec::new();
        let entries = match *written {
            Written::Event(id, topic, data) => {
                let topic = topic.map(Into::into);
                let text = Event::new().id(u64::from(id)).data(data);
                text.encode(&mut event);
                let (id, event) = (log_id(id), &event[..]);
                let key = topic.as_ref().filter(|_| id.sequence() % 2 == 0);
                let key = key.map(|_| {
                    Cow::Owned(EventKey {
                        key: data.lines().next().unwrap_or_default().into(),
                        is_removal: data.len() % 2 == 0,
                    })
                });
                vec![Entry::Event(Record {
                    id,
                    topic,
                    event,
                    key,
                })]
            }
            Written::Epoch(first, last) => vec![Entry::Epoch(log_id(first), last.map(log_id))],
            Written::Span(from, to) => vec![Entry::From(log_id(from)), Entry::UpTo(log_id(to))],
            Written::Evicted(id, topic) => {
                let removed = topic.map(|topic| Entry::Removed(log_id(id), topic.into()));
                let evicted = Entry::Evicted(log_id(id), topic.map(Into::into));
                removed.into_iter().chain([evicted]).collect()
            }
        };
        for entry in entries {
            ends.push(file.len());
            entry.encode(&mut file);
            expected.push(format!("{entry:?}"));
        }
    }
    ends.push(file.len());
    let whole = read(&file);
    assert!(whole.iter().map(|entry| format!("{entry:?}")).eq(expected));
    let Some(damage) = damage else { return };
    let start = usize::from(damage.at).min(file.len());
    let end = (start + usize::from(damage.len)).min(file.len());
    let mut damaged = file.clone();
    damaged.splice(start..end, damage.put.iter().copied());
    let left = read(&damaged);
    for (entry, place) in whole.iter().zip(ends.windows(2)) {
        let is_touched = place[0] < end + 1 && start < place[1] + 1;
        assert!(
            is_touched || left.contains(entry),
            "{entry:?} was not touched"
        );
    }
}

/// Reads the entries of a segment, which cover every byte. Events have one blank line, at their
/// end.
fn read(bytes: &[u8]) -> Vec<Entry<'_>> {
    let has_head = bytes.starts_with(Segment::HEAD);
    let mut at = if has_head { Segment::HEAD.len() } else { 0 };
    let (mut entries, mut restored) = (Vec::new(), Restored::default());
    for (place, entry) in Segment::new(bytes) {
        assert!(place.start == at && at < place.end);
        at = place.end;
        if let Entry::Event(record) = &entry {
            let blank = record.event.windows(2).position(|pair| pair == b"\n\n");
            assert_eq!(blank, record.event.len().checked_sub(2));
            restored.push(record.id, record.event);
        }
        entries.push(entry);
    }
    assert_eq!(at, bytes.len());
    entries
}

fn log_id(id: u16) -> LogId {
    LogId::new(7, id.into())
}
