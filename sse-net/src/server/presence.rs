//! Whether the client at the other end of a connection is still there.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use crate::stats::Disconnect;

/// How often it is looked whether a client that has ended its half has reset the connection.
pub(crate) const LOOK: Duration = Duration::from_millis(250);

/// What is known of a client, and how many bytes it may still send.
#[derive(Debug)]
pub(crate) struct Presence {
    state: State,
    room: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Present,
    /// It has ended its half of the connection, and may still read.
    HalfClosed,
    Left(Disconnect),
}

/// What a client has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It has ended its half of the connection, or all of it: only writing tells. The peer of
    /// a closed socket answers the next byte with a reset.
    HalfClosed,
    Left(Disconnect),
}

impl Presence {
    pub(crate) const fn new(max_input: usize) -> Self {
        Self {
            state: State::Present,
            room: max_input,
        }
    }

    pub(crate) const fn set_max_input(&mut self, bytes: usize) {
        self.room = bytes;
    }

    pub(crate) fn is_half_closed(&self) -> bool {
        self.state == State::HalfClosed
    }

    pub(crate) const fn has_left(&self) -> bool {
        matches!(self.state, State::Left(_))
    }

    pub(crate) const fn leave(&mut self, reason: Disconnect) {
        self.state = State::Left(reason);
    }

    /// Keeps a read pending, and throws away what comes. Nothing tells that a client which has
    /// ended its half has reset the connection: poll again after [`LOOK`].
    pub(crate) fn poll<C>(&mut self, connection: &mut C, cx: &mut Context<'_>) -> Poll<Sign>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let mut bytes = [0; 1024];
        for _ in 0..16 {
            let connection = Pin::new(&mut *connection);
            match self.state {
                State::Left(reason) => return Poll::Ready(Sign::Left(reason)),
                // Reads go on to find the end; an empty write finds a reset.
                State::HalfClosed => match connection.poll_write(cx, b"") {
                    Poll::Ready(Err(_)) => self.leave(Disconnect::Gone),
                    _ => return Poll::Pending,
                },
                State::Present => {
                    let mut buffer = ReadBuf::new(&mut bytes);
                    match ready!(connection.poll_read(cx, &mut buffer)) {
                        Err(_) => self.leave(Disconnect::Gone),
                        Ok(()) if buffer.filled().is_empty() => {
                            self.state = State::HalfClosed;
                            return Poll::Ready(Sign::HalfClosed);
                        }
                        Ok(()) => match self.room.checked_sub(buffer.filled().len()) {
                            Some(room) => self.room = room,
                            None => self.leave(Disconnect::UnexpectedInput),
                        },
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits until a client is gone that has had nothing of its response yet.
    ///
    /// To one that has ended its half, the beginning of the response is sent, which is the same
    /// for all: a client that has closed its socket answers with a reset. Returns why it is
    /// gone; `sent` is how many bytes of the response it has had.
    pub(crate) async fn left<C>(&mut self, connection: &mut C, sent: &mut usize) -> Disconnect
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            if self.is_half_closed() && *sent == 0 && probe(connection, sent).await.is_err() {
                self.leave(Disconnect::Gone);
            }
            // Only one that has ended its half is looked at again and again.
            let is_half_closed = self.is_half_closed();
            let sign = poll_fn(|cx| self.poll(connection, cx));
            let sign = match is_half_closed {
                true => timeout(LOOK, sign).await.ok(),
                false => Some(sign.await),
            };
            if let Some(Sign::Left(reason)) = sign {
                return reason;
            }
        }
    }
}

/// What every response begins with.
const BEGINNING: &[u8] = b"H";

async fn probe<C: AsyncWrite + Unpin>(connection: &mut C, sent: &mut usize) -> io::Result<()> {
    *sent += connection.write(BEGINNING).await?;
    connection.flush().await
}
