//! The time or the future that ends a stream early.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use tokio::time::Instant;

use crate::stats::Disconnect;
use crate::unwind::catch;

/// What ends a stream early: a [`SystemTime`], or a future without output.
///
/// [`Answer::until`](crate::Answer::until) and, inside an HTTP server, `Body::until` take it.
/// The parameter is inferred. Only these two kinds implement the trait.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a `SystemTime` nor a future without output",
    note = "for a `Duration`, add it: `SystemTime::now() + duration`",
    note = "for a future with an output, discard it: `future.map(drop)` or an `async` block"
)]
pub trait Until<Kind>: sealed::Sealed<Kind> {}

impl Until<Self> for SystemTime {}

impl<F: Future<Output = ()> + Send + 'static> Until<()> for F {}

#[expect(
    unnameable_types,
    reason = "so that no other crate implements the trait"
)]
mod sealed {
    use super::{Instant, Signal, SystemTime};

    pub trait Sealed<Kind> {
        /// Returns the time or the future. A time may be too far in the future for an `Instant`.
        fn into_end(self) -> (Option<Instant>, Option<Signal>);
    }

    impl Sealed<Self> for SystemTime {
        fn into_end(self) -> (Option<Instant>, Option<Signal>) {
            let wait = self.duration_since(Self::now()).unwrap_or_default();
            (Instant::now().checked_add(wait), None)
        }
    }

    impl<F: Future<Output = ()> + Send + 'static> Sealed<()> for F {
        fn into_end(self) -> (Option<Instant>, Option<Signal>) {
            (None, Some(Box::pin(self)))
        }
    }
}

/// A future that ends a stream.
pub(crate) type Signal = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The futures that end a stream; usually there is none.
#[derive(Default)]
pub(crate) struct Signals(Vec<Signal>);

impl Signals {
    pub(crate) fn add(&mut self, signal: Signal) {
        self.0.push(signal);
    }

    /// Resolves to the reason for which the stream ends, once one of the futures has resolved or
    /// panicked.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Disconnect> {
        for signal in &mut self.0 {
            let reason = match catch("the future of `until`", || signal.as_mut().poll(cx)) {
                Ok(Poll::Pending) => continue,
                Ok(Poll::Ready(())) => Disconnect::Expired,
                Err(_) => Disconnect::HandlerPanicked,
            };
            self.clear();
            return Poll::Ready(reason);
        }
        Poll::Pending
    }

    fn clear(&mut self) {
        for signal in self.0.drain(..) {
            let _ = catch("the future of `until`", || drop(signal));
        }
    }
}

impl Drop for Signals {
    /// Drops the futures one by one, since each may panic.
    fn drop(&mut self) {
        self.clear();
    }
}
