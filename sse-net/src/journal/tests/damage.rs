//! Damaged files: what each kind of damage costs, and what is reported.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sse_core::{Event, LogId, Record, Resume, Retention, Segment, SegmentEntry as Entry};

use super::disk::MemoryDisk;
use super::{DIR, EVERY, NEVER, Process, ids, journal, retained};
use crate::journal::contents::before;
use crate::journal::segments::path;
use crate::journal::{Journal, JournalError, SyncPolicy};
use crate::topic::{Hub, Topic, now, simulated};

/// A journal with four events, the second and the third of which are in other topics.
struct Damaged {
    disk: MemoryDisk,
    journal: Journal,
    ids: Vec<LogId>,
    path: PathBuf,
}

impl Damaged {
    fn new(policy: SyncPolicy) -> Self {
        let disk = MemoryDisk::default();
        let journal = journal(&disk, policy);
        let mut process = Process::start(&journal);
        let mut ids = Vec::new();
        for (topic, data) in [("a", "0"), ("b", "1"), ("c", "2"), ("a", "3")] {
            ids.push(process.publish(topic, data));
            process.settle();
        }
        disk.kill();
        let path = disk.paths().pop().unwrap();
        Self {
            disk,
            journal,
            ids,
            path,
        }
    }

    fn edit(&self, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.disk.read_file(&self.path);
        edit(&mut bytes);
        self.disk.write_file(&self.path, bytes);
    }

    /// Starts a process, and returns how a client resumes that has seen the event with the index
    /// `seen`, in the topics `a`, `b` and `c`.
    fn resume(&self, seen: usize) -> (Process, [Resume; 3]) {
        self.disk.kill();
        let process = Process::start(&self.journal);
        let id = self.ids[seen].into();
        let resume = |name| process.hub.topic(name).unwrap().resume(Some(&id));
        let resumed = ["a", "b", "c"].map(resume);
        (process, resumed)
    }

    fn retained(process: &Process) -> [String; 3] {
        ["a", "b", "c"].map(|name| retained(&process.hub.topic(name).unwrap()))
    }
}

fn find(bytes: &[u8], text: &str) -> usize {
    let found = bytes
        .windows(text.len())
        .position(|part| part == text.as_bytes());
    found.expect("the text is in the file")
}

#[test]
fn an_incomplete_end_is_reported_once_and_costs_nothing() {
    for end in [&b":torn"[..], b":1234", &[0; 600], b"\n\n\n", b"\xff"] {
        let damaged = Damaged::new(EVERY);
        damaged.edit(|bytes| bytes.extend_from_slice(end));
        let len = damaged.disk.read_file(&damaged.path).len();
        let (process, resumed) = damaged.resume(3);
        assert_eq!(resumed, [Resume::Resumed; 3]);
        assert_eq!(Damaged::retained(&process), ["0 3", "1", "2"]);
        let expected = format!(
            "{}: the last {} bytes, from byte {}, are not a complete event and were skipped",
            damaged.path.display(),
            end.len(),
            len - end.len()
        );
        assert_eq!(process.notices(), [expected]);
        let (process, _) = damaged.resume(3);
        assert_eq!(process.notices(), [""; 0]);
    }
}

#[test]
fn an_event_that_was_being_written_is_lost() {
    for cut in 1..40 {
        let damaged = Damaged::new(NEVER);
        damaged.edit(|bytes| bytes.truncate(bytes.len() - cut));
        let (process, resumed) = damaged.resume(3);
        assert_eq!(resumed, [Resume::Gap; 3], "a client cannot have seen it");
        assert_eq!(Damaged::retained(&process), ["0", "1", "2"]);
        let [notice] = <[String; 1]>::try_from(process.notices()).unwrap();
        assert!(notice.contains("not a complete event"), "{notice}");
        let (_, resumed) = damaged.resume(2);
        assert_eq!(resumed, [Resume::Resumed; 3]);
    }
}

/// Else its events would come back, though clients were told that there are none.
#[test]
fn a_removal_that_was_being_written_is_lost_as_a_whole() {
    let disk = MemoryDisk::default();
    let journal = journal(&disk, NEVER);
    let mut process = Process::start(&journal);
    process.publish("a", "0");
    process.settle();
    let path = disk.paths().pop().unwrap();
    let before = disk.read_file(&path).len();
    process
        .hub
        .topic("a")
        .unwrap()
        .remove_from_hub(Duration::from_secs(60));
    process.settle();
    let removal = process.epochs().last().unwrap().last;
    let bytes = disk.read_file(&path);
    for len in before..=bytes.len() {
        disk.write_file(&path, bytes[..len].to_vec());
        disk.kill();
        let process = Process::start(&journal);
        let last = process.epochs().iter().rev().nth(1).unwrap().last;
        let expected = if last == removal { "" } else { "0" };
        let topic = process.hub.topic("a").unwrap();
        assert_eq!(retained(&topic), expected, "after {len} bytes");
        for path in disk.paths().split_off(1) {
            disk.remove_file(&path);
        }
    }
}

