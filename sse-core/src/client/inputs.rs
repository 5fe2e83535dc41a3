//! What the shell of a machine reports.

use std::io;
use std::time::Duration;

use super::ending::Delay;
use super::error::ClientError;
use super::machine::{Machine, State};
use crate::http::{BodyReader, Framing, ResponseHead, ResponseHeadReader};

impl Machine {
    /// Reports that the connection is open.
    pub fn connected(&mut self, now: Duration) {
        if let State::Connecting { .. } = self.state {
            self.request = self.target.encode(&self.source, self.sendable_id());
            self.sent = 0;
            self.begin_exchange(now);
        }
    }

    /// Like [`connected`](Self::connected), for a shell over an HTTP library.
    ///
    /// The library sends what [`method`](Self::method), [`headers`](Self::headers) and
    /// [`body`](Self::body) return. From then on the request counts as sent. The shell reports
    /// [`respond`](Self::respond), and the content by [`receive`](Self::receive).
    pub fn requested(&mut self, now: Duration) {
        if let State::Connecting { .. } = self.state {
            self.request = Vec::new();
            self.sent = 1;
            self.begin_exchange(now);
        }
    }

    /// Returns the bytes of the request that have not been sent.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        &self.request[self.sent.min(self.request.len())..]
    }

    /// Reports that the first `len` bytes of [`unsent`](Self::unsent) have been sent.
    pub fn sent(&mut self, now: Duration, len: usize) {
        self.sent += len;
        if let State::Exchanging { deadline, .. } = &mut self.state {
            *deadline = now.saturating_add(self.source.settings.head_timeout);
        }
        if self.unsent().is_empty() {
            self.request = Vec::new();
        }
    }

    /// Reports bytes that were received: of the response, or after [`respond`](Self::respond) of
    /// its content.
    pub fn receive(&mut self, now: Duration, mut bytes: &[u8]) {
        if let State::Exchanging { head, .. } = &mut self.state {
            match head.read(&mut bytes) {
                Ok(Some(head)) => self.respond_framed(now, head),
                Ok(None) => return,
                Err(error) => return self.finish_failed(ClientError::Head(error)),
            }
        }
        match &mut self.state {
            State::Open { last_byte, .. } => {
                if !bytes.is_empty() {
                    *last_byte = now;
                }
                self.receive_body(bytes);
            }
            State::Refused { .. } => self.read_refusal(bytes),
            _ => {}
        }
    }

    /// Reports a response head that an HTTP library has read. It removes the framing, too.
    pub fn respond(&mut self, now: Duration, head: ResponseHead) {
        if let State::Exchanging { .. } = self.state {
            self.body = BodyReader::new(Framing::UntilClose, self.source.settings.body_limits).ok();
            self.apply(now, head);
        }
    }

    /// Reports that the peer has ended the connection, or an HTTP library the body.
    pub fn end(&mut self, now: Duration) {
        self.keep_items();
        let ended = self.body.as_mut().map_or(Ok(()), BodyReader::end);
        match &mut self.state {
            State::Connecting { .. } => {
                self.fail(now, io::ErrorKind::UnexpectedEof.into());
            }
            State::Exchanging { head, .. } => {
                let reason = ClientError::Head(head.end());
                self.disconnect(now, reason, Delay::Backoff);
            }
            State::Open { .. } => {
                let reason = ended.map_or_else(ClientError::Body, |()| ClientError::Ended);
                self.disconnect(now, reason, Delay::Backoff);
            }
            State::Refused { response, .. } => {
                response.is_complete = ended.is_ok();
                self.finish_refused();
            }
            State::Waiting { .. } | State::Over(_) => {}
        }
    }

    /// Reports that the connection could not be opened or has failed.
    ///
    /// While the step is [`Step::Connect`](super::Step::Connect), errors of the kinds
    /// [`Unsupported`](io::ErrorKind::Unsupported) and
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) are final, as is
    /// [`InvalidData`](io::ErrorKind::InvalidData) before the first response.
    pub fn fail(&mut self, now: Duration, error: io::Error) {
        self.keep_items();
        match self.state {
            State::Connecting { .. } => {
                let is_final = match error.kind() {
                    io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput => true,
                    // An invalid certificate, for example, was valid at an earlier attempt and may
                    // be renewed.
                    io::ErrorKind::InvalidData => !self.has_opened,
                    _ => false,
                };
                match ClientError::Connect(error) {
                    error if is_final => self.finish_failed(error),
                    error => self.disconnect(now, error, Delay::Backoff),
                }
            }
            State::Exchanging { .. } | State::Open { .. } => {
                self.disconnect(now, ClientError::Lost(error), Delay::Backoff);
            }
            State::Refused { .. } => self.finish_refused(),
            State::Waiting { .. } | State::Over(_) => {}
        }
    }

    /// Reports that the hook before an attempt has failed.
    pub fn fail_to_prepare(
        &mut self,
        now: Duration,
        error: Box<dyn std::error::Error + Send + Sync>,
    ) {
        if let State::Connecting { .. } = self.state {
            self.disconnect(now, ClientError::Prepare(error), Delay::Backoff);
        }
    }

    /// Drops the connection and connects again at once.
    ///
    /// A call that must not be sent again ends with an error instead.
    pub fn restart(&mut self, now: Duration) {
        self.keep_items();
        if !self.is_over() {
            self.disconnect(now, ClientError::Restarted, Delay::Zero);
        }
    }

    fn begin_exchange(&mut self, now: Duration) {
        let settings = &self.source.settings;
        let head = ResponseHeadReader::new()
            .max_head(settings.max_head)
            .max_headers(settings.max_headers);
        self.body = None;
        self.state = State::Exchanging {
            head: Box::new(head),
            deadline: now.saturating_add(settings.head_timeout),
        };
    }
}
