//! Keyed topics: what readers get, alone and beside other topics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use sse_core::{EventId, EventType, Events, KeyedFull, KeyedRetention, LogId, Resume, Retention};

use super::*;
use crate::config::TopicConfig;
use crate::topic::held::MAX_HELD_OF_HUB;
use crate::topic::{Start, Subscription};

const READY: EventType = EventType::from_static("ready");

fn hub() -> Hub {
    Hub::new(TopicConfig::default().marker_type(READY))
}

fn publish(topic: &Topic, data: &str) -> LogId {
    let (key, _) = data.split_at(1);
    let published = topic.publish_for(key, &Event::new().data(data));
    published.unwrap().id().unwrap()
}

/// Reads what there is: the data of events, in brackets those that have a type.
fn read(subscription: &mut Subscription) -> String {
    let (mut all, mut last) = (Vec::new(), LogId::default());
    let cx = &mut Context::from_waker(Waker::noop());
    loop {
        let mut out = Vec::new();
        match subscription.poll_read(cx, &mut out) {
            Poll::Pending => break,
            Poll::Ready(Ok(0)) => {
                all.push("over".to_owned());
                break;
            }
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(_)) => {
                all.push("lagged".to_owned());
                last = LogId::default();
            }
        }
        for event in Events::new(&out[..]) {
            let event = event.unwrap();
            if let Some(id) = LogId::parse(event.last_event_id()) {
                assert!(last <= id, "IDs fall");
                last = id;
            }
            all.push(match event.event() {
                "message" => event.data().to_owned(),
                other => format!("<{other} {}>", event.data()).replace(" >", ">"),
            });
        }
    }
    all.join(" ")
}

fn after(topics: &[&Topic], id: LogId) -> Subscription {
    let topics = topics.iter().copied();
    Subscription::to(topics, EventId::from(id), Start::Live).unwrap()
}

fn join(topics: &[&Topic]) -> Subscription {
    Subscription::to(topics.iter().copied(), None, Start::Live).unwrap()
}

#[test]
fn a_client_gets_the_state_and_then_what_follows() {
    let topic = hub().keyed_topic("prices").unwrap();
    let mut early = join(&[&topic]);
    assert_eq!(read(&mut early), "<ready>");
    let ids = ["a1", "b1", "c1", "a2"].map(|data| publish(&topic, data));
    assert_eq!(read(&mut early), "b1 c1 a2");
    let mut late = join(&[&topic]);
    assert_eq!(late.resume(), Resume::New);
    publish(&topic, "a3");
    publish(&topic, "d1");
    topic.remove("b").unwrap();
    assert_eq!(read(&mut late), "c1 <ready> a3 d1 <remove b>");
    for (id, expected) in [
        (ids[0], "c1 a3 d1 <remove b> <ready>"),
        (ids[2], "a3 d1 <remove b> <ready>"),
    ] {
        let mut back = after(&[&topic], id);
        assert_eq!(read(&mut back), expected);
        assert_eq!(back.resume(), Resume::Resumed);
    }
    publish(&topic, "b2");
    assert_eq!(read(&mut early), "a3 d1 b2");
    assert_eq!(read(&mut late), "b2");
    topic.finish(None).unwrap();
    assert_eq!(read(&mut late), "over");
    assert_eq!(read(&mut join(&[&topic])), "c1 a3 d1 b2 <ready> over");
}

