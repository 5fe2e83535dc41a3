//! A keyed log beside a naive model of it: a list of all that was ever appended. The fuzz target
//! `keyed` leans on it too.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use sse_core::{Cursor, Encoded, Event, Events, KeyedFull, KeyedLog, KeyedRetention, LogId};

/// A keyed log and its model, which get the same calls and must return the same.
#[derive(Debug)]
pub(crate) struct KeyedPair {
    log: KeyedLog,
    limits: Limits,
    /// All that was ever appended, with IDs from 1.
    events: Vec<Appended>,
    /// The greatest ID of a removal that was dropped.
    dropped: u64,
    /// Events after this ID are held back.
    visible: Option<u64>,
    /// Where clients are that read now and then.
    clients: Vec<Client>,
    /// Where a reader is that had caught up at the last check, and the ID before that.
    caught_up: (Cursor, u64),
}

/// What is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) keys: usize,
    pub(crate) bytes: usize,
    pub(crate) removals: Duration,
}

#[derive(Debug, Clone)]
struct Appended {
    id: u64,
    key: String,
    /// `None` for a removal.
    value: Option<String>,
    appended: Duration,
    len: usize,
    is_dropped: bool,
}

/// What a client has: its position, and the map that a page keeps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Client {
    position: u64,
    /// What it knows to have been dropped, because it began after that.
    since: u64,
    map: BTreeMap<String, String>,
}

impl KeyedPair {
    pub(crate) fn new(limits: Limits) -> Self {
        let retention = KeyedRetention::default().keys(limits.keys);
        let retention = retention.bytes(limits.bytes).removals(limits.removals);
        Self {
            log: KeyedLog::new(retention, LogId::default()),
            limits,
            events: Vec::new(),
            dropped: 0,
            visible: None,
            clients: vec![Client::default(); 4],
            caught_up: (Cursor::START, 0),
        }
    }

    pub(crate) fn publish(&mut self, key: &str, value: &str, now: Duration) {
        let event = Event::new().data(format!("{key} {value}"));
        let encoded = Encoded::new(&event);
        let (max_len, id) = (encoded.max_len(), self.events.len() as u64 + 1);
        if self.log.has_room(key, max_len) {
            self.model_make_room(key, max_len).unwrap();
        }
        let room = self.log.make_room(key, max_len);
        if let Err(full) = self.model_make_room(key, max_len) {
            assert_eq!(room.unwrap_err(), full);
            return;
        }
        drop(room.unwrap());
        let log_id = LogId::new(id, 0);
        let _ = match id % 3 {
            0 => self.log.append_encoded_as(log_id, key, encoded, now),
            _ => self.log.append_as(log_id, key, &event, now),
        };
        self.push(id, key, Some(value), now);
    }

    pub(crate) fn remove(&mut self, key: &str, now: Duration) {
        let is_there = self
            .newest(key)
            .is_some_and(|newest| newest.value.is_some());
        assert_eq!(self.log.contains(key), is_there);
        if !is_there {
            return;
        }
        let id = self.events.len() as u64 + 1;
        let event = removal().data(key);
        let _ = self.log.remove_as(LogId::new(id, 0), key, &event, now);
        self.push(id, key, None, now);
    }

    /// Moves the mark to `back` events before the end, or removes it.
    pub(crate) fn hold(&mut self, back: Option<u64>) {
        let end = self.events.len() as u64;
        self.visible = match (self.visible, back) {
            (_, None) => None,
            (None, Some(_)) => Some(end),
            (Some(visible), Some(back)) => Some(visible.max(end.saturating_sub(back))),
        };
        self.log.hold(self.visible.map(|id| LogId::new(id, 0)));
        while self.log.settle().is_some() {}
    }

    pub(crate) fn evict(&mut self, now: Duration) {
        drop(self.log.evict(now));
        while let Some(removal) = self.oldest_removal() {
            let age = now.saturating_sub(self.events[removal].appended);
            if age <= self.limits.removals || removal + 1 == self.events.len() {
                break;
            }
            self.drop_event(removal);
        }
    }

    /// One of the clients reads at most `slices`. If it has missed removals, it begins anew.
    pub(crate) fn read(&mut self, client: usize, slices: usize) {
        let client = client % self.clients.len();
        let mut client = std::mem::take(&mut self.clients[client]);
        self.read_as(&mut client, slices);
        let place = self
            .clients
            .iter()
            .position(|c| c.position == 0 && c.map.is_empty());
        self.clients[place.unwrap_or_default()] = client;
    }

