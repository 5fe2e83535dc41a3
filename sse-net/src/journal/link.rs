//! What the threads of a journal and its handle share.

use std::collections::VecDeque;
use std::sync::Arc;

use sse_core::LogId;
use tokio::sync::watch;

use super::disk::FileError;
use super::notice::JournalState;
use super::writer_waker::WriterWaker;
use crate::topic::{Published, Shared};

/// Wakes the writer, and shows its state.
#[derive(Default)]
pub(super) struct Link {
    pub(super) waker: WriterWaker,
    pub(super) status: watch::Sender<Status>,
}

/// What callers can see and wait for.
#[derive(Debug, Default, Clone)]
pub(super) struct Status {
    pub(super) state: JournalState,
    pub(super) synced: LogId,
    /// The ID up to which callers wait for a sync.
    pub(super) sync_to: LogId,
    pub(super) missed: Misses,
    pub(super) failure: Option<FileError>,
    /// Whether the last handle has been dropped.
    pub(super) is_closing: bool,
}

impl Link {
    /// Notes something for the writer, which looks at it once it is woken.
    pub(super) fn note(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_if_modified(|status| {
            change(status);
            false
        });
    }

    /// Asks for a sync of all events up to an ID.
    pub(super) fn request_sync(&self, until: LogId) {
        self.note(|status| status.sync_to = status.sync_to.max(until));
    }

    pub(super) fn is_closing(&self) -> bool {
        self.status.borrow().is_closing
    }

    /// Returns whether a caller waits until events are stored or synced.
    pub(super) fn is_awaited(&self) -> bool {
        self.status.receiver_count() > 0
    }
}

/// Events that were never written, as ranges of IDs in their topics.
#[derive(Debug, Default, Clone)]
pub(super) struct Misses(VecDeque<Miss>);

/// All events of a topic after one ID and up to another.
#[derive(Debug, Clone)]
struct Miss {
    /// The address of the topic; `None` for all topics. A topic that gets the address later has
    /// later IDs.
    topic: Option<usize>,
    after: LogId,
    until: LogId,
}

impl Misses {
    pub(super) fn add(&mut self, topic: &Arc<Shared>, after: LogId, until: LogId) {
        if self.0.len() == MAX
            && let Some(oldest) = self.0.pop_front()
            && let Some(next) = self.0.front_mut()
        {
            (next.topic, next.after) = (None, next.after.min(oldest.after));
            next.until = next.until.max(oldest.until);
        }
        let topic = Some(Arc::as_ptr(topic).addr());
        self.0.push_back(Miss {
            topic,
            after,
            until,
        });
    }

    /// Returns `true` if one of the events that were published together was missed.
    pub(super) fn has(&self, published: &Published) -> bool {
        self.0.iter().any(|miss| {
            let is_topic = miss.topic.is_none_or(|topic| topic == published.topic);
            is_topic && published.before < miss.until && miss.after < published.last
        })
    }
}

/// The number of misses after which the two oldest count as one of all topics.
const MAX: usize = 256;