#[test]
fn a_client_that_may_have_missed_removals_begins_anew() {
    let retention = KeyedRetention::default().removals(Duration::ZERO);
    let hub = Hub::new(TopicConfig::default().keyed(retention).marker_type(READY));
    let [state, other] = [
        hub.keyed_topic("state").unwrap(),
        hub.topic("other").unwrap(),
    ];
    let first = publish(&state, "a1");
    let mut slow = join(&[&state]);
    let mut both = join(&[&state, &other]);
    publish(&state, "b1");
    let seen = other
        .publish(&Event::new().data("o1"))
        .unwrap()
        .id()
        .unwrap();
    state.remove("b").unwrap();
    let removal = publish(&state, "c1");
    thread::sleep(Duration::from_millis(3));
    state.shared.evict();

    // Those who had not read the removal discard all keys.
    assert_eq!(read(&mut slow), "lagged a1 c1 <ready>");
    assert_eq!(read(&mut both), "lagged a1 o1 c1 <ready>");
    let mut back = after(&[&state], first);
    assert_eq!(back.resume(), Resume::Gap);
    let gap = String::from_utf8(back.take_notices().unwrap()).unwrap();
    let expected = format!(
        "event: gap\ndata: {{\"asked\":\"{first}\",\"from\":\"{first}\",\"topic\":\"state\",\
         \"clear\":true}}\n\n"
    );
    assert_eq!(gap, expected);
    assert_eq!(read(&mut back), "a1 c1 <ready>");
    assert_eq!(
        read(&mut after(&[&state, &other], seen)),
        "lagged a1 c1 <ready>"
    );
    // Others do not, although they read events from before it.
    assert_eq!(read(&mut after(&[&state], removal)), "<ready>");
    let mut new = join(&[&state]);
    assert_eq!(read(&mut new), "a1 c1 <ready>");
    let unknown = Subscription::to([&state], EventId::from_static("unknown"), Start::Live);
    let mut unknown = unknown.unwrap();
    assert_eq!(unknown.resume(), Resume::Unknown);
    assert_eq!(read(&mut unknown), "lagged a1 c1 <ready>");
}

/// Removals are dropped to make room for other keys, too.
#[test]
fn a_client_begins_anew_after_a_removal_that_made_room() {
    let retention = KeyedRetention::default().keys(2);
    let hub = Hub::new(TopicConfig::default().keyed(retention).marker_type(READY));
    let topic = hub.keyed_topic("state").unwrap();
    let first = publish(&topic, "a1");
    let [mut slow, mut quick] = [join(&[&topic]), join(&[&topic])];
    assert_eq!(read(&mut quick), "a1 <ready>");
    publish(&topic, "b1");
    let full = topic.publish_for("c", &Event::new().data("c1"));
    assert_eq!(full, Err(PublishError::Full(KeyedFull::Keys { max: 2 })));
    let removal = topic.remove("a").unwrap().unwrap().id().unwrap();
    assert_eq!(read(&mut quick), "b1 <remove a>");
    publish(&topic, "c1");

    assert_eq!(read(&mut quick), "c1", "it had the removal");
    assert_eq!(read(&mut slow), "lagged b1 c1 <ready>");
    assert_eq!(read(&mut after(&[&topic], removal)), "c1 <ready>");
    let mut back = after(&[&topic], first);
    let gap = String::from_utf8(back.take_notices().unwrap()).unwrap();
    assert!(gap.contains("\"clear\":true"), "{gap}");
    assert_eq!(read(&mut back), "b1 c1 <ready>");
}

#[test]
fn removals_have_the_type_of_the_settings_and_the_key_as_data() {
    let config = TopicConfig::default().removal_type(EventType::from_static("gone"));
    let topic = Hub::new(config).keyed_topic("state").unwrap();
    publish(&topic, "a1");
    topic.remove("a").unwrap();
    assert_eq!(read(&mut join(&[&topic])), "<gone a>");
}

