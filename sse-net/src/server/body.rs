//! The body of a request, from the connection to the handler.
//!
//! A body that has arrived with its head is in the request. Otherwise the connection's task
//! reads it when the handler asks:
//!
//! ```text
//!   reads ahead, a little ── asked ──> reads, until the deadline ── whole ──> discards the rest
//!            │                              │
//!            │ the request is dropped       │ malformed, too large, too slow
//!            v                              v
//!     discards the body               reads nothing until the handler has answered
//! ```

use std::future::pending;
use std::mem;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use sse_core::{Framing, Head, Rejection, RequestBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

use super::request::Request;
use crate::config::Config;
use crate::stats::Disconnect;
use crate::transport::Transport;
use crate::transport::presence::Presence;

impl Request {
    /// Reads the body, of at most `limit` bytes.
    ///
    /// The whole body has to arrive within [`body_timeout`](crate::Config::body_timeout). A
    /// client that waits for "100 Continue" gets that first. Memory grows with what has arrived,
    /// up to twice `limit`. A request without a body has an empty one if its method is `GET`,
    /// `HEAD` or `DELETE`.
    ///
    /// Until this is called, at most 16 KiB of a body are read, so the handler is not dropped if a
    /// client with a longer one leaves before. A handler that answers without the body need not
    /// read it. During a stream the rest is discarded, up to
    /// [`max_input`](crate::Config::max_input); a client that sends more is cut. After another
    /// response up to 256 KiB are discarded, and the client has 2 s to read the response.
    ///
    /// # Errors
    ///
    /// The response to send if there is no complete body: 400, 408, 411, 413 or 431; and 500 if
    /// the body has been read before.
    pub async fn body(&mut self, limit: u64) -> Result<Bytes, Rejection> {
        let body = RequestBody::new(&self.head, limit)?;
        match mem::replace(&mut self.body, Body::Taken) {
            Body::Arrived(bytes) => Ok(bytes.into()),
            Body::Waiting(connection) => {
                let (reply, read) = oneshot::channel();
                let asked = connection.send(Ask { body, reply });
                asked.map_err(|_| Rejection::BAD_REQUEST.because(GONE))?;
                read.await
                    .unwrap_or_else(|_| Err(Rejection::BAD_REQUEST.because(GONE)))
            }
            Body::Taken => Err(Rejection::INTERNAL_SERVER_ERROR.because(TAKEN)),
        }
    }

    /// Reads the body and parses it as JSON.
    ///
    /// It may have up to [`max_json`](crate::Config::max_json) bytes. `Content-Type` has to be
    /// JSON: a page of another origin can send such a body only after a preflight.
    ///
    /// ```
    /// use sse_net::{Answer, Request};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Question {
    ///     text: String,
    /// }
    ///
    /// async fn ask(mut request: Request) -> Answer {
    ///     let question: Question = match request.json().await {
    ///         Ok(question) => question,
    ///         Err(rejection) => return request.reject(rejection),
    ///     };
    ///     request.stream(async move |mut stream| {
    ///         stream.write_str(&question.text).await?;
    ///         stream.close().await
    ///     })
    /// }
    /// # let _ = ask;
    /// ```
    ///
    /// # Errors
    ///
    /// As [`body`](Self::body); 415 for another type, see [`Head::is_json`], and 400 for JSON
    /// that is malformed or is not a `T`.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Rejection> {
        if self.head.has_body() && !self.head.is_json() {
            return Err(Rejection::UNSUPPORTED_MEDIA_TYPE);
        }
        let body = self.body(self.max_json).await?;
        serde_json::from_slice(&body).map_err(|error| {
            Rejection::BAD_REQUEST.because(format!("the body is not the expected JSON: {error}"))
        })
    }
}

/// The body of a request, on the handler's side.
#[derive(Debug)]
pub(super) enum Body {
    /// All of it, or nothing if there is none.
    Arrived(Vec<u8>),
    /// The connection reads it.
    Waiting(oneshot::Sender<Ask>),
    Taken,
}

/// The handler's wish to read the body.
#[derive(Debug)]
pub(super) struct Ask {
    body: RequestBody,
    reply: oneshot::Sender<Result<Bytes, Rejection>>,
}

/// The body of a request, on the connection's side, if it has not arrived whole.
pub(super) struct Incoming {
    /// The bytes that have arrived.
    early: Vec<u8>,
    /// Whether the client has closed its half.
    has_ended: bool,
    asked: oneshot::Receiver<Ask>,
}

/// Why a body cannot be read.
enum Failure {
    Rejected(Rejection),
    ClientClosed,
}

