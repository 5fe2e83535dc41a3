//! The wake-up protocol of a shard.
//!
//! A sender puts something into the mailbox, and wakes the shard's task if it waits.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::Ordering;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use crate::sync::{Arc, AtomicBool, Mutex, MutexGuard, Weak, lock};

/// Mail for a shard that it has not taken yet. `A` is a connection that arrives.
pub(crate) struct Mailbox<A>(Mutex<State<A>>);

struct State<A> {
    mail: Mail<A>,
    /// The shard's task, while it waits.
    waker: Option<Waker>,
}

pub(crate) struct Mail<A> {
    pub(crate) arrivals: VecDeque<A>,
    /// Connections and groups that have become ready.
    pub(crate) ready: VecDeque<Arc<Signal<A>>>,
    pub(crate) drain: Option<Duration>,
    pub(crate) is_closed: bool,
}

impl<A> Mailbox<A> {
    /// Puts something into the mailbox.
    pub(crate) fn post(&self, put: impl FnOnce(&mut Mail<A>)) {
        let mut state = self.lock();
        put(&mut state.mail);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Moves all mail behind what is left of earlier mail, and registers the task's waker.
    pub(crate) fn take(&self, cx: &Context<'_>, taken: &mut Mail<A>) {
        let State { mail, waker } = &mut *self.lock();
        move_all(&mut mail.arrivals, &mut taken.arrivals);
        move_all(&mut mail.ready, &mut taken.ready);
        taken.drain = mail.drain.take();
        taken.is_closed = mail.is_closed;
        *waker = Some(cx.waker().clone());
    }

    fn lock(&self) -> MutexGuard<'_, State<A>> {
        lock(&self.0)
    }
}

/// Moves all items. The two queues exchange their buffers, so that a shard that is woken for each
/// event allocates none; large ones are freed.
fn move_all<T>(from: &mut VecDeque<T>, to: &mut VecDeque<T>) {
    if to.is_empty() {
        to.shrink_to(KEPT);
        mem::swap(from, to);
    } else {
        to.append(from);
    }
}

/// The largest number of items for which a queue keeps its buffer.
const KEPT: usize = 64;

impl<A> Default for Mailbox<A> {
    fn default() -> Self {
        Self(Mutex::new(State {
            mail: Mail::default(),
            waker: None,
        }))
    }
}

impl<A> Default for Mail<A> {
    fn default() -> Self {
        Self {
            arrivals: VecDeque::new(),
            ready: VecDeque::new(),
            drain: None,
            is_closed: false,
        }
    }
}

impl<A> std::fmt::Debug for Mailbox<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

/// A connection or a group that can become ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Connection(u32),
    Group(u32),
}

/// A waker that puts its key into a shard's ready list, once until the shard lowers it.
pub(crate) struct Signal<A> {
    /// A signal that is raised after the shard has ended stays in the mailbox, which must not
    /// keep itself.
    mailbox: Weak<Mailbox<A>>,
    key: Key,
    is_raised: AtomicBool,
}

impl<A: Send + 'static> Signal<A> {
    pub(crate) fn waker(mailbox: &Arc<Mailbox<A>>, key: Key) -> Waker {
        let signal = Self {
            mailbox: Arc::downgrade(mailbox),
            key,
            is_raised: AtomicBool::new(false),
        };
        Waker::from(Arc::new(signal))
    }

    /// Returns the key and allows the signal to be raised again. The shard calls this before it
    /// serves the key, so that no wake-up is lost meanwhile.
    pub(crate) fn lower(&self) -> Key {
        // A store would not do: a thread that finds the signal raised relies on the shard to
        // see what it wrote before, so this has to acquire as well.
        self.is_raised.swap(false, Ordering::AcqRel);
        self.key
    }
}

impl<A: Send + 'static> Wake for Signal<A> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_raised.swap(true, Ordering::AcqRel)
            && let Some(mailbox) = self.mailbox.upgrade()
        {
            mailbox.post(|mail| mail.ready.push_back(Arc::clone(self)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_signal_is_small() {
        assert!(size_of::<Signal<()>>() <= 24);
    }

    #[test]
    fn a_signal_that_nobody_takes_does_not_keep_the_mailbox() {
        let mailbox = Arc::<Mailbox<()>>::default();
        let waker = Signal::waker(&mailbox, Key::Group(1));
        waker.wake_by_ref();
        let ended = Arc::downgrade(&mailbox);
        drop(mailbox);
        assert!(ended.upgrade().is_none());
        waker.wake();
    }
}
