//! Segments of a log are read back, even from damaged files.

#![cfg(feature = "recording")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use proptest::prelude::*;
use sse_core::{Cursor, Event, EventId, Log, LogId, Restored, Resume, Retention, Segment};

#[test]
fn a_segment_is_an_event_stream_of_this_form() {
    let mut log = new_log(Retention::default());
    log.append(&Event::new().data("one"), at(7));
    log.append(
        &Event::new()
            .id(EventId::from_static("b"))
            .data("two\nlines"),
        at(7),
    );
    log.append(
        &Event::new()
            .id(EventId::from_static(""))
            .comment("hi\n:1")
            .data(""),
        at(9),
    );
    assert_eq!(
        String::from_utf8(segment(&log)).unwrap(),
        ":sse-journal 1 7-0\n\n\
         :83fd79f4 7-0\nid: 7-0\ndata: one\n\n\
         :ebbf4ec9 7-1\nid: b\ndata: two\ndata: lines\n\n\
         :85254f76 9-0\n: hi\n: :1\nid: \ndata: \n\n"
    );
}

#[test]
fn damage_is_reported_and_skipped() {
    let file = segment(&log_of(4));
    let ends: Vec<_> = memchr::memmem::find_iter(&file, "\n\n")
        .map(|blank| blank + 2)
        .collect();
    let with = |at: usize, byte: u8| {
        let mut file = file.clone();
        file[at] = byte;
        file
    };
    for (name, file, expected, damaged) in [
        ("whole", file.clone(), "0 1 2 3", None),
        ("empty", vec![], "", None),
        ("no head", file[ends[0]..].to_vec(), "0 1 2 3", None),
        ("a torn head", file[..9].to_vec(), "", Some(0..9)),
        (
            "a torn end",
            file[..ends[4] - 1].to_vec(),
            "0 1 2",
            Some(ends[3]..ends[4] - 1),
        ),
        (
            "a torn start",
            file[ends[1] - 5..].to_vec(),
            "1 2 3",
            Some(0..5),
        ),
        (
            "zeros",
            [&file[..], &[0; 5]].concat(),
            "0 1 2 3",
            Some(ends[4]..ends[4] + 5),
        ),
        ("the head", with(15, b'x'), "0 1 2 3", Some(0..ends[0])),
        (
            "a letter",
            with(ends[1] + 25, b'!'),
            "0 2 3",
            Some(ends[1]..ends[2]),
        ),
        (
            "a checksum",
            with(ends[1] + 1, b'!'),
            "0 2 3",
            Some(ends[1]..ends[2]),
        ),
        (
            "a log ID",
            with(ends[1] + 10, b'!'),
            "0 2 3",
            Some(ends[1]..ends[2]),
        ),
        (
            "a last line",
            with(ends[2] - 2, b'!'),
            "0 2 3",
            Some(ends[1]..ends[2]),
        ),
        (
            "a blank line",
            with(ends[2] - 1, b'!'),
            "0 3",
            Some(ends[1]..ends[3]),
        ),
    ] {
        let (sequences, damages) = read(&file);
        let expected: Vec<u64> = expected
            .split_whitespace()
            .map(|n| n.parse().unwrap())
            .collect();
        assert_eq!(sequences, expected, "{name}");
        assert_eq!(damages, Vec::from_iter(damaged), "{name}");
    }
}

#[test]
fn a_record_that_no_log_writes_is_damage() {
    for (event, is_read) in [
        ("id: 1\n\n", true),
        (": hi\nid: 1\n\n", true),
        ("", false),
        ("\n", false),
        ("data: no ID\n\n", false),
        ("id: \0\n\n", false),
        ("id: 1\r\n\n", false),
        ("id: 1\ndata: a\r\rid: 2\n\n", false),
        ("id: 1\n", false),
        ("id: 1\n\nid: 2\n\n", false),
        (": hi", false),
    ] {
        for log_id in ["7-0", "7", "07-0", "", "7-0 "] {
            let checked = format!("{log_id}\n{event}");
            let file = format!(":{:08x} {checked}", crc32fast::hash(checked.as_bytes()));
            let (sequences, damages) = read(file.as_bytes());
            assert_eq!(
                sequences.len(),
                usize::from(is_read && log_id == "7-0"),
                "{file:?}"
            );
            assert_eq!(damages.is_empty(), !sequences.is_empty(), "{file:?}");
        }
    }
}

