//! The task of a connection, from its handshake to its response or its shard.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use sse_core::{Head, Headers, Rejection};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::answer::{Answer, Kind, encode_response};
use super::body::{Body, Incoming};
use super::inner::{Inner, Phase};
use super::per_client::{PerClient, Writing};
use super::request::Request;
use crate::config::Config;
use crate::shard::Arrival;
use crate::stats::Disconnect;
use crate::trace;
use crate::transport::limit::Permit;
use crate::transport::on_end::OnEnd;
use crate::transport::presence::Presence;
use crate::transport::{Extended, Peer, Transport};
use crate::unwind::catch_async;

/// An accepted connection.
pub(super) struct Connection {
    pub(super) inner: Arc<Inner>,
    pub(super) peer: Peer,
    pub(super) permit: Permit,
    /// Whether the connection is beyond the limit.
    pub(super) is_refused: bool,
}

/// A head and the bytes after it, or a refusal and the head as far as it was parsed.
type HeadResult = Result<(Head, Vec<u8>), (Rejection, Option<Head>)>;

impl Connection {
    /// Serves the connection until it ends, is handed to a shard, or is cut off by a drain.
    pub(super) async fn run(self, handshake: impl Future<Output = io::Result<Transport>>) {
        let inner = Arc::clone(&self.inner);
        let peer = self.peer;
        let mut phase = inner.phase.subscribe();
        let has_begun = AtomicBool::new(false);
        let serving = pin!(self.serve(handshake, &has_begun));
        let serving = catch_async("a connection", serving);
        let is_over = |phase: &Phase| match phase {
            Phase::Open => false,
            Phase::Draining | Phase::Closing => !has_begun.load(Relaxed),
            Phase::CutOff => true,
        };
        tokio::select! {
            _ = phase.wait_for(is_over) => {}
            served = trace::connection(&peer, serving) => {
                // An I/O error concerns only this client, and is counted already.
                if served.is_err() {
                    inner.counters.stats.add_disconnect(Disconnect::Panicked);
                }
            }
        }
    }

    /// Sets `has_begun` once the client has sent a byte of its request.
    async fn serve(
        self,
        handshake: impl Future<Output = io::Result<Transport>>,
        has_begun: &AtomicBool,
    ) -> io::Result<()> {
        let (transport, head) = self.read_request(handshake, has_begun).await?;
        let Extended {
            mut transport,
            extensions,
            is_https,
        } = transport.into_extended();
        let config = &self.inner.config;
        let upgrader = self.inner.upgrader(is_https);
        let (head, early) = match head {
            Ok(read) => read,
            Err((rejection, head)) => {
                let bytes = encode_response(upgrader, rejection, head.as_ref());
                return Box::pin(transport.finish(&bytes, config.write_timeout)).await;
            }
        };
        let (body, incoming, after) = Body::of(&head, early);
        let request = Request {
            head: Arc::new(head),
            body,
            peer: self.peer,
            upgrader: upgrader.clone(),
            retry: Some(config.retry),
            max_json: config.max_json,
            is_accept_ignored: false,
            is_accept_asked: AtomicBool::new(false),
            extensions,
            token: None,
            headers: Headers::new(),
            counters: Arc::clone(&self.inner.counters),
        };
        let mut presence = Presence::new(config.max_input.saturating_sub(after));
        presence.set_unread_body(incoming.is_some());
        let answering = self.answer(request, incoming, &mut transport, &mut presence);
        match answering.await {
            Ok(answer) => self.respond(answer, transport, presence).await,
            Err(reason) => {
                self.inner.counters.stats.add_disconnect(reason);
                Ok(())
            }
        }
    }

