//! Spans and log events; without the feature `tracing`, functions that do nothing.

#[cfg(feature = "tracing")]
pub(crate) use on::*;

#[cfg(not(feature = "tracing"))]
pub(crate) use off::*;

#[cfg(feature = "tracing")]
mod on {
    use std::io;

    use tracing::Instrument as _;

    use crate::journal::JournalNotice;
    use crate::stats::Disconnect;
    use crate::transport::Peer;

    /// Runs `work` in a span for its connection.
    pub(crate) fn connection<F: Future>(peer: Peer, work: F) -> impl Future<Output = F::Output> {
        work.instrument(match peer {
            Peer::Tcp(address) => tracing::info_span!("connection", peer = %address),
            Peer::Local => tracing::info_span!("connection", peer = "local"),
        })
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

    pub(crate) fn refused(peer: Peer) {
        tracing::warn!(
            ?peer,
            "a connection was refused: the limit of connections is reached"
        );
    }

    pub(crate) fn journal(notice: &JournalNotice) {
        tracing::warn!("{notice}");
    }

    /// The span of a connection, in which the end of its stream is logged.
    pub(crate) struct Ending(tracing::Span);

    impl Ending {
        /// Returns the current span, if events of this level are logged.
        pub(crate) fn new() -> Option<Self> {
            tracing::enabled!(tracing::Level::DEBUG).then(|| Self(tracing::Span::current()))
        }

        pub(crate) fn tell(&self, reason: Disconnect) {
            self.0
                .in_scope(|| tracing::debug!(?reason, "the stream ended"));
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use std::io;

    use crate::journal::JournalNotice;
    use crate::transport::Peer;

    pub(crate) fn connection<F: Future>(_: Peer, work: F) -> F {
        work
    }

    pub(crate) const fn accept_error(_: &io::Error) {}

    pub(crate) const fn dropped_ids() {}

    pub(crate) const fn handshake_error(_: &io::Error) {}

    pub(crate) const fn refused(_: Peer) {}

    pub(crate) const fn panicked(_: &str) {}

    pub(crate) const fn journal(_: &JournalNotice) {}
}
