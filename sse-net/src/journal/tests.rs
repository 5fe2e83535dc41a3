//! A journal on a disk that fails.

#[path = "../../tests/common/journal.rs"]
mod harness;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use harness::{Dir, data, publish, retained};
use sse_core::{Event, Log, Retention, Segment, Slice};

use super::faults::{self, Fault};
use super::segments::Segments;
use super::{Journal, JournalNotice, SyncPolicy};
use crate::topic::{Start, Topic};

const FILE: bool = false;
const DIR: bool = true;

impl Dir {
    /// Takes the notices, with short paths.
    fn short_notices(&self) -> Vec<String> {
        let dir = self.path.display().to_string();
        let short = |notice: String| {
            let words = notice.split(' ').map(|word| {
                let is_segment = word.ends_with(".sse:") && word.starts_with(&dir);
                if is_segment { "SEGMENT:" } else { word }
            });
            words.collect::<Vec<_>>().join(" ").replace(&dir, "DIR")
        };
        self.notices().into_iter().map(short).collect()
    }

    fn fail(&self, action: &'static str, is_dir: bool, times: u32) {
        faults::add(Fault {
            dir: self.path.clone(),
            action,
            is_dir,
            times,
        });
    }

    fn repair(&self) {
        faults::clear(&self.path);
    }

    fn open(&self, journal: &Journal, now: Duration) -> (Segments, Log) {
        fs::create_dir_all(&self.path).unwrap();
        let mut notify =
            |notice: JournalNotice| self.notices.lock().unwrap().push(notice.to_string());
        Segments::open(journal, Retention::default(), now.into(), &mut notify).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        self.repair();
    }
}

const NEVER: SyncPolicy = SyncPolicy::Never;
const OFTEN: SyncPolicy = SyncPolicy::Interval(Duration::ZERO);
const RARELY: SyncPolicy = SyncPolicy::Interval(Duration::from_secs(3600));
const EVERY: SyncPolicy = SyncPolicy::EveryEvent;

// The first notice of each case; the second is that events are stored again.
const NOT_WRITTEN: &str = "can't write SEGMENT: Input/output error (os error 5); events are \
                           delivered but not stored until writing succeeds";
const NOT_CREATED: &str = "can't create SEGMENT: Input/output error (os error 5); events are \
                           delivered but not stored until writing succeeds";
const NOT_SYNCED: &str = "can't sync SEGMENT: Input/output error (os error 5); events are \
                          delivered but not stored until writing succeeds";
const NOT_SYNCED_DIR: &str = "can't sync DIR: Input/output error (os error 5); events are \
                              delivered but not stored until writing succeeds";
const IN_DOUBT: &str = "can't sync SEGMENT: Input/output error (os error 5); events since \
                        the last sync may be lost if the machine crashes, and events are \
                        delivered but not stored until writing succeeds";
const IN_DOUBT_DIR: &str = "can't sync DIR: Input/output error (os error 5); events since \
                            the last sync may be lost if the machine crashes, and events are \
                            delivered but not stored until writing succeeds";

/// The faults, the number of events stored before, and the first notice with each policy: never,
/// interval, every event.
type Case = (
    &'static [(&'static str, bool, u32)],
    u32,
    [Option<&'static str>; 3],
);

#[rustfmt::skip]
const CASES: &[Case] = &[
    (&[("create", FILE, 1)], 0, [Some(NOT_CREATED); 3]),
    (&[("create", FILE, 2)], 0, [Some(NOT_CREATED); 3]),
    (&[("write", FILE, 1)], 0, [Some(NOT_WRITTEN); 3]),
    (&[("write", FILE, 1)], 3, [Some(NOT_WRITTEN); 3]),
    (&[("write", FILE, 2)], 3, [Some(NOT_WRITTEN); 3]),
    (&[("tear", FILE, 1)], 0, [Some(NOT_WRITTEN); 3]),
    (&[("tear", FILE, 1)], 3, [Some(NOT_WRITTEN); 3]),
    (&[("tear", FILE, 2)], 3, [Some(NOT_WRITTEN); 3]),
    (&[("tear", FILE, 1), ("delete", FILE, 1)], 0, [Some(NOT_WRITTEN); 3]),
    (&[("write", FILE, 1), ("truncate", FILE, 1)], 3, [Some(NOT_WRITTEN); 3]),
    (&[("sync", FILE, 1)], 0, [None, Some(IN_DOUBT), Some(NOT_SYNCED)]),
    (&[("sync", FILE, 1)], 3, [None, Some(IN_DOUBT), Some(NOT_SYNCED)]),
    (&[("sync", FILE, 3)], 0, [None, Some(IN_DOUBT), Some(NOT_SYNCED)]),
    (&[("sync", FILE, 3)], 3, [None, Some(IN_DOUBT), Some(NOT_SYNCED)]),
    (&[("sync", FILE, 3), ("truncate", FILE, 3), ("delete", FILE, 3)], 3,
        [None, Some(IN_DOUBT), Some(NOT_SYNCED)]),
    (&[("sync", DIR, 1)], 0, [None, Some(IN_DOUBT_DIR), Some(NOT_SYNCED_DIR)]),
    (&[("sync", DIR, 3)], 3, [None, Some(IN_DOUBT_DIR), None]),
];

