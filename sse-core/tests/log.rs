//! What a log keeps, what is read of it, and where clients go on.

use std::time::Duration;

use allocation_counter::measure;
use proptest::prelude::*;
use sse_core::{Cursor, Event, EventId, Forgotten, Log, Resume, Retention};

#[path = "common/log_pair.rs"]
mod log_pair;
use log_pair::{Bounds, Pair};

/// The wire bytes of each event that [`numbered`] makes.
const SIZE: usize = b"id: 1\ndata: x\n\n".len();

#[test]
fn as_much_is_kept_as_all_bounds_allow() {
    let of_age = |millis| Retention::default().age(at(millis));
    let of_bytes = |bytes| Retention::default().bytes(bytes);
    for (retention, expected) in [
        (Retention::default(), "1 2 3 4 5 6 7 8 9"),
        (Retention::events(9), "1 2 3 4 5 6 7 8 9"),
        (Retention::events(8), "2 3 4 5 6 7 8 9"),
        (Retention::events(2), "8 9"),
        (Retention::events(1), "9"),
        (Retention::events(0), "9"),
        (Retention::events(usize::MAX), "1 2 3 4 5 6 7 8 9"),
        (of_bytes(9 * SIZE), "1 2 3 4 5 6 7 8 9"),
        (of_bytes(9 * SIZE - 1), "2 3 4 5 6 7 8 9"),
        (of_bytes(3 * SIZE), "7 8 9"),
        (of_bytes(3 * SIZE - 1), "8 9"),
        (of_bytes(SIZE - 1), "9"),
        (of_bytes(0), "9"),
        (of_bytes(usize::MAX), "1 2 3 4 5 6 7 8 9"),
        (of_age(80), "1 2 3 4 5 6 7 8 9"),
        (of_age(79), "2 3 4 5 6 7 8 9"),
        (of_age(20), "7 8 9"),
        (of_age(19), "8 9"),
        (of_age(0), "9"),
        (Retention::events(4).bytes(3 * SIZE).age(at(50)), "7 8 9"),
        (Retention::events(2).bytes(3 * SIZE).age(at(50)), "8 9"),
        (Retention::events(4).bytes(3 * SIZE).age(at(10)), "8 9"),
        (Retention::events(0).bytes(0).age(at(0)), "9"),
    ] {
        let mut log = Log::new(retention);
        for number in 1..=9 {
            log.append(&numbered(number), at(number * 10));
        }
        assert_eq!(kept(&log), expected, "{retention:?}");
        assert_eq!(log.len(), expected.split(' ').count());
    }
}

#[test]
fn events_age_in_a_log_at_rest() {
    let mut log = Log::new(Retention::default().age(at(20)));
    for number in 1..=4 {
        log.append(&numbered(number), at(number * 10));
    }
    for (now, expected) in [
        (0, "2 3 4"),
        (40, "2 3 4"),
        (41, "3 4"),
        (50, "3 4"),
        (51, "4"),
        (u64::MAX, "4"),
        (0, "4"),
    ] {
        log.forget(at(now));
        assert_eq!(kept(&log), expected, "at {now}");
    }
}

#[test]
fn the_newest_event_is_kept_however_large() {
    let mut log = Log::new(Retention::events(0).bytes(10).age(Duration::ZERO));
    log.append(&Event::new().id(1).data("x".repeat(1000)), at(1));
    assert_eq!(kept(&log), "1");
    log.forget(Duration::MAX);
    assert_eq!(kept(&log), "1");
    log.append(&numbered(2), at(2));
    assert_eq!(kept(&log), "2");
}

#[test]
fn a_clock_set_back_keeps_events_until_it_has_caught_up() {
    let mut log = Log::new(Retention::default().age(at(10)));
    log.append(&numbered(1), at(1000));
    log.append(&numbered(2), at(500));
    log.append(&numbered(3), at(1010));
    assert_eq!(kept(&log), "1 2 3");
    log.append(&numbered(4), at(1011));
    assert_eq!(kept(&log), "3 4");
}

