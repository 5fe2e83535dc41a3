//! Finds out that a client has disconnected.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use crate::stats::Disconnect;

/// The interval at which a half-closed connection is checked for a reset.
pub(crate) const LOOK: Duration = Duration::from_millis(250);

/// The state of a client, and the number of bytes that it may still send.
#[derive(Debug)]
pub(crate) struct Presence {
    state: State,
    room: usize,
    sent: usize,
    has_unread_body: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Present,
    /// The client has closed its half of the connection, and may still read.
    HalfClosed,
    Left(Disconnect),
}

/// A change of a client's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// The client has closed its half of the connection, or all of it. Only a write shows
    /// which: the peer of a closed socket answers the next byte with a reset.
    HalfClosed,
    Left(Disconnect),
}

impl Presence {
    pub(crate) const fn new(max_input: usize) -> Self {
        Self {
            state: State::Present,
            room: max_input,
            sent: 0,
            has_unread_body: false,
        }
    }

    pub(crate) const fn set_max_input(&mut self, bytes: usize) {
        self.room = bytes;
    }

    /// Counts bytes that were read elsewhere.
    pub(crate) const fn count_input(&mut self, bytes: usize) {
        self.room = self.room.saturating_sub(bytes);
    }

    /// Returns the number of bytes that the client may still send.
    pub(crate) const fn room(&self) -> usize {
        self.room
    }

    /// Notes whether the client may be sending a body that nobody reads.
    pub(crate) const fn set_unread_body(&mut self, is_unread: bool) {
        self.has_unread_body = is_unread;
    }

    pub(crate) const fn has_unread_body(&self) -> bool {
        self.has_unread_body
    }

    /// Notes that the client has closed its half of the connection.
    pub(crate) const fn half_close(&mut self) {
        if matches!(self.state, State::Present) {
            self.state = State::HalfClosed;
        }
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

    /// Reads and discards input, and returns a change of the client's state.
    ///
    /// The reset of a half-closed connection wakes nobody: poll again after [`LOOK`].
    pub(crate) fn poll<C>(&mut self, connection: &mut C, cx: &mut Context<'_>) -> Poll<Sign>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let mut bytes = [MaybeUninit::uninit(); 1024];
        for _ in 0..16 {
            let connection = Pin::new(&mut *connection);
            match self.state {
                State::Left(reason) => return Poll::Ready(Sign::Left(reason)),
                // Reads would return the end of the input again; an empty write finds a reset.
                State::HalfClosed => match connection.poll_write(cx, b"") {
                    Poll::Ready(Err(_)) => self.leave(Disconnect::ClientClosed),
                    _ => return Poll::Pending,
                },
                State::Present => {
                    let mut buffer = ReadBuf::uninit(&mut bytes);
                    match ready!(connection.poll_read(cx, &mut buffer)) {
                        Err(_) => self.leave(Disconnect::ClientClosed),
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

    /// Waits until a client disconnects that waits for its response, and returns the reason.
    ///
    /// A half-closed connection gets the first byte of the response, which is the same for all
    /// responses: if the client has closed its socket, it answers with a reset.
    pub(crate) async fn left<C>(&mut self, connection: &mut C) -> Disconnect
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            if self.is_half_closed() && self.sent == 0 && self.probe(connection).await.is_err() {
                self.leave(Disconnect::ClientClosed);
            }
            // Only a half-closed connection has to be polled at an interval.
            let is_half_closed = self.is_half_closed();
            let sign = poll_fn(|cx| self.poll(connection, cx));
            let sign = if is_half_closed {
                timeout(LOOK, sign).await.ok()
            } else {
                Some(sign.await)
            };
            if let Some(Sign::Left(reason)) = sign {
                return reason;
            }
        }
    }

    /// Returns the number of bytes of the response that [`left`](Self::left) has sent.
    pub(crate) const fn sent(&self) -> usize {
        self.sent
    }

    async fn probe<C: AsyncWrite + Unpin>(&mut self, connection: &mut C) -> io::Result<()> {
        self.sent += connection.write(FIRST_BYTE).await?;
        connection.flush().await
    }
}

/// The first byte of every response.
const FIRST_BYTE: &[u8] = b"H";
