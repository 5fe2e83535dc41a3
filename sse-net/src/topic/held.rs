//! The rest of a pass over keyed topics, which a reader holds.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::hub::HubCore;

/// What a reader has still to read of a pass, each part with its number of bytes.
///
/// A slow reader would otherwise never get keys that are superseded again and again before it has
/// read up to them.
#[derive(Debug)]
pub(super) struct Held<T>(VecDeque<(T, usize)>);

/// The number of bytes that the readers of a hub hold.
#[derive(Debug, Default)]
pub(super) struct HeldBytes(AtomicUsize);

impl<T> Held<T> {
    pub(super) const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Holds what `next` returns, while there is room.
    pub(super) fn fill(&mut self, hub: &HubCore, mut next: impl FnMut() -> Option<(T, usize)>) {
        let mut held = 0;
        while held < MAX_HELD
            && hub.held.get() < MAX_HELD_OF_HUB
            && let Some((part, bytes)) = next()
        {
            held += bytes;
            hub.held.0.fetch_add(bytes, Relaxed);
            self.0.push_back((part, bytes));
        }
    }

    pub(super) fn pop(&mut self, hub: &HubCore) -> Option<T> {
        let (part, bytes) = self.0.pop_front()?;
        hub.held.0.fetch_sub(bytes, Relaxed);
        Some(part)
    }

    /// Drops all parts. A reader calls this before it is dropped.
    pub(super) fn clear(&mut self, hub: &HubCore) {
        while self.pop(hub).is_some() {}
    }
}

impl HeldBytes {
    pub(super) fn get(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// The most bytes of a pass that one reader holds.
const MAX_HELD: usize = 16 << 20;

/// The number of bytes from which on the readers of a hub hold no more. Otherwise, many clients
/// that take nothing could each hold another pass.
pub(super) const MAX_HELD_OF_HUB: usize = 64 << 20;