/// Clients that join, come back and are slow, while others publish, remove keys and drop removals.
#[test]
fn clients_of_any_thread_have_the_publishers_map() {
    const ROUNDS: usize = 3000;
    let retention = KeyedRetention::default().keys(30).bytes(4000);
    let retention = retention.removals(Duration::ZERO);
    let hub = Hub::new(TopicConfig::default().keyed(retention));
    let [state, other] = [
        hub.keyed_topic("state").unwrap(),
        hub.topic("other").unwrap(),
    ];
    let run = |seed: u64| {
        let (mut rng, mut map) = (fastrand::Rng::with_seed(seed), Map::new());
        for round in 0..ROUNDS {
            let key = format!("{seed}-{}", rng.usize(..20));
            let value = format!("{round} {}", "x".repeat(rng.usize(..200)));
            match rng.u8(..8) {
                0 => drop(other.publish(&Event::new().data("other")).unwrap()),
                1 | 2 => {
                    let removed = state.remove(&key).unwrap();
                    assert_eq!(removed.is_some(), map.remove(&key).is_some());
                }
                3 => state.shared.evict(),
                _ => {
                    let event = Event::new().data(format!("{key} {value}"));
                    match state.publish_for(&key, &event) {
                        Ok(_) => _ = map.insert(key, value),
                        Err(full) => assert!(matches!(full, PublishError::Full(_)), "{full}"),
                    }
                }
            }
        }
        map
    };
    let follow = |seed: u64, is_done: &AtomicBool| {
        let (mut rng, mut client) = (fastrand::Rng::with_seed(seed), Client::default());
        let topics = [&state, &other];
        let topics = &topics[..1 + usize::from(seed.is_multiple_of(2))];
        let mut reader = None;
        loop {
            let is_last = is_done.load(Ordering::SeqCst);
            let reading = reader.get_or_insert_with(|| {
                client.last = LogId::default();
                Subscription::to(topics.iter().copied(), client.id(), Start::Live).unwrap()
            });
            while client.read(reading) && (is_last || rng.u8(..8) > 0) {}
            if is_last {
                return client.map;
            }
            reader = reader.filter(|_| rng.u8(..4) > 0);
        }
    };
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients = Vec::from_iter((0..4).map(|seed| {
            scope.spawn({
                let (follow, is_done) = (&follow, &is_done);
                move || follow(seed, is_done)
            })
        }));
        let publishers = [1, 2].map(|seed| scope.spawn(move || run(seed)));
        let maps = publishers.map(|publisher| publisher.join().unwrap());
        let expected: Map = maps.into_iter().flatten().collect();
        is_done.store(true, Ordering::SeqCst);
        for client in clients {
            assert_eq!(client.join().unwrap(), expected);
        }
    });
}

type Map = BTreeMap<String, String>;

/// What the page of a client has.
#[derive(Default)]
struct Client {
    map: Map,
    seen: Option<String>,
    /// The last ID of this response.
    last: LogId,
}

impl Client {
    fn id(&self) -> Option<EventId<'static>> {
        let id = self.seen.clone()?;
        Some(EventId::new(id).unwrap())
    }

    /// Reads some events, and returns whether there were any.
    fn read(&mut self, reader: &mut Subscription) -> bool {
        let bytes = match reader.poll_bytes(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => return false,
            Poll::Ready(Ok(bytes)) => bytes.unwrap(),
            Poll::Ready(Err(_)) => {
                (self.map, self.last) = (Map::new(), LogId::default());
                return true;
            }
        };
        for event in Events::new(&bytes[..]) {
            let event = event.unwrap();
            let id = LogId::parse(event.last_event_id()).unwrap();
            assert!(self.last < id, "IDs fall");
            (self.last, self.seen) = (id, Some(event.last_event_id().to_owned()));
            match (event.event(), event.data().split_once(' ')) {
                ("remove", _) => drop(self.map.remove(event.data())),
                (_, Some((key, value))) => _ = self.map.insert(key.to_owned(), value.to_owned()),
                _ => assert_eq!(event.data(), "other"),
            }
        }
        true
    }
}

#[test]
fn a_keyed_topic_is_followed_beside_others() {
    let hub = hub();
    let [a, state] = [hub.topic("a").unwrap(), hub.keyed_topic("state").unwrap()];
    let say = |data: &str| a.publish(&Event::new().data(data)).unwrap().id().unwrap();
    publish(&state, "k1");
    say("a1");
    publish(&state, "l1");
    publish(&state, "k2");
    let mut both = join(&[&a, &state]);
    let seen = say("a2");
    publish(&state, "l2");
    let third = say("a3");
    publish(&state, "k3");
    assert_eq!(
        read(&mut both),
        "<ready> a2 l2 a3 k3",
        "what was superseded is skipped"
    );
    assert_eq!(read(&mut join(&[&a, &state])), "l2 k3 <ready>");
    assert_eq!(read(&mut after(&[&a, &state], seen)), "l2 a3 k3 <ready>");
    assert_eq!(read(&mut after(&[&a, &state], third)), "k3 <ready>");
    publish(&state, "k4");
    say("a4");
    publish(&state, "k5");
    assert_eq!(read(&mut both), "a4 k5");
    state.finish(None).unwrap();
    assert_eq!(read(&mut both), "<close {\"topic\":\"state\"}>");
}

