//! Writes with a deadline.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::timeout;

/// Writes all of `bytes`. The write timeout begins anew with each write.
pub(crate) async fn write_all(
    connection: &mut (impl AsyncWrite + Unpin),
    mut bytes: &[u8],
    write_timeout: Duration,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let writing = poll_fn(|cx| Pin::new(&mut *connection).poll_write(cx, bytes));
        match within(write_timeout, writing).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            taken => bytes = &bytes[taken..],
        }
    }
    Ok(())
}

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
