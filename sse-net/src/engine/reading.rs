//! Reading streams: what topics have after an ID, page by page.

use redis::{Value, cmd, pipe};
use sse_core::LogId;

use super::keys::Keys;
use super::link::{Broken, Link};
use super::message::{Entry, Page, Tip, text};
use super::refused::Unreadable;

/// The events of a topic, read from its stream.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The oldest first.
    pub(super) entries: Vec<Entry>,
    /// The number of entries of other programs.
    pub(super) foreign: u64,
    /// The topic's last ID, also if it has been evicted; at least the hub's floor.
    pub(super) tip: Tip,
    /// The hub's floor, which the first event of a topic names as the ID before it.
    floor: LogId,
}

/// Reads what topics have after IDs and up to `until`. Entries after that may follow.
pub(super) async fn read(
    link: &mut Link,
    keys: &Keys,
    topics: &[(&str, LogId)],
    until: LogId,
) -> Result<Vec<Result<Reading, Unreadable>>, Broken> {
    let mut pipeline = pipe();
    pipeline.cmd("HGET").arg(&keys.hub).arg("floor");
    for (topic, after) in topics {
        pipeline.cmd("HGET").arg(&keys.hub).arg(Keys::field(topic));
        let start = match *after == LogId::default() {
            true => "-".to_owned(),
            false => format!("({after}"),
        };
        pipeline.add_command(range(keys, topic, &start));
    }
    let count = 1 + 2 * topics.len();
    let replies = link
        .commands
        .send_packed_commands(&pipeline, 0, count)
        .await?;
    let mut replies = replies.into_iter();
    let floor = replies.next().ok_or_else(odd)?.extract_error()?;
    let floor = Tip::parse(&floor).unwrap_or_default();
    let mut readings = Vec::with_capacity(topics.len());
    for (topic, _) in topics {
        let (Some(tip), Some(page)) = (replies.next(), replies.next()) else {
            return Err(odd());
        };
        let reading = Reading {
            tip: Tip::parse(&tip.extract_error()?).unwrap_or(floor),
            floor: floor.id,
            ..Reading::default()
        };
        readings.push(reading.read_pages(link, keys, topic, page, until).await?);
    }
    Ok(readings)
}

impl Reading {
    /// Adds a page, and those after it.
    async fn read_pages(
        mut self,
        link: &mut Link,
        keys: &Keys,
        topic: &str,
        page: Value,
        until: LogId,
    ) -> Result<Result<Self, Unreadable>, Broken> {
        let mut page = page.extract_error();
        loop {
            let mut read = match page {
                Ok(page) => Page::parse(&page),
                Err(error) => return Unreadable::of(error).map(Err),
            };
            let is_full = read.count >= PAGE;
            let is_over = read.entries.last().is_some_and(|entry| entry.id > until);
            self.foreign += read.foreign;
            self.entries.append(&mut read.entries);
            let Some(last) = read.last.filter(|_| is_full && !is_over) else {
                return Ok(Ok(self));
            };
            page = link.call(&range(keys, topic, &format!("({last}"))).await;
        }
    }

    /// Returns whether nothing is missing after an ID.
    pub(super) fn continues(&self, after: LogId) -> bool {
        match self.entries.first() {
            Some(first) => first.before <= after,
            None => self.tip.id <= after,
        }
    }

    /// Returns the ID before the first entry, if that is the first event of a topic, and a node has
    /// everything up to that ID because of its mark.
    pub(super) fn beginning(&self, mark: LogId) -> Option<LogId> {
        let before = self.entries.first()?.before;
        (before <= self.floor.min(mark)).then_some(before)
    }

    /// Returns whether there are entries, all of them after the mark.
    pub(super) fn begins_after(&self, mark: LogId) -> bool {
        self.entries.first().is_some_and(|first| first.id > mark)
    }
}

/// The newest event of each key of a topic, in the order of IDs.
pub(super) struct State {
    pub(super) entries: Vec<Entry>,
    pub(super) foreign: usize,
    /// The greatest ID of a removal that was dropped for good.
    pub(super) dropped: LogId,
    pub(super) tip: Tip,
}

/// Reads the newest event of each key of a topic, and its last ID, in one step.
pub(super) async fn read_state(
    link: &mut Link,
    keys: &Keys,
    topic: &str,
) -> Result<Result<State, Unreadable>, Broken> {
    let mut pipeline = pipe();
    pipeline.atomic();
    pipeline.cmd("HGET").arg(&keys.hub).arg("floor");
    pipeline.cmd("HGET").arg(&keys.hub).arg(Keys::field(topic));
    pipeline.cmd("HGET").arg(&keys.keyed).arg(topic);
    pipeline.cmd("HGETALL").arg(keys.state(topic));
    let replies = pipeline.query_async(&mut link.commands).await;
    let replies: Vec<Value> = match replies {
        Ok(replies) => replies,
        Err(error) => return Unreadable::of(error).map(Err),
    };
    let [floor, tip, keyed, Value::Map(pairs)] = &replies[..] else {
        return Ok(Err(Unreadable::odd()));
    };
    let entries = pairs
        .iter()
        .filter_map(|(key, value)| Entry::of_state(key, value));
    let mut entries: Vec<_> = entries.collect();
    entries.sort_unstable_by_key(|entry| entry.id);
    let floor = Tip::parse(floor).unwrap_or_default();
    let tip = Tip::parse(tip).unwrap_or(floor);
    Ok(Ok(State {
        foreign: pairs.len() - entries.len(),
        entries,
        // Its first words are those of a last ID.
        dropped: Tip::parse(keyed).unwrap_or(tip).id,
        tip,
    }))
}

/// Returns the topics with events since a time in milliseconds, and those of that second.
pub(super) async fn changed_since(
    link: &mut Link,
    keys: &Keys,
    millis: u64,
) -> Result<Vec<String>, Broken> {
    let mut cmd = cmd("ZRANGEBYSCORE");
    // A topic has the time of its first event in a second.
    cmd.arg(&keys.changed)
        .arg(millis - millis % 1000)
        .arg("+inf");
    match link.call(&cmd).await? {
        Value::Array(names) => Ok(names.iter().filter_map(text).collect()),
        _ => Err(odd()),
    }
}

/// Returns the last ID of each topic.
pub(super) async fn tips(
    link: &mut Link,
    keys: &Keys,
    topics: &[&str],
) -> Result<Vec<Option<Tip>>, Broken> {
    let mut tips = Vec::with_capacity(topics.len());
    for part in topics.chunks(NAMES) {
        let mut cmd = cmd("HMGET");
        cmd.arg(&keys.hub);
        for topic in part {
            cmd.arg(Keys::field(topic));
        }
        match link.call(&cmd).await? {
            Value::Array(values) if values.len() == part.len() => {
                tips.extend(values.iter().map(Tip::parse));
            }
            _ => return Err(odd()),
        }
    }
    Ok(tips)
}

fn range(keys: &Keys, topic: &str, start: &str) -> redis::Cmd {
    let mut cmd = cmd("XRANGE");
    cmd.arg(keys.stream(topic)).arg(start).arg("+");
    cmd.arg("COUNT").arg(PAGE);
    cmd
}

fn odd() -> Broken {
    Broken("the server sent an unknown reply".to_owned())
}

/// The most entries of a reply.
const PAGE: usize = 64;

/// The most names in a command.
const NAMES: usize = 1000;