#[test]
fn an_event_supersedes_once_the_mark_has_passed_it() {
    let hub = hub();
    let topic = hub.keyed_topic("state").unwrap();
    let shown = publish(&topic, "a1");
    hub.0.set_visible(shown, &[]);
    topic.lock().log.hold_after(shown);
    let held = publish(&topic, "a2");
    assert_eq!(read(&mut join(&[&topic])), "a1 <ready>");
    assert_eq!(topic.get("a").unwrap().data(), "a2");
    let mut waits = join(&[&topic]);
    assert_eq!(read(&mut waits), "a1 <ready>");
    hub.0.set_visible(held, &[Arc::clone(&topic.shared)]);
    assert_eq!(read(&mut waits), "a2");
    assert_eq!(read(&mut join(&[&topic])), "a2 <ready>");
    assert_eq!(topic.lock().log.len(), 1);
}

#[test]
fn what_cannot_be_published_is_refused() {
    let hub = Hub::new(
        TopicConfig::default()
            .max_event(300)
            .keyed(KeyedRetention::default().keys(1).bytes(1000)),
    );
    let [ordinary, keyed] = [hub.topic("a").unwrap(), hub.keyed_topic("k").unwrap()];
    let tight = TopicConfig::default().keyed(KeyedRetention::default().bytes(20));
    let tight = Hub::new(tight).keyed_topic("k").unwrap();
    publish(&keyed, "a1");
    let event = Event::new().data("x");
    let long = Event::new().data("x".repeat(300));
    let long_key = "k".repeat(1025);
    let invalid =
        "the key has a line break or more than 1024 bytes; use a shorter text of one line";
    for (published, sentence) in [
        (
            keyed.publish(&event).map(drop),
            "the topic is keyed, so an event needs a key; publish it with `publish_for`",
        ),
        (
            ordinary.publish_for("a", &event).map(drop),
            "the topic is not keyed; publish without a key, or create the topic with \
             `Hub::keyed_topic`",
        ),
        (
            Topic::new(Retention::default()).remove("a").map(drop),
            "the topic is not keyed; publish without a key, or create the topic with \
             `Hub::keyed_topic`",
        ),
        (keyed.publish_for("a\nb", &event).map(drop), invalid),
        (keyed.publish_for(&long_key, &event).map(drop), invalid),
        (keyed.remove("a\rb").map(drop), invalid),
        (
            tight.publish_for("a", &event).map(drop),
            "with the event, the newest events of all keys exceed 20 bytes; remove keys or raise \
             `KeyedRetention::bytes`",
        ),
        (
            keyed.publish_for("b", &event).map(drop),
            "the event has a new key and there are 1 keys, the most allowed; remove keys or raise \
             `KeyedRetention::keys`",
        ),
        (
            keyed.publish_for("a", &event.clone().id(7)).map(drop),
            "the event has an ID, but a hub assigns the IDs of its topics; publish it without \
             one, or in a topic that stands alone",
        ),
        (
            keyed.publish_for("a", &long).map(drop),
            "the event has 354 bytes and the topic accepts 300; raise `max_event` or split the \
             event",
        ),
    ] {
        assert_eq!(published.unwrap_err().to_string(), sentence);
    }
    assert_eq!(keyed.remove("b"), Ok(None));
    assert_eq!(read(&mut join(&[&keyed])), "a1");

    let wrong = hub.keyed_topic("a").unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "the hub has a topic of this name that is not keyed; use another name, or create the keyed \
         topic first"
    );
    let full = Hub::new(crate::HubConfig::default().max_topics(0));
    let full = full.keyed_topic("a").unwrap_err();
    assert_eq!(
        full,
        KeyedTopicError::TooManyTopics(TooManyTopics { max: 0 })
    );
    assert_eq!(full.to_string(), TooManyTopics { max: 0 }.to_string());

    keyed.finish(None).unwrap();
    let late = keyed.publish_for("a", &event);
    assert_eq!(late, Err(PublishError::Finished));
}