/// What was evicted before it was written, and then lost, must not be taken for later events.
#[test]
fn ids_are_later_than_those_of_evicted_events_though_the_clock_was_set_back() {
    let damaged = Damaged::new(NEVER);
    let evicted = LogId::new(damaged.ids[3].millis() + 60_000, 0);
    damaged.edit(|bytes| Entry::Evicted(evicted, Some("a".into())).encode(bytes));
    let (mut process, resumed) = damaged.resume(3);
    assert_eq!(resumed, [Resume::Gap, Resume::Resumed, Resume::Resumed]);
    assert!(process.publish("a", "4") > evicted);
    process.settle();
    assert_eq!(Damaged::retained(&process), ["4", "1", "2"]);
}

#[test]
fn a_flipped_bit_in_a_synced_event_costs_its_topic_a_gap() {
    let damaged = Damaged::new(EVERY);
    damaged.edit(|bytes| {
        let at = find(bytes, "data: 1");
        bytes[at + 6] ^= 1;
    });
    let (process, resumed) = damaged.resume(0);
    assert_eq!(resumed, [Resume::Resumed, Resume::Gap, Resume::Resumed]);
    assert_eq!(Damaged::retained(&process), ["0 3", "", "2"]);
    let [notice] = <[String; 1]>::try_from(process.notices()).unwrap();
    assert!(
        notice.ends_with(" are damaged and were skipped"),
        "{notice}"
    );
}

#[test]
fn a_flipped_bit_in_the_last_event_of_a_finished_topic_costs_a_gap() {
    let disk = MemoryDisk::default();
    let journal = journal(&disk, EVERY);
    let mut process = Process::start(&journal);
    let first = process.publish("a", "0");
    let topic = process.hub.topic("a").unwrap();
    topic.finish(Some(&Event::new().data("end"))).unwrap();
    process.settle();
    process.publish("b", "1");
    process.settle();
    disk.kill();
    let path = disk.paths().pop().unwrap();
    let mut bytes = disk.read_file(&path);
    let at = find(&bytes, "data: end");
    bytes[at + 6] ^= 1;
    disk.write_file(&path, bytes);
    let process = Process::start(&journal);
    let resume = |name| process.hub.topic(name).unwrap().resume(Some(&first.into()));
    assert_eq!([resume("a"), resume("b")], [Resume::Gap, Resume::Resumed]);
}

/// The end of a topic is stored before the event that was published with it, with the same ID.
#[test]
fn a_flipped_bit_before_the_last_event_of_a_finished_topic_never_hides_it() {
    for (is_synced, resume, events) in [
        (true, Resume::Gap, ""),
        // A start writes events again that are not known to be synced.
        (false, Resume::Resumed, "0 end"),
    ] {
        let disk = MemoryDisk::default();
        let journal = journal(&disk, NEVER);
        let mut process = Process::start(&journal);
        let first = process.publish("a", "0");
        let topic = process.hub.topic("a").unwrap();
        let end = topic.finish(Some(&Event::new().data("end"))).unwrap();
        process.settle();
        disk.kill();
        let path = disk.paths().pop().unwrap();
        let mut bytes = disk.read_file(&path);
        if is_synced {
            Entry::Synced(end.last).encode(&mut bytes);
            disk.write_file(&path, bytes.clone());
        }
        let mut process = Process::start(&journal);
        process.publish("b", "1");
        process.settle();
        disk.kill();
        let line_end = b" a\nid: ";
        let mut places = bytes.windows(line_end.len());
        let at = places.rposition(|part| part == line_end).unwrap();
        bytes[at] ^= 1;
        disk.write_file(&path, bytes);
        let process = Process::start(&journal);
        let topic = process.hub.topic("a").unwrap();
        let found = (topic.resume(Some(&first.into())), &*retained(&topic));
        assert_eq!(found, (resume, events), "{:?}", process.notices());
    }
}

