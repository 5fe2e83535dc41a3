//! Segments of a journal are read back, even from damaged files.

#![cfg(feature = "recording")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use proptest::prelude::*;
use sse_core::{
    Block, Epoch, Epochs, Event, EventId, Finish, Log, LogId, Record, Restored, Resume, Retention,
    Segment, SegmentState, Span, UnknownVersion,
};

#[test]
fn a_segment_is_an_event_stream_of_this_form() {
    let mut file = Vec::new();
    state().encode(&mut file);
    Record::encode(id(1), None, b"id: 7-1\ndata: one\n\n", &mut file);
    Record::encode(
        id(2),
        Some("a\nb\\c"),
        b": hi\nid: 7-2\ndata: two\n\n",
        &mut file,
    );
    assert_eq!(
        String::from_utf8(file.clone()).unwrap(),
        format!(
            ":sse-journal 2 {:08x}\n{STATE}\n:{:08x} {:08x} 19 7-1\nid: 7-1\ndata: one\n\n\
             :{:08x} {:08x} 24 7-2 a\\nb\\\\c\n: hi\nid: 7-2\ndata: two\n\n",
            crc(STATE),
            crc(&format!("{:08x} 19 7-1", crc("id: 7-1\ndata: one\n\n"))),
            crc("id: 7-1\ndata: one\n\n"),
            crc(&format!(
                "{:08x} 24 7-2 a\\nb\\\\c",
                crc(": hi\nid: 7-2\ndata: two\n\n")
            )),
            crc(": hi\nid: 7-2\ndata: two\n\n"),
        )
    );
    let blocks: Vec<_> = Segment::new(&file).unwrap().collect();
    assert_eq!(blocks.len(), 3);
    assert_eq!(blocks[0], Block::State(state()));
    let Block::Record(record) = &blocks[2] else {
        panic!("it is a record")
    };
    assert_eq!(record.topic.as_deref(), Some("a\nb\\c"));
}

const STATE: &str = ":epoch 5-3 6-3\n:epoch 7-0 7-0\n:span 6-3\n:span 1-1 2-2\n:synced 6-3\n\
                     :floor 1-0\n:evicted 2-0\n:evicted 3-0 a\\r b\n\
                     :finished 3-0 4-0 a\\r b\n";

fn state() -> SegmentState {
    SegmentState {
        epochs: vec![
            Epoch {
                first: LogId::new(5, 3),
                last: LogId::new(6, 3),
            },
            Epoch {
                first: id(0),
                last: id(0),
            },
        ],
        spans: vec![
            Span {
                from: LogId::new(6, 3),
                to: None,
            },
            Span {
                from: LogId::new(1, 1),
                to: Some(LogId::new(2, 2)),
            },
        ],
        synced: Some(LogId::new(6, 3)),
        floor: Some(LogId::new(1, 0)),
        evicted: vec![
            (LogId::new(2, 0), None),
            (LogId::new(3, 0), Some("a\r b".to_owned())),
        ],
        finished: vec![Finish {
            last: LogId::new(3, 0),
            id: LogId::new(4, 0),
            topic: "a\r b".to_owned(),
        }],
    }
}

#[test]
fn damage_is_reported_and_skipped() {
    let file = segment(4);
    let ends: Vec<_> = memchr::memmem::find_iter(&file, "\n\n")
        .map(|blank| blank + 2)
        .collect();
    let with = |at: usize, byte: u8| {
        let mut file = file.clone();
        file[at] = byte;
        file
    };
    let comment = ends[1] + 2;
    let event = ends[2] - 4;
    #[rustfmt::skip]
    let cases = [
        ("whole", file.clone(), "s 0 1 2 3"),
        ("empty", vec![], ""),
        ("no state", file[ends[0]..].to_vec(), "0 1 2 3"),
        ("a torn state", file[..19].to_vec(), "!"),
        ("a torn event", file[..ends[4] - 1].to_vec(), "s 0 1 2 ?3"),
        ("a torn comment", file[..ends[3] + 9].to_vec(), "s 0 1 2 !"),
        ("a torn start", file[ends[1] - 5..].to_vec(), "! 1 2 3"),
        ("zeros", [&file[..], &[0; 5]].concat(), "s 0 1 2 3 !"),
        ("a byte of the state", with(18, b'x'), "! 0 1 2 3"),
        ("a byte of an event", with(event, b'x'), "s 0 ?1 2 3"),
        ("a byte of a comment", with(comment, b'x'), "s 0 ! 2 3"),
        ("no blank line", with(ends[2] - 1, b'x'), "s 0 ?1 3"),
        ("a missing byte", [&file[..event], &file[event + 1..]].concat(), "s 0 ?1 2 3"),
        ("a further byte", [&file[..event], b"x", &file[event..]].concat(), "s 0 ?1 2 3"),
        ("further line ends", [&file[..ends[1]], b"\n\n", &file[ends[1]..]].concat(), "s 0 ! 1 2 3"),
    ];
    for (name, file, expected) in cases {
        assert_eq!(read(&file), expected, "{name}");
    }
    let crlf = String::from_utf8(file).unwrap().replace('\n', "\r\n");
    assert_eq!(read(crlf.as_bytes()), "!");
}

#[test]
fn other_formats_are_refused() {
    for (file, expected) in [
        (":sse-journal 1 7-0\n\n", Some(1)),
        (":sse-journal 3 00000000\n\n", Some(3)),
        (":sse-journal 2 00000000\n\n", None),
        (":sse-journal x\n\n", None),
        ("data: hey\n\n", None),
    ] {
        let refused = Segment::new(file.as_bytes()).err();
        assert_eq!(refused, expected.map(|version| UnknownVersion { version }));
    }
    assert_eq!(
        UnknownVersion { version: 1 }.to_string(),
        "the segment has format 1, and this release reads format 2"
    );
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
        Record::encode(id, None, event, &mut file);
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
    assert!(again.contains(id(2)) && !again.contains(id(9)));
    let file = segment(2);
    let Some(Block::Record(record)) = Segment::new(&file).unwrap().nth(1) else {
        panic!("it is a record")
    };
    assert!(!again.push(&record), "not later than the last one");
    let merged = restored(&file).merge(&again);
    assert_eq!((merged.len(), merged.last()), (4, Some(id(3))));
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
            Record::encode(id(index as u64), topic.as_deref(), &event, &mut file);
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
    let blocks = Segment::new(file).unwrap();
    let records = blocks.filter_map(|block| match block {
        Block::Record(record) => Some(record),
        _ => None,
    });
    records.collect()
}

/// Returns `s` for a state, the number of an event, `?` before one that cannot be read, and `!`
/// for damage. All bytes are covered.
fn read(file: &[u8]) -> String {
    let blocks = Segment::new(file).unwrap().map(|block| match block {
        Block::Record(record) => record.id.sequence().to_string(),
        Block::State(_) => "s".to_owned(),
        Block::Unread { id, .. } => format!("?{}", id.sequence()),
        Block::Damage(_) => "!".to_owned(),
    });
    blocks.collect::<Vec<_>>().join(" ")
}

/// A state and some events.
fn segment(count: u64) -> Vec<u8> {
    let mut file = Vec::new();
    state().encode(&mut file);
    for number in 0..count {
        let event = format!("id: 7-{number}\ndata: {number}\n\n");
        Record::encode(id(number), Some("topic"), event.as_bytes(), &mut file);
    }
    file
}

fn restored(file: &[u8]) -> Restored {
    let mut restored = Restored::default();
    for record in records(file) {
        assert!(restored.push(&record));
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