#[test]
fn an_id_that_clients_cannot_send_back_is_replaced() {
    let id_of = |id: &str| {
        let event = format!(": hi\nid: {id}\ndata: a\n\n");
        let checked = format!("7-0\n{event}");
        let file = format!(":{:08x} {checked}", crc32fast::hash(checked.as_bytes()));
        let record = Segment::new(file.as_bytes()).unwrap().next().unwrap();
        let record = record.unwrap();
        assert_eq!(record.event(), event.as_bytes());
        let mut log = restore(file.as_bytes(), Retention::default());
        let restored = text(&log, log.begin());
        assert!(restored.starts_with(": hi\nid: ") && restored.ends_with("\ndata: a\n\n"));
        let id = ids(&restored);
        assert_eq!(answer(&log, &id), "resumed ", "its client continues");
        assert_eq!(log.position_id(log.end(), at(10)).unwrap(), *id);
        id
    };
    let dropped = EventId::dropped();
    assert_eq!(id_of("x"), "x");
    for id in [" x", "x\t", "a\u{1}b", "\u{7f}", &"x".repeat(1025)] {
        assert_eq!(id_of(id), "7-0", "{id:?}");
    }
    assert!(EventId::dropped() >= dropped + 5);
}

#[test]
fn a_newer_format_is_refused_and_not_treated_as_damage() {
    let error = Segment::new(b":sse-journal 2 7-0 and more\n\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the segment has a format newer than 1; read it with a newer release"
    );
    for head in [
        ":sse-journal x 7-0\n\n",
        ":sse-journal 2\n\n",
        ":sse-journal 1 7-0\n",
    ] {
        let (_, damages) = read(head.as_bytes());
        assert_eq!(damages, Vec::from_iter(Some(0..head.len())), "{head:?}");
    }
}

#[test]
fn a_restored_log_continues_like_the_original() {
    for kept in [1, 2, 5, 9] {
        let mut before = new_log(Retention::events(kept));
        let mut file = Vec::new();
        for number in 0..5 {
            let cursor = before.end();
            append(&mut before, number);
            let slice = before.slice(cursor..before.tip()).unwrap();
            Segment::append(&slice.unwrap(), &mut file);
        }
        let mut after = restore(&file, Retention::events(kept));
        // The clock has been set back.
        for log in [&mut before, &mut after] {
            log.append(&Event::new().data("later"), at(1));
        }
        assert_eq!(text(&after, after.begin()), text(&before, before.begin()));
        for id in [
            "0-0", "1-0", "7-0", "7-1", "7-2", "b3", "7-4", "7-5", "11-0", "x",
        ] {
            assert_eq!(answer(&after, id), answer(&before, id), "{id} of {kept}");
        }
    }
}

#[test]
fn a_client_with_a_lost_id_resumes_after_the_gap() {
    let file = segment(&log_of(5));
    let mut damaged = file.clone();
    let third = memchr::memmem::find(&file, b" 7-2\n").unwrap();
    damaged[third + 1] = b'8';
    let mut log = restore(&damaged, Retention::default());
    log.append(&Event::new().data("later"), at(20));
    for (id, expected) in [
        ("6-9", None),
        ("7-1", Some((true, "b3 7-4 20-0"))),
        ("7-2", Some((false, "b3 7-4 20-0"))),
        ("7-4", Some((true, "20-0"))),
        ("7-5", Some((false, "20-0"))),
        ("9-0", Some((false, "20-0"))),
        ("20-0", Some((true, ""))),
        ("20-1", None),
    ] {
        let expected = expected.map(|(whole, ids)| (whole, ids.to_owned()));
        let ids = |cursor| ids(&text(&log, cursor));
        let found = match log.resume(Some(&EventId::new(id).unwrap())) {
            (Resume::Resumed, cursor) => Some((true, ids(cursor))),
            (Resume::Gap, cursor) => Some((false, ids(cursor))),
            (Resume::New | Resume::Unknown, _) => None,
        };
        assert_eq!(found, expected, "{id}");
    }
}