    fn read_as(&mut self, client: &mut Client, slices: usize) {
        if client.position.max(client.since) < self.dropped {
            *client = Client {
                since: self.dropped,
                ..Client::default()
            };
        }
        let until = self.visible();
        for _ in 0..slices {
            let after = LogId::new(client.position, 0);
            let Some(slice) = self.log.slice_between(after, LogId::new(until, 0)) else {
                client.position = until;
                assert_eq!(client.map, self.map(until), "{:?}", self.events);
                return;
            };
            let mut wire = Vec::new();
            for (id, bytes) in slice.events() {
                wire.extend_from_slice(bytes);
                assert!(client.position < id.millis() && id.millis() <= until);
                client.position = id.millis();
            }
            assert_eq!(wire, slice.bytes());
            assert_eq!(slice.last_id().millis(), client.position);
            for event in Events::new(&wire[..]) {
                let event = event.unwrap();
                if event.event() == "remove" {
                    client.map.remove(event.data());
                } else {
                    let (key, value) = event.data().split_once(' ').unwrap();
                    client.map.insert(key.to_owned(), value.to_owned());
                }
            }
        }
    }

    /// Checks everything that can be asked, for clients that have joined at any ID.
    pub(crate) fn check(&mut self) {
        let (visible, end) = (self.visible(), self.events.len() as u64);
        for position in 0..=visible {
            let mut client = Client {
                position,
                since: 0,
                map: self.map(position),
            };
            self.read_as(&mut client, usize::MAX);
            assert_eq!(client.map, self.map(visible));
        }
        self.check_cursors();
        self.check_caught_up();
        let mut read = Vec::new();
        let mut after = LogId::default();
        while let Some(slice) = self.log.slice_between(after, LogId::new(u64::MAX, 0)) {
            read.extend(slice.events().map(|(id, _)| id.millis()));
            after = slice.last_id();
        }
        let live = self.events.iter().filter(|event| self.is_live(event));
        assert_eq!(read, live.clone().map(|event| event.id).collect::<Vec<_>>());
        let bytes: usize = live.map(|event| event.len + event.key.len()).sum();
        assert_eq!(self.log.bytes(), bytes);
        assert_eq!(self.log.evicted().millis(), self.dropped);

        let map = self.map(end);
        assert_eq!(self.log.len(), map.len());
        self.check_restored();
        let mut keys = BTreeMap::new();
        let mut after = LogId::default();
        let end = LogId::new(u64::MAX, 0);
        while let Some(slice) = self.log.keyed_slice_between(after, end) {
            for (event, key) in slice.events.events().zip(&slice.keys) {
                let model = &self.events[usize::try_from(event.0.millis()).unwrap() - 1];
                assert_eq!(
                    (&*model.key, model.value.is_none()),
                    (&*key.key, key.is_removal)
                );
            }
            assert_eq!(slice.events.count(), slice.keys.len());
            keys.extend(slice.keys.into_iter().map(|key| (key.key, key.is_removal)));
            after = slice.events.last_id();
        }
        keys.retain(|_, is_removal| !*is_removal);
        assert!(keys.keys().map(|key| &**key).eq(map.keys()));
        for (key, value) in &map {
            let event = self.log.get(key).unwrap();
            let event = Events::new(&event[..]).next().unwrap().unwrap();
            assert_eq!(event.data(), format!("{key} {value}"));
        }
        assert!(self.log.get("absent").is_none());
    }

    /// A log that is restored from what is retained has the same events.
    fn check_restored(&mut self) {
        let all = |log: &mut KeyedLog| {
            let (mut after, mut all) = (LogId::default(), Vec::new());
            while let Some(slice) = log.keyed_slice_between(after, LogId::new(u64::MAX, 0)) {
                let events = slice.events.events().zip(slice.keys);
                all.extend(events.map(|((id, event), key)| (id, key, event.to_vec())));
                after = slice.events.last_id();
            }
            all
        };
        for event in &self.events {
            let retains = self.log.retains(LogId::new(event.id, 0));
            assert_eq!(retains, self.is_live(event), "{event:?}");
        }
        if self.visible.is_some() {
            return; // Events that are held back do not supersede yet.
        }
        let retention = KeyedRetention::default();
        let mut restored = KeyedLog::new(retention, self.log.evicted());
        for (id, key, event) in all(&mut self.log) {
            drop(restored.restore(id, &key, &event, Duration::ZERO));
        }
        assert_eq!(all(&mut restored), all(&mut self.log));
        assert_eq!(
            (restored.len(), restored.bytes()),
            (self.log.len(), self.log.bytes())
        );
    }

    /// Reading by cursors returns the same, from each event on.
    fn check_cursors(&mut self) {
        for start in 0..=self.visible() {
            let mut cursor = self.log.after(LogId::new(start, 0));
            let mut after = self.log.id_before(cursor);
            assert!(after.millis() <= start);
            let has_missed = cursor < self.log.evicted_end();
            assert!(!has_missed || start < self.dropped, "{start}");
            while let Some(slice) = self.log.slice(cursor..self.log.end()) {
                let until = LogId::new(self.visible(), 0);
                let same = self.log.slice_between(after, until).unwrap();
                assert_eq!((slice.bytes(), slice.count()), (same.bytes(), same.count()));
                assert!(slice.start() == cursor && cursor < slice.end());
                let mut len = 0;
                for (count, (_, event)) in slice.events().enumerate() {
                    let begun = slice.begun(len + 1);
                    len += event.len();
                    assert_eq!((begun.count, begun.len), (count + 1, len));
                    assert_eq!(begun, slice.begun(len));
                    let left = slice.after(begun.position);
                    assert_eq!(
                        left.map_or(0, |left| left.bytes().len()),
                        slice.bytes().len() - len
                    );
                }
                (cursor, after) = (slice.end(), slice.last_id());
            }
            assert!(
                self.log
                    .slice_between(after, LogId::new(self.visible(), 0))
                    .is_none()
            );
        }
    }

