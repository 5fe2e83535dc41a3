//! A panic of a waker is a failure that loom reports, so it ends the program.

pub(crate) fn panicked(what: &str) {
    panic!("{what} panicked");
}

pub(crate) const fn follow_error<T>(_: &T) {}