#[test]
fn ids_rise_whatever_the_clock_does() {
    const MAX: &str = "18446744073709551615";
    for (times, expected) in [
        (&[5, 6, 7][..], "5-0 6-0 7-0"),
        (&[5, 5, 5], "5-0 5-1 5-2"),
        (&[5, 3, 4, 5, 6], "5-0 5-1 5-2 5-3 6-0"),
        (&[0, 0], "0-0 0-1"),
        (&[5, 0, 6, 6], "5-0 5-1 6-0 6-1"),
        (
            &[u64::MAX, 0, u64::MAX],
            &format!("{MAX}-0 {MAX}-1 {MAX}-2"),
        ),
    ] {
        let mut log = Log::new(Retention::default());
        for time in times {
            log.append(&Event::new().data("x"), at(*time));
        }
        assert_eq!(kept(&log), expected, "{times:?}");
    }

    let mut log = Log::new(Retention::default());
    log.append(&Event::new(), Duration::MAX);
    log.append(&Event::new(), Duration::from_micros(1999));
    assert_eq!(kept(&log), format!("{MAX}-0 {MAX}-1"), "no overflow");
}

#[test]
fn an_own_id_takes_the_place_of_a_stamp() {
    let log = log(Retention::default(), "7 - 8 -", &[5]);
    assert_eq!(kept(&log), "7 5-1 8 5-3");
}

#[test]
fn clients_go_on_where_they_left_off() {
    const FIRST_OF_ALL: u64 = 100;
    // Four are forgotten and three are kept.
    let log = log(Retention::events(3), "- - - - - - -", &[FIRST_OF_ALL]);
    assert_eq!(kept(&log), "100-4 100-5 100-6");
    asked(&log, None, "fresh");
    for (id, expected) in [
        ("", "fresh"),
        ("100-6", "resumed with 0"),
        ("100-5", "resumed with 1"),
        ("100-4", "resumed with 2"),
        // Forgotten, but nothing that came after it is.
        ("100-3", "resumed with 3"),
        ("100-2", "gap"),
        ("100-0", "gap"),
        // From the future.
        ("100-7", "unknown"),
        ("101-0", "unknown"),
        ("18446744073709551615-18446744073709551615", "unknown"),
        // Of before a restart.
        ("99-9", "unknown"),
        ("99-18446744073709551615", "unknown"),
        ("0-0", "unknown"),
        // Not ours.
        ("0", "unknown"),
        ("100", "unknown"),
        ("-", "unknown"),
        ("100-", "unknown"),
        ("-1", "unknown"),
        ("100-05", "unknown"),
        ("0100-5", "unknown"),
        ("100-00", "unknown"),
        ("00-0", "unknown"),
        ("+100-5", "unknown"),
        ("100-+5", "unknown"),
        ("100--5", "unknown"),
        ("100-5-", "unknown"),
        ("100-5-0", "unknown"),
        ("100 -5", "unknown"),
        ("100-0x5", "unknown"),
        ("100_5", "unknown"),
        ("100-٥", "unknown"),
        ("100-18446744073709551616", "unknown"),
        ("18446744073709551616-0", "unknown"),
        ("\u{fffd}", "unknown"),
    ] {
        asked(&log, Some(id), expected);
    }
    asked(&log, Some(&"1".repeat(EventId::MAX_LEN)), "unknown");
}

#[test]
fn clients_go_on_where_they_left_off_by_the_publishers_ids() {
    // Two are forgotten and three are kept.
    let log = log(Retention::events(3), "1 2 c d 5", &[9]);
    for (id, expected) in [
        ("5", "resumed with 0"),
        ("d", "resumed with 1"),
        ("c", "resumed with 2"),
        ("2", "resumed with 3"),
        // Whether it ever was, the log has forgotten.
        ("1", "unknown"),
        ("6", "unknown"),
        ("D", "unknown"),
        ("05", "unknown"),
        // A stamp that has not become an ID is none, unless it could be a forgotten one.
        ("9-4", "unknown"),
        ("9-2", "unknown"),
        ("9-1", "gap"),
        ("9-0", "gap"),
    ] {
        asked(&log, Some(id), expected);
    }
    assert_eq!(log.resume(Some(&5.into())), Resume::Resumed(log.end()));
}