#[test]
fn a_restored_log_has_no_id_before_its_first_event() {
    let mut log = restore(&segment(&log_of(2)), Retention::default());
    let since = LogId::parse("3-0").unwrap();
    drop(log.finish_restoring(since, at(10), at(10)));
    let begin = log.begin();
    assert_eq!(log.position_id(begin, at(10)), None);
    assert_eq!(
        answer(&log, "4-0"),
        "gap 7-0 7-1",
        "lost before the first event"
    );
}

#[test]
fn nothing_is_restored_twice_or_out_of_order() {
    let file = segment(&log_of(3));
    let mut log = restore(&file, Retention::default());
    let all = || restored(&file);
    log.restore(all(), at(10));
    assert_eq!(log.len(), 3);
    let mut rest = new_log(Retention::default());
    rest.restore(restored_of(&file, &[0]), at(10));
    rest.restore(all(), at(10));
    rest.restore(restored_of(&file, &[2, 1]), at(10));
    assert_eq!(text(&rest, rest.begin()), text(&log, log.begin()));
    for (one, other) in [
        (&[0, 2][..], &[1][..]),
        (&[1], &[0, 1, 2]),
        (&[], &[0, 1, 2]),
        (&[0, 1, 2], &[]),
    ] {
        let merged = restored_of(&file, one).merge(&restored_of(&file, other));
        assert_eq!((merged.len(), merged.bytes()), (3, all().bytes()));
        assert_eq!(
            (merged.first(), merged.last()),
            (all().first(), all().last())
        );
        let mut log = new_log(Retention::default());
        log.restore(merged, at(10));
        assert_eq!(text(&log, log.begin()), text(&rest, rest.begin()));
    }
    // No ID could follow the greatest possible one.
    let last = format!("{0}-{0}\nid: 1\n\n", u64::MAX);
    let file = format!(":{:08x} {last}", crc32fast::hash(last.as_bytes()));
    let record = Segment::new(file.as_bytes())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert!(!Restored::default().push(&record));
}

#[test]
fn held_events_are_retained_but_not_visible() {
    let mut log = new_log(Retention::events(2).bytes(100));
    append(&mut log, 0);
    log.hold(Some(log.end()));
    let before = log.end();
    for number in 1..5 {
        append(&mut log, number);
    }
    assert_eq!(
        (log.len(), log.end()),
        (4, before),
        "more than two are held"
    );
    assert_eq!(text(&log, before), "");
    assert_eq!(log.last(1), log.begin());
    let resumed = log.resume(Some(&EventId::from_static("7-4")));
    assert_eq!(
        resumed,
        (Resume::Resumed, before),
        "no client has received it"
    );

    let mut two = before;
    for expected in ["7-1", "7-2"] {
        let held = log.slice(two..log.tip()).unwrap().unwrap();
        assert_eq!(
            held.first_id().to_string(),
            expected,
            "each of so few bytes is one piece"
        );
        two = held.end();
    }
    log.hold(Some(two));
    assert_eq!(ids(&text(&log, before)), "7-1 7-2");
    log.hold(Some(before));
    assert_eq!(log.end(), two, "visible events stay visible");

    drop(log.evict(at(7)));
    assert_eq!(ids(&text(&log, log.begin())), "", "two are held");
    log.append(&Event::new().data("x".repeat(90)), at(7));
    assert_eq!(log.len(), 1, "held events are bounded by bytes");
    assert_eq!(log.end(), log.begin());
    log.hold(None);
    assert_eq!(log.end(), log.tip());
}

