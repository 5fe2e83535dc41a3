//! Delays, deadlines and limits of a client.

use std::time::Duration;

use super::source::EventSource;
use crate::decode::Decoder;
use crate::http::{BodyLimits, ResponseHeadReader};

/// Delays, deadlines and limits, with their defaults.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) reconnection_time: Duration,
    pub(super) min_delay: Duration,
    pub(super) max_delay: Duration,
    pub(super) max_retry_after: Duration,
    /// `None` for the default.
    pub(super) max_retries: Option<u32>,
    pub(super) connect_timeout: Duration,
    pub(super) head_timeout: Duration,
    pub(super) silence: Duration,
    pub(super) progress: Duration,
    pub(super) total: Duration,
    pub(super) max_head: usize,
    pub(super) max_headers: usize,
    pub(super) body_limits: BodyLimits,
    pub(super) max_line: usize,
    pub(super) max_event: usize,
    pub(super) max_redirects: u32,
    pub(super) max_error_body: usize,
    pub(super) has_content: bool,
}

impl Settings {
    pub(super) const fn new() -> Self {
        Self {
            reconnection_time: Duration::from_secs(3),
            min_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(60),
            max_retry_after: Duration::from_secs(86_400),
            max_retries: None,
            connect_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(30),
            silence: Duration::from_secs(300),
            progress: Duration::MAX,
            total: Duration::MAX,
            max_head: ResponseHeadReader::DEFAULT_MAX_HEAD,
            max_headers: ResponseHeadReader::DEFAULT_MAX_HEADERS,
            body_limits: BodyLimits::new(),
            max_line: Decoder::DEFAULT_MAX_LINE,
            max_event: Decoder::DEFAULT_MAX_EVENT,
            max_redirects: 10,
            max_error_body: 64 << 10,
            has_content: false,
        }
    }
}

/// # Delays
///
/// The delay before an attempt is the reconnection time, doubled for each failure in a row. Up to
/// half of it is left out at random, so that clients do not return together after an outage. An
/// event, or a minute of an open stream, ends the row.
impl EventSource {
    /// Sets the reconnection time until the server sends one (`retry`). Default: 3 s.
    #[must_use]
    pub const fn reconnection_time(mut self, time: Duration) -> Self {
        self.settings.reconnection_time = time;
        self
    }

    /// Sets the minimum of the reconnection time. Default: 100 ms.
    #[must_use]
    pub const fn min_delay(mut self, delay: Duration) -> Self {
        self.settings.min_delay = delay;
        self
    }

    /// Sets the maximum of the delay before an attempt. Default: 60 s.
    #[must_use]
    pub const fn max_delay(mut self, delay: Duration) -> Self {
        self.settings.max_delay = delay;
        self
    }

    /// Sets the maximum delay that `Retry-After` may ask for. Default: one day.
    ///
    /// `Retry-After` replaces one delay. Up to a tenth is added at random.
    #[must_use]
    pub const fn max_retry_after(mut self, delay: Duration) -> Self {
        self.settings.max_retry_after = delay;
        self
    }

    /// Sets the maximum number of retries in a row.
    ///
    /// Default: 2 for a call that must not be repeated, else unlimited. An event ends the row.
    #[must_use]
    pub const fn max_retries(mut self, count: u32) -> Self {
        self.settings.max_retries = Some(count);
        self
    }
}

/// # Deadlines
///
/// [`Duration::MAX`] means no deadline. The time that the application takes for an item counts only
/// for [`total`](Self::total).
impl EventSource {
    /// Sets the time for opening a connection, with its TLS handshake. Default: 10 s.
    #[must_use]
    pub const fn connect_timeout(mut self, time: Duration) -> Self {
        self.settings.connect_timeout = time;
        self
    }

    /// Sets the time for the response head, after the last byte of the request. Default: 30 s.
    ///
    /// It also applies to the request while the server accepts no byte of it, and to the whole body
    /// of an error response.
    #[must_use]
    pub const fn head_timeout(mut self, time: Duration) -> Self {
        self.settings.head_timeout = time;
        self
    }

    /// Sets how long a stream may be without a byte. Default: 5 minutes.
    ///
    /// Servers send heartbeats more often. A connection that was lost without a notice is found
    /// after this time.
    #[must_use]
    pub const fn silence(mut self, time: Duration) -> Self {
        self.settings.silence = time;
        self
    }

    /// Sets how long a stream may be without an event. Default: unlimited.
    ///
    /// Comments, such as heartbeats, do not count.
    #[must_use]
    pub const fn progress(mut self, time: Duration) -> Self {
        self.settings.progress = time;
        self
    }

    /// Sets the time for everything, with all attempts. Default: unlimited.
    #[must_use]
    pub const fn total(mut self, time: Duration) -> Self {
        self.settings.total = time;
        self
    }
}

/// # Limits
impl EventSource {
    /// Sets the maximum size of a response head in bytes. Default: 64 KiB.
    #[must_use]
    pub const fn max_head(mut self, bytes: usize) -> Self {
        self.settings.max_head = bytes;
        self
    }

    /// Sets the maximum number of header lines of a response. Default: 128.
    #[must_use]
    pub const fn max_headers(mut self, count: usize) -> Self {
        self.settings.max_headers = count;
        self
    }

    /// Sets the limits of a response body and of its chunks.
    ///
    /// Default: [`BodyLimits::new`], which does not limit the length. If an HTTP library reads the
    /// body, only the maximum length applies.
    #[must_use]
    pub const fn body_limits(mut self, limits: BodyLimits) -> Self {
        self.settings.body_limits = limits;
        self
    }

    /// Sets the maximum length of a line in bytes. Default: 16 MiB.
    #[must_use]
    pub const fn max_line(mut self, bytes: usize) -> Self {
        self.settings.max_line = bytes;
        self
    }

    /// Sets the maximum length of an event's data in bytes. Default: 16 MiB.
    #[must_use]
    pub const fn max_event(mut self, bytes: usize) -> Self {
        self.settings.max_event = bytes;
        self
    }

    /// Sets the maximum number of redirects of an attempt. Default: 10.
    #[must_use]
    pub const fn max_redirects(mut self, count: u32) -> Self {
        self.settings.max_redirects = count;
        self
    }

    /// Sets how many bytes of the body of an error response are kept. Default: 64 KiB.
    #[must_use]
    pub const fn max_error_body(mut self, bytes: usize) -> Self {
        self.settings.max_error_body = bytes;
        self
    }

    /// Makes [`Item::Content`](super::Item::Content) an item, for programs that record streams.
    ///
    /// Default: off.
    #[must_use]
    pub const fn with_content(mut self) -> Self {
        self.settings.has_content = true;
        self
    }
}
