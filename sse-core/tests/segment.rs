//! Segments of a journal are read back, even from damaged files.

#![cfg(feature = "recording")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use proptest::prelude::*;
use sse_core::{
    Epochs, Event, EventId, Finish, Log, LogId, Record, Restored, Resume, Retention, Segment,
    SegmentEntry as Entry,
};

#[test]
fn a_segment_is_an_event_stream_of_this_form() {
    let mut file = Segment::HEAD.to_vec();
    let entries = entries();
    entries.iter().for_each(|entry| entry.encode(&mut file));
    let one = crc("id: 7-1\ndata: one\n\n");
    let two = crc(": hi\nid: 7-2\ndata: two\n\n");
    let line = |text: &str| format!(":{:08x} {text}\n", crc(text));
    let lines = [
        "epoch 5-3 6-3",
        "epoch 7-0",
        "from 6-3",
        "synced 6-3",
        &format!("event 7-1 19 {one:08x}"),
        "evicted 2-0",
        "evicted 3-0 a\\r\\sb",
        "removed 3-7 a\\r\\sb",
        "finished 4-0 3-0 a\\r\\sb",
        &format!("event 7-2 24 {two:08x} a\\nb\\\\c\\s"),
        "upto 7-3",
    ]
    .map(line);
    let expected = format!(
        ":sse-journal 2\n{}id: 7-1\ndata: one\n\n{}: hi\nid: 7-2\ndata: two\n\n{}",
        lines[..5].concat(),
        lines[5..10].concat(),
        lines[10],
    );
    assert_eq!(String::from_utf8(file.clone()).unwrap(), expected);
    assert!(Segment::new(&file).map(|(_, entry)| entry).eq(entries));
}

fn entries() -> Vec<Entry<'static>> {
    let record = |sequence, topic: Option<&'static str>, event| {
        let topic = topic.map(Into::into);
        let id = id(sequence);
        Entry::Event(Record {
            id,
            topic,
            event,
            key: None,
        })
    };
    let old = |millis, sequence| LogId::new(millis, sequence);
    vec![
        Entry::Epoch(old(5, 3), Some(old(6, 3))),
        Entry::Epoch(id(0), None),
        Entry::From(old(6, 3)),
        Entry::Synced(old(6, 3)),
        record(1, None, b"id: 7-1\ndata: one\n\n"),
        Entry::Evicted(old(2, 0), None),
        Entry::Evicted(old(3, 0), Some("a\r b".into())),
        Entry::Removed(old(3, 7), "a\r b".into()),
        Entry::Finished(
            Finish {
                last: old(3, 0),
                id: old(4, 0),
            },
            "a\r b".into(),
        ),
        record(2, Some("a\nb\\c "), b": hi\nid: 7-2\ndata: two\n\n"),
        Entry::UpTo(id(3)),
    ]
}

#[test]
fn damage_is_reported_and_skipped() {
    let file = segment(4);
    let begins: Vec<_> = Segment::new(&file).map(|(place, _)| place.start).collect();
    let with = |at: usize, byte: u8| {
        let mut file = file.clone();
        file[at] = byte;
        file
    };
    let (line, event) = (begins[2] + 2, begins[3] - 4);
    #[rustfmt::skip]
    let cases = [
        ("whole", file.clone(), "s 0 1 2 3"),
        ("empty", vec![], ""),
        ("the head alone", Segment::HEAD.to_vec(), ""),
        ("no head", file[begins[0]..].to_vec(), "s 0 1 2 3"),
        ("a torn head", file[..9].to_vec(), "!"),
        ("a torn event", file[..file.len() - 1].to_vec(), "s 0 1 2 ?3"),
        ("a torn line", file[..begins[4] + 9].to_vec(), "s 0 1 2 !"),
        ("a torn start", file[begins[2] - 5..].to_vec(), "! 1 2 3"),
        ("zeros", [&file[..], &[0; 5]].concat(), "s 0 1 2 3 !"),
        ("a byte of the head", with(3, b'x'), "! s 0 1 2 3"),
        ("a byte of an event", with(event, b'x'), "s 0 ?1 2 3"),
        ("a byte of a line", with(line, b'x'), "s 0 ! 2 3"),
        ("no blank line", with(begins[3] - 1, b'x'), "s 0 ?1 2 3"),
        ("a missing byte", [&file[..event], &file[event + 1..]].concat(), "s 0 ?1 2 3"),
        ("a further byte", [&file[..event], b"x", &file[event..]].concat(), "s 0 ?1 2 3"),
        ("further line ends", [&file[..begins[2]], b"\n\n", &file[begins[2]..]].concat(), "s 0 ! 1 2 3"),
    ];
    for (name, file, expected) in cases {
        assert_eq!(read(&file), expected, "{name}");
    }
    let crlf = String::from_utf8(file).unwrap().replace('\n', "\r\n");
    assert_eq!(read(crlf.as_bytes()), "!");
}

