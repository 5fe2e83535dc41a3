//! A connection of a shard, its position and its unsent bytes.
//!
//! ```text
//!              bytes not taken                   all taken
//!  up to date ────────────────> has unsent bytes ─────────> behind its group
//!      ^                          │        ^                    │        │
//!      │                          │        └── a slice ─────────┘        │
//!      │                          │ end of the topic, lag, age, drain    │
//!      │                          v                                      │
//!      │                     closes: the last bytes, then shutdown       │
//!      └──────────────── position = the group's ─────────────────────────┘
//! ```

use std::io;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use sse_core::{Begun, Cursor, Slice};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::stats::Disconnect;
use crate::topic::{Joining, Several, Topic};
use crate::trace;
use crate::transport::Transport;
use crate::transport::limit::Permit;
use crate::transport::on_end::OnEnd;

/// A connection that is handed over to a shard.
pub(crate) struct Arrival {
    pub(crate) transport: Transport,
    pub(crate) follows: Follow,
    /// The bytes before the first event: the response head and the opening blocks.
    pub(crate) opening: Vec<u8>,
    /// When the stream ends at the latest.
    pub(crate) expires_at: Option<Instant>,
    /// The stream ends with a reconnection time, unless the request is `without_retry`.
    pub(crate) sends_retry: bool,
    /// The client may be sending a body that nobody reads, so that closing has to linger.
    pub(crate) has_unread_body: bool,
    /// The number of bytes that the client has sent after its request.
    pub(crate) input: u32,
    pub(crate) on_end: OnEnd,
    pub(crate) permit: Permit,
}

/// What an arriving connection follows, and where it continues.
pub(crate) enum Follow {
    One {
        topic: Topic,
        cursor: Cursor,
        joining: Option<Box<Joining>>,
    },
    Several(Box<Several>),
}

pub(super) struct Connection {
    pub(super) transport: Transport,
    pub(super) waker: Waker,
    /// The key of the feed that it follows, or [`SEVERAL`].
    pub(super) feed: u32,
    /// The index among the group's members, or the key of its [`Joint`](super::joint::Joint).
    pub(super) place: u32,
    /// All events of the topic before this have been written, or are in `unsent`. Of several
    /// topics, the `Joint` has the position.
    pub(super) position: Cursor,
    /// The tick at which a heartbeat is due, unless something is written before.
    pub(super) heartbeat_at: u32,
    /// The tick at which the stream is ended.
    pub(super) leave_at: u32,
    /// The reason for ending it then.
    pub(super) leave_reason: Disconnect,
    /// The bytes that the peer has sent after its request.
    pub(super) input: u32,
    /// A connection is queued at most once, to catch up.
    pub(super) is_queued: bool,
    pub(super) sends_retry: bool,
    pub(super) has_unread_body: bool,
    /// The bytes that it could not take.
    pub(super) unsent: Option<Box<Unsent>>,
    pub(super) on_end: OnEnd,
    pub(super) permit: Permit,
}

/// Bytes that a connection has not taken.
pub(super) struct Unsent {
    /// The rest of the opening or of an event; after it, the stream is between two events.
    pub(super) bytes: Bytes,
    /// The tick at which the connection last took a byte.
    pub(super) since: u32,
    /// How the stream ends after `bytes`, if it does.
    pub(super) close: Option<Close>,
}

/// The end of a stream.
pub(super) struct Close {
    /// The last bytes.
    pub(super) last: Bytes,
    pub(super) reason: Disconnect,
}

/// The result of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// All bytes were taken.
    All,
    /// This many bytes were taken; the connection wakes the shard when it takes more.
    Blocked(usize),
    /// This many bytes were taken, the most at a time.
    Paused(usize),
}

impl Written {
    pub(super) const fn taken(self, len: usize) -> usize {
        match self {
            Self::All => len,
            Self::Blocked(taken) | Self::Paused(taken) => taken,
        }
    }
}

/// What a connection follows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Follows {
    /// The feed with this key, which is a group.
    One(u32),
    /// Several, as the `Joint` with this key says.
    Several(u32),
}

/// The feed of a connection that follows several. One more field would cost each of very many
/// connections 16 bytes.
pub(super) const SEVERAL: u32 = u32::MAX;

impl Connection {
    pub(super) const fn follows(&self) -> Follows {
        match self.feed {
            SEVERAL => Follows::Several(self.place),
            feed => Follows::One(feed),
        }
    }

    /// Writes as much of `bytes` as the connection takes now, up to [`MAX_WRITE`].
    pub(super) fn try_write(&mut self, bytes: &[u8]) -> Result<Written, Disconnect> {
        let first = &bytes[..bytes.len().min(MAX_WRITE)];
        let mut taken = 0;
        if let Some(written) = self.transport.try_write(first) {
            taken = written.map_err(|_| Disconnect::ClientClosed)?;
            if taken == bytes.len() {
                return Ok(Written::All);
            }
        }
        let cx = &mut Context::from_waker(&self.waker);
        let mut transport = Pin::new(&mut self.transport);
        guard(|| {
            while taken < bytes.len() {
                if taken >= MAX_WRITE {
                    return Ok(Written::Paused(taken));
                }
                let end = bytes.len().min(taken + MAX_WRITE);
                match transport.as_mut().poll_write(cx, &bytes[taken..end]) {
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(written) => taken += written?,
                    Poll::Pending => return Ok(Written::Blocked(taken)),
                }
            }
            match transport.poll_flush(cx) {
                Poll::Ready(flushed) => flushed.map(|()| Written::All),
                Poll::Pending => Ok(Written::Blocked(taken)),
            }
        })
    }

