//! The log: retention, reading, and the positions at which clients resume.

use std::time::Duration;

use allocation_counter::measure;
use proptest::prelude::*;
use sse_core::{Cursor, Encoded, Event, EventId, Lagged, Log, LogId, Now, Resume, Retention};

#[path = "common/log_pair.rs"]
mod log_pair;
use log_pair::{Bounds, Pair};

/// The length in bytes of each event that [`numbered`] returns.
const SIZE: usize = b"id: 1\ndata: x\n\n".len();

#[test]
fn events_are_retained_within_all_bounds() {
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
        let mut log = new_log(retention);
        for number in 1..=9 {
            log.append(&numbered(number), at(number * 10));
        }
        assert_eq!(retained(&log), expected, "{retention:?}");
        assert_eq!(log.len(), expected.split(' ').count());
    }
}

#[test]
fn events_expire_in_a_log_without_new_ones() {
    let mut log = new_log(Retention::default().age(at(20)));
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
        let _ = log.evict(at(now));
        assert_eq!(retained(&log), expected, "at {now}");
    }
}

#[test]
fn the_newest_event_is_retained_whatever_its_size() {
    let mut log = new_log(Retention::events(0).bytes(10).age(Duration::ZERO));
    log.append(&Event::new().id(1).data("x".repeat(1000)), at(1));
    assert_eq!(retained(&log), "1");
    let _ = log.evict(Duration::MAX);
    assert_eq!(retained(&log), "1");
    log.append(&numbered(2), at(2));
    assert_eq!(retained(&log), "2");
}

#[test]
fn ids_rise_even_when_the_clock_is_set_back() {
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
        let mut log = new_log(Retention::default());
        for time in times {
            log.append(&Event::new().data("x"), at(*time));
        }
        assert_eq!(retained(&log), expected, "{times:?}");
    }

    let mut log = new_log(Retention::default());
    log.append(&Event::new(), Duration::MAX);
    log.append(&Event::new(), Duration::from_micros(1999));
    assert_eq!(retained(&log), format!("{MAX}-0 {MAX}-1"), "no overflow");
}

#[test]
fn a_publishers_id_replaces_the_logs() {
    let log = log(Retention::default(), "7 - 8 -", &[5]);
    assert_eq!(retained(&log), "7 5-1 8 5-3");
}

#[test]
fn clients_resume_by_the_logs_ids() {
    const FIRST_OF_ALL: u64 = 100;
    // Four events are evicted, three are retained.
    let log = log(Retention::events(3), "- - - - - - -", &[FIRST_OF_ALL]);
    assert_eq!(retained(&log), "100-4 100-5 100-6");
    check_resume(&log, None, "new");
    for (id, expected) in [
        ("", "new"),
        ("100-6", "resumed with 0"),
        ("100-5", "resumed with 1"),
        ("100-4", "resumed with 2"),
        // This event is evicted, but no later one is.
        ("100-3", "resumed with 3"),
        ("100-2", "gap"),
        ("100-0", "gap"),
        // After the last event.
        ("100-7", "unknown"),
        ("101-0", "unknown"),
        ("18446744073709551615-18446744073709551615", "unknown"),
        // From before a restart.
        ("99-9", "unknown"),
        ("99-18446744073709551615", "unknown"),
        ("0-0", "unknown"),
        // Not IDs of a log.
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
        check_resume(&log, Some(id), expected);
    }
    check_resume(&log, Some(&"1".repeat(EventId::MAX_LEN)), "unknown");
}