/// Each of them has begun another pass.
#[test]
fn what_stalled_readers_hold_is_bounded() {
    let hub = Hub::new(TopicConfig::default());
    let [topic, other] = ["a", "b"].map(|name| hub.keyed_topic(name).unwrap());
    let data = "x".repeat(100_000);
    let mut readers = Vec::new();
    for number in 0..7 {
        for key in 0..100 {
            let event = Event::new().data(&data);
            topic.publish_for(key.to_string(), &event).unwrap();
        }
        let mut reader = match number % 2 {
            0 => topic.subscribe(Start::Live),
            _ => Subscription::to([&topic, &other], None, Start::Live).unwrap(),
        };
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(reader.poll_bytes(cx).is_ready());
        readers.push(reader);
    }
    let room = MAX_HELD_OF_HUB..MAX_HELD_OF_HUB + 2 * data.len();
    let held = hub.shared().held.get();
    assert!(room.contains(&held), "{held}");
    for reader in &mut readers {
        let cx = &mut Context::from_waker(Waker::noop());
        while reader.poll_bytes(cx).is_ready() {}
    }
    assert_eq!(hub.shared().held.get(), 0);
    drop(
        topic
            .subscribe(Start::Live)
            .poll_bytes(&mut Context::from_waker(Waker::noop())),
    );
    assert_eq!(hub.shared().held.get(), 0, "a reader was dropped");
}

#[test]
fn a_keyed_topic_is_dropped_when_it_has_no_key() {
    let retention = KeyedRetention::default().removals(Duration::ZERO);
    let hub = Hub::new(TopicConfig::default().keyed(retention));
    publish(&hub.keyed_topic("a").unwrap(), "k1");
    thread::sleep(Duration::from_millis(3));
    assert!(hub.keyed_topic("a").unwrap().get("k").is_some());
    hub.keyed_topic("a").unwrap().remove("k").unwrap();
    thread::sleep(Duration::from_millis(3));
    drop(hub.keyed_topic("a"));
    assert_eq!(hub.topics(), 0);
}

/// All keys that exist throughout are returned, whatever is published meanwhile.
#[test]
fn keys_are_complete_while_others_publish() {
    const KEYS: usize = 3000;
    let topic = hub().keyed_topic("state").unwrap();
    let event = Event::new().data("x".repeat(50));
    for key in 0..KEYS {
        topic.publish_for(key.to_string(), &event).unwrap();
    }
    thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            for number in 0..100_000 {
                let key = number * 7919 % KEYS;
                topic.publish_for(key.to_string(), &event).unwrap();
            }
        });
        while !publisher.is_finished() {
            let mut keys: Vec<usize> = topic
                .keys()
                .iter()
                .map(|key| key.parse().unwrap())
                .collect();
            keys.sort_unstable();
            assert!(keys.into_iter().eq(0..KEYS));
        }
    });
    let last = topic.keys();
    topic.publish_for("0", &event).unwrap();
    assert!(topic.keys().last().is_some_and(|key| &**key == "0") && last.len() == KEYS);
}

/// Else it would stay for ever.
#[test]
fn a_key_is_removed_though_it_is_longer_than_the_largest_event() {
    let hub = Hub::new(TopicConfig::default().max_event(100));
    let topic = hub.keyed_topic("prices").unwrap();
    let key = "x".repeat(1024);
    topic.publish_for(&key, &Event::new().data("1")).unwrap();
    assert!(topic.remove(&key).unwrap().is_some());
    assert!(topic.keys().is_empty());
    let long = topic.publish_for("y", &Event::new().data(&key));
    assert!(matches!(long, Err(PublishError::TooLarge { max: 100, .. })));
}
