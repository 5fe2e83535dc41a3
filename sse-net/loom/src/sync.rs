//! The locks of the wake-up protocols, by loom.

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
// `Wake` is implemented for these only.
pub(crate) use std::sync::{Arc, Weak};

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("loom's locks are not poisoned")
}