#[test]
fn every_failure_is_reported_and_recovered_from() {
    thread::scope(|scope| {
        for (faults, before, notices) in CASES {
            let policies = [(NEVER, 0), (OFTEN, 1), (RARELY, 1), (EVERY, 2)];
            for (policy, notice) in policies.map(|(policy, index)| (policy, notices[index])) {
                scope.spawn(move || assert_recovers(faults, *before, policy, notice));
            }
        }
    });
}

fn assert_recovers(
    faults: &[(&'static str, bool, u32)],
    before: u32,
    policy: SyncPolicy,
    notice: Option<&str>,
) {
    let context = format!("{faults:?} after {before}, {policy:?}");
    let dir = Dir::new();
    let journal = dir.journal().sync(policy);
    let topic = Topic::open(Retention::default(), &journal).unwrap();
    publish(&topic, 0..before);
    assert!(topic.flush());
    for (action, is_dir, times) in faults {
        dir.fail(action, *is_dir, *times);
    }
    let published = publish(&topic, before..before + 3);
    let expected = notice.is_none() || policy != EVERY;
    assert_eq!(published, [expected; 3], "{context}");
    assert_eq!(topic.flush(), notice.is_none(), "{context}");
    let state = topic.journal_state().unwrap();
    assert_eq!(state.is_keeping, notice.is_none(), "{context}: {state:?}");
    assert_eq!(
        state.unwritten > 0,
        notice.is_some(),
        "{context}: {state:?}"
    );

    let deadline = Instant::now() + Duration::from_secs(20);
    while !topic.flush() {
        assert!(Instant::now() < deadline, "{context}: not stored again");
        thread::sleep(Duration::from_millis(5));
    }
    let published = publish(&topic, before + 3..before + 5);
    assert_eq!(published, [true; 2], "{context}");
    assert!(topic.flush(), "{context}");
    let state = topic.journal_state().unwrap();
    assert!(state.is_keeping && state.unwritten == 0, "{context}");
    assert_eq!(state.segments, dir.segments().len(), "{context}");
    assert!(state.segments <= 2, "segments accumulate: {context}");
    drop(topic);
    let expected: Vec<_> = notice
        .into_iter()
        .chain(notice.map(|_| "events are stored again"))
        .collect();
    assert_eq!(dir.short_notices(), expected, "{context}");

    dir.repair();
    let topic = Topic::open(Retention::default(), &journal).unwrap();
    let numbers: Vec<_> = (0..before + 5).map(|number| number.to_string()).collect();
    assert_eq!(
        retained(&topic),
        numbers.join(" "),
        "once and in order: {context}"
    );
    assert_eq!(dir.short_notices(), [""; 0], "{context}");
}

/// After a failed sync, the operating system may have lost any part of a file.
#[test]
fn events_lost_in_one_segment_are_restored_from_another() {
    let dir = Dir::new();
    let mut log = Log::new(Retention::default());
    let (mut segments, _) = dir.open(&dir.journal(), Duration::from_millis(7));
    let (begin, mut synced) = (log.begin(), log.begin());
    let mut parts = Vec::new();
    for number in 0..6 {
        let data = number.to_string();
        log.append(&Event::new().data(data), Duration::from_millis(7));
        let end = log.tip();
        // All events before the failed sync, those of them that were not synced, and the rest.
        match number {
            1 => synced = end,
            3 => parts.push(log.slice(synced..end).unwrap()),
            4 => parts.insert(0, log.slice(begin..end).unwrap()),
            5 => parts.push(log.slice(synced..end).unwrap()),
            _ => {}
        }
    }
    for part in parts.iter().flatten() {
        append(&mut segments, part, Duration::from_millis(7));
        segments.close_newest();
    }
    drop(segments);
    let paths = dir.segments();
    assert_eq!(paths.len(), 3);
    for (path, lost) in paths.iter().zip(["data: 2", "data: 4", "data: 3"]) {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(lost), "{}", path.display());
        fs::write(path, text.replace(lost, "data: !")).unwrap();
    }
    let (_segments, log) = dir.open(&dir.journal(), Duration::from_millis(7));
    let all = log.slice(log.begin()..log.end()).unwrap().unwrap();
    assert_eq!(data(&all.bytes()), "0 1 2 3 4 5");
    assert_eq!(dir.short_notices().len(), 3);
}

/// After a failed sync of several segments, the rewritten events are older than the last segment.
#[test]
fn a_rewritten_segment_is_the_newest() {
    let dir = Dir::new();
    let now = Duration::from_millis(7);
    let mut log = Log::new(Retention::default());
    let (mut segments, _) = dir.open(&dir.journal(), now);
    let mut ends = vec![log.begin()];
    let mut write = |log: &Log, start| {
        append(
            &mut segments,
            &log.slice(start..log.tip()).unwrap().unwrap(),
            now,
        );
        segments.close_newest();
    };
    for number in 0..7 {
        log.append(&Event::new().data(number.to_string()), now);
        ends.push(log.tip());
        match number {
            2 => write(&log, ends[0]),
            5 => write(&log, ends[3]),
            6 => write(&log, ends[1]),
            _ => {}
        }
    }
    drop(segments);
    let lost = &dir.segments()[0];
    let text = fs::read_to_string(lost).unwrap();
    fs::write(lost, text.replace("data: 1", "data: !")).unwrap();
    for (count, expected) in [
        (2, "5 6"),
        (4, "3 4 5 6"),
        (6, "1 2 3 4 5 6"),
        (9, "0 1 2 3 4 5 6"),
    ] {
        let notify = &mut |_| {};
        let retention = Retention::events(count);
        let (_segments, log) =
            Segments::open(&dir.journal(), retention, now.into(), notify).unwrap();
        let (mut bytes, mut cursor) = (Vec::new(), log.window());
        while let Some(slice) = log.slice(cursor..log.end()).unwrap() {
            bytes.extend_from_slice(&slice.bytes());
            cursor = slice.end();
        }
        assert_eq!(data(&bytes), expected);
    }
}

#[test]
fn a_journal_recovers_under_constant_load() {
    for policy in [RARELY, EVERY] {
        let dir = Dir::new();
        let topic = Topic::open(Retention::default(), &dir.journal().sync(policy)).unwrap();
        dir.fail("write", FILE, 1);
        publish(&topic, 0..1);
        topic.flush();
        assert!(!topic.journal_state().unwrap().is_keeping);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !topic.journal_state().unwrap().is_keeping {
            assert!(Instant::now() < deadline, "{policy:?}: not stored again");
            publish(&topic, 0..100);
        }
        assert_eq!(publish(&topic, 0..1), [true]);
        assert!(topic.flush());
    }
}

#[test]
fn old_segments_are_deleted_except_the_newest() {
    let dir = Dir::new();
    let journal = dir.journal().age(Duration::from_secs(8));
    let (mut segments, mut log) = dir.open(&journal, Duration::ZERO);
    let second = Duration::from_secs(1);
    let mut sizes = Vec::new();
    for time in 10..30 {
        let (now, start) = (second * time, log.tip());
        log.append(&Event::new().data("hey"), now);
        let newest = log.slice(start..log.tip()).unwrap();
        append(&mut segments, &newest.unwrap(), now);
        segments.prune(now).unwrap();
        sizes.push(segments.size().0);
    }
    // A segment covers more than a second, and is deleted when its last event is too old.
    assert_eq!(sizes[..10], [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
    assert_eq!(sizes[10..], [6, 5].repeat(5));

    dir.fail("delete", FILE, 1);
    let later = second * 3600;
    segments.rotate(later);
    let error = segments.prune(later).unwrap_err();
    assert_eq!(
        JournalNotice::NotDeleted(error).to_string(),
        format!(
            "can't delete {}: Input/output error (os error 5); the journal exceeds its limits \
             until that succeeds",
            dir.segments()[0].display()
        )
    );
    assert_eq!(segments.size().0, 5);
    segments.prune(later).unwrap();
    assert_eq!((segments.size().0, dir.segments().len()), (1, 1));
}

#[test]
fn an_unreadable_segment_is_an_error() {
    let dir = Dir::new();
    publish(
        &Topic::open(Retention::default(), &dir.journal()).unwrap(),
        0..1,
    );
    for action in ["read", "open", "truncate"] {
        dir.fail(action, FILE, 1);
        let refused = Topic::open(Retention::default(), &dir.journal()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!(
                "can't {action} {}: Input/output error (os error 5)",
                dir.segments()[0].display()
            )
        );
    }
    assert_eq!(
        retained(&Topic::open(Retention::default(), &dir.journal()).unwrap()),
        "0"
    );
}

fn append(segments: &mut Segments, slice: &Slice, now: Duration) {
    let mut records = Vec::new();
    Segment::append(slice, &mut records);
    segments
        .append(slice.first_id(), &records, false, now)
        .unwrap();
}