#[test]
fn clients_resume_by_publishers_ids() {
    // Two events are evicted, three are retained.
    let log = log(Retention::events(3), "1 2 c d 5", &[9]);
    for (id, expected) in [
        ("5", "resumed with 0"),
        ("d", "resumed with 1"),
        ("c", "resumed with 2"),
        ("2", "resumed with 3"),
        // A log does not keep publishers' IDs after eviction.
        ("1", "unknown"),
        ("6", "unknown"),
        ("D", "unknown"),
        ("05", "unknown"),
        // Log IDs that were replaced by publishers' IDs: unknown, unless they could be evicted.
        ("9-4", "unknown"),
        ("9-2", "unknown"),
        ("9-1", "gap"),
        ("9-0", "gap"),
    ] {
        check_resume(&log, Some(id), expected);
    }
    assert_eq!(log.resume(Some(&5.into())), (Resume::Resumed, log.end()));
}

#[test]
fn clients_resume_by_ids_of_both_kinds() {
    // Three events are evicted, four are retained.
    let log = log(Retention::events(4), "- a - b - c -", &[9]);
    assert_eq!(retained(&log), "b 9-4 c 9-6");
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
        check_resume(&log, Some(id), expected);
    }
}

#[test]
fn clients_resume_after_the_newest_event_with_their_id() {
    let all = Retention::default();
    for (log, id, expected) in [
        (log(all, "x y x z", &[9]), "x", "resumed with 1"),
        (log(all, "x x x", &[9]), "x", "resumed with 0"),
        // The older event with the same ID is evicted.
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
        // A publisher's ID equals an earlier or a later one of the log.
        (log(all, "- 5-0 -", &[5]), "5-0", "resumed with 1"),
        (log(all, "- 5-2 - -", &[5]), "5-2", "resumed with 1"),
        (log(all, "9-0 - -", &[5, 9, 9]), "9-0", "resumed with 1"),
        (log(all, "5-0 -", &[5]), "5-0", "resumed with 1"),
        (
            log(Retention::events(1), "9-0 - -", &[5, 9, 9]),
            "9-0",
            "resumed with 1",
        ),
        // Publishers' IDs from Redis, which look like those of a log.
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
        // An empty ID resets the client's last event ID.
        (log(all, "a '' b", &[9]), "", "new"),
    ] {
        check_resume(&log, Some(id), expected);
    }
}

#[test]
fn an_empty_log_knows_no_id() {
    let log = new_log(Retention::default());
    for id in ["0-0", "0", "9-9"] {
        check_resume(&log, Some(id), "unknown");
    }
    check_resume(&log, None, "new");
    assert!(log.slice(log.begin()..log.end()).unwrap().is_none());
    assert_eq!((log.next_event_id(log.begin()), log.len()), (None, 0));
    assert!(log.is_empty());
    for cursor in [log.end(), log.last(0), log.last(1), log.last(usize::MAX)] {
        assert_eq!(cursor, log.begin());
    }
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
    assert_eq!(log.next_event_id(log.begin()).unwrap(), "3");
}

#[test]
fn cursors_are_ordered() {
    let mut log = new_log(Retention::events(1));
    let first = log.end();
    log.append(&numbered(1), at(0));
    let second = log.end();
    log.append(&numbered(2), at(0));
    let third = log.end();
    assert!(first < second && second < third);
    assert_eq!((log.begin(), log.end()), (second, third));
    assert_eq!(second.distance(third), SIZE);
    assert_eq!(third.distance(second), 0);
}

#[test]
fn a_slice_shares_full_chunks_and_copies_the_newest() {
    let mut log = new_log(Retention::events(10_000));
    let begin = log.end();
    let data = "x".repeat(1000);
    let address = |log: &Log, cursor| {
        let slice = log.slice(cursor..log.end()).unwrap().unwrap();
        slice.bytes().as_ptr().addr()
    };
    for _ in 0..200 {
        log.append(&Event::new().data(&data), at(0));
    }
    assert_eq!(address(&log, begin), address(&log, begin));

    let slice = log.slice(begin..log.end()).unwrap().unwrap();
    assert!(slice.bytes().len() < 80 << 10 && slice.end() < log.end());
    let (first, second) = (slice.after(begin).unwrap(), slice.events().nth(1).unwrap());
    assert_eq!(first.count(), slice.count());
    assert_eq!(second.0.to_string(), "0-1");
    assert_eq!(second.1.len(), slice.bytes().len() / slice.count());
    let rest = slice.after(slice.start()).unwrap();
    assert_eq!((rest.start(), rest.end()), (slice.start(), slice.end()));
    assert!(slice.after(slice.end()).is_none());
}

