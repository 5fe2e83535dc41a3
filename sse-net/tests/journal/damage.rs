//! Files that are damaged or unknown.

use std::fs;

use sse_core::Retention;
use sse_net::Topic;

use crate::harness::{Dir, retained};
use crate::store;

#[test]
fn a_panic_of_the_callback_is_caught() {
    let dir = Dir::new();
    let open = || {
        let journal = dir.journal().on_notice(|notice| panic!("notice: {notice}"));
        Topic::open(Retention::default(), &journal).unwrap()
    };
    store(&open(), 0..5);
    let path = dir.segments().pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend(b":torn");
    fs::write(&path, &bytes).unwrap();
    let topic = open();
    store(&topic, 5..6);
    assert!(topic.flush());
    assert_eq!(retained(&topic), "0 1 2 3 4 5");
}

#[test]
fn damaged_files_are_reported() {
    let dir = Dir::new();
    let open = || Topic::open(Retention::default(), &dir.journal()).unwrap();
    store(&open(), 0..5);
    let path = dir.segments().pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let third = bytes
        .windows(7)
        .position(|part| part == b"data: 2")
        .unwrap();
    bytes[third + 6] = b'!';
    bytes.extend(b":torn");
    fs::write(&path, &bytes).unwrap();

    let topic = open();
    assert_eq!(retained(&topic), "0 1 3 4");
    store(&topic, 5..6);
    drop(topic);
    let name = path.display();
    let whole = bytes.len() - 5;
    let [damaged, torn] = dir.notices().try_into().unwrap();
    assert!(damaged.starts_with(&format!("{name}: ")), "{damaged}");
    assert!(
        damaged.ends_with(" are damaged; the events in them are lost"),
        "{damaged}"
    );
    assert_eq!(
        torn,
        format!(
            "{name}: the last 5 bytes, from byte {whole}, are not a complete event and were removed"
        )
    );
    assert_eq!(
        retained(&open()),
        "0 1 3 4 5",
        "new events follow the last complete one"
    );
    assert_eq!(dir.notices(), [damaged], "removed bytes are reported once");

    fs::write(&path, ":sse-journal 2 7-0\n\n").unwrap();
    let refused = Topic::open(Retention::default(), &dir.journal()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("{name} has a newer format; open the journal with the version that wrote it")
    );
    fs::remove_dir_all(&dir.path).unwrap();
    fs::write(&dir.path, "a file").unwrap();
    let refused = Topic::open(Retention::default(), &dir.journal()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "can't create {}: File exists (os error 17)",
            dir.path.display()
        )
    );
    fs::remove_file(&dir.path).unwrap();
}

#[test]
fn other_files_are_ignored() {
    let dir = Dir::new();
    let open = || Topic::open(Retention::default(), &dir.journal()).unwrap();
    store(&open(), 0..3);
    let name = |millis: u64, end: &str| format!("{millis:020}-{:020}{end}", 0);
    let names = [
        "note.sse".to_owned(),
        name(5, ".txt"),
        name(5, "-0.sse"),
        name(5, "-01.sse"),
        "5-0.sse".into(),
    ];
    for name in &names {
        fs::write(dir.path.join(name), "not ours").unwrap();
    }
    fs::create_dir(dir.path.join(name(5, ".sse"))).unwrap();
    fs::create_dir(dir.path.join(name(u64::from(u32::MAX) << 16, ".sse"))).unwrap();
    let topic = open();
    assert_eq!(retained(&topic), "0 1 2");
    assert_eq!(topic.journal_state().unwrap().segments, 1);
    store(&topic, 3..4);
    drop(topic);
    assert_eq!(retained(&open()), "0 1 2 3");
    assert!(dir.notices().is_empty());
    for name in names {
        assert_eq!(fs::read_to_string(dir.path.join(name)).unwrap(), "not ours");
    }
}
