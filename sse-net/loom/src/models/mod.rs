//! Programs of two or three threads, each of which ends in every interleaving.

mod mailbox;
mod pipe;
mod topic;

/// Every model and what it shows.
pub(crate) const ALL: &[(&str, fn())] = &[
    (
        "topic: an event is read by a subscriber that is about to wait",
        topic::publish,
    ),
    (
        "topic: the events of two publishers are read",
        topic::publish_twice,
    ),
    ("topic: its end is read", topic::finish),
    (
        "topic: a subscriber that leaves takes no other's waker",
        topic::unsubscribe,
    ),
    (
        "mailbox: mail that is posted while the shard goes to sleep is taken",
        mailbox::post,
    ),
    (
        "mailbox: a signal that is raised while the shard lowers it is served",
        mailbox::raise,
    ),
    (
        "mailbox: a signal that two threads raise is served",
        mailbox::raise_twice,
    ),
    (
        "mailbox: the end of the handle is taken after its arrivals",
        mailbox::close,
    ),
    (
        "pipe: a writer waits for room and a reader for bytes",
        pipe::fill,
    ),
    (
        "pipe: a writer that leaves ends the body",
        pipe::drop_writer,
    ),
    (
        "pipe: a reader that leaves fails a writer that waits for room",
        pipe::drop_reader,
    ),
    (
        "pipe: a reader that leaves fails a writer that waits for that",
        pipe::drop_idle_reader,
    ),
];