#[test]
fn a_flipped_bit_in_a_synced_comment_costs_what_was_before() {
    let damaged = Damaged::new(EVERY);
    damaged.edit(|bytes| {
        let at = find(bytes, " c\nid:");
        bytes[at] ^= 1;
    });
    let (process, resumed) = damaged.resume(1);
    assert_eq!(
        resumed,
        [Resume::Gap; 3],
        "the event may have been of any topic"
    );
    assert_eq!(Damaged::retained(&process), ["3", "", ""]);
    let notices = process.notices();
    let (after, until) = (damaged.ids[1], before(damaged.ids[3]));
    assert!(notices[0].contains(" are damaged"), "{notices:?}");
    assert_eq!(
        notices[1],
        format!(
            "events after {after} and up to {until} are lost; clients that resume before them \
             receive a gap event"
        )
    );
    let (_, resumed) = damaged.resume(3);
    assert_eq!(resumed, [Resume::Resumed; 3]);
}

/// The ID before that of an event has the number of another epoch.
#[test]
fn a_hole_is_noticed_though_an_earlier_run_had_the_epoch_before() {
    super::begin(0);
    let disk = MemoryDisk::default();
    let journal = journal(&disk, EVERY);
    let mut ids = Vec::new();
    for (epoch, topics) in [(516, &["a"][..]), (517, &["a", "b", "a"])] {
        simulated::begin(now(), epoch);
        let mut process = Process::start(&journal);
        for name in topics {
            ids.push(process.publish(name, "x"));
            process.settle();
        }
        disk.kill();
    }
    assert_eq!(ids[1].epoch(), ids[0].epoch() + 1);
    let path = disk.paths().pop().unwrap();
    let mut bytes = disk.read_file(&path);
    let at = find(&bytes, " b\nid:");
    bytes[at] ^= 1;
    disk.write_file(&path, bytes);
    let process = Process::start(&journal);
    let topic = process.hub.topic("b").unwrap();
    assert_eq!(topic.resume(Some(&ids[1].into())), Resume::Gap);
}

/// A start writes events again that are not known to be synced.
#[test]
fn damage_costs_nothing_where_another_segment_has_the_same_events() {
    for damage in [" b\nid:", "data: 1"] {
        let damaged = Damaged::new(NEVER);
        let mut process = Process::start(&damaged.journal);
        let last = process.publish("b", "4");
        process.settle();
        damaged.disk.kill();
        let path = damaged.disk.paths().pop().unwrap();
        assert_ne!(path, damaged.path);
        let mut bytes = damaged.disk.read_file(&path);
        let at = find(&bytes, damage);
        bytes[at + damage.len() - 1] ^= 1;
        damaged.disk.write_file(&path, bytes);
        let (process, resumed) = damaged.resume(0);
        assert_eq!(resumed, [Resume::Resumed; 3], "{damage}");
        assert_eq!(Damaged::retained(&process), ["0 3", "1 4", "2"], "{damage}");
        let [notice] = <[String; 1]>::try_from(process.notices()).unwrap();
        assert!(
            notice.ends_with(" are damaged and were skipped"),
            "{notice}"
        );
        let topic = process.hub.topic("a").unwrap();
        assert_eq!(topic.resume(Some(&last.into())), Resume::Resumed);
    }
}

#[test]
fn damage_in_what_was_not_synced_costs_what_follows() {
    let damaged = Damaged::new(NEVER);
    damaged.edit(|bytes| {
        let at = find(bytes, " c\nid:");
        bytes[at] ^= 1;
    });
    let (process, resumed) = damaged.resume(3);
    assert_eq!(resumed, [Resume::Gap; 3]);
    assert_eq!(Damaged::retained(&process), ["0", "1", ""]);
    let notices = process.notices();
    assert_eq!(
        notices[1],
        format!(
            "events after {} are lost, because they had not been synced; clients that resume \
             after them receive a gap event",
            damaged.ids[1]
        )
    );
    // They do not come back.
    let (process, resumed) = damaged.resume(3);
    assert_eq!(resumed, [Resume::Gap; 3]);
    assert_eq!(Damaged::retained(&process), ["0", "1", ""]);
    assert_eq!(
        ids(&process.hub.topic("a").unwrap(), None),
        [damaged.ids[0]]
    );
}

/// What a start has restored is not lost at a later one.
#[test]
fn damage_at_the_end_of_synced_events_costs_no_others() {
    for damage in ["data: 3", " a\nid: "] {
        let damaged = Damaged::new(EVERY);
        damaged.edit(|bytes| {
            let end = Entry::Synced(damaged.ids[3]);
            let place = bytes
                .windows(damage.len())
                .rposition(|part| part == damage.as_bytes());
            bytes[place.unwrap()] ^= 1;
            bytes.extend(b":garbage that is longer than a short entry\n");
            end.encode(bytes);
        });
        for data in ["4", "5", "6"] {
            let (mut process, _) = damaged.resume(0);
            process.settle();
            if data != "4" {
                process.publish("b", data);
                process.settle();
            }
            let [a, b, c] = Damaged::retained(&process);
            let expected = ["1", "1 5", "1 5 6"][data.parse::<usize>().unwrap() - 4];
            assert_eq!([&*a, &*b, &*c], ["0", expected, "2"], "{damage:?}, {data}");
        }
    }
}

