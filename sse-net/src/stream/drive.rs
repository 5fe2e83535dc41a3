//! Writing the unsent bytes of a stream, and noticing that its client has disconnected.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use sse_core::{Outbox, SendError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::deadline::within;
use super::{Stream, pipe};
use crate::trace;
use crate::transport::presence::{LOOK, Sign};

impl<C: AsyncRead + AsyncWrite + Unpin> Stream<C> {
    /// Waits until the client disconnects, or there are bytes to write.
    pub(super) async fn watch(&mut self) {
        // No read shows that a half-closed client has reset the connection.
        let look_at = if self.presence.is_half_closed() {
            Instant::now().checked_add(LOOK)
        } else {
            None
        };
        // Nothing may have been written yet.
        let heartbeat_at = self.heartbeat_at.or_else(|| self.next_heartbeat());
        self.heartbeat_at = heartbeat_at;
        let watch = poll_fn(|cx| match self.poll_client(cx) {
            Poll::Pending if self.is_drained() => Poll::Pending,
            _ => Poll::Ready(()),
        });
        match heartbeat_at.into_iter().chain(look_at).min() {
            Some(until) => _ = timeout_at(until, watch).await,
            None => watch.await,
        }
        if heartbeat_at.is_some_and(|heartbeat_at| heartbeat_at <= Instant::now()) {
            self.queue_heartbeat();
        }
    }

    /// Lets the outbox accept an event, and writes it.
    pub(super) async fn accept(
        &mut self,
        push: impl FnOnce(&mut Outbox) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        if self.outbox.is_full() {
            // Cancelled calls have left these bytes. An error of the connection is reported
            // with the next event that is accepted; this one is refused unless there is room.
            let _ = self.drain().await;
        }
        push(&mut self.outbox)?;
        trace::dropped_ids();
        self.is_flushed = false;
        Ok(self.drain().await?)
    }

    /// Writes the unsent bytes, and flushes. The write timeout begins anew with each write.
    pub(super) async fn drain(&mut self) -> io::Result<()> {
        let time = self.write_timeout;
        while !self.is_drained() {
            within(time, poll_fn(|cx| self.poll_progress(cx))).await?;
        }
        Ok(())
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.poll_client(cx).is_ready() {
            return Poll::Ready(Err(pipe::disconnected()));
        }
        let mut connection = Pin::new(&mut self.connection);
        let is_unsent = !self.outbox.is_empty();
        if is_unsent {
            match ready!(connection.as_mut().poll_write(cx, self.outbox.pending()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                taken => self.outbox.advance(taken),
            }
        }
        if self.outbox.is_empty() {
            match connection.poll_flush(cx)? {
                Poll::Ready(()) => {
                    self.is_flushed = true;
                    self.heartbeat_at = self.next_heartbeat();
                }
                Poll::Pending if is_unsent => {} // Bytes were taken: the write timeout begins anew.
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Returns when a heartbeat is due if nothing is written from now on.
    fn next_heartbeat(&self) -> Option<Instant> {
        let silence = self.heartbeat?.max(LOOK);
        Instant::now().checked_add(silence)
    }

    /// Keeps a read pending. Ready when the client has disconnected.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match ready!(self.presence.poll(&mut self.connection, cx)) {
                Sign::Left(_) => return Poll::Ready(()),
                // A closed tab answers a heartbeat with a reset. A peer that has only closed
                // its own half continues to read.
                Sign::HalfClosed => self.queue_heartbeat(),
            }
        }
    }

    /// Queues a heartbeat, unless there are unsent bytes.
    fn queue_heartbeat(&mut self) {
        if self.outbox.is_empty() && self.outbox.comment("").is_ok() {
            self.is_flushed = false;
        }
    }

    pub(super) async fn shut_down(&mut self) -> io::Result<()> {
        let connection = &mut self.connection;
        let ending = poll_fn(|cx| Pin::new(&mut *connection).poll_shutdown(cx));
        within(self.write_timeout, ending).await
    }

    /// Returns `true` if all bytes are written and flushed.
    pub(super) const fn is_drained(&self) -> bool {
        self.outbox.is_empty() && self.is_flushed
    }
}
