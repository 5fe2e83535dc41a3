//! Spans and log events; without the feature `tracing`, functions that do nothing.

#[cfg(feature = "tracing")]
pub(crate) use on::*;

#[cfg(not(feature = "tracing"))]
pub(crate) use off::*;

#[cfg(feature = "tracing")]
mod on {
    use std::fmt::{Debug, Display};
    use std::io;

    use sse_core::client::{ClientError, Closed, Url};
    use tracing::Instrument as _;
    use tracing::instrument::Instrumented;

    /// Runs `work` in a span for its connection.
    pub(crate) fn connection<F: Future>(peer: &impl Display, work: F) -> Instrumented<F> {
        work.instrument(tracing::info_span!("connection", %peer))
    }

    pub(crate) fn accept_error(error: &io::Error) {
        tracing::warn!(%error, "a connection could not be accepted");
    }

    pub(crate) fn panicked(what: &str) {
        tracing::error!("{what} panicked");
    }

    /// Logs, once in the process, that IDs of foreign events have been dropped.
    pub(crate) fn dropped_ids() {
        static ONCE: std::sync::Once = std::sync::Once::new();
        if sse_core::EventId::dropped() > 0 {
            ONCE.call_once(|| {
                tracing::warn!(
                    "an event is sent without its ID, which a client could not send back; \
                     further ones are counted as dropped_ids"
                );
            });
        }
    }

    pub(crate) fn handshake_error(error: &io::Error) {
        tracing::debug!(%error, "a handshake failed");
    }

    /// Logs the error of the application with which a per-client stream ended.
    pub(crate) fn stream_failed(error: &io::Error) {
        tracing::warn!(%error, "a per-client stream failed");
    }

    /// Logs the error with which the work of a run ended.
    pub(crate) fn run_failed(key: &str, error: &impl Display) {
        tracing::warn!(key, %error, "the work of a run failed");
    }

    pub(crate) fn refused(peer: &impl Display) {
        tracing::warn!(%peer, "a connection was refused: the limit of connections is reached");
    }

    pub(crate) fn follow_error(error: &impl Display) {
        tracing::error!("a request was answered with 500: {error}");
    }

    pub(crate) fn journal(notice: &impl Display) {
        tracing::warn!("{notice}");
    }

    #[cfg(feature = "redis")]
    pub(crate) fn engine(notice: &impl Display) {
        tracing::warn!("{notice}");
    }

    /// Logs why an attempt of a client has failed or ended, and when the next one follows.
    pub(crate) fn reconnects(url: &Url, closed: &Closed) {
        let Closed {
            reason, retry_in, ..
        } = closed;
        if matches!(reason, ClientError::Ended | ClientError::Restarted) {
            tracing::debug!(?url, %reason, ?retry_in, "a client reconnects");
        } else {
            let reason = without_query(url, reason);
            tracing::warn!(?url, reason, ?retry_in, "a client reconnects");
        }
    }

    /// Removes the query, which may hold a token: errors of HTTP libraries show URLs.
    fn without_query(url: &Url, reason: &ClientError) -> String {
        let reason = reason.to_string();
        match url.target().split_once('?') {
            Some((_, query)) if !query.is_empty() => reason.replace(query, "…"),
            _ => reason,
        }
    }

    /// The span of a connection, in which the end of its stream is logged.
    pub(crate) struct Ending(tracing::Span);

    impl Ending {
        /// Returns the current span, if events of this level are logged.
        pub(crate) fn new() -> Option<Self> {
            tracing::enabled!(tracing::Level::DEBUG).then(|| Self(tracing::Span::current()))
        }

        pub(crate) fn log(&self, reason: &impl Debug) {
            self.0
                .in_scope(|| tracing::debug!(?reason, "the stream ended"));
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use std::fmt::Display;
    use std::io;

    use sse_core::client::{Closed, Url};

    pub(crate) fn connection<F: Future>(_: &impl Display, work: F) -> F {
        work
    }

    pub(crate) const fn accept_error(_: &io::Error) {}

    pub(crate) const fn dropped_ids() {}

    pub(crate) const fn handshake_error(_: &io::Error) {}

    pub(crate) const fn stream_failed(_: &io::Error) {}

    pub(crate) const fn run_failed(_: &str, _: &impl Display) {}

    pub(crate) const fn refused(_: &impl Display) {}

    pub(crate) const fn panicked(_: &str) {}

    pub(crate) const fn follow_error(_: &impl Display) {}

    pub(crate) const fn journal(_: &impl Display) {}

    pub(crate) const fn reconnects(_: &Url, _: &Closed) {}

    #[cfg(feature = "redis")]
    pub(crate) const fn engine(_: &impl Display) {}
}