#[test]
fn a_long_event_is_a_separate_chunk_and_is_never_copied() {
    let mut log = new_log(Retention::default());
    log.append(&Event::new().data("before"), at(7));
    let before = log.end();
    let long = Encoded::new(&Event::new().comment("hi").data("x".repeat(1 << 20)));
    let used = measure(|| _ = log.append_encoded(long, at(7)));
    assert!(used.bytes_max < 10_000, "{used:?}");
    log.append(&Event::new().data("after"), at(7));
    let slice = log.slice(before..log.end()).unwrap().unwrap();
    assert_eq!(
        (slice.count(), slice.first_id().to_string()),
        (1, "7-1".to_owned())
    );
    assert!(slice.bytes().starts_with(b": hi\nid: 7-1\ndata: xxx"));
    let stalled = measure(|| _ = log.slice(before..log.end()));
    assert!(stalled.bytes_max < 1000, "{stalled:?}");
    assert_eq!(retained(&log), "7-0 7-1 7-2");
}

#[test]
fn a_slice_is_short_whatever_the_events_are() {
    for len in [100, 7_000, 8_000, 10_000, 60_000, 100_000] {
        let mut log = new_log(Retention::events(usize::MAX));
        let event = Event::new().data("x".repeat(len));
        while log.begin().distance(log.end()) < 2 << 20 {
            log.append_encoded(Encoded::new(&event), at(0));
        }
        let (mut cursor, mut longest) = (log.begin(), 0);
        while let Some(slice) = log.slice(cursor..log.end()).unwrap() {
            longest = longest.max(slice.bytes().len());
            cursor = slice.end();
        }
        assert!(longest <= (64 << 10) + len + 100, "{longest} of {len}");
    }
}

#[test]
fn a_position_without_a_unique_id_has_no_id() {
    let all = Retention::default();
    let id = |log: &mut Log, cursor| {
        let id = log.position_id(cursor, at(7));
        let resumed = id.as_ref().map(|id| log.resume(Some(id)));
        assert!(resumed.is_none_or(|resumed| resumed == (Resume::Resumed, cursor)));
        id.map(|id| id.to_string())
    };
    // The ID is used again later.
    let mut repeated = log(all, "x b c x d", &[9]);
    let cursor = repeated.last(4);
    assert_eq!(id(&mut repeated, cursor), None);
    let cursor = repeated.last(3);
    assert_eq!(id(&mut repeated, cursor).as_deref(), Some("b"));

    // Events after the cursor were evicted.
    let mut lagged = new_log(Retention::events(1));
    lagged.append(&numbered(1), at(0));
    let cursor = lagged.begin();
    lagged.append(&numbered(2), at(0));
    lagged.append(&numbered(3), at(0));
    assert_eq!(id(&mut lagged, cursor), None);
    let begin = lagged.begin();
    assert_eq!(id(&mut lagged, begin).as_deref(), Some("2"));
}

#[test]
fn a_batch_with_publishers_ids_is_evicted_in_steps() {
    let mut log = Log::new(Retention::events(1).backlog(at(10), usize::MAX));
    for number in 0..2000 {
        log.append(&numbered(number), at(0));
    }
    assert_eq!(log.len(), 2000);
    let mut lens = Vec::new();
    while log.len() > 1 {
        drop(log.evict(at(20)));
        lens.push(log.len());
    }
    assert_eq!(lens, [1488, 976, 464, 1]);
    check_resume(&log, Some("1998"), "resumed with 1");
    check_resume(&log, Some("5"), "unknown");
}

