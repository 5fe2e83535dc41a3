//! A directory of a journal, and the events that its topic retains.
//!
//! The unit tests of the journal include this file too, so the library's types come from the
//! parent module.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use sse_core::Event;
use tempfile::TempDir;

use super::{Journal, Start, Topic};

/// A temporary directory, and the notices of its journals.
pub(crate) struct Dir {
    _dir: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) notices: Arc<Mutex<Vec<String>>>,
}

impl Dir {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        Self {
            path: dir.path().join("journal"),
            _dir: dir,
            notices: Arc::default(),
        }
    }

    pub(crate) fn journal(&self) -> Journal {
        let notices = Arc::clone(&self.notices);
        Journal::new(&self.path)
            .on_notice(move |notice| notices.lock().unwrap().push(notice.to_string()))
    }

    /// Takes the notices.
    pub(crate) fn notices(&self) -> Vec<String> {
        std::mem::take(&mut self.notices.lock().unwrap())
    }

    /// Returns the segment files, the oldest first.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.path).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut segments: Vec<_> = paths.filter(|path| path.extension().is_some()).collect();
        segments.sort();
        segments
    }
}

/// Publishes events, and returns whether each was stored.
pub(crate) fn publish(topic: &Topic, numbers: Range<u32>) -> Vec<bool> {
    let publish = |number: u32| {
        let event = Event::new().data(number.to_string());
        topic.publish(&event).unwrap().is_stored()
    };
    numbers.map(publish).collect()
}

/// Returns the bytes of the retained events.
pub(crate) fn retained_bytes(topic: &Topic) -> Vec<u8> {
    let mut bytes = Vec::new();
    let cx = &mut Context::from_waker(Waker::noop());
    let _ = topic.subscribe(Start::Earliest).poll_read(cx, &mut bytes);
    bytes
}

/// Returns the data of the retained events.
pub(crate) fn retained(topic: &Topic) -> String {
    data(&retained_bytes(topic))
}

/// Returns the data of events, joined by spaces.
pub(crate) fn data(events: &[u8]) -> String {
    let text = str::from_utf8(events).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    Vec::from_iter(data).join(" ")
}
