//! The application's part in the end of a stream: what ends it early, and who is notified.

use std::mem;
use std::task::{Context, Poll};

use super::until::{Signal, Signals};
use crate::stats::Disconnect;
use crate::unwind::catch;

/// The hooks for the end of a stream, and the futures that end it. Boxed twice, so that each of
/// very many connections holds one pointer.
pub(crate) struct OnEnd(Option<Box<Inner>>);

#[derive(Default)]
struct Inner {
    hook: Option<Hook>,
    signals: Signals,
}

type Hook = Box<dyn FnOnce(Disconnect) + Send>;

impl OnEnd {
    /// Creates one without hooks and futures.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// Creates one with a hook that logs the end in the current span.
    #[cfg(feature = "tracing")]
    pub(crate) fn traced() -> Self {
        let mut on_end = Self::none();
        if let Some(ending) = crate::trace::Ending::new() {
            on_end.add(move |reason| ending.log(&reason));
        }
        on_end
    }

    #[cfg(not(feature = "tracing"))]
    pub(crate) const fn traced() -> Self {
        Self::none()
    }

    /// Calls the hooks, in the order in which they were added.
    pub(crate) fn run(mut self, reason: Disconnect) {
        self.call(reason);
    }

    /// Drops the hooks without calling them.
    pub(crate) fn cancel(mut self) {
        self.0 = None;
    }

    pub(crate) fn add(&mut self, hook: impl FnOnce(Disconnect) + Send + 'static) {
        let inner = self.0.get_or_insert_default();
        inner.hook = Some(match inner.hook.take() {
            None => Box::new(hook),
            Some(first) => Box::new(move |reason| {
                call(first, reason);
                hook(reason);
            }),
        });
    }

    /// Adds a future that ends the stream.
    pub(crate) fn add_signal(&mut self, signal: Signal) {
        self.0.get_or_insert_default().signals.add(signal);
    }

    /// Resolves to the reason for which the stream ends, once one of the futures has resolved.
    pub(crate) fn poll_signals(&mut self, cx: &mut Context<'_>) -> Poll<Disconnect> {
        match &mut self.0 {
            Some(inner) => inner.signals.poll(cx),
            None => Poll::Pending,
        }
    }

    /// Takes the futures that end the stream.
    pub(crate) fn take_signals(&mut self) -> Signals {
        let inner = self.0.as_mut();
        inner.map_or_else(Signals::default, |inner| mem::take(&mut inner.signals))
    }

    /// Like [`run`](Self::run). Later calls do nothing.
    pub(crate) fn call(&mut self, reason: Disconnect) {
        if let Some(mut inner) = self.0.take() {
            drop(mem::take(&mut inner.signals));
            if let Some(hook) = inner.hook.take() {
                call(hook, reason);
            }
        }
    }
}

impl Drop for OnEnd {
    /// A stream that is dropped without a reason ends with its server.
    fn drop(&mut self) {
        self.call(Disconnect::Drained);
    }
}

/// Calls a hook. A panic of it must not end the shard's other connections.
fn call(hook: Hook, reason: Disconnect) {
    let _ = catch("a hook", || hook(reason));
}
