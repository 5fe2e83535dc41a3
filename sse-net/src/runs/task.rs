//! The task of a run.

use std::future::pending;
use std::thread;
use std::time::Duration;

use tokio::time::timeout;

use super::end::RunEnd;
use super::registry::Registry;
use super::run::Run;
use crate::sync::Arc;
use crate::topic::Topic;
use crate::trace;

/// Ends a run, also if the task is dropped with the runtime or dropping the work panics.
pub(super) struct Task {
    pub(super) registry: Arc<Registry>,
    run: Option<Run>,
}

impl Task {
    pub(super) fn new(registry: &Arc<Registry>, run: &Run) -> Self {
        Self {
            registry: Arc::clone(registry),
            run: Some(run.clone()),
        }
    }

    pub(super) fn end(mut self, end: &RunEnd<'_>) {
        self.end_once(end);
    }

    /// Leaves a run that another node has.
    pub(super) fn leave(mut self) {
        if let Some(run) = self.run.take() {
            self.registry.leave(&run);
        }
    }

    fn end_once(&mut self, end: &RunEnd<'_>) {
        if let Some(run) = self.run.take() {
            self.registry.end(&run, end);
            self.registry.sweep();
            if let RunEnd::Failed(error) = end {
                trace::run_failed(&run.key, error); // Last, because it may panic.
            }
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.end_once(if thread::panicking() {
            &RunEnd::Panicked
        } else {
            &RunEnd::Interrupted
        });
    }
}

/// Waits until the topic has had no subscriber for this time; without a time, for ever.
///
/// Subscribers leave a topic that has been finished, so then this waits for ever, too.
pub(super) async fn unfollowed(topic: &Topic, time: Option<Duration>) {
    let Some(time) = time else {
        return pending().await;
    };
    while timeout(time, topic.watched()).await.is_ok() {
        topic.unwatched().await;
    }
    if topic.is_finished() {
        pending::<()>().await;
    }
}
