//! A pipe within the process, between a per-client stream and its body or connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::sync::{Arc, Mutex, MutexGuard, lock};

/// The connection of a [`Stream`](crate::Stream) that writes the body of a response.
///
/// It blocks while 16 KiB are buffered for the HTTP server, and fails once the server has
/// dropped the body, because the client has disconnected.
#[derive(Debug)]
pub struct PipeWriter(Arc<Mutex<Channel>>);

/// The number of buffered bytes at which the writer blocks: one TLS record. Not a setting, because
/// more would only hide a slow client from the writer, and whole events may be longer anyway.
const CAPACITY: usize = 16 << 10;

/// Creates a pipe that contains `bytes`.
pub(crate) fn pipe(bytes: Vec<u8>) -> (PipeWriter, PipeReader) {
    let channel = Arc::new(Mutex::new(Channel {
        bytes,
        ..Channel::default()
    }));
    (PipeWriter(Arc::clone(&channel)), PipeReader(channel))
}

/// The reading end of a pipe.
#[derive(Debug)]
pub(crate) struct PipeReader(Arc<Mutex<Channel>>);

#[derive(Debug, Default)]
struct Channel {
    /// Whole writes only, so that between two takes the stream is between two events.
    bytes: Vec<u8>,
    writer: Option<Waker>,
    reader: Option<Waker>,
    is_ended: bool,
    is_gone: bool,
}

impl PipeReader {
    /// Takes all buffered bytes; `None` at the end of the stream.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        let mut channel = lock(&self.0);
        if !channel.bytes.is_empty() {
            let bytes = std::mem::take(&mut channel.bytes);
            if bytes.len() >= CAPACITY {
                wake(channel, |channel| channel.writer.take());
            }
            return Poll::Ready(Some(bytes));
        }
        if channel.is_ended {
            return Poll::Ready(None);
        }
        wait(channel, |channel| &mut channel.reader, cx);
        Poll::Pending
    }

    /// Forgets the task that waits for bytes.
    ///
    /// A task that polls the writer itself, and then takes, need not be woken by it.
    pub(crate) fn stop_waiting(&self) {
        let waker = lock(&self.0).reader.take();
        drop(waker); // It may be the last reference to a task, and is dropped without the lock.
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        let mut channel = lock(&self.0);
        channel.is_gone = true;
        wake(channel, |channel| channel.writer.take());
    }
}

impl AsyncWrite for PipeWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut channel = lock(&self.0);
        if channel.is_gone {
            return Poll::Ready(Err(disconnected()));
        }
        if channel.bytes.len() >= CAPACITY {
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

impl AsyncRead for PipeWriter {
    /// Never ready, except with an error once the client has disconnected.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let channel = lock(&self.0);
        if channel.is_gone {
            return Poll::Ready(Err(disconnected()));
        }
        wait(channel, |channel| &mut channel.writer, cx);
        Poll::Pending
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        let mut channel = lock(&self.0);
        channel.is_ended = true;
        wake(channel, |channel| channel.reader.take());
    }
}

/// Registers a waker. The replaced one may be the last reference to a task, and is dropped
/// without the lock.
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

/// The error of a call after the client has disconnected.
pub(crate) fn disconnected() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the client has disconnected")
}
