//! Reading streams: what topics have after an ID, page by page.

use redis::{Cmd, Value, cmd, pipe};
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
    /// The ID of the last entry, as Redis writes it, if more may follow.
    last: Option<String>,
    /// The number of entries to ask for next.
    count: usize,
    /// The bytes of the events of all pages so far.
    bytes: usize,
}

/// Reads what topics have after IDs: for each, the first page that has an event.
/// [`read_on`](Reading::read_on) reads the other pages.
pub(super) async fn read(
    link: &mut Link,
    keys: &Keys,
    topics: &[(&str, LogId)],
) -> Result<Vec<Result<Reading, Unreadable>>, Broken> {
    let ranges = topics.iter().map(|(topic, after)| {
        let start = match *after == LogId::default() {
            true => "-".to_owned(),
            false => format!("({after}"),
        };
        (*topic, range(keys, topic, &start, FIRST_PAGE))
    });
    let mut readings = read_pages(link, keys, ranges).await?;
    for (reading, (topic, _)) in readings.iter_mut().zip(topics) {
        if let Ok(read) = reading
            && read.entries.is_empty()
            && let Err(unreadable) = read.read_on(link, keys, topic).await?
        {
            *reading = Err(unreadable);
        }
    }
    Ok(readings)
}

/// Reads the newest events of topics up to `until`: for each, at least as many as take a number of
/// bytes, if there are as many.
pub(super) async fn read_newest(
    link: &mut Link,
    keys: &Keys,
    topics: &[(&str, usize)],
    until: LogId,
) -> Result<Vec<Result<Reading, Unreadable>>, Broken> {
    let end = until.to_string();
    let ranges = topics
        .iter()
        .map(|(topic, _)| (*topic, range_back(keys, topic, &end, FIRST_PAGE)));
    let mut readings = read_pages(link, keys, ranges).await?;
    for (reading, (topic, max_bytes)) in readings.iter_mut().zip(topics) {
        while let Ok(read) = reading
            && read.bytes < *max_bytes
            && let Some(last) = &read.last
        {
            let range = range_back(keys, topic, &format!("({last}"), read.count);
            if let Err(unreadable) = read.read_page(link, &range).await? {
                *reading = Err(unreadable);
            }
        }
        if let Ok(read) = reading {
            read.entries.reverse();
        }
    }
    Ok(readings)
}

/// Reads the last IDs of topics and a page of each.
async fn read_pages<'a>(
    link: &mut Link,
    keys: &Keys,
    ranges: impl ExactSizeIterator<Item = (&'a str, Cmd)>,
) -> Result<Vec<Result<Reading, Unreadable>>, Broken> {
    let mut pipeline = pipe();
    let count = 1 + 2 * ranges.len();
    pipeline.cmd("HGET").arg(&keys.hub).arg("floor");
    for (topic, range) in ranges {
        pipeline.cmd("HGET").arg(&keys.hub).arg(Keys::field(topic));
        pipeline.add_command(range);
    }
    let replies = link
        .commands
        .send_packed_commands(&pipeline, 0, count)
        .await?;
    let mut replies = replies.into_iter();
    let floor = replies.next().ok_or_else(odd)?.extract_error()?;
    let floor = Tip::parse(&floor).unwrap_or_default();
    let mut readings = Vec::with_capacity(count / 2);
    while let Some(tip) = replies.next() {
        let mut reading = Reading {
            tip: Tip::parse(&tip.extract_error()?).unwrap_or(floor),
            floor: floor.id,
            count: FIRST_PAGE,
            ..Reading::default()
        };
        let page = replies.next().ok_or_else(odd)?.extract_error();
        readings.push(match page {
            Ok(page) => {
                reading.add(Page::parse(&page));
                Ok(reading)
            }
            Err(error) => Err(Unreadable::of(error)?),
        });
    }
    match readings.len() == count / 2 {
        true => Ok(readings),
        false => Err(odd()),
    }
}

impl Reading {
    /// Reads the next page that has an event, instead of the entries, which stay empty after the
    /// last page.
    pub(super) async fn read_on(
        &mut self,
        link: &mut Link,
        keys: &Keys,
        topic: &str,
    ) -> Result<Result<(), Unreadable>, Broken> {
        self.entries.clear();
        while self.entries.is_empty()
            && let Some(last) = self.last.take()
        {
            let range = range(keys, topic, &format!("({last}"), self.count);
            if let Err(unreadable) = self.read_page(link, &range).await? {
                return Ok(Err(unreadable));
            }
        }
        Ok(Ok(()))
    }

    /// Reads another page.
    async fn read_page(
        &mut self,
        link: &mut Link,
        range: &Cmd,
    ) -> Result<Result<(), Unreadable>, Broken> {
        match link.call(range).await {
            Ok(page) => self.add(Page::parse(&page)),
            Err(error) => return Unreadable::of(error).map(Err),
        }
        Ok(Ok(()))
    }

    fn add(&mut self, mut page: Page) {
        self.entries.append(&mut page.entries);
        self.foreign += page.foreign;
        self.bytes += page.frame_bytes;
        self.last = page.last.filter(|_| page.count >= self.count);
        let average = page.bytes / page.count.max(1);
        self.count = (PAGE_BYTES / average.max(1)).clamp(1, PAGE);
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

fn range(keys: &Keys, topic: &str, start: &str, count: usize) -> Cmd {
    range_between("XRANGE", keys, topic, [start, "+"], count)
}

/// The newest entry comes first.
fn range_back(keys: &Keys, topic: &str, end: &str, count: usize) -> Cmd {
    range_between("XREVRANGE", keys, topic, [end, "-"], count)
}

fn range_between(name: &str, keys: &Keys, topic: &str, ends: [&str; 2], count: usize) -> Cmd {
    let mut cmd = cmd(name);
    cmd.arg(keys.stream(topic)).arg(&ends);
    cmd.arg("COUNT").arg(count);
    cmd
}

fn odd() -> Broken {
    Broken("the server sent an unknown reply".to_owned())
}

/// The entries of the first page of a topic, whose sizes are not known yet.
const FIRST_PAGE: usize = 16;

/// The most entries of a later page.
const PAGE: usize = 64;

/// The bytes of a later page, if its entries are as long as those of the page before.
const PAGE_BYTES: usize = 1 << 20;

/// The most names in a command.
const NAMES: usize = 1000;
