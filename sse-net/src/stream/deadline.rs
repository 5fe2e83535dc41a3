//! Writes with a deadline.

use std::io;
use std::time::Duration;

use tokio::time::timeout;

/// Resolves to the result of `progress`, or an error after `time`.
pub(super) async fn within<T>(
    time: Duration,
    progress: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    match timeout(time, progress).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client took no byte within the write timeout",
        )),
    }
}