#[test]
fn a_later_release_may_add_lines() {
    let text = "more 7-1 whatever";
    let mut file = Segment::HEAD.to_vec();
    file.extend(format!(":{:08x} {text}\n", crc(text)).bytes());
    let entries: Vec<_> = Segment::new(&file).map(|(_, entry)| entry).collect();
    assert_eq!(entries, [Entry::Other]);
}

#[test]
fn a_file_states_its_format_version() {
    for (file, expected) in [
        (":sse-journal 1 7-0\n\n", Some(1)),
        (":sse-journal 3 00000000\n\n", Some(3)),
        (":sse-journal 2\n", Some(Segment::VERSION)),
        (":sse-journal 2\r\n", Some(Segment::VERSION)),
        (":sse-journal x\n\n", None),
        (":sse-journal 99999999999\n\n", None),
        ("data: hey\n\n", None),
    ] {
        assert_eq!(Segment::version(file.as_bytes()), expected);
    }
}

#[test]
fn a_log_continues_those_of_earlier_runs() {
    let mut epochs = Epochs::new(1, at(5));
    let mut file = Vec::new();
    let mut written = Log::with_epochs(Retention::default(), epochs.clone(), LogId::default());
    for (number, own_id) in [(0, None), (1, Some("own")), (2, None), (3, None)] {
        let data = number.to_string();
        let event = Event::new().data(&data);
        let event = match own_id {
            Some(id) => event.id(EventId::from_static(id)),
            None => event,
        };
        epochs.next_id(at(7));
        written.append(&event, at(7));
    }
    let slice = written
        .slice(written.begin()..written.tip())
        .unwrap()
        .unwrap();
    for (id, event) in slice.events().take(3) {
        record(id, None, event).encode(&mut file);
    }
    // The last event was lost.
    let mut past: Vec<_> = epochs.iter().collect();
    let ids: Vec<_> = slice.events().map(|(id, _)| id).collect();
    past[0].last = ids[2];
    let epochs = Epochs::restore(past, 2, at(9));
    let mut log = Log::with_epochs(Retention::default(), epochs.clone(), LogId::default());
    log.restore(restored(&file), at(9));
    let text = |cursor| match log.slice(cursor..log.end()).unwrap() {
        Some(slice) => slice.events().count(),
        None => 0,
    };
    for (id, expected) in [
        (past_first(&epochs), (Resume::Resumed, 3)),
        (ids[0].to_string(), (Resume::Resumed, 2)),
        ("own".to_owned(), (Resume::Resumed, 1)),
        (ids[2].to_string(), (Resume::Resumed, 0)),
        (ids[3].to_string(), (Resume::Gap, 0)),
        ("7-3".to_owned(), (Resume::Unknown, 3)),
        (epochs.last().to_string(), (Resume::Resumed, 0)),
    ] {
        let (resume, cursor) = log.resume(Some(&EventId::new(id.clone()).unwrap()));
        assert_eq!((resume, text(cursor)), expected, "{id}");
    }
    let begin = log.begin();
    let position = log.position_id(begin, at(9)).unwrap();
    assert_eq!(position.as_str(), past_first(&epochs));
    let next = log.append(&Event::new().data("next"), at(9));
    assert_eq!(next.id.epoch(), 2);
    assert!(next.id > ids[3]);
}

