//! The hook for the end of a stream.

use crate::stats::Disconnect;
use crate::unwind::catch;

/// Calls of the application at the end of a stream. Boxed twice, so that each of very many
/// connections holds one pointer.
pub(crate) struct OnEnd(Option<Box<Hook>>);

type Hook = Box<dyn FnOnce(Disconnect) + Send>;

impl OnEnd {
    /// A hook that is not called.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// A hook that logs the end in the current span.
    #[cfg(feature = "tracing")]
    pub(crate) fn traced() -> Self {
        let mut on_end = Self::none();
        if let Some(ending) = crate::trace::Ending::new() {
            on_end.add(move |reason| ending.tell(reason));
        }
        on_end
    }

    #[cfg(not(feature = "tracing"))]
    pub(crate) const fn traced() -> Self {
        Self::none()
    }

    /// Calls the hooks, in the order in which they were added.
    pub(crate) fn tell(mut self, reason: Disconnect) {
        self.call(reason);
    }

    pub(crate) fn add(&mut self, hook: impl FnOnce(Disconnect) + Send + 'static) {
        self.0 = Some(Box::new(match self.0.take() {
            None => Box::new(hook),
            Some(first) => Box::new(move |reason| {
                Self(Some(first)).tell(reason);
                hook(reason);
            }),
        }));
    }

    /// Like [`tell`](Self::tell). Later calls do nothing.
    pub(crate) fn call(&mut self, reason: Disconnect) {
        if let Some(hook) = self.0.take() {
            // A panic here must not end the shard's other connections.
            let _ = catch("a hook", || hook(reason));
        }
    }
}

impl Drop for OnEnd {
    /// A stream that is dropped without a reason ends with its server.
    fn drop(&mut self) {
        self.call(Disconnect::Drained);
    }
}
