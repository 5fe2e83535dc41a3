//! The streams of a hub by their tokens, and how long they are kept.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::set::TopicSet;
use super::token::StreamToken;
use crate::sync::Arc;

/// The topics of streams, by the tokens of the streams.
///
/// A stream that has responses is always here. One without is kept for some time, since its
/// client may come back.
#[derive(Default)]
pub(crate) struct KeptStreams {
    streams: HashMap<StreamToken, Kept>,
    /// Those without a response, in the order in which their last ones ended.
    idle: BTreeMap<u64, (Duration, StreamToken)>,
    next: u64,
}

struct Kept {
    set: Arc<TopicSet>,
    responses: usize,
    /// The key in `idle`.
    idle: Option<u64>,
}

/// Streams that are no longer kept. Their topics are released without a lock.
pub(super) type Dropped = Vec<Arc<TopicSet>>;

impl KeptStreams {
    pub(super) fn get(&self, token: &StreamToken) -> Option<Arc<TopicSet>> {
        Some(Arc::clone(&self.streams.get(token)?.set))
    }

    #[cfg(feature = "redis")]
    pub(super) fn sets(&self) -> impl Iterator<Item = &Arc<TopicSet>> {
        self.streams.values().map(|kept| &kept.set)
    }

    /// Counts a response of a stream, which `create` creates if it is unknown. Returns whether it
    /// is known.
    pub(super) fn begin(
        &mut self,
        token: &StreamToken,
        create: impl FnOnce() -> Arc<TopicSet>,
    ) -> (Arc<TopicSet>, bool) {
        let is_known = self.streams.contains_key(token);
        let kept = self.streams.entry(token.clone()).or_insert_with(|| Kept {
            set: create(),
            responses: 0,
            idle: None,
        });
        kept.responses += 1;
        if let Some(idle) = kept.idle.take() {
            self.idle.remove(&idle);
        }
        (Arc::clone(&kept.set), is_known)
    }

    /// Counts the end of a response. The stream is kept until a time if it was the last one.
    pub(super) fn end(&mut self, token: &StreamToken, until: Duration) {
        let Some(kept) = self.streams.get_mut(token) else {
            return;
        };
        kept.responses -= 1;
        if kept.responses == 0 {
            kept.idle = Some(self.next);
            self.idle.insert(self.next, (until, token.clone()));
            self.next += 1;
        }
    }

    /// Drops streams without a response whose time is over, and the oldest beyond `max`, some at a
    /// time.
    pub(super) fn sweep(&mut self, max: usize, now: Duration) -> Dropped {
        let mut dropped = Dropped::new();
        while dropped.len() < SWEEP
            && let Some((&key, (until, _))) = self.idle.first_key_value()
            && (*until <= now || self.idle.len() > max)
        {
            let oldest = self.idle.remove(&key);
            let kept = oldest.and_then(|(_, token)| self.streams.remove(&token));
            dropped.extend(kept.map(|kept| kept.set));
        }
        dropped
    }
}

/// The number of streams that are dropped at once.
const SWEEP: usize = 64;
