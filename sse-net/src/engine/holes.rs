//! Holes: events that were not notified, and that the mark has passed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::catch_up::name_of;
use super::follower::{Follower, GAPPED, Scope};
use super::link::{Broken, Link};
use super::notice::EngineNotice;
use super::reading::tips;
use super::snapshot::add;
use crate::topic::Shared;

impl Follower {
    /// Notes a hole that the mark has passed.
    pub(super) fn note_gap(&mut self, topic: Arc<Shared>) {
        if let Some(name) = topic.name() {
            self.tips.insert(Arc::clone(name), GAPPED);
            self.gapped.push(topic);
        }
    }

    /// Compares the tips of topics that have changed with the engine's, and stops following
    /// topics that the hub has dropped.
    pub(super) async fn compare(&mut self, link: &mut Link) -> Result<(), Broken> {
        let until = self.epochs.last();
        let topics = self.changed_topics(link, self.compared).await?;
        let names: Vec<_> = topics.iter().map(|(topic, _)| name_of(topic)).collect();
        let tips = tips(link, &self.shared.keys, &names).await?;
        for ((topic, tip), current) in topics.into_iter().zip(tips) {
            // The notification of a later event may be on its way.
            if current.is_some_and(|current| current.id > tip && current.id <= until) {
                self.note_gap(topic);
            }
        }
        self.compared = until.millis();
        let now = Instant::now();
        self.holes.retain(|_, (_, until)| *until > now);
        if self.tips.len() > self.hub.count() {
            let is_gone = |name: &Arc<str>| self.hub.find(name).is_none();
            let names = self.tips.keys().filter(|name| is_gone(name));
            let gone: Vec<Arc<str>> = names.cloned().collect();
            let channels = gone.iter().map(|name| self.shared.keys.channel(name));
            link.unsubscribe(&Vec::from_iter(channels)).await?;
            for name in gone {
                self.tips.remove(&name);
            }
        }
        Ok(())
    }

    /// Ends the streams of topics with a hole, so that their clients receive a gap event.
    ///
    /// Everything in such a topic counts as evicted up to an ID that no event has, and that is
    /// later than every position. So all of its streams end, and their clients reconnect.
    pub(super) async fn report_gaps(&mut self, link: &mut Link) -> Result<(), Broken> {
        while !self.gapped.is_empty() {
            if self.take_tick(link, true, Scope::Unread).await?.is_some() {
                self.catch_up(link, Scope::All).await?;
                continue;
            }
            let id = self.epochs.last();
            let names: Vec<_> = self.gapped.iter().map(|topic| name_of(topic)).collect();
            let mut tips = tips(link, &self.shared.keys, &names).await?;
            while let (Some(topic), Some(tip)) = (self.gapped.last().cloned(), tips.pop()) {
                if self.is_refused(&topic) {
                    // The hole is noted for when it can be read.
                } else if topic.is_keyed() {
                    self.read_state(link, &topic, id).await?;
                } else {
                    topic.refill(id, &[]);
                    self.tips.insert(name_of(&topic).into(), id);
                    if tip.is_some_and(|tip| tip.is_end && tip.id <= id) {
                        topic.end_followed(id);
                    }
                }
                add(&self.shared.counters.gaps, 1);
                let notice = EngineNotice::Gap(name_of(&topic).to_owned());
                self.shared.notify(&notice);
                let name: Arc<str> = name_of(&topic).into();
                let until = Instant::now() + topic.retention().max_age().min(HOLE_AGE);
                self.holes.insert(name, (id, until));
                // If the link breaks before this, the topic is still to be reported.
                self.gapped.pop();
                self.changed.push(topic);
            }
            self.show();
        }
        Ok(())
    }
}

/// How long a hole is remembered at most.
const HOLE_AGE: Duration = Duration::from_secs(24 * 3600);