/// What topics without a name have evicted is in a single line.
#[test]
fn a_flipped_bit_in_what_a_compaction_says_of_removed_topics_costs_nothing() {
    let disk = MemoryDisk::default();
    let retention = Retention::events(3).backlog(Duration::ZERO, 0);
    let mut process = Process::start_with(retention, &journal(&disk, EVERY));
    process.publish("quiet", "kept");
    let seen = process.publish("removed", "0");
    process.publish("removed", "1");
    process.settle();
    process
        .hub
        .topic("removed")
        .unwrap()
        .remove_from_hub(Duration::ZERO);
    process.advance(Duration::from_secs(120));
    for number in 0..100 {
        process.publish("a", &number.to_string());
        process.settle();
    }
    disk.kill();
    let path = &disk.paths()[0];
    let mut bytes = disk.read_file(path);
    let at = find(&bytes, " evicted 17");
    bytes[at + 1] ^= 1;
    disk.write_file(path, bytes);
    let process = Process::start_with(retention, &journal(&disk, EVERY));
    let resume = |name| process.hub.topic(name).unwrap().resume(Some(&seen.into()));
    assert_eq!(resume("removed"), Resume::Gap);
    assert_eq!(retained(&process.hub.topic("a").unwrap()), "97 98 99");
}

/// A segment that waits for what others have is in memory, and takes a part of the stack.
#[test]
fn very_many_damaged_segments_that_overlap_are_read() {
    const COUNT: usize = 1000;
    let disk = MemoryDisk::default();
    let id = |number| LogId::new(1_700_000_000_000 + number, 0);
    for number in 0..COUNT as u64 {
        let mut bytes = Segment::HEAD.to_vec();
        Entry::From(id(number)).encode(&mut bytes);
        Entry::Synced(id(10_000)).encode(&mut bytes);
        bytes.extend_from_slice(b":garbage that is longer than a short entry\n");
        Entry::UpTo(id(10_000 - number)).encode(&mut bytes);
        disk.write_file(&path(Path::new(DIR), number), bytes);
    }
    let notices = Process::start(&journal(&disk, EVERY)).notices();
    let damaged = notices
        .iter()
        .filter(|notice| notice.contains("are damaged"));
    assert_eq!(damaged.count(), COUNT);
}

#[test]
fn a_segment_that_cannot_be_read_is_kept_aside() {
    let damaged = Damaged::new(EVERY);
    damaged.edit(|bytes| {
        *bytes = String::from_utf8(bytes.clone())
            .unwrap()
            .replace('\n', "\r\n")
            .into_bytes();
    });
    let changed = damaged.disk.read_file(&damaged.path);
    let (process, resumed) = damaged.resume(3);
    assert_eq!(
        resumed,
        [Resume::Unknown; 3],
        "nothing else knows the epoch"
    );
    let aside = damaged.path.with_extension("unreadable");
    assert_eq!(
        process.notices(),
        [format!(
            "{} cannot be read as a segment and was renamed to {}",
            damaged.path.display(),
            aside.display()
        )]
    );
    assert_eq!(damaged.disk.read_file(&aside), changed);
}

#[test]
fn a_missing_segment_is_a_gap() {
    let disk = MemoryDisk::default();
    let journal = journal(&disk, EVERY);
    let mut process = Process::start(&journal);
    let mut ids = Vec::new();
    for number in 0..60 {
        ids.push(process.publish("a", &number.to_string()));
        process.settle();
    }
    disk.kill();
    let paths = disk.paths();
    disk.remove_file(&paths[1]);
    let process = Process::start(&journal);
    let topic = process.hub.topic("a").unwrap();
    assert_eq!(topic.resume(Some(&ids[0].into())), Resume::Gap);
    assert_eq!(topic.resume(Some(&ids[59].into())), Resume::Resumed);
    assert!(retained(&topic).ends_with("58 59") && !retained(&topic).starts_with('0'));
    assert!(process.notices()[0].contains(" are lost; clients"));
}

