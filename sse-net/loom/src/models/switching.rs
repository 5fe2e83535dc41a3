//! Models of streams whose topics change.

use std::time::Duration;

use loom::future::block_on;
use loom::thread::{self, JoinHandle};
use sse_core::{Event, EventId, Retention};

use crate::topic::{Hub, Start, StreamToken, StreamTopics, Subscription, Topic};

pub(super) fn add() {
    let (hub, token, [a, b], mut stream) = stream();
    let topics = hub_topics(&hub, &token);
    let switcher = add_on_thread(topics, &b);
    read_until(&mut stream, "[\"a\",\"b\"]}\n\n");
    publish(&b, "b1");
    read_until(&mut stream, "data: b1\n\n");
    switcher.join().unwrap();
    drop(a);
}

pub(super) fn add_and_publish() {
    let (hub, token, [a, b], mut stream) = stream();
    let topics = hub_topics(&hub, &token);
    let publisher = thread::spawn({
        let b = b.clone();
        move || publish(&b, "b1")
    });
    pass_time();
    topics.add([&b], Start::Earliest).unwrap();
    publisher.join().unwrap();
    publish(&a, "last");
    let text = read_until(&mut stream, "data: last\n\n");
    assert_eq!(text.matches("data: b1\n").count(), 1, "{text}");
}

pub(super) fn end() {
    let (hub, token, [a, b], stream) = stream();
    let topics = hub_topics(&hub, &token);
    let switcher = add_on_thread(topics, &b);
    drop(stream);
    switcher.join().unwrap();
    let mut back = Subscription::with_token(token, [&a], None::<EventId<'_>>, Start::Live).unwrap();
    publish(&b, "b1");
    read_until(&mut back, "data: b1\n\n");
}

/// Adds a topic from another thread.
fn add_on_thread(topics: StreamTopics, topic: &Topic) -> JoinHandle<()> {
    let topic = topic.clone();
    thread::spawn(move || {
        pass_time();
        topics.add([&topic], Start::Live).unwrap();
    })
}

/// A stream of the first of two topics.
fn stream() -> (Hub, StreamToken, [Topic; 2], Subscription) {
    let hub = Hub::new(Retention::events(10));
    let [a, b] = ["a", "b"].map(|name| hub.topic(name).unwrap());
    let token = StreamToken::random();
    let stream = Subscription::with_token(token.clone(), [&a], None, Start::Live).unwrap();
    (hub, token, [a, b], stream)
}

fn hub_topics(hub: &Hub, token: &StreamToken) -> StreamTopics {
    hub.stream_topics(token).expect("the stream is open")
}

fn publish(topic: &Topic, data: &str) {
    pass_time();
    topic.publish(&Event::new().data(data)).unwrap();
}

/// Makes the next ID one of another millisecond: loom needs every run to compare IDs alike.
fn pass_time() {
    std::thread::sleep(Duration::from_millis(2));
}

/// Reads until the text ends so.
fn read_until(stream: &mut Subscription, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let bytes = block_on(stream.read_bytes()).unwrap().unwrap();
        text.push_str(std::str::from_utf8(&bytes).unwrap());
    }
    text
}
