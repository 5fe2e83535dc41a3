//! Writes with a deadline.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;

/// Resolves to the result of `progress`, or an error after `time`.
pub(super) async fn within<T>(
    time: Duration,
    progress: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let mut progress = pin!(progress);
    // Nearly all writes progress at once, and a timer costs as much as the rest of one.
    if let Poll::Ready(result) = poll_fn(|cx| Poll::Ready(progress.as_mut().poll(cx))).await {
        return result;
    }
    match timeout(time, progress.as_mut()).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client took no byte within the write timeout",
        )),
    }
}
