//! What a responder shares with its bodies.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;
use sse_core::Event;
use tokio::time::{Instant, timeout};

use crate::config::{Config, jittered, shortened};
use crate::stats::{Disconnect, Stats};
use crate::sync::{Mutex, MutexGuard, lock};
use crate::transport::limit::{Limit, Permit};
use crate::transport::on_end::OnEnd;
use crate::transport::presence::LOOK;
use crate::transport::until::Signal;

pub(super) struct Inner {
    pub(super) config: Config,
    pub(super) stats: Stats,
    pub(super) limit: Limit,
    heartbeat: Bytes,
    /// One for each body, called by a drain.
    wakers: Mutex<Slab<Option<Waker>>>,
    drain: OnceLock<Drain>,
}

/// The window in which a responder drains.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drain {
    pub(super) since: Instant,
    pub(super) window: Duration,
}

impl Inner {
    pub(super) fn new(config: Config) -> Self {
        Self {
            limit: Limit::new(config.max_connections, usize::MAX, 128),
            heartbeat: config.heartbeat_form.encode().into(),
            stats: Stats::default(),
            wakers: Mutex::default(),
            drain: OnceLock::new(),
            config,
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drain.get().is_some()
    }

    pub(super) async fn drain(&self, window: Duration) {
        let since = Instant::now();
        let _ = self.drain.set(Drain { since, window });
        self.take_wakers().into_iter().for_each(Waker::wake);
        let hard_end = window.saturating_add(self.config.goodbye_timeout());
        let _ = timeout(hard_end, self.limit.idle()).await;
    }

    /// Appends a block with the reconnection time.
    pub(super) fn append_retry(&self, out: &mut Vec<u8>) {
        let retry = jittered(self.config.retry);
        Event::new().retry(retry).encode(out);
    }

    fn take_wakers(&self) -> Vec<Waker> {
        let mut wakers = self.wakers();
        wakers
            .iter_mut()
            .filter_map(|(_, waker)| waker.take())
            .collect()
    }

    fn wakers(&self) -> MutexGuard<'_, Slab<Option<Waker>>> {
        lock(&self.wakers)
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// The registration of a body with its responder. Dropping it counts the end of the stream.
pub(super) struct Registration {
    inner: Arc<Inner>,
    key: usize,
    /// A copy of the waker that is registered.
    waker: Option<Waker>,
    heartbeat_interval: Duration,
    reason: Disconnect,
    on_end: OnEnd,
    sends_retry: bool,
    _permit: Permit,
}

impl Registration {
    pub(super) fn new(inner: Arc<Inner>, permit: Permit, sends_retry: bool) -> Self {
        let key = inner.wakers().insert(None);
        Self {
            key,
            waker: None,
            heartbeat_interval: shortened(inner.config.heartbeat.max(LOOK)),
            reason: Disconnect::ClientClosed,
            on_end: OnEnd::traced(),
            sends_retry,
            inner,
            _permit: permit,
        }
    }

    /// Registers the task's waker. Returns `true` if it differs from the last one.
    pub(super) fn register_waker(&mut self, cx: &Context<'_>) -> bool {
        let waker = cx.waker();
        if self
            .waker
            .as_ref()
            .is_some_and(|last| last.will_wake(waker))
        {
            return false;
        }
        let replaced = self.inner.wakers()[self.key].replace(waker.clone());
        drop(replaced); // Without the lock: it may be the last reference to a task.
        self.waker = Some(waker.clone());
        true
    }

    pub(super) fn drain(&self) -> Option<Drain> {
        self.inner.drain.get().copied()
    }

    pub(super) fn on_end(&mut self, hook: impl FnOnce(Disconnect) + Send + 'static) {
        self.on_end.add(hook);
    }

    /// Adds a future that ends the stream.
    pub(super) fn add_signal(&mut self, signal: Signal) {
        self.on_end.add_signal(signal);
    }

    /// Resolves to the reason for which one of the futures of `until` ends the stream.
    pub(super) fn poll_signals(&mut self, cx: &mut Context<'_>) -> Poll<Disconnect> {
        self.on_end.poll_signals(cx)
    }

    /// Sets the reason that is counted when this is dropped.
    ///
    /// Default: [`Disconnect::ClientClosed`].
    pub(super) const fn set_reason(&mut self, reason: Disconnect) {
        self.reason = reason;
    }

    pub(super) const fn heartbeat_interval(&self) -> Duration {
        self.heartbeat_interval
    }

    pub(super) fn heartbeat(&self) -> Bytes {
        self.inner.heartbeat.clone()
    }

    pub(super) fn stats(&self) -> &Stats {
        &self.inner.stats
    }

    /// Appends a block with the reconnection time, unless the stream has none.
    pub(super) fn append_retry(&self, out: &mut Vec<u8>) {
        if self.sends_retry {
            self.inner.append_retry(out);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let waker = self.inner.wakers().try_remove(self.key);
        drop(waker); // Without the lock: it may be the last reference to a task.
        self.inner.stats.add_disconnect(self.reason);
        self.on_end.call(self.reason);
    }
}