    /// Completes the handshake and reads the request head, before the deadline of both.
    async fn read_request(
        &self,
        handshake: impl Future<Output = io::Result<Transport>>,
        has_begun: &AtomicBool,
    ) -> io::Result<(Transport, HeadResult)> {
        let mut transport = None;
        let reading = timeout(self.inner.config.head_timeout, async {
            let connected = handshake.await.inspect_err(|error| {
                trace::handshake_error(error);
                self.inner.counters.stats.add_handshake_error();
            });
            self.read_head(transport.insert(connected?), has_begun)
                .await
        });
        let head = match reading.await {
            Ok(head) => head?,
            Err(_) => Err((Rejection::REQUEST_TIMEOUT, None)),
        };
        match transport {
            Some(transport) => Ok((transport, head)),
            None => {
                self.inner.counters.stats.add_handshake_error();
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }

    async fn read_head(
        &self,
        transport: &mut Transport,
        has_begun: &AtomicBool,
    ) -> io::Result<HeadResult> {
        let mut reader = self.inner.config.upgrader.head_reader();
        loop {
            let read =
                transport.read_piece(|piece| match piece {
                    [] if reader.is_empty() => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                    [] => Ok(Err(Rejection::BAD_REQUEST
                        .because("the connection ended within the request head"))),
                    mut piece => {
                        has_begun.store(true, Relaxed);
                        let read = reader.read(&mut piece);
                        Ok(read.map(|head| head.map(|head| (head, piece.to_vec()))))
                    }
                });
            match read.await?? {
                Ok(None) => {}
                Ok(Some(read)) => return Ok(Ok(read)),
                Err(rejection) => return Ok(Err((rejection, reader.refused().cloned()))),
            }
        }
    }

    /// Checks the request and calls the handler, unless the client disconnects first.
    async fn answer(
        &self,
        request: Request,
        incoming: Option<Incoming>,
        transport: &mut Transport,
        presence: &mut Presence,
    ) -> Result<Answer, Disconnect> {
        let config = &self.inner.config;
        let (head, upgrader) = (Arc::clone(&request.head), request.upgrader.clone());
        match upgrader.check(&head) {
            Err(rejection) => return Ok(request.reject(rejection)),
            Ok(()) if head.method() == "OPTIONS" => return Ok(request.answer_options()),
            Ok(()) if self.is_refused => return Ok(request.refuse(config.at_capacity)),
            Ok(()) => {}
        }
        let handling = catch_async("a handler", self.inner.handler.handle_boxed(request));
        let (rejection, reason) = tokio::select! {
            biased;
            answer = handling => match answer {
                Ok(answer) => return Ok(answer),
                Err(_) => (Rejection::INTERNAL_SERVER_ERROR, Disconnect::HandlerPanicked),
            },
            reason = attend(incoming, transport, presence, config) => return Err(reason),
            () = elapsed(config.handler_timeout) => {
                (Rejection::UNAVAILABLE.because(HANDLER_TIMED_OUT), Disconnect::HandlerTimedOut)
            }
        };
        self.inner.counters.stats.add_disconnect(reason);
        let bytes = encode_response(&upgrader, rejection, Some(&head));
        Ok(Answer::new(Kind::Respond(bytes)))
    }

    /// Writes a response, hands the connection to a shard, or drives a per-client stream.
    ///
    /// A task is as large as the largest future in it, and very many may wait for their heads at
    /// once: the later futures are boxed.
    async fn respond(
        self,
        answer: Answer,
        transport: Transport,
        presence: Presence,
    ) -> io::Result<()> {
        let inner = &self.inner;
        let (mut on_end, expires_at) = (answer.on_end, answer.expires_at);
        let sent = presence.sent();
        match answer.kind {
            Kind::Waiting(_) => Ok(()), // It was awaited with the handler.
            Kind::Respond(bytes) => {
                let write_timeout = inner.config.write_timeout;
                let finished = Box::pin(transport.finish(&bytes[sent..], write_timeout)).await;
                on_end.run(Disconnect::Finished);
                finished
            }
            Kind::Follow {
                follows,
                resume,
                mut opening,
                sends_retry,
            } => {
                opening.drain(..sent);
                let input = inner.config.max_input.saturating_sub(presence.room());
                inner.counters.stats.add_resume(resume);
                inner.next_shard().admit(Arrival {
                    transport,
                    follows,
                    opening,
                    expires_at,
                    sends_retry,
                    has_unread_body: presence.has_unread_body(),
                    input: u32::try_from(input).unwrap_or(u32::MAX),
                    on_end,
                    permit: self.permit,
                });
                Ok(())
            }
            Kind::Stream(writing) => {
                let stream =
                    self.per_client(writing, &mut on_end, expires_at, (transport, presence));
                let running = catch_async("a per-client stream", Box::pin(stream.run()));
                let (reason, rest) = running.await.unwrap_or((Disconnect::Panicked, None));
                inner.counters.stats.add_disconnect(reason);
                on_end.run(reason);
                if let Some(mut transport) = rest {
                    Box::pin(transport.linger()).await;
                }
                Ok(())
            }
        }
    }

    /// Returns a per-client stream, and what ends it early.
    fn per_client(
        &self,
        writing: Writing,
        on_end: &mut OnEnd,
        expires_at: Option<Instant>,
        (transport, presence): (Transport, Presence),
    ) -> PerClient {
        let inner = &self.inner;
        let mut phase = inner.phase.subscribe();
        let mut signals = on_end.take_signals();
        let ends = async move {
            tokio::select! {
                _ = phase.wait_for(|phase| *phase >= Phase::Closing) => Disconnect::Drained,
                () = until(expires_at) => Disconnect::Expired,
                reason = poll_fn(|cx| signals.poll(cx)) => reason,
            }
        };
        let shared = (Arc::clone(&inner.config), Arc::clone(&inner.counters.stats));
        PerClient::new(transport, presence, writing, ends, shared)
    }
}

/// Reads the body if the handler asks for it, and waits until the client disconnects.
async fn attend(
    incoming: Option<Incoming>,
    transport: &mut Transport,
    presence: &mut Presence,
    config: &Config,
) -> Disconnect {
    if let Some(incoming) = incoming {
        let serving = Box::pin(incoming.serve(transport, presence, config));
        if let Err(reason) = serving.await {
            return reason;
        }
    }
    presence.left(transport).await
}

const HANDLER_TIMED_OUT: &str = "the server took too long to answer; retry later";

/// Resolves at a time, or never.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

async fn elapsed(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => pending().await,
    }
}