#[test]
fn a_reader_that_lags_gets_the_oldest_cursor() {
    let mut log = new_log(Retention::events(3));
    let begin = log.begin();
    for number in 0..100 {
        log.append(&numbered(number % 10), at(number));
        let slice = log.slice(log.begin()..log.end()).unwrap().unwrap();
        assert_eq!(slice.count() as u64, (number + 1).min(3));
    }
    assert_eq!(log.slice(log.end()..log.end()).unwrap().map(drop), None);
    let lagged = Lagged { begin: log.begin() };
    assert_eq!(log.slice(begin..log.end()).unwrap_err(), lagged);
    assert_eq!(
        lagged.to_string(),
        "the reader lagged: events were evicted before it had read them; continue with the \
         oldest retained event",
    );
}

#[test]
fn a_batch_beyond_the_replay_window_stays_in_the_backlog() {
    for (age, bytes, now, expected) in [
        (1000, 1 << 20, 0, "1 2 3 4 5"),
        (1000, 1 << 20, 999, "1 2 3 4 5"),
        (1000, 1 << 20, 1000, "5"),
        (1000, 3 * SIZE, 0, "3 4 5"),
        (1000, 0, 0, "5"),
        (0, 1 << 20, 0, "5"),
    ] {
        let mut log = Log::new(Retention::events(1).backlog(at(age), bytes));
        for number in 1..=5 {
            log.append(&numbered(number), at(0));
        }
        drop(log.evict(at(now)));
        assert_eq!(
            retained(&log),
            expected,
            "{age} ms, {bytes} bytes, after {now} ms"
        );
        assert_eq!(
            read(&log, log.window()),
            "5",
            "a new client gets the replay window"
        );
        assert_eq!(read(&log, log.last(9)), "5");
        let (Resume::Resumed, cursor) = log.resume(Some(&4.into())) else {
            panic!()
        };
        assert_eq!(read(&log, cursor), "5");
    }
}

#[test]
fn a_wrong_clock_neither_retains_nor_evicts_events() {
    let mut log = new_log(Retention::default().age(at(50)));
    let mut append = |number, unix, steady| {
        let (unix, steady) = (at(unix), at(steady));
        log.append(&numbered(number), Now { unix, steady });
        retained(&log)
    };
    assert_eq!(append(1, 1_000, 1_000), "1");
    assert_eq!(append(2, 9_000_000, 1_010), "1 2", "the clock is ahead");
    assert_eq!(append(3, 1_060, 1_060), "2 3", "the clock is corrected");
    assert_eq!(append(4, 1_200, 1_200), "4");
}

#[test]
fn a_client_resumes_with_the_id_of_its_position() {
    let mut log = new_log(Retention::events(2));
    let id = |log: &mut Log, cursor| {
        let id = log.position_id(cursor, at(7));
        id.map(|id| id.to_string()).unwrap_or_default()
    };
    let origin = log.end();
    assert_eq!(id(&mut log, origin), "6-0", "an ID before all events");
    assert_eq!(id(&mut log, origin), "6-0");
    let resumes = |log: &Log, id: &str| log.resume(Some(&EventId::new(id).unwrap()));
    assert_eq!(resumes(&log, "6-0"), (Resume::Resumed, origin));
    log.append(&Event::new().data("x"), at(7));
    let first = log.end();
    log.append(&Event::new().data("x"), at(7));
    assert_eq!(resumes(&log, "6-0"), (Resume::Resumed, origin));
    assert_eq!(id(&mut log, first), "7-0");
    log.append(&Event::new().data("x"), at(7));
    assert_eq!(id(&mut log, first), "7-0", "the last evicted event");
    assert_eq!(resumes(&log, "6-0"), (Resume::Gap, first));
    let end = log.end();
    assert_eq!(id(&mut log, end), "7-2");

    let mut own = new_log(Retention::default());
    own.append(&numbered(5), at(7));
    own.append(&Event::new().id(EventId::from_static("")).data("x"), at(7));
    let (begin, end) = (own.begin(), own.end());
    assert_eq!(id(&mut own, end), "", "a client does not send an empty ID");
    assert_eq!(id(&mut own, begin), "", "the event before it is not known");
}