#[test]
fn clients_go_on_where_they_left_off_in_a_mixture() {
    // Three are forgotten and four are kept.
    let log = log(Retention::events(4), "- a - b - c -", &[9]);
    assert_eq!(kept(&log), "b 9-4 c 9-6");
    for (id, expected) in [
        ("9-6", "resumed with 0"),
        ("c", "resumed with 1"),
        ("9-4", "resumed with 2"),
        ("b", "resumed with 3"),
        ("9-2", "resumed with 4"),
        ("a", "unknown"),
        ("9-0", "gap"),
        ("9-3", "unknown"),
        ("9-5", "unknown"),
    ] {
        asked(&log, Some(id), expected);
    }
}

#[test]
fn clients_go_on_after_the_newest_of_events_with_the_same_id() {
    let all = Retention::default();
    for (log, id, expected) in [
        (log(all, "x y x z", &[9]), "x", "resumed with 1"),
        (log(all, "x x x", &[9]), "x", "resumed with 0"),
        // The forgotten one does not take the other with it.
        (
            log(Retention::events(3), "x y x z", &[9]),
            "x",
            "resumed with 1",
        ),
        (
            log(Retention::events(2), "x y x z", &[9]),
            "x",
            "resumed with 1",
        ),
        (
            log(Retention::events(1), "x y x z", &[9]),
            "x",
            "resumed with 1",
        ),
        (log(Retention::events(1), "x x z z", &[9]), "x", "unknown"),
        // Its publisher's ID is like one that the log has given, or gives later.
        (log(all, "- 5-0 -", &[5]), "5-0", "resumed with 1"),
        (log(all, "- 5-2 - -", &[5]), "5-2", "resumed with 1"),
        (log(all, "9-0 - -", &[5, 9, 9]), "9-0", "resumed with 1"),
        (log(all, "5-0 -", &[5]), "5-0", "resumed with 1"),
        (
            log(Retention::events(1), "9-0 - -", &[5, 9, 9]),
            "9-0",
            "resumed with 1",
        ),
        // Redis's IDs: not the log's, whose place they take.
        (log(all, "1-7 2-3 2-9", &[9]), "2-3", "resumed with 1"),
        (log(all, "1-7 2-3 2-9", &[9]), "2-4", "unknown"),
        (
            log(Retention::events(1), "1-7 2-3 2-9", &[9]),
            "1-7",
            "unknown",
        ),
        (
            log(Retention::events(1), "7-7 8-0 8-9", &[7, 8, 8]),
            "7-7",
            "gap",
        ),
        // The empty ID takes the client's away.
        (log(all, "a '' b", &[9]), "", "fresh"),
    ] {
        asked(&log, Some(id), expected);
    }
}

#[test]
fn an_empty_log_knows_nobody() {
    let log = Log::new(Retention::default());
    for id in ["0-0", "0", "9-9"] {
        asked(&log, Some(id), "unknown");
    }
    asked(&log, None, "fresh");
    assert_eq!(log.read(log.begin()), Ok(&b""[..]));
    assert_eq!((log.next_id(log.begin()), log.len()), (None, 0));
    assert!(log.is_empty());
    for cursor in [log.end(), log.last(0), log.last(1), log.last(usize::MAX)] {
        assert_eq!(cursor, log.begin());
    }
    assert_eq!(log.event_end(log.begin().advance(9)), log.begin());
}

