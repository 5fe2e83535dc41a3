//! A timer of a stream.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is reset only when it fires: events are far more frequent than heartbeats and
/// deadlines, and each would otherwise reset it. It is created when it is first needed.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// When it wakes the task.
    fires_at: Option<Instant>,
}

impl Timer {
    /// Ready at the time `at`.
    pub(crate) fn poll(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if self.fires_at.is_some_and(|fires_at| fires_at <= at) && !sleep.is_elapsed() {
            return Poll::Pending;
        }
        sleep.as_mut().reset(at);
        self.fires_at = Some(at);
        // A task that has used up its budget would be woken at once, without having registered.
        pin!(unconstrained(sleep.as_mut())).poll(cx)
    }

    /// Notes that another task polls from now on, which has to be woken instead.
    #[cfg(feature = "http")]
    pub(crate) const fn set_other_task(&mut self) {
        self.fires_at = None;
    }
}
