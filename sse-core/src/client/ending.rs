//! The end of an attempt, and of a client.

use std::time::Duration;

use super::error::ClientError;
use super::item::{Closed, Item};
use super::machine::{Machine, State};

/// The delay before the next attempt.
#[derive(Debug, Clone, Copy)]
pub(super) enum Delay {
    Zero,
    Backoff,
    /// The server asks for it.
    Asked(Duration),
}

impl Machine {
    /// Ends the attempt, and waits for the next one if there may be one.
    pub(super) fn disconnect(&mut self, now: Duration, reason: ClientError, delay: Delay) {
        if let State::Open { since, .. } = self.state
            && now.saturating_sub(since) >= HEALTHY
        {
            self.backoff.reset();
        }
        if !self.may_repeat(&reason) {
            return self.finish_failed(reason);
        }
        let settings = &self.source.settings;
        let retry_in = match delay {
            Delay::Zero => Duration::ZERO,
            Delay::Asked(delay) => self.backoff.delay_as_asked(delay, settings),
            Delay::Backoff => {
                let time = self.decoder.retry().unwrap_or(settings.reconnection_time);
                self.backoff.delay(time, settings)
            }
        };
        self.request = Vec::new();
        self.body = None;
        let closed = Closed { reason, retry_in };
        if let Some(hook) = self.closed_hook {
            hook(self.url(), &closed);
        }
        self.inbox.keep(Item::Closed(closed));
        self.state = State::Waiting {
            until: now.saturating_add(retry_in),
        };
    }

    /// Returns whether another attempt may follow.
    fn may_repeat(&self, reason: &ClientError) -> bool {
        if !self.has_retries() && !matches!(reason, ClientError::Restarted) {
            return false;
        }
        if self.source.is_repeatable || (self.sent == 0 && !self.has_acted()) {
            return true;
        }
        // A complete response to a call without an end in its stream is its end.
        let is_complete = matches!(reason, ClientError::Ended) && self.source.terminals.is_empty();
        self.is_resuming && !is_complete && self.sendable_id().is_some()
    }

    /// Returns whether another attempt may follow a response with a status that asks for it.
    pub(super) fn may_retry(&self, status: u16) -> bool {
        // RFC 9110, 9.2.2: a request that is not idempotent is sent again only if "the original
        // request was never applied". Of 500, 502 and 504 that is not known.
        let is_refusal = matches!(status, 408 | 425 | 429 | 503 | 529);
        let may_repeat = self.source.is_repeatable || self.is_resuming;
        self.has_retries() && (may_repeat || (is_refusal && !self.has_acted()))
    }

    /// Returns whether the server has acted on the call, because it redirected that to a `GET`.
    const fn has_acted(&self) -> bool {
        self.target.is_bare && !self.is_resuming
    }

    /// Returns whether there were fewer failures in a row than the application allows.
    pub(super) fn has_retries(&self) -> bool {
        let is_safe = self.source.is_repeatable || self.is_resuming;
        let default = if is_safe { u32::MAX } else { MAX_CALL_RETRIES };
        self.backoff.failures() < self.source.settings.max_retries.unwrap_or(default)
    }

    /// Returns the result of a stream that cannot be continued.
    fn result(&self, reason: ClientError) -> Result<(), ClientError> {
        let events = self.events;
        match reason {
            ClientError::Ended if self.source.is_repeatable => Err(ClientError::Ended),
            ClientError::Ended if self.source.terminals.is_empty() => Ok(()),
            ClientError::Ended => Err(ClientError::Truncated {
                events,
                cause: None,
            }),
            reason if self.has_opened && !self.source.terminals.is_empty() => {
                Err(ClientError::Truncated {
                    events,
                    cause: Some(Box::new(reason)),
                })
            }
            reason => Err(reason),
        }
    }

    /// Ends the client because of a failure, or of the end of a stream.
    pub(super) fn finish_failed(&mut self, reason: ClientError) {
        self.finish(self.result(reason));
    }

    pub(super) fn finish(&mut self, result: Result<(), ClientError>) {
        self.request = Vec::new();
        self.body = None;
        self.state = State::Over(Some(result));
    }
}

/// A stream of this age ends a row of failures, even without an event.
const HEALTHY: Duration = Duration::from_secs(60);

/// The retries in a row of a call that must not be repeated.
const MAX_CALL_RETRIES: u32 = 2;