#[test]
fn the_last_events_are_counted_back_from_the_newest() {
    let log = log(Retention::events(3), "1 2 3 4 5", &[9]);
    for (count, expected) in [
        (0, ""),
        (1, "5"),
        (2, "4 5"),
        (3, "3 4 5"),
        (4, "3 4 5"),
        (usize::MAX, "3 4 5"),
    ] {
        assert_eq!(read(&log, log.last(count)), expected, "the last {count}");
    }
    assert_eq!(log.next_id(log.begin()).unwrap(), "3");
}

#[test]
fn a_cursor_within_an_event_is_told_its_end() {
    // The first of three is forgotten.
    let log = log(Retention::events(2), "1 2 3", &[9]);
    let begin = log.begin();
    assert_eq!(begin, Log::new(Retention::default()).begin().advance(SIZE));
    for (bytes, expected) in [
        (0, 0),
        (1, SIZE),
        (SIZE - 1, SIZE),
        (SIZE, SIZE),
        (SIZE + 1, 2 * SIZE),
        (2 * SIZE, 2 * SIZE),
        (2 * SIZE + 1, 2 * SIZE),
        (usize::MAX, 2 * SIZE),
    ] {
        let end = log.event_end(begin.advance(bytes));
        assert_eq!(end, begin.advance(expected), "{bytes}");
    }
    let forgotten = Log::new(Retention::default()).begin();
    assert_eq!(log.event_end(forgotten), begin);
    assert_eq!(log.event_end(forgotten.advance(SIZE - 1)), begin);
}

#[test]
fn cursors_are_places_in_order() {
    let mut log = Log::new(Retention::events(1));
    let first = log.end();
    let second = log.append(&numbered(1), at(0));
    let third = log.append(&numbered(2), at(0));
    assert!(first < second && second < third);
    assert_eq!((log.begin(), log.end()), (second, third));
    assert_eq!(second.distance(third), SIZE);
    assert_eq!(third.distance(second), 0);
    assert_eq!(first.advance(2 * SIZE), third);
    let last = third.advance(usize::MAX);
    assert_eq!(last.advance(1), last, "no overflow");
}

#[test]
fn what_is_read_is_in_one_piece() {
    let mut log = Log::new(Retention::events(3));
    let begin = log.begin();
    let events = |from: u64, to| Vec::from_iter((from..to).map(encoded)).concat();
    for number in 0..100 {
        let end = log.append(&numbered(number % 10), at(number));
        assert_eq!(end, log.end());
        let oldest = (number + 1).saturating_sub(3);
        assert_eq!(
            log.read(log.begin()).unwrap().escape_ascii().to_string(),
            events(oldest, number + 1).escape_ascii().to_string(),
        );
    }
    assert_eq!(log.read(log.last(1)), Ok(&*encoded(9)));
    assert_eq!(log.read(log.last(1).advance(3)), Ok(&encoded(9)[3..]));
    assert_eq!(log.read(log.end()), Ok(&b""[..]));
    assert_eq!(log.read(log.end().advance(1)), Ok(&b""[..]));
    assert_eq!(log.read(log.end().advance(usize::MAX)), Ok(&b""[..]));

    let forgotten = Forgotten { begin: log.begin() };
    assert_eq!(log.read(begin), Err(forgotten));
    let just_before = begin.advance(begin.distance(log.begin()) - 1);
    assert_eq!(log.read(just_before), Err(forgotten));
    assert_eq!(
        forgotten.to_string(),
        "the reader has fallen behind what the log keeps; go on where that begins",
    );
}

