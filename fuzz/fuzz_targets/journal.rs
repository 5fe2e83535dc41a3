//! Reads any bytes as a segment: every byte is covered once. Records that were written are read,
//! however the file around them is damaged.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sse_core::{Block, Event, LogId, Record, Restored, Segment, SegmentState, Span};

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Bytes(&'a [u8]),
    /// A comment with a correct checksum, and an event.
    Checked(&'a str, &'a [u8]),
    Journal(Vec<Written<'a>>, Option<Damage<'a>>),
}

#[derive(Arbitrary, Debug)]
enum Written<'a> {
    Event(u16, Option<&'a str>, &'a str),
    State(u16, Option<u16>, Vec<(u16, Option<&'a str>)>),
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
    Input::Checked(comment, event) => {
        let line = format!("{:08x} {comment}", crc32fast::hash(event));
        let mut file = format!(":{:08x} {line}\n", crc32fast::hash(line.as_bytes())).into_bytes();
        file.extend(event);
        read(&file);
    }
    Input::Journal(written, damage) => check(&written, damage.as_ref()),
});

fn check(written: &[Written<'_>], damage: Option<&Damage<'_>>) {
    let (mut file, mut ends) = (Vec::new(), vec![0]);
    for block in written {
        match block {
            Written::Event(id, topic, data) => {
                let mut event = Vec::new();
                Event::new()
                    .id(u64::from(*id))
                    .data(*data)
                    .encode(&mut event);
                Record::encode(log_id(*id), *topic, &event, &mut file);
            }
            Written::State(from, to, evicted) => state(*from, *to, evicted).encode(&mut file),
        }
        ends.push(file.len());
    }
    let whole = read(&file);
    assert_eq!(whole.len(), written.len());
    for (block, written) in whole.iter().zip(written) {
        match (block, written) {
            (Block::Record(record), Written::Event(id, topic, _)) => {
                assert_eq!((record.id, record.topic.as_deref()), (log_id(*id), *topic));
            }
            (Block::State(read), Written::State(from, to, evicted)) => {
                assert_eq!(*read, state(*from, *to, evicted));
            }
            _ => panic!("{block:?} is not {written:?}"),
        }
    }
    let Some(damage) = damage else { return };
    let start = usize::from(damage.at).min(file.len());
    let end = (start + usize::from(damage.len)).min(file.len());
    let mut damaged = file.clone();
    damaged.splice(start..end, damage.put.iter().copied());
    if Segment::new(&damaged).is_err() {
        return; // The damage has changed the version.
    }
    let left = read(&damaged);
    for (block, place) in whole.iter().zip(ends.windows(2)) {
        let is_touched = place[0] < end + 1 && start < place[1] + 1;
        assert!(
            is_touched || left.contains(block),
            "{block:?} was not touched"
        );
    }
}

fn state(from: u16, to: Option<u16>, evicted: &[(u16, Option<&str>)]) -> SegmentState {
    let evicted = evicted
        .iter()
        .map(|(id, name)| (log_id(*id), name.map(str::to_owned)));
    SegmentState {
        spans: vec![Span {
            from: log_id(from),
            to: to.map(log_id),
        }],
        evicted: evicted.collect(),
        ..SegmentState::default()
    }
}

/// Reads the blocks of a segment. Events have one blank line, at their end.
fn read(bytes: &[u8]) -> Vec<Block<'_>> {
    let Ok(segment) = Segment::new(bytes) else {
        return Vec::new();
    };
    let (mut blocks, mut at, mut restored) = (Vec::new(), 0, Restored::default());
    for block in segment {
        match &block {
            Block::Record(record) => {
                let blank = record.event.windows(2).position(|pair| pair == b"\n\n");
                assert_eq!(blank, record.event.len().checked_sub(2));
                restored.push(record);
            }
            Block::Unread { damage, .. } | Block::Damage(damage) => {
                let range = damage.range();
                assert!(at <= range.start && range.start < range.end && range.end <= bytes.len());
                at = range.end;
            }
            Block::State(_) => {}
        }
        blocks.push(block);
    }
    blocks
}

fn log_id(id: u16) -> LogId {
    LogId::new(7, id.into())
}
