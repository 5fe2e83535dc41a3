//! The locks of the wake-up protocols, which a model checker replaces by its own.

use std::sync::PoisonError;
pub(crate) use std::sync::atomic::AtomicBool;
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};

/// Locks, also after a panic: nothing that runs under these locks panics halfway, and no code
/// of others' runs there.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