impl Body {
    /// Splits what has arrived after `head` into the body, or the two ends of one that is
    /// arriving, and the number of bytes that count as input unless a body is read.
    pub(super) fn of(head: &Head, mut early: Vec<u8>) -> (Self, Option<Incoming>, usize) {
        let length = match head.framing() {
            Framing::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
            Framing::Chunked => usize::MAX,
            _ => 0,
        };
        if let Some(after) = early.len().checked_sub(length) {
            early.truncate(length);
            return (Self::Arrived(early), None, after);
        }
        let arrived = early.len();
        let (ask, asked) = oneshot::channel();
        let incoming = Incoming {
            early,
            has_ended: false,
            asked,
        };
        (Self::Waiting(ask), Some(incoming), arrived)
    }
}

impl Incoming {
    /// Reads the body if the handler asks for it. Resolves when it has been read whole or is
    /// not wanted, or to the reason for which the client has left.
    pub(super) async fn serve(
        mut self,
        transport: &mut Transport,
        presence: &mut Presence,
        config: &Config,
    ) -> Result<(), Disconnect> {
        let Some(Ask { body, reply }) = self.wait(transport, presence).await? else {
            return Ok(());
        };
        let reading = self.read(body, transport, config.write_timeout);
        let read = match timeout(config.body_timeout, reading).await {
            Ok(Ok((bytes, after))) => {
                presence.set_max_input(config.max_input.saturating_sub(after));
                presence.set_unread_body(false);
                Ok(bytes)
            }
            Ok(Err(Failure::Rejected(rejection))) => Err(rejection),
            Ok(Err(Failure::ClientClosed)) => return Err(Disconnect::ClientClosed),
            Err(_) => Err(Rejection::REQUEST_TIMEOUT.because(BODY_TIMED_OUT)),
        };
        let is_failed = read.is_err();
        let _ = reply.send(read);
        if self.has_ended {
            presence.half_close();
        } else if is_failed {
            // The client may send on and on, and has to get the handler's response.
            pending::<()>().await;
        }
        Ok(())
    }

    /// Waits until the handler asks, and reads ahead meanwhile, so that a client with a small
    /// body is seen to leave. `None` if the handler has dropped the request.
    async fn wait(
        &mut self,
        transport: &mut Transport,
        presence: &mut Presence,
    ) -> Result<Option<Ask>, Disconnect> {
        loop {
            let asked = &mut self.asked;
            if self.has_ended {
                presence.half_close();
                return tokio::select! {
                    biased;
                    ask = asked => Ok(ask.ok()),
                    reason = presence.left(transport) => Err(reason),
                };
            }
            if self.early.len() >= READ_AHEAD {
                return Ok(asked.await.ok());
            }
            let early = &mut self.early;
            let take = |piece: &[u8]| {
                early.extend_from_slice(piece);
                piece.len()
            };
            tokio::select! {
                biased;
                ask = asked => return Ok(ask.ok()),
                read = transport.read_piece(take) => match read {
                    Ok(0) => self.has_ended = true,
                    Ok(len) => presence.count_input(len),
                    Err(_) => return Err(Disconnect::ClientClosed),
                },
            }
        }
    }

    /// Reads the body, and returns it with the number of bytes that have arrived after it.
    async fn read(
        &mut self,
        mut body: RequestBody,
        transport: &mut Transport,
        write_timeout: Duration,
    ) -> Result<(Bytes, usize), Failure> {
        let mut input = &self.early[..];
        let mut is_complete = body.read(&mut input)?;
        let mut after = input.len();
        if !self.has_ended
            && let Some(interim) = body.interim()
        {
            transport.write_all(interim, write_timeout).await?;
            transport.flush().await?;
        }
        let mut piece = Vec::new();
        while !is_complete && !self.has_ended {
            piece.clear();
            piece.reserve(PIECE);
            self.has_ended = transport.read_buf(&mut piece).await? == 0;
            let mut input = &piece[..];
            is_complete = body.read(&mut input)?;
            after = input.len();
            consume_budget().await;
        }
        Ok((body.into_bytes()?.into(), after))
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<std::io::Error> for Failure {
    fn from(_: std::io::Error) -> Self {
        Self::ClientClosed
    }
}

/// The bytes of a body that are read before the handler asks for it. Not a setting: a body that is
/// longer is limited by the handler, and is read when it asks.
const READ_AHEAD: usize = 16 << 10;

/// The size of a read.
const PIECE: usize = 8 << 10;

const GONE: &str = "the connection ended within the body";
const TAKEN: &str = "the body has been read before; read it once";
const BODY_TIMED_OUT: &str = "the request body took too long to arrive";
