//! What connects a client with its server.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use sse_core::client::{EventSource, Machine};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connector::{Boxed, Dial};
#[cfg(feature = "http")]
use super::exchange::{Body, Response, Send as SendRequest};
use crate::transport::Transport;

/// How a client reaches servers.
pub(super) enum Dialer {
    Wire(Arc<dyn Dial>),
    #[cfg(feature = "http")]
    Library(SendRequest),
}

/// The state of the connection.
pub(super) enum Link {
    Closed,
    /// The hook before the attempt runs.
    Preparing(Boxed<Result<EventSource, BoxError>>),
    Opening(Boxed<io::Result<Transport>>),
    Wire(Wire),
    #[cfg(feature = "http")]
    Requested(Boxed<Result<Response, BoxError>>),
    #[cfg(feature = "http")]
    Body(Body),
}

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection that speaks HTTP/1.
pub(super) struct Wire {
    transport: Transport,
    /// Whether the end of the request may lie in a buffer of the transport.
    is_unflushed: bool,
    /// Why the request could not be sent whole. The server may have responded already.
    write_error: Option<io::Error>,
}

impl Wire {
    pub(super) const fn new(transport: Transport) -> Self {
        Self {
            transport,
            is_unflushed: true,
            write_error: None,
        }
    }

    /// Writes and reads once. Ready if that has changed something.
    pub(super) fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        machine: &mut Machine,
        clock: impl Fn() -> Duration,
    ) -> Poll<()> {
        if self.is_unflushed
            && self.write_error.is_none()
            && let Poll::Ready(Err(error)) = self.poll_send(cx, machine, &clock)
        {
            self.write_error = Some(error);
        }
        // On the stack, so that a client that waits has no buffer.
        let mut space = [const { MaybeUninit::uninit() }; READ];
        let mut buffer = ReadBuf::uninit(&mut space);
        let read = ready!(Pin::new(&mut self.transport).poll_read(cx, &mut buffer));
        match (read, self.write_error.take()) {
            (Ok(()), _) if !buffer.filled().is_empty() => machine.receive(clock(), buffer.filled()),
            // A server may respond without reading the whole request.
            (Ok(()), Some(_)) if machine.is_open() => machine.end(clock()),
            (_, Some(error)) | (Err(error), None) => machine.fail(clock(), error),
            (Ok(()), None) => machine.end(clock()),
        }
        Poll::Ready(())
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        machine: &mut Machine,
        clock: impl Fn() -> Duration,
    ) -> Poll<io::Result<()>> {
        while !machine.unsent().is_empty() {
            let writing = Pin::new(&mut self.transport).poll_write(cx, machine.unsent());
            match ready!(writing)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                len => machine.sent(clock(), len),
            }
        }
        ready!(Pin::new(&mut self.transport).poll_flush(cx))?;
        self.is_unflushed = false;
        Poll::Ready(Ok(()))
    }
}

/// The most that is read at once.
const READ: usize = 64 << 10;