#[test]
fn the_former_format_is_refused() {
    let disk = MemoryDisk::default();
    let name = format!("{DIR}/{:020}-{:020}.sse", 7, 0);
    disk.write_file(name.as_ref(), b":sse-journal 1 7-0\n\n".to_vec());
    let refused = Hub::open(Retention::default(), &journal(&disk, NEVER)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "{name} has format 1, and this release reads format 2; open the journal with the \
             release that wrote it, or choose another folder"
        )
    );
}

#[test]
fn foreign_files_are_left_alone() {
    let names = ["note.sse", "segment-1.sse", "segment-0000000001.txt", "x"]
        .map(|name| PathBuf::from(format!("{DIR}/{name}")));
    let damaged = Damaged::new(NEVER);
    for name in &names {
        damaged
            .disk
            .write_file(name, b"data: not ours\n\n".to_vec());
    }
    let (process, _) = damaged.resume(0);
    assert_eq!(Damaged::retained(&process), ["0 3", "1", "2"]);
    assert_eq!(process.notices(), [""; 0]);
    for name in &names {
        assert_eq!(damaged.disk.read_file(name), b"data: not ours\n\n");
    }
}

#[test]
fn a_topic_that_stands_alone_refuses_the_journal_of_a_hub() {
    let damaged = Damaged::new(NEVER);
    let refused = Topic::open(Retention::default(), &damaged.journal).unwrap_err();
    assert!(matches!(refused, JournalError::OfHub(_)));
    assert_eq!(
        refused.to_string(),
        "the journal in /journal is that of a hub; open it with `Hub::open`"
    );
}

/// Otherwise it reads only the newest segments.
#[test]
fn a_topic_that_stands_alone_reads_older_segments_where_newer_ones_are_damaged() {
    let ids = (1..=20).map(|number| LogId::new(1_700_000_000_000 + number, 0));
    let ids = Vec::from_iter(ids);
    let mut bytes = Segment::HEAD.to_vec();
    Entry::From(LogId::default()).encode(&mut bytes);
    for &id in &ids {
        let event = format!("id: {id}\ndata: {}\n\n", "x".repeat(100_000));
        let (topic, event, key) = (None, event.as_bytes(), None);
        let record = Record {
            id,
            topic,
            event,
            key,
        };
        Entry::Event(record).encode(&mut bytes);
    }
    for synced in [LogId::default(), ids[19]] {
        let disk = MemoryDisk::default();
        let [older, newer] = [0, 1].map(|number| path(Path::new(DIR), number));
        let mut bytes = bytes.clone();
        Entry::Synced(synced).encode(&mut bytes);
        disk.write_file(&older, bytes.clone());
        let at = find(&bytes, &format!(" event {} ", ids[14]));
        bytes[at] ^= 1;
        disk.write_file(&newer, bytes);
        let topic = Topic::open(Retention::events(5), &journal(&disk, NEVER)).unwrap();
        assert_eq!(super::ids(&topic, None), ids[15..], "{synced}");
    }
}

/// The files take up to twice the retained bytes and two segments.
#[test]
fn one_quiet_topic_pins_nothing() {
    const SEGMENT: u64 = 200_000;
    let disk = MemoryDisk::default();
    let journal = journal(&disk, NEVER).segment_bytes(SEGMENT);
    let retention = Retention::events(2).backlog(Duration::ZERO, 0);
    let mut process = Process::start_with(retention, &journal);
    let quiet = process.publish("quiet", "kept");
    let (mut last, mut early) = (quiet, quiet);
    let wire = format!("id: {quiet}\ndata: {}\n\n", "x".repeat(200)).len() as u64;
    for round in 0..30 {
        let data = format!("{round}{}", "x".repeat(198));
        for topic in 0..999 {
            last = process.publish(&format!("busy {topic}"), &data);
        }
        process.settle();
        if round == 3 {
            early = last;
        }
        let (_, bytes) = process.size();
        let max = 2 * (999 * 2 + 1) * wire + 2 * SEGMENT;
        assert!(
            bytes <= max,
            "{bytes} bytes in round {round}, at most {max}"
        );
    }
    disk.kill();
    let process = Process::start_with(retention, &journal);
    assert_eq!(process.notices(), [""; 0]);
    let topic = process.hub.topic("quiet").unwrap();
    assert_eq!(retained(&topic), "kept");
    assert_eq!(topic.resume(Some(&quiet.into())), Resume::Resumed);
    let busy = process.hub.topic("busy 7").unwrap();
    assert_eq!(retained(&busy).replace('x', ""), "28 29");
    assert_eq!(busy.resume(Some(&early.into())), Resume::Gap);
    assert_eq!(busy.resume(Some(&last.into())), Resume::Resumed);
    busy.publish(&Event::new().data("next")).unwrap();
}