fn past_first(epochs: &Epochs) -> String {
    epochs.iter().next().unwrap().first.to_string()
}

#[test]
fn events_that_count_as_evicted_are_not_restored() {
    let mut log = Log::of_hub(Retention::default(), id(1));
    log.restore(restored(&segment(4)), at(7));
    assert_eq!((log.len(), log.evicted()), (2, id(1)));
    let mut again = restored(&segment(4));
    let file = segment(2);
    let first = &records(&file)[0];
    assert!(
        !again.push(first.id, first.event),
        "not later than the last one"
    );
    assert_eq!((again.len(), again.last()), (4, Some(id(3))));
}

proptest! {
    #[test]
    fn undamaged_records_are_read(
        events in prop::collection::vec((any::<Option<String>>(), any::<String>()), 1..9),
        cut in any::<prop::sample::Index>(),
        len in 0..80_usize,
        put in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let mut file = Vec::new();
        let mut places = Vec::new();
        for (index, (topic, data)) in events.iter().enumerate() {
            let mut event = Vec::new();
            Event::new().id(index as u64).data(data).encode(&mut event);
            let start = file.len();
            record(id(index as u64), topic.as_deref(), &event).encode(&mut file);
            places.push(start..file.len());
        }
        let whole: Vec<_> = records(&file);
        prop_assert_eq!(whole.len(), events.len());
        for (record, (topic, _)) in whole.iter().zip(&events) {
            prop_assert_eq!(record.topic.as_deref(), topic.as_deref());
        }
        let start = cut.index(file.len());
        let end = (start + len).min(file.len());
        let mut damaged = file.clone();
        damaged.splice(start..end, put);
        let left = records(&damaged);
        for record in &left {
            prop_assert!(whole.contains(record), "every record that is read was written");
        }
        for (record, place) in whole.iter().zip(places) {
            // The byte before a comment is a part of what makes it one.
            let is_touched = place.start < end + 1 && start < place.end;
            prop_assert!(is_touched || left.contains(record), "{record:?}");
        }
    }
}

fn records(file: &[u8]) -> Vec<Record<'_>> {
    let records = Segment::new(file).filter_map(|(_, entry)| match entry {
        Entry::Event(record) => Some(record),
        _ => None,
    });
    records.collect()
}

/// Returns the number of each event, `?` before one that cannot be read, `!` for damage, and `s`
/// for other entries. All bytes are covered.
fn read(file: &[u8]) -> String {
    let entries = Segment::new(file).map(|(_, entry)| match entry {
        Entry::Event(record) => record.id.sequence().to_string(),
        Entry::Unread(record) => format!("?{}", record.id.sequence()),
        Entry::Damage => "!".to_owned(),
        _ => "s".to_owned(),
    });
    entries.collect::<Vec<_>>().join(" ")
}

/// The beginning of a journal, and some events.
fn segment(count: u64) -> Vec<u8> {
    let mut file = Segment::HEAD.to_vec();
    Entry::From(id(0)).encode(&mut file);
    for number in 0..count {
        let event = format!("id: 7-{number}\ndata: {number}\n\n");
        record(id(number), Some("topic"), event.as_bytes()).encode(&mut file);
    }
    file
}

fn record<'a>(id: LogId, topic: Option<&'a str>, event: &'a [u8]) -> Entry<'a> {
    let topic = topic.map(Into::into);
    Entry::Event(Record {
        id,
        topic,
        event,
        key: None,
    })
}

fn restored(file: &[u8]) -> Restored {
    let mut restored = Restored::default();
    for record in records(file) {
        assert!(restored.push(record.id, record.event));
    }
    restored
}

fn id(sequence: u64) -> LogId {
    LogId::new(7, sequence)
}

fn crc(text: &str) -> u32 {
    crc32fast::hash(text.as_bytes())
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
