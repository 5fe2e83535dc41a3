//! Programs of two or three threads, each of which ends in every interleaving.

mod mailbox;
mod pipe;
mod switching;
mod topic;
mod watch;
mod writer_waker;

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
    (
        "topic: a subscriber reads the end of the topic",
        topic::finish,
    ),
    (
        "topic: dropping a subscription keeps the waker of another one",
        topic::unsubscribe,
    ),
    (
        "writer: an event that is published while the writer is about to wait is written",
        writer_waker::wake,
    ),
    (
        "writer: the events of two publishers are written",
        writer_waker::wake_twice,
    ),
    (
        "writer: an urgent event is written while the writer lingers",
        writer_waker::wake_urgently,
    ),
    (
        "watch: the first subscriber is noticed by a source that is about to wait",
        watch::subscribe,
    ),
    (
        "watch: the end of the last of two subscriptions is noticed",
        watch::unsubscribe,
    ),
    (
        "watch: a subscriber that replaces another is noticed",
        watch::replace,
    ),
    (
        "switching: a topic that is added while the stream is about to wait is followed",
        switching::add,
    ),
    (
        "switching: an event before and one after the change of its topic are read in order",
        switching::add_and_publish,
    ),
    (
        "switching: a change while the stream ends counts when it comes back",
        switching::end,
    ),
    (
        "mailbox: mail posted while the shard is about to wait is taken",
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
        "mailbox: a close is taken after the arrivals before it",
        mailbox::close,
    ),
    (
        "pipe: a writer waits for room and a reader for bytes",
        pipe::fill,
    ),
    ("pipe: dropping the writer ends the body", pipe::drop_writer),
    (
        "pipe: dropping the reader fails a writer that waits for room",
        pipe::drop_reader,
    ),
    (
        "pipe: dropping the reader fails a writer that waits for its end",
        pipe::drop_idle_reader,
    ),
];
