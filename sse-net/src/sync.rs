//! The locks of the wake-up protocols. A model checker replaces them with its own.

use std::sync::PoisonError;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};

/// Locks the mutex, also after a panic: no foreign code runs under these locks, and ours does not
/// panic halfway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
