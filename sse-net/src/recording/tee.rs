//! A connection whose output is recorded.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use sse_core::Recorder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// A connection that records the bytes that another connection takes.
///
/// Put it under a stream with [`Stream::map_connection`](crate::Stream::map_connection). In
/// [`Request::stream`](crate::Request::stream), the recording is up to 16 KiB ahead of the client,
/// because the future writes into a pipe, and it has no heartbeats of the server. When
/// recording fails, it ends, and the stream continues; [`into_parts`](Self::into_parts) returns
/// the error. The recorder's writer is called on the task that writes the stream, so it should
/// not block longer than a local file does.
///
/// ```
/// use std::fs::File;
/// use sse_core::Recorder;
/// use sse_net::{Answer, Request, Tee};
///
/// fn ask(request: Request, recording: File) -> Answer {
///     request.stream(async move |stream| {
///         let mut stream = stream.map_connection(|conn| Tee::new(conn, Recorder::new(recording)));
///         stream.write_str("a token").await?;
///         stream.close().await
///     })
/// }
/// # let _ = ask;
/// ```
#[derive(Debug)]
pub struct Tee<C, W> {
    connection: C,
    recorder: Recorder<W>,
    began: Instant,
    failed: Option<io::Error>,
}

impl<C, W> Tee<C, W> {
    /// Records the bytes that `connection` takes from now on.
    pub fn new(connection: C, recorder: Recorder<W>) -> Self {
        Self {
            connection,
            recorder,
            began: Instant::now(),
            failed: None,
        }
    }

    /// Returns the connection, and the recorder or the error that ended recording.
    pub fn into_parts(self) -> (C, io::Result<Recorder<W>>) {
        let recorded = match self.failed {
            None => Ok(self.recorder),
            Some(error) => Err(error),
        };
        (self.connection, recorded)
    }
}

impl<C: AsyncRead + Unpin, W: Unpin> AsyncRead for Tee<C, W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(cx, buffer)
    }
}

impl<C: AsyncWrite + Unpin, W: Write + Unpin> AsyncWrite for Tee<C, W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = ready!(Pin::new(&mut self.connection).poll_write(cx, bytes))?;
        if self.failed.is_none() {
            let at = self.began.elapsed();
            self.failed = self.recorder.record(at, &bytes[..taken]).err();
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failed.is_none() {
            self.failed = self.recorder.flush().err();
        }
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}