#[test]
fn every_event_has_an_id_and_an_end() {
    let retry = Duration::from_millis(7);
    for (event, expected) in [
        (Event::new(), "id: 9-0\n\n"),
        (Event::new().comment("hi"), ": hi\nid: 9-0\n\n"),
        (Event::new().comment(""), ":\nid: 9-0\n\n"),
        (Event::new().comment("hi").id(7), ": hi\nid: 7\n\n"),
        (Event::new().retry(retry), "id: 9-0\nretry: 7\n\n"),
        (Event::new().id(7), "id: 7\n\n"),
        (Event::new().id(EventId::from_static("")), "id: \n\n"),
        (
            Event::new().data("a\r\nid: b"),
            "id: 9-0\ndata: a\ndata: id: b\n\n",
        ),
    ] {
        let mut log = Log::new(Retention::default());
        let end = log.append(&event, at(9));
        assert_eq!(log.read(log.begin()), Ok(expected.as_bytes()), "{event:?}");
        assert_eq!(log.begin().distance(end), expected.len());
        let stamped = log.resume(Some(&EventId::from_static("9-0")));
        assert_eq!(
            stamped == Resume::Resumed(end),
            expected.contains("id: 9-0"),
            "{event:?}",
        );
    }
}

#[test]
fn memory_stays_bounded_over_a_million_events() {
    const COUNT: usize = 1000;
    let all = |age| Retention::events(usize::MAX).age(age);
    for (retention, has_own_ids) in [
        (Retention::events(COUNT), false),
        (Retention::events(COUNT), true),
        (all(Duration::MAX).bytes(COUNT * 30), false),
        (all(at(COUNT as u64 - 1)), true),
    ] {
        let mut log = Log::new(retention);
        let mut kept = (0, 0);
        let used = measure(|| {
            for number in 0..300_000_u64 {
                let own_id = has_own_ids.then(|| EventId::from(number));
                let event = own_id.into_iter().fold(Event::new(), Event::id);
                log.append(&event.data("twenty bytes of data"), at(number));
                kept.0 = kept.0.max(log.begin().distance(log.end()));
                kept.1 = kept.1.max(log.len());
            }
        });
        let [bytes, events] = [kept.0, kept.1].map(|count| count as u64);
        assert!(events <= COUNT as u64, "{kept:?}");
        let by_event = if has_own_ids { 220 } else { 80 };
        let bound = 4 * bytes + by_event * events;
        // When a buffer grows there is the old one, too, for a moment.
        assert!(used.bytes_max <= bound + bound / 2, "{used:?} for {kept:?}");
        assert!(used.bytes_current <= bound as i64, "{used:?} for {kept:?}");
    }
}

#[test]
fn memory_for_a_burst_is_given_back() {
    let many = |log: &mut Log| {
        for number in 0..100_000_u64 {
            log.append(&numbered(number), at(0));
            log.append(&Event::new().data("x"), at(0));
        }
    };
    let large = |log: &mut Log| {
        log.append(&Event::new().data("x".repeat(8 << 20)), at(0));
    };
    for burst in [many, large] as [fn(&mut Log); 2] {
        let mut log = Log::new(Retention::events(usize::MAX).age(at(5)));
        let used = measure(|| {
            burst(&mut log);
            log.append(&numbered(1), at(10));
        });
        assert_eq!(kept(&log), "1");
        assert!(used.bytes_current <= 1000, "{used:?}");
    }
}

