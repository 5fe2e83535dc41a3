//! Contains panics of code that is not the server's: handlers, hooks, transports, listeners.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

use crate::trace;

/// A panic that has been logged.
#[derive(Debug)]
pub(crate) struct Panicked;

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the handler has panicked")
    }
}

impl Error for Panicked {}

/// Calls `work` and logs a panic of it under the name `what`.
pub(crate) fn catch<T>(what: &str, work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
        trace::panicked(what);
        Panicked
    })
}

/// Like [`catch`], for every poll of `future`, which is pinned already: a large one would be moved
/// several times on its way here.
pub(crate) async fn catch_async<F>(what: &str, mut future: F) -> Result<F::Output, Panicked>
where
    F: Future + Unpin,
{
    poll_fn(|cx| match catch(what, || Pin::new(&mut future).poll(cx)) {
        Ok(poll) => poll.map(Ok),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}
