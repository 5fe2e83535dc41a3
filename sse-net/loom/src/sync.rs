//! loom's locks, for the wake-up protocols.

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
// `Wake` needs the standard library's `Arc`.
pub(crate) use std::sync::{Arc, Weak};

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("loom's locks are not poisoned")
}