#[test]
fn appending_to_a_full_log_allocates_nothing() {
    let mut log = Log::new(Retention::events(100));
    let mut append = |count| {
        for time in 0..count {
            log.append(&Event::new().data("x"), at(1_000_000_000 + time));
        }
    };
    append(10_000);
    assert_eq!(measure(|| append(1000)).count_total, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_log_agrees_with_a_list_of_all_that_was_ever_appended(
        bounds in bounds(),
        program in prop::collection::vec(operation(), 0..40),
    ) {
        let mut pair = Pair::new(bounds);
        let mut now = Duration::ZERO;
        for operation in program {
            match operation {
                Operation::Append(own_id, data) => {
                    let own_id = own_id.map(|id| EventId::new(id).expect("one line"));
                    pair.append(own_id, &data, now);
                }
                Operation::Tick(time) => now = now.saturating_add(time),
                Operation::Clock(time) => now = time,
                Operation::Forget => pair.forget(now),
                Operation::Read(max) => pair.read(max),
                Operation::Resume(id) => pair.ask(&EventId::new(id).expect("one line")),
            }
            pair.check();
        }
    }
}

#[derive(Debug, Clone)]
enum Operation {
    Append(Option<String>, String),
    /// The clock goes on.
    Tick(Duration),
    /// It is set.
    Clock(Duration),
    Forget,
    Read(usize),
    Resume(String),
}

fn operation() -> impl Strategy<Value = Operation> {
    let data = "x{0,30}|[\r\nx]{0,5}";
    prop_oneof![
        6 => (prop::option::of(id()), data).prop_map(|(id, data)| Operation::Append(id, data)),
        2 => (0..8_u64).prop_map(|millis| Operation::Tick(at(millis))),
        1 => prop_oneof![
            4 => (0..20_u64).prop_map(at),
            1 => any::<Duration>(),
        ]
        .prop_map(Operation::Clock),
        1 => Just(Operation::Forget),
        2 => prop_oneof![0..100_usize, Just(usize::MAX)].prop_map(Operation::Read),
        2 => id().prop_map(Operation::Resume),
    ]
}

/// Own IDs and those that the log may give, or might seem to have given.
fn id() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]?",
        (0..10_u8).prop_map(|integer| integer.to_string()),
        (0..20_u8, 0..4_u8).prop_map(|(millis, sequence)| format!("{millis}-{sequence}")),
        "[+0]?[0-9]{0,2}[-_][+0]?[0-4]?",
    ]
}

fn bounds() -> impl Strategy<Value = Bounds> {
    let count = |max: usize| prop_oneof![0..max, Just(usize::MAX)];
    let age = prop_oneof![(0..20_u64).prop_map(at), Just(Duration::MAX)];
    (count(10), count(300), age).prop_map(|(events, bytes, age)| Bounds { events, bytes, age })
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn numbered(number: u64) -> Event<'static> {
    Event::new().id(number).data("x")
}

fn encoded(number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    numbered(number % 10).encode(&mut out);
    out
}

/// A log to which events of these IDs have been appended at these times, the last of which
/// goes for the rest. For `-` the log gives the ID; `''` is the empty one.
fn log(retention: Retention, ids: &str, times: &[u64]) -> Log {
    let mut log = Log::new(retention);
    let last = times.last().copied().into_iter().cycle();
    for (id, time) in ids.split(' ').zip(times.iter().copied().chain(last)) {
        let event = match id {
            "-" => Event::new(),
            "''" => Event::new().id(EventId::from_static("")),
            id => Event::new().id(EventId::new(id).expect("one line")),
        };
        log.append(&event.data("x"), at(time));
    }
    log
}

/// The IDs of the events that are kept.
fn kept(log: &Log) -> String {
    read(log, log.begin())
}

/// The IDs of the events after the cursor.
fn read(log: &Log, cursor: Cursor) -> String {
    let mut bytes = Vec::new();
    log.copy(cursor, log.end(), &mut bytes)
        .expect("they are kept");
    let text = str::from_utf8(&bytes).expect("whole events");
    Vec::from_iter(text.lines().filter_map(|line| line.strip_prefix("id: "))).join(" ")
}

/// A client that comes with this ID goes on as expected, with so many events to come.
#[track_caller]
fn asked(log: &Log, id: Option<&str>, expected: &str) {
    let id = id.map(|id| EventId::new(id).expect("one line"));
    let answer = match log.resume(id.as_ref()) {
        Resume::Fresh => "fresh".to_owned(),
        Resume::Resumed(cursor) => {
            format!("resumed with {}", log.count(cursor, log.end()))
        }
        Resume::Gap(cursor) => {
            assert_eq!(cursor, log.begin());
            "gap".to_owned()
        }
        Resume::Unknown => "unknown".to_owned(),
    };
    assert_eq!(answer, expected, "asked {id:?}");
}
