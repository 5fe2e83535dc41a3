//! In a model, a panic of a waker is loom's report and ends the program.

pub(crate) fn panicked(what: &str) {
    panic!("{what} panicked");
}
