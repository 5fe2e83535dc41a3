//! Accepts the connections of a listener.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::sleep;

use super::connection::Connection;
use super::inner::Inner;
use crate::trace;
use crate::transport::{Listener, Peer};
use crate::unwind::catch_async;

/// Accepts the connections of a listener, and starts a task for each.
pub(super) struct Acceptor<L> {
    listener: L,
    inner: Arc<Inner>,
}

impl<L: Listener> Acceptor<L> {
    pub(super) fn new(listener: L, inner: Arc<Inner>) -> Self {
        inner.counters.health.count_acceptor();
        Self { listener, inner }
    }

    /// Accepts connections until its task is aborted. After an error, such as too many open
    /// files, or a panic of the listener it pauses, but not after an error of one connection.
    pub(super) async fn run(mut self) {
        let mut pause = MIN_PAUSE;
        loop {
            let accepted = {
                // The call itself may panic, too.
                let accepting = pin!(async { self.listener.accept().await });
                catch_async("a listener", accepting).await
            };
            match accepted {
                Ok(Ok((handshake, peer))) => {
                    pause = MIN_PAUSE;
                    self.start_connection(handshake, peer);
                    continue;
                }
                Ok(Err(error)) => {
                    trace::accept_error(&error);
                    self.inner.counters.stats.add_accept_error();
                    if is_of_one_connection(&error) {
                        yield_now().await;
                        continue;
                    }
                }
                Err(_) => self.inner.counters.stats.add_accept_panic(),
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    fn start_connection(&self, handshake: L::Handshake, peer: Peer) {
        let inner = &self.inner;
        inner.counters.stats.add_accepted();
        let (permit, is_refused) = match inner.counters.limit.admit(peer.ip()) {
            Some(permit) => (permit, false),
            None => {
                inner.counters.stats.add_refused();
                trace::refused(&peer);
                match inner.refusals.admit(None) {
                    Some(permit) => (permit, true),
                    None => return,
                }
            }
        };
        let connection = Connection {
            inner: Arc::clone(inner),
            peer,
            permit,
            is_refused,
        };
        // Boxed, because the runtime would move the future, which is large, several times.
        tokio::spawn(Box::pin(connection.run(Box::pin(handshake))));
    }
}

impl<L> Drop for Acceptor<L> {
    fn drop(&mut self) {
        self.inner.counters.health.uncount_acceptor();
    }
}

/// Returns whether a peer caused the error, and the next connection can be accepted at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    let kinds = [ConnectionAborted, ConnectionRefused, ConnectionReset];
    kinds.contains(&error.kind())
}

/// The first pause after an error. Each is twice the one before, so any listener settles between
/// spinning and accepting at most [`MAX_PAUSE`] late, and neither needs a setting.
const MIN_PAUSE: Duration = Duration::from_millis(5);
const MAX_PAUSE: Duration = Duration::from_secs(1);