#[test]
fn every_event_has_an_id_and_a_blank_line() {
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
        let mut log = new_log(Retention::default());
        log.append(&event, at(9));
        let end = log.end();
        let slice = log.slice(log.begin()..end).unwrap().unwrap();
        assert_eq!(slice.bytes(), expected, "{event:?}");
        let mut encoded = new_log(Retention::default());
        encoded.append_encoded(Encoded::new(&event), at(9));
        let slice = encoded.slice(log.begin()..end).unwrap().unwrap();
        assert_eq!(slice.bytes(), expected, "{event:?}");
        let stamped = log.resume(Some(&EventId::from_static("9-0")));
        assert_eq!(
            stamped == (Resume::Resumed, end),
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
        let mut log = new_log(retention);
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
        let by_event = if has_own_ids { 200 } else { 64 };
        let bound = 4 * bytes + by_event * events;
        // While a buffer grows, the old one exists too.
        assert!(used.bytes_max <= bound + bound / 2, "{used:?} for {kept:?}");
        assert!(used.bytes_current <= bound as i64, "{used:?} for {kept:?}");
    }
}

#[test]
fn memory_for_a_batch_is_freed() {
    let many = |log: &mut Log| {
        for number in 0..100_000_u64 {
            log.append(&numbered(number), at(0));
            log.append(&Event::new().data("x"), at(0));
        }
    };
    let large = |log: &mut Log| {
        log.append(&Event::new().data("x".repeat(8 << 20)), at(0));
    };
    for append_batch in [many, large] as [fn(&mut Log); 2] {
        let mut log = new_log(Retention::events(usize::MAX).age(at(5)));
        let used = measure(|| {
            append_batch(&mut log);
            log.append(&numbered(1), at(10));
            while log.len() > 1 {
                drop(log.evict(at(10)));
            }
        });
        assert!(used.bytes_current <= 1000, "{used:?}");
    }
}

#[test]
fn appending_to_a_full_log_allocates_nothing() {
    let mut log = new_log(Retention::events(100));
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
    fn a_log_agrees_with_a_list_of_all_appended_events(
        bounds in bounds(),
        program in prop::collection::vec(operation(), 0..40),
    ) {
        let mut pair = Pair::new(bounds);
        let mut now = Now::from(Duration::ZERO);
        for operation in program {
            match operation {
                Operation::Append(own_id, data, is_encoded) => {
                    let own_id = own_id.map(|id| EventId::new(id).expect("one line"));
                    pair.append(own_id, &data, now, is_encoded);
                }
                Operation::Tick(time) => {
                    now.unix = now.unix.saturating_add(time);
                    now.steady = now.steady.saturating_add(time);
                }
                Operation::Clock(time) => now.unix = time,
                Operation::Evict => pair.evict(now),
                Operation::Read(max) => pair.read(max),
                Operation::Join => pair.join(now),
                Operation::Resume(id) => pair.check_resume(&EventId::new(id).expect("one line")),
            }
            pair.check();
        }
    }
}

#[derive(Debug, Clone)]
enum Operation {
    Append(Option<String>, String, bool),
    /// Advances both clocks.
    Tick(Duration),
    /// Sets the wall clock.
    Clock(Duration),
    Evict,
    Read(usize),
    Join,
    Resume(String),
}

fn operation() -> impl Strategy<Value = Operation> {
    let data = "x{0,30}|[\r\nx]{0,5}";
    prop_oneof![
        6 => (prop::option::of(id()), data, any::<bool>())
            .prop_map(|(id, data, encoded)| Operation::Append(id, data, encoded)),
        2 => (0..8_u64).prop_map(|millis| Operation::Tick(at(millis))),
        1 => prop_oneof![
            4 => (0..20_u64).prop_map(at),
            1 => any::<Duration>(),
        ]
        .prop_map(Operation::Clock),
        1 => Just(Operation::Evict),
        1 => Just(Operation::Join),
        2 => prop_oneof![0..100_usize, Just(usize::MAX)].prop_map(Operation::Read),
        2 => id().prop_map(Operation::Resume),
    ]
}