    /// Reads and discards at most 16 KiB. Ready at the end of input, or when there may be more.
    pub(super) fn poll_input(&mut self) -> Poll<Result<Input, Disconnect>> {
        let cx = &mut Context::from_waker(&self.waker);
        let mut transport = Pin::new(&mut self.transport);
        let read = guard(|| {
            let (mut bytes, mut len) = ([MaybeUninit::uninit(); 1024], 0);
            for _ in 0..16 {
                let mut buffer = ReadBuf::uninit(&mut bytes);
                match transport.as_mut().poll_read(cx, &mut buffer) {
                    Poll::Pending => return Ok((len, Poll::Pending)),
                    Poll::Ready(read) => read?,
                }
                match buffer.filled().len() {
                    0 => return Ok((len, Poll::Ready(Input::End))),
                    read => len += read,
                }
            }
            Ok((len, Poll::Ready(Input::More)))
        });
        match read {
            Ok((len, state)) => {
                let len = u32::try_from(len).unwrap_or(u32::MAX);
                self.input = self.input.saturating_add(len);
                state.map(Ok)
            }
            Err(reason) => Poll::Ready(Err(reason)),
        }
    }

    /// Ends the stream: closes the TLS session and the socket's own half.
    pub(super) fn poll_shutdown(&mut self) -> Poll<Result<(), Disconnect>> {
        let cx = &mut Context::from_waker(&self.waker);
        let transport = Pin::new(&mut self.transport);
        match guard(|| Ok(transport.poll_shutdown(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(_)) => Poll::Ready(Ok(())),
            Err(reason) => Poll::Ready(Err(reason)),
        }
    }

    /// Returns an error if the peer has reset the connection, which no read shows after the
    /// peer has closed its half.
    pub(super) fn probe(&mut self) -> Result<(), Disconnect> {
        let cx = &mut Context::from_waker(&self.waker);
        let transport = Pin::new(&mut self.transport);
        guard(|| match transport.poll_write(cx, b"") {
            Poll::Ready(written) => written.map(drop),
            Poll::Pending => Ok(()),
        })
    }

    /// Keeps the rest of the event in which the connection stopped taking a slice. Returns the
    /// events that it has begun.
    pub(super) fn keep_unsent(&mut self, slice: &Slice, taken: usize, since: u32) -> Begun {
        let begun = slice.begun(taken);
        self.position = begun.position;
        self.set_unsent(slice.bytes().slice(taken..begun.len), since);
        begun
    }

    /// Keeps bytes before the position. Few bytes are copied, so that they do not hold a whole
    /// chunk of the log in memory.
    pub(super) fn set_unsent(&mut self, bytes: Bytes, since: u32) {
        let bytes = if bytes.len() <= MAX_COPY {
            Bytes::copy_from_slice(&bytes)
        } else {
            bytes
        };
        self.unsent = Some(Box::new(Unsent {
            bytes,
            since,
            close: None,
        }));
    }

    /// Resolves to the reason for which one of the futures of `until` ends the stream.
    pub(super) fn poll_signals(&mut self) -> Poll<Disconnect> {
        let cx = &mut Context::from_waker(&self.waker);
        self.on_end.poll_signals(cx)
    }

    /// Ends the stream after the unsent bytes and `last`.
    pub(super) fn close(&mut self, last: Bytes, reason: Disconnect, now: u32) {
        let unsent = self.unsent.get_or_insert_with(|| {
            Box::new(Unsent {
                bytes: Bytes::new(),
                since: now,
                close: None,
            })
        });
        unsent.close = Some(Close { last, reason });
    }

    /// Returns `true` if the stream ends after its unsent bytes.
    pub(super) fn is_closing(&self) -> bool {
        let unsent = self.unsent.as_ref();
        unsent.is_some_and(|unsent| unsent.close.is_some())
    }

    /// Drops the connection, or lets it [linger](Transport::linger) if its peer may be sending.
    pub(super) fn end(self, reason: Disconnect) {
        let Self {
            mut transport,
            waker,
            on_end,
            permit,
            has_unread_body,
            ..
        } = self;
        if has_unread_body && reason.is_orderly() {
            drop(waker);
            on_end.run(reason);
            tokio::spawn(async move {
                transport.linger().await;
                drop((transport, permit));
            });
            return;
        }
        let dropped = guard(|| {
            drop(transport);
            Ok(())
        });
        drop((dropped, waker));
        on_end.run(reason);
        // A drain waits for this, and the hooks have been called when it returns.
        drop(permit);
    }
}

/// The state of a connection's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    More,
    End,
}

/// Calls a transport, which may be foreign code: a panic in it ends this connection only.
fn guard<T>(call: impl FnOnce() -> io::Result<T>) -> Result<T, Disconnect> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|_| Disconnect::ClientClosed),
        Err(_) => {
            trace::panicked("a connection's transport");
            Err(Disconnect::Panicked)
        }
    }
}

/// The most bytes written to one connection at a time: some 50 µs of copying.
pub(super) const MAX_WRITE: usize = 256 << 10;

/// The most unsent bytes that are copied: an eighth of the chunk that they would hold in
/// memory.
const MAX_COPY: usize = 8 << 10;

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_connection_is_small() {
        // In a release build it is 8 bytes less: the socket has its own debug assertions.
        assert!(
            size_of::<Connection>() <= 112,
            "{}",
            size_of::<Connection>()
        );
    }
}