    /// A reader that had caught up gets what has become visible since, unless it has lagged.
    fn check_caught_up(&mut self) {
        let (mut cursor, after) = self.caught_up;
        let end = self.log.end();
        assert!(cursor <= end, "the log ends before a reader");
        let mut read = Vec::new();
        if after >= self.dropped || cursor >= self.log.evicted_end() {
            while let Some(slice) = self.log.slice(cursor..end) {
                read.extend(slice.events().map(|(id, _)| id.millis()));
                cursor = slice.end();
            }
            let until = self.visible();
            let new = |event: &&Appended| event.id > after && event.id <= until;
            let expected = self.events.iter().filter(new);
            let expected = expected.filter(|event| self.is_live(event));
            assert_eq!(read, expected.map(|event| event.id).collect::<Vec<_>>());
        }
        self.caught_up = (end, self.visible());
    }

    fn push(&mut self, id: u64, key: &str, value: Option<&str>, now: Duration) {
        let mut wire = Vec::new();
        let event = match value {
            Some(value) => Event::new().data(format!("{key} {value}")),
            None => removal().data(key),
        };
        event.try_id(format!("{id}-0")).unwrap().encode(&mut wire);
        self.events.push(Appended {
            id,
            key: key.to_owned(),
            value: value.map(str::to_owned),
            appended: now,
            len: wire.len(),
            is_dropped: false,
        });
    }

    fn model_make_room(&mut self, key: &str, max_len: usize) -> Result<(), KeyedFull> {
        let len = max_len + key.len();
        let removals = self.events.iter();
        let removals = removals.filter(|event| event.value.is_none() && self.is_newest(event));
        let lens = removals.map(|event| event.len + event.key.len());
        let (count, bytes) = lens.fold((0, 0), |(count, sum), len| (count + 1, sum + len));
        self.model_check_room(key, len, (count, bytes))?;
        while let Err(full) = self.model_check_room(key, len, (0, 0)) {
            let removal = self.oldest_removal().ok_or(full)?;
            self.drop_event(removal);
        }
        Ok(())
    }

    fn model_check_room(
        &self,
        key: &str,
        len: usize,
        (dropped_keys, dropped_bytes): (usize, usize),
    ) -> Result<(), KeyedFull> {
        let newest = self.newest(key);
        let keys = self.events.iter().filter(|event| self.is_newest(event));
        let live = self.events.iter().filter(|event| self.is_live(event));
        let bytes: usize = live.map(|event| event.len + event.key.len()).sum();
        let freed = newest.filter(|_| self.visible.is_none());
        let freed = freed.map_or(0, |event| event.len + event.key.len());
        if newest.is_none() && keys.count() - dropped_keys >= self.limits.keys {
            let max = self.limits.keys;
            return Err(KeyedFull::Keys { max });
        }
        if bytes.saturating_sub(freed + dropped_bytes) + len > self.limits.bytes {
            let max = self.limits.bytes;
            return Err(KeyedFull::Bytes { max });
        }
        Ok(())
    }

    fn visible(&self) -> u64 {
        self.visible.unwrap_or(self.events.len() as u64)
    }

    /// The map after all events up to this ID.
    fn map(&self, until: u64) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        for event in self.events.iter().filter(|event| event.id <= until) {
            match &event.value {
                Some(value) => map.insert(event.key.clone(), value.clone()),
                None => map.remove(&event.key),
            };
        }
        map
    }

    /// The newest event of a key, held back or not.
    fn newest(&self, key: &str) -> Option<&Appended> {
        let newest = self.events.iter().rev().find(|event| event.key == key);
        newest.filter(|newest| !newest.is_dropped)
    }

    fn is_newest(&self, event: &Appended) -> bool {
        self.newest(&event.key)
            .is_some_and(|newest| newest.id == event.id)
    }

    /// Whether no visible event supersedes it.
    fn is_live(&self, event: &Appended) -> bool {
        let later = |other: &&Appended| other.id > event.id && other.id <= self.visible();
        !event.is_dropped
            && !self
                .events
                .iter()
                .filter(later)
                .any(|other| other.key == event.key)
    }

    fn oldest_removal(&self) -> Option<usize> {
        let oldest = self
            .events
            .iter()
            .position(|event| event.value.is_none() && !event.is_dropped && self.is_newest(event));
        oldest.filter(|oldest| self.events[*oldest].id <= self.visible())
    }

    fn drop_event(&mut self, index: usize) {
        self.events[index].is_dropped = true;
        self.dropped = self.dropped.max(self.events[index].id);
    }
}

fn removal() -> Event<'static> {
    Event::new().event(sse_core::EventType::from_static("remove"))
}
