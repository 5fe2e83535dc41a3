//! Appending events to the logs of topics: those of notifications, and those that are read.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sse_core::LogId;

use super::catch_up::name_of;
use super::follower::Follower;
use super::link::{Broken, Link};
use super::message::{Entry, Frame, Notification, Role, Tip};
use super::notice::EngineNotice;
use super::reading::{Reading, read};
use super::snapshot::add;
use crate::topic::Shared;

impl Follower {
    /// Appends an event of the current epoch, and moves the mark to it.
    pub(super) async fn append(
        &mut self,
        link: &mut Link,
        next: Notification,
    ) -> Result<(), Broken> {
        let Notification { topic: name, entry } = next;
        let (id, mark) = (entry.id, self.epochs.last());
        let tip = self.tips.get(&*name).copied();
        let topic = self.hub.find(&name);
        if let (Some(topic), Some(tip)) = (topic, tip)
            && id > tip
        {
            if id <= mark {
                self.note_gap(topic);
            } else if entry.before <= tip && !matches!(entry.frame, Frame::InStream) {
                self.append_entry(&topic, entry);
            } else {
                let readings = read(link, &self.shared.keys, &[(&name, tip)]).await?;
                for reading in readings {
                    let reading = match reading {
                        Ok(reading) => reading,
                        Err(unreadable) => {
                            self.refuse(&topic, unreadable);
                            continue;
                        }
                    };
                    let continues = reading.continues(tip) || reading.beginning(mark).is_some();
                    if continues && reading.begins_after(mark) {
                        self.fill(link, &topic, reading, id).await?;
                    } else if topic.is_keyed() && entry.before <= tip {
                        // Only its frame has been evicted from the stream.
                        self.read_state(link, &topic, LogId::default()).await?;
                    } else {
                        self.note_gap(Arc::clone(&topic));
                    }
                }
            }
        }
        self.epochs.note_last(id);
        Ok(())
    }

    /// Appends events that were not notified, and that no client has missed.
    async fn fill(
        &mut self,
        link: &mut Link,
        topic: &Arc<Shared>,
        reading: Reading,
        until: LogId,
    ) -> Result<(), Broken> {
        let count = self.append_reading(link, topic, reading, until).await?;
        // The last one was notified, unless another program has sent that notification.
        add(&self.shared.counters.filled, count.saturating_sub(1));
        Ok(())
    }

    /// Appends the events after the topic's tip, up to an ID, page by page. Returns their number.
    pub(super) async fn append_reading(
        &mut self,
        link: &mut Link,
        topic: &Arc<Shared>,
        mut reading: Reading,
        until: LogId,
    ) -> Result<usize, Broken> {
        if let (Some(name), Some(before)) = (topic.name(), reading.beginning(self.epochs.last()))
            && let Some(tip) = self.tips.get_mut(name)
        {
            *tip = before.max(*tip);
        }
        if reading.entries.is_empty() {
            self.note_evicted(topic, reading.tip.id.min(until));
        }
        let mut count = 0;
        while !reading.entries.is_empty() {
            let is_over = reading.entries.last().is_some_and(|last| last.id > until);
            let entries = reading.entries.drain(..);
            for entry in entries.filter(|entry| entry.id <= until) {
                self.append_entry(topic, entry);
                count += 1;
            }
            if is_over {
                break;
            }
            let (keys, name) = (&self.shared.keys, name_of(topic));
            if let Err(unreadable) = reading.read_on(link, keys, name).await? {
                self.refuse(topic, unreadable);
                break;
            }
        }
        let skipped = &self.shared.counters.skipped;
        skipped.fetch_add(reading.foreign, Ordering::Relaxed);
        self.note_end(topic, reading.tip);
        Ok(count)
    }

    /// Ends a topic that has been read up to its end.
    fn note_end(&mut self, topic: &Arc<Shared>, tip: Tip) {
        let read = topic.name().and_then(|name| self.tips.get(name));
        if tip.is_end && read == Some(&tip.id) {
            topic.end_followed(tip.id);
            self.changed.push(Arc::clone(topic));
        }
    }

    /// Notes that events up to an ID were evicted before they were read.
    fn note_evicted(&mut self, topic: &Arc<Shared>, evicted: LogId) {
        if let Some(name) = topic.name()
            && self.tips.get(name).is_some_and(|tip| *tip < evicted)
        {
            topic.refill(evicted, &[]);
            add(&self.shared.counters.gaps, 1);
            self.shared.notify(&EngineNotice::Gap(name.to_string()));
            self.tips.insert(Arc::clone(name), evicted);
        }
    }

    /// Appends an event after the topic's tip.
    fn append_entry(&mut self, topic: &Arc<Shared>, entry: Entry) {
        let Some(name) = topic.name() else {
            return;
        };
        let tip = self.tips.get(name).copied();
        if tip.is_none_or(|tip| tip >= entry.id) {
            return;
        }
        if topic.is_keyed() && tip.is_some_and(|tip| tip < entry.before) {
            return self.note_gap(Arc::clone(topic)); // Another program has deleted entries.
        }
        self.note_evicted(topic, entry.before);
        self.tips.insert(Arc::clone(name), entry.id);
        let (id, role) = (entry.id, entry.role);
        if role == Role::Begin {
            topic.refill(entry.before, &[]);
        }
        if let Some(followed) = entry.into_followed() {
            if topic.append_followed(&followed) {
                add(&self.shared.counters.received, 1);
            } else {
                add(&self.shared.counters.skipped, 1);
            }
            let last = self.changed.last();
            if !last.is_some_and(|last| Arc::ptr_eq(last, topic)) {
                self.changed.push(Arc::clone(topic));
            }
        } else if role == Role::Event {
            add(&self.shared.counters.skipped, 1);
        }
        let is_end = role == Role::End;
        self.note_end(topic, Tip { id, is_end });
    }
}