/// IDs of publishers, IDs that the log may create, and IDs that resemble those.
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
    let backlog = ((0..8_u64).prop_map(at), count(200));
    let bounds = (count(10), count(300), age, backlog);
    bounds.prop_map(|(events, bytes, age, backlog)| Bounds {
        events,
        bytes,
        age,
        backlog,
    })
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn numbered(number: u64) -> Event<'static> {
    Event::new().id(number).data("x")
}

/// Returns a log without a backlog.
fn new_log(retention: Retention) -> Log {
    Log::new(retention.backlog(Duration::ZERO, 0))
}

/// Returns a log with events that have these IDs and times; the last time is repeated.
///
/// The log creates the ID for `-`; `''` is the empty ID.
fn log(retention: Retention, ids: &str, times: &[u64]) -> Log {
    let mut log = new_log(retention);
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

/// Returns the IDs of the retained events.
fn retained(log: &Log) -> String {
    read(log, log.begin())
}

/// Returns the IDs of the events after the cursor.
fn read(log: &Log, cursor: Cursor) -> String {
    retained_after(log, cursor).join(" ")
}

fn retained_after(log: &Log, cursor: Cursor) -> Vec<String> {
    let (mut bytes, mut cursor) = (Vec::new(), cursor);
    while let Some(slice) = log
        .slice(cursor..log.end())
        .expect("the events are retained")
    {
        bytes.extend_from_slice(&slice.bytes());
        cursor = slice.end();
    }
    let text = str::from_utf8(&bytes).expect("whole events");
    let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
    ids.map(str::to_owned).collect()
}

/// Checks how a client with this last event ID resumes, and the number of events after it.
#[track_caller]
fn check_resume(log: &Log, id: Option<&str>, expected: &str) {
    let id = id.map(|id| EventId::new(id).expect("one line"));
    let outcome = match log.resume(id.as_ref()) {
        (Resume::New, _) => "new".to_owned(),
        (Resume::Resumed, cursor) => {
            format!("resumed with {}", retained_after(log, cursor).len())
        }
        (Resume::Gap, cursor) => {
            assert_eq!(cursor, log.begin());
            "gap".to_owned()
        }
        (Resume::Unknown, _) => "unknown".to_owned(),
    };
    assert_eq!(outcome, expected, "with the ID {id:?}");
}

#[test]
fn a_log_that_begins_anew_lags_every_reader_and_takes_earlier_ids() {
    let id = |millis| LogId::new(millis, 7);
    let now = Duration::from_millis(50);
    let mut log = Log::of_hub(Retention::default(), LogId::default());
    for millis in [10, 20, 30] {
        drop(log.append_as(id(millis), &Event::new().data("a"), now));
    }
    let (begin, end) = (log.begin(), log.end());
    drop(log.begin_anew(id(5)));
    for cursor in [begin, end] {
        assert!(log.slice(cursor..Cursor::MAX).is_err());
    }
    assert_eq!(
        (log.len(), log.evicted(), log.newest_id()),
        (0, id(5), id(5))
    );

    drop(log.append_as(id(8), &Event::new().data("b"), now));
    assert!(
        log.begin() == log.end() && log.end() < log.tip(),
        "it is held"
    );
    assert!(log.slice_between(id(4), id(8)).is_err());
    log.hold_after(id(8));
    let slice = log.slice(log.begin()..log.end()).unwrap().unwrap();
    assert_eq!(slice.bytes(), "id: 8-7\ndata: b\n\n");
    assert_eq!(log.after(id(5)), log.begin());
}
