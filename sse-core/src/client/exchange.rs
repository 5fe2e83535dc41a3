//! The response to a request of a client.

use std::mem;
use std::time::Duration;

use super::ending::Delay;
use super::error::{ClientError, ErrorResponse};
use super::item::{Item, Opened};
use super::machine::{Machine, State};
use super::response::{Verdict, judge, refusal};
use crate::http::ResponseHead;

impl Machine {
    /// Applies a head of HTTP/1, after which the body is framed.
    pub(super) fn respond_framed(&mut self, now: Duration, head: ResponseHead) {
        let limits = self.source.settings.body_limits;
        match head.body(self.target.method(&self.source), limits) {
            Ok(body) => {
                self.body = Some(body);
                self.apply(now, head);
            }
            Err(error) => self.finish_failed(ClientError::Body(error)),
        }
    }

    pub(super) fn apply(&mut self, now: Duration, head: ResponseHead) {
        match judge(&head, &self.source, &self.target) {
            Verdict::Open => {
                self.decoder.restart();
                self.has_opened = true;
                self.is_resuming = self.source.is_resumable && !self.source.is_repeatable;
                self.inbox.keep(Item::Opened(Opened {
                    head,
                    attempt: self.attempts,
                }));
                self.state = State::Open {
                    since: now,
                    last_byte: now,
                    last_event: now,
                    has_items: true,
                    has_events: true,
                };
            }
            Verdict::End => self.finish(Ok(())),
            Verdict::Follow(target) => {
                self.target = target;
                self.begin_connecting(now);
            }
            Verdict::Retry if self.may_retry(head.status()) => {
                let delay = self.retry_delay(now, &head);
                // The server has refused the request, so it counts as not sent.
                self.sent = 0;
                let reason = refusal(ErrorResponse::new(head));
                self.disconnect(now, reason, delay.map_or(Delay::Backoff, Delay::Asked));
            }
            Verdict::Retry | Verdict::Refuse => {
                self.state = State::Refused {
                    response: Box::new(ErrorResponse::new(head)),
                    deadline: now.saturating_add(self.source.settings.head_timeout),
                };
            }
            Verdict::Fail(error) => self.finish_failed(error),
        }
    }

    /// Returns the delay that the server asks for.
    fn retry_delay(&self, now: Duration, head: &ResponseHead) -> Option<Duration> {
        let here = self.epoch.and_then(|epoch| epoch.checked_add(now));
        head.retry_delay().or_else(|| head.retry_after(here?))
    }

    pub(super) fn read_refusal(&mut self, mut bytes: &[u8]) {
        let (State::Refused { response, .. }, Some(body)) = (&mut self.state, &mut self.body)
        else {
            return;
        };
        let limit = self.source.settings.max_error_body;
        loop {
            match body.read(&mut bytes) {
                Ok(Some(part)) => {
                    let room = limit - response.body.len();
                    response
                        .body
                        .extend_from_slice(&part[..part.len().min(room)]);
                    if part.len() > room {
                        break;
                    }
                }
                Ok(None) if body.is_complete() => {
                    response.is_complete = true;
                    break;
                }
                Ok(None) => return,
                Err(_) => break,
            }
        }
        self.finish_refused();
    }

    pub(super) fn finish_refused(&mut self) {
        if let State::Refused { response, .. } = mem::replace(&mut self.state, State::Over(None)) {
            self.finish_failed(refusal(*response));
        }
    }
}
