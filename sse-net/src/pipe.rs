//! A connection within the process, whose other end is a body.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::sync::{Arc, Mutex, MutexGuard, lock};

/// What is below a [`Stream`](crate::Stream) that is the body of an HTTP response.
///
/// It takes events until 16 KiB wait for the HTTP server, and fails once the body has been
/// dropped, which is how an HTTP server says that the client is gone.
#[derive(Debug)]
pub struct Pipe(Arc<Mutex<Channel>>);

/// How many bytes may wait.
const ROOM: usize = 16 << 10;

/// A pipe, and what comes out of it.
pub(crate) fn pipe() -> (Pipe, Outlet) {
    let channel = Arc::default();
    (Pipe(Arc::clone(&channel)), Outlet(channel))
}

/// The other end of a [`Pipe`].
#[derive(Debug)]
pub(crate) struct Outlet(Arc<Mutex<Channel>>);

#[derive(Debug, Default)]
struct Channel {
    /// Whole writes, so that between two takes it is between two events.
    bytes: Vec<u8>,
    writer: Option<Waker>,
    reader: Option<Waker>,
    is_ended: bool,
    is_gone: bool,
}

impl Outlet {
    /// All that waits; none at the end.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut channel = lock(&self.0);
        if !channel.bytes.is_empty() {
            let bytes = std::mem::take(&mut channel.bytes);
            wake(channel, |channel| channel.writer.take());
            return Poll::Ready(Some(bytes.into()));
        }
        if channel.is_ended {
            return Poll::Ready(None);
        }
        wait(channel, |channel| &mut channel.reader, cx);
        Poll::Pending
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let mut channel = lock(&self.0);
        channel.is_gone = true;
        wake(channel, |channel| channel.writer.take());
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut channel = lock(&self.0);
        if channel.is_gone {
            return Poll::Ready(Err(gone()));
        }
        if channel.bytes.len() >= ROOM {
            wait(channel, |channel| &mut channel.writer, cx);
            return Poll::Pending;
        }
        channel.bytes.extend_from_slice(bytes);
        wake(channel, |channel| channel.reader.take());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut channel = lock(&self.0);
        channel.is_ended = true;
        wake(channel, |channel| channel.reader.take());
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Pipe {
    /// There is nothing to read, ever; but that the client is gone is told here.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let channel = lock(&self.0);
        if channel.is_gone {
            return Poll::Ready(Err(gone()));
        }
        wait(channel, |channel| &mut channel.writer, cx);
        Poll::Pending
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let mut channel = lock(&self.0);
        channel.is_ended = true;
        wake(channel, |channel| channel.reader.take());
    }
}

/// Keeps a waker. The one that it replaces may be the last that a task hangs on, and is
/// dropped with the lock released.
fn wait(
    mut channel: MutexGuard<'_, Channel>,
    slot: impl FnOnce(&mut Channel) -> &mut Option<Waker>,
    cx: &Context<'_>,
) {
    let replaced = slot(&mut channel).replace(cx.waker().clone());
    drop(channel);
    drop(replaced);
}

fn wake(mut channel: MutexGuard<'_, Channel>, take: impl FnOnce(&mut Channel) -> Option<Waker>) {
    let waker = take(&mut channel);
    drop(channel);
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone")
}