proptest! {
    #[test]
    fn undamaged_records_are_read(
        events in prop::collection::vec((any::<bool>(), any::<String>(), any::<Option<String>>()), 1..9),
        cut in any::<prop::sample::Index>(),
        len in 0..80_usize,
        put in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let mut log = new_log(Retention::default());
        for (own_id, data, comment) in &events {
            let event = Event::new().data(data);
            let event = match comment {
                Some(comment) => event.comment(comment),
                None => event,
            };
            log.append(&if *own_id { event.id(1) } else { event }, at(7));
        }
        let mut file = segment(&log);
        let start = cut.index(file.len());
        let end = (start + len).min(file.len());
        let whole = file.clone();
        file.splice(start..end, put);
        let read: Vec<_> = Segment::new(&file).unwrap().flatten().collect();

        let all: Vec<_> = Segment::new(&whole).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(all.len(), events.len());
        for record in &read {
            prop_assert!(all.contains(record), "every record that is read was written");
        }
        for record in &all {
            let begin = memchr::memmem::find(&whole, record.event()).unwrap();
            let is_touched = begin + record.event().len() > start && begin < end + 30;
            prop_assert!(is_touched || read.contains(record), "{record:?}");
        }
    }
}

/// Returns a log of at most five events: `7-0`, `7-1`, `7-2`, `b3`, `7-4`.
fn append(log: &mut Log, number: u64) {
    let event = Event::new().data(number.to_string());
    match number {
        3 => log.append(&event.id(EventId::from_static("b3")), at(7)),
        _ => log.append(&event, at(7)),
    };
}

fn log_of(count: u64) -> Log {
    let mut log = new_log(Retention::default());
    (0..count).for_each(|number| append(&mut log, number));
    log
}

/// Returns a segment with all retained events.
fn segment(log: &Log) -> Vec<u8> {
    let (mut file, mut cursor) = (Vec::new(), log.begin());
    while let Some(slice) = log.slice(cursor..log.tip()).expect("nothing was evicted") {
        if file.is_empty() {
            Segment::begin(slice.first_id(), &mut file);
        }
        Segment::append(&slice, &mut file);
        cursor = slice.end();
    }
    file
}

fn restored(file: &[u8]) -> Restored {
    let mut restored = Restored::default();
    for record in Segment::new(file).expect("the header is valid").flatten() {
        assert!(restored.push(&record));
    }
    restored
}

/// Returns the records of a segment that can be restored in this order.
fn restored_of(file: &[u8], indices: &[usize]) -> Restored {
    let records: Vec<_> = Segment::new(file).unwrap().flatten().collect();
    let mut restored = Restored::default();
    for index in indices {
        restored.push(&records[*index]);
    }
    restored
}

/// Returns the log of a segment, restored at the time 10.
fn restore(file: &[u8], retention: Retention) -> Log {
    let mut log = new_log(retention);
    log.restore(restored(file), at(10));
    let since = LogId::parse("7-0").expect("the ID is valid");
    drop(log.finish_restoring(since, at(10), at(10)));
    log
}

/// Returns the sequence numbers of the records, and the damaged ranges.
fn read(file: &[u8]) -> (Vec<u64>, Vec<std::ops::Range<usize>>) {
    let (mut sequences, mut damages) = (Vec::new(), Vec::new());
    for item in Segment::new(file).expect("the header is valid") {
        match item {
            Ok(record) => sequences.push(record.id().sequence()),
            Err(damage) => damages.push(damage.range()),
        }
    }
    (sequences, damages)
}

fn text(log: &Log, cursor: Cursor) -> String {
    let (mut bytes, mut cursor) = (Vec::new(), cursor);
    while let Some(slice) = log.slice(cursor..log.end()).unwrap() {
        bytes.extend_from_slice(&slice.bytes());
        cursor = slice.end();
    }
    String::from_utf8(bytes).unwrap()
}

fn ids(text: &str) -> String {
    let ids: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .collect();
    ids.join(" ")
}

/// Describes how a client with this ID resumes.
fn answer(log: &Log, id: &str) -> String {
    match log.resume(Some(&EventId::new(id).expect("the ID is valid"))) {
        (Resume::Resumed, cursor) => format!("resumed {}", ids(&text(log, cursor))),
        (Resume::Gap, cursor) => format!("gap {}", ids(&text(log, cursor))),
        other => format!("{other:?}"),
    }
}

/// Returns a log without a backlog.
fn new_log(retention: Retention) -> Log {
    Log::new(retention.backlog(Duration::ZERO, 0))
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
