//! Streams whose topics change while they run.

use std::collections::HashMap;
use std::time::Duration;

use sse_core::{Event, EventId, EventType, LogId, Resume, Retention};
use sse_net::{
    Disconnect, FollowError, Hub, HubConfig, Start, StreamToken, StreamTopics, Subscription, Topic,
    TopicConfig,
};
use tokio::io::AsyncReadExt;

use crate::common::{Kind, WIDE, over_all_servers, settle};
use crate::following::{last_id, next, said, say, serve_all, topics};

over_all_servers! {
    topics_are_added_and_removed_on_the_connection,
    an_addition_from_its_beginning_has_no_ids,
    a_client_that_comes_back_gets_an_addition_again_unless_it_has_its_id,
    an_addition_that_was_cut_off_comes_again,
    an_unknown_token_is_reported_and_the_page_sends_its_topics_again,
    two_connections_of_one_token_follow_the_same_topics,
    a_stream_without_topics_waits_for_some,
    a_topic_that_is_finished_can_be_added,
    a_slow_client_receives_many_changes_as_few,
    a_keyed_topic_is_added_with_its_state,
}

/// A hub that retains four events of each topic.
fn hub() -> Hub {
    Hub::new(retention())
}

fn retention() -> Retention {
    let minute = Duration::from_secs(60);
    Retention::events(4).age(minute).backlog(Duration::ZERO, 0)
}

/// The token of a stream, and its path with these topics.
fn stream(names: &str) -> (StreamToken, String) {
    let token = StreamToken::random();
    let path = format!("/{names}?{}", token.as_str());
    (token, path)
}

/// The types, IDs and data of the events, without the numbers of IDs.
fn blocks(text: &str) -> Vec<String> {
    let fields = |block: &str| {
        let fields = block
            .lines()
            .filter_map(|line| match line.split_once(": ") {
                Some(("id", _)) => Some("id"),
                Some(("event" | "data", value)) => Some(value),
                _ => None,
            });
        fields.collect::<Vec<_>>().join(" ")
    };
    let blocks = text.split("\n\n").map(fields);
    blocks.filter(|block| !block.is_empty()).collect()
}

async fn topics_are_added_and_removed_on_the_connection(kind: Kind) {
    let hub = hub();
    let [a, b] = topics(&hub, ["a", "b"]);
    let (_server, net, _) = serve_all(kind, &hub, Start::Live);
    let (token, path) = stream("a");
    let mut client = net.get(&path).await;
    let opening = client.read().await;
    assert!(
        opening.contains("\r\n\r\nevent: topics\ndata: {\"topics\":[\"a\"]}\n\nid: "),
        "{opening}"
    );
    let set = hub.stream_topics(&token).unwrap();
    assert_eq!(format!("{set:?}"), "StreamTopics { names: [\"a\"], .. }");
    say(&b, "b1");
    set.add([&b], Start::Live).unwrap();
    // It is followed already.
    set.add([&b, &a], Start::Earliest).unwrap();
    say(&b, "b2");
    say(&a, "a1");
    assert_eq!(
        blocks(&client.read().await),
        ["id topics {\"topics\":[\"a\",\"b\"]}", "id b2", "id a1"]
    );
    set.remove(["a", "a", "c"]);
    say(&a, "a2");
    say(&b, "b3");
    let text = client.read().await;
    assert_eq!(blocks(&text), ["id topics {\"topics\":[\"b\"]}", "id b3"]);
    set.remove(["a"]);
    assert_eq!(client.read().await, "");
    assert_eq!([a.subscriptions(), b.subscriptions()], [0, 1]);
    // It comes back to the topics of now, with the URL of then.
    say(&b, "b4");
    drop(client);
    settle().await;
    let text = net.resume(&path, &last_id(&text)).await.read().await;
    assert_eq!(said(&text), "topics {\"topics\":[\"b\"]} b4");
}

async fn an_addition_from_its_beginning_has_no_ids(kind: Kind) {
    let hub = hub();
    let [a, b, c] = topics(&hub, ["a", "b", "c"]);
    let (server, net, _) = serve_all(kind, &hub, Start::Live);
    let (token, path) = stream("a");
    let mut client = net.get(&path).await;
    client.read().await;
    for data in ["b1", "b2", "b3", "b4", "b5"] {
        say(&b, data);
    }
    say(&c, "c1");
    say(&a, "a1");
    let set = hub.stream_topics(&token).unwrap();
    set.add([&b, &c], Start::Last(2)).unwrap();
    say(&b, "b6");
    let all = "topics {\"topics\":[\"a\",\"b\",\"c\"]";
    let begin = format!("{all},\"from\":{{\"b\":null,\"c\":null}}}}");
    let end = format!("id {all}}}");
    let text = client.read().await;
    assert_eq!(
        blocks(&text),
        ["id a1", &begin, "b4", "b5", "c1", &end, "id b6"]
    );
    let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
    assert!(ids.map(|id| LogId::parse(id).unwrap()).is_sorted());

    // After an event of its own it continues, with a gap if one has been evicted.
    set.remove(["b"]);
    client.read().await;
    let seen = last_id(&text);
    for data in ["b7", "b8", "b9"] {
        say(&b, data);
    }
    set.add_after([&b], Some(EventId::new(&*seen).unwrap()), Start::Live)
        .unwrap();
    let again = blocks(&client.read().await);
    assert!(again[0].ends_with(&format!("\"from\":{{\"b\":\"{seen}\"}}}}")));
    assert_eq!(again[1..4], ["b7", "b8", "b9"]);
    set.remove(["b"]);
    for data in ["b10", "b11"] {
        say(&b, data);
    }
    set.add_after([&b], Some(EventId::new(&*seen).unwrap()), Start::Live)
        .unwrap();
    let gap = blocks(&client.read().await);
    assert!(
        gap[2].starts_with(&format!("gap {{\"asked\":\"{seen}\",\"from\":")),
        "{gap:?}"
    );
    assert_eq!(gap[3..7], ["b8", "b9", "b10", "b11"]);
    assert_eq!(gap.len(), 8);
    let unknown = EventId::from_static("1-1");
    set.remove(["c"]);
    set.add_after([&c], Some(unknown), Start::Live).unwrap();
    let gap = client.read().await;
    assert!(
        gap.contains("event: gap\ndata: {\"asked\":\"1-1\",\"from\":"),
        "{gap}"
    );
    if kind == Kind::Server {
        assert_eq!(server.stats().gaps, 2);
    }
}

async fn a_client_that_comes_back_gets_an_addition_again_unless_it_has_its_id(kind: Kind) {
    let hub = hub();
    let [a, b] = topics(&hub, ["a", "b"]);
    let (_server, net, _) = serve_all(kind, &hub, Start::Live);
    let (token, path) = stream("a");
    let mut client = net.get(&path).await;
    let position = last_id(&client.read().await);
    say(&b, "b1");
    let before = say(&a, "a1").to_string();
    let set = hub.stream_topics(&token).unwrap();
    set.add([&b], Start::Earliest).unwrap();
    say(&b, "b2");
    let text = client.read().await;
    let ids: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .collect();
    let [_, change, after] = ids[..] else {
        panic!("{text}")
    };
    drop(client);
    let both = "topics {\"topics\":[\"a\",\"b\"]}";
    let addition = format!(
        "topics {{\"topics\":[\"a\"]}} a1 topics {{\"topics\":[\"a\",\"b\"],\"from\":{{\"b\":null}}}} b1 {both} b2"
    );
    for (id, expected) in [
        (&*position, &addition),
        (&before, &addition.replace("a1 ", "")),
        (change, &format!("{both} b2")),
        (after, &both.to_owned()),
    ] {
        let text = net.resume(&path, id).await.read().await;
        assert_eq!(&said(&text), expected, "after {id}");
    }
}

async fn an_addition_that_was_cut_off_comes_again(kind: Kind) {
    let retention = Retention::events(100).age(Duration::from_secs(60));
    let hub = Hub::new(retention);
    let [a, b] = topics(&hub, ["a", "b"]);
    let (_server, net, _) = serve_all(kind, &hub, Start::Live);
    let (token, path) = stream("a");
    let large = "x".repeat(100_000);
    for number in 0..5 {
        say(&b, &format!("{number}{large}"));
    }
    let mut client = net.get_slow(&path, 400).await;
    let before = say(&a, "a1");
    hub.stream_topics(&token)
        .unwrap()
        .add([&b], Start::Earliest)
        .unwrap();
    let mut part = vec![0; 250_000];
    client.pipe.read_exact(&mut part).await.unwrap();
    let part = String::from_utf8(part).unwrap();
    drop(client);
    assert_eq!(last_id(&part), before.to_string());
    say(&b, "last");
    let text = net.resume(&path, &last_id(&part)).await.read().await;
    let blocks = blocks(&text);
    assert!(
        blocks[2].ends_with("\"from\":{\"b\":null}}"),
        "{}",
        blocks[2]
    );
    for number in 0..5 {
        assert_eq!(blocks[3 + number], format!("{number}{large}"));
    }
    assert_eq!(blocks[9], "id last");
}

async fn an_unknown_token_is_reported_and_the_page_sends_its_topics_again(kind: Kind) {
    let hub = hub();
    let [a, b] = topics(&hub, ["a", "b"]);
    let (server, net, _) = serve_all(kind, &hub, Start::Live);
    let (token, path) = stream("a");
    assert!(hub.stream_topics(&token).is_none());
    let seen = say(&a, "a1").to_string();
    say(&b, "b1");
    say(&a, "a2");
    let mut client = net.resume(&path, &seen).await;
    let text = client.read().await;
    let gap = format!(
        "event: gap\ndata: {{\"asked\":\"{seen}\",\"from\":null,\"token\":\"unknown\"}}\n\n"
    );
    assert!(text.contains(&gap), "{text}");
    assert!(said(&text).ends_with("{\"topics\":[\"a\"]} a2"), "{text}");
    assert_eq!(server.stats().gaps, 1);
    let seen = EventId::new(&*seen).unwrap();
    let set = hub.stream_topics(&token).unwrap();
    set.add_after([&a, &b], Some(seen), Start::Live).unwrap();
    let text = client.read().await;
    assert_eq!(
        blocks(&text)[1..],
        ["b1", "id topics {\"topics\":[\"a\",\"b\"]}"]
    );
    // A client without an ID is a new one, and another user's token is another one.
    let new = net.get(&stream("a").1).await.read().await;
    assert!(!new.contains("gap"), "{new}");
    assert!(hub.stream_topics(&token.clone().bound_to("ann")).is_none());
    assert!(self::hub().stream_topics(&token).is_none());
}

async fn two_connections_of_one_token_follow_the_same_topics(kind: Kind) {
    let hub = hub();
    let [a, b] = topics(&hub, ["a", "b"]);
    let (_server, net, _) = serve_all(kind, &hub, Start::Live);
    let (token, path) = stream("a");
    let mut clients = [net.get(&path).await, net.get(&path).await];
    for client in &mut clients {
        client.read().await;
    }
    let set = hub.stream_topics(&token).unwrap();
    set.add([&b], Start::Live).unwrap();
    say(&b, "b1");
    let mut last = String::new();
    for client in &mut clients {
        let text = client.read().await;
        assert_eq!(said(&text), "topics {\"topics\":[\"a\",\"b\"]} b1");
        last = last_id(&text);
    }
    let [first, mut second] = clients;
    drop(first);
    settle().await;
    set.remove(["a"]);
    say(&a, "a1");
    say(&b, "b2");
    assert_eq!(next(&mut second).await, "topics {\"topics\":[\"b\"]} b2");
    drop(second);
    let back = net.resume(&path, &last).await.read().await;
    assert!(
        said(&back).starts_with("topics {\"topics\":[\"b\"]} "),
        "{back}"
    );
    assert!(said(&back).ends_with(" b2"), "{back}");
    settle().await;
    assert_eq!(a.subscriptions() + b.subscriptions(), 0);
}

async fn a_stream_without_topics_waits_for_some(kind: Kind) {
    let hub = hub();
    let [a] = topics(&hub, ["a"]);
    let (_server, net, ends) = serve_all(kind, &hub, Start::Live);
    let (token, path) = stream("a");
    let mut client = net.get(&path).await;
    client.read().await;
    let set = hub.stream_topics(&token).unwrap();
    set.remove(["a"]);
    assert_eq!(next(&mut client).await, "topics {\"topics\":[]}");
    say(&a, "a1");
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(client.read().await.starts_with(':'));
    set.add([&a], Start::Live).unwrap();
    say(&a, "a2");
    let text = client.read().await;
    assert_eq!(said(&text), "topics {\"topics\":[\"a\"]} a2");
    set.remove(["a"]);
    drop(client);
    let text = net.resume(&path, &last_id(&text)).await.read().await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    assert_eq!(said(&text), "topics {\"topics\":[]} topics {\"topics\":[]}");
    settle().await;
    assert!(
        ends.take()
            .iter()
            .all(|end| *end == Disconnect::ClientClosed)
    );
}

async fn a_topic_that_is_finished_can_be_added(kind: Kind) {
    let hub = hub();
    let [a, b] = topics(&hub, ["a", "b"]);
    let (_server, net, ends) = serve_all(kind, &hub, Start::Live);
    let (token, path) = stream("a");
    let mut client = net.get(&path).await;
    client.read().await;
    say(&b, "b1");
    b.finish(None).unwrap();
    let set = hub.stream_topics(&token).unwrap();
    set.add([&b], Start::Earliest).unwrap();
    let text = client.read().await;
    assert_eq!(
        blocks(&text)[1..],
        [
            "b1",
            "id topics {\"topics\":[\"a\",\"b\"]}",
            "close {\"topic\":\"b\"}"
        ]
    );
    // Added again, it ends again.
    set.remove(["b"]);
    set.add([&b], Start::Live).unwrap();
    assert!(next(&mut client).await.ends_with("close {\"topic\":\"b\"}"));
    a.finish(None).unwrap();
    assert_eq!(said(&client.read_to_end().await), "close {\"topic\":\"a\"}");
    settle().await;
    assert_eq!(ends.take(), [Disconnect::Finished]);
    let missing = net.resume(&path, &last_id(&text)).await.read_to_end().await;
    assert!(
        said(&missing).contains("close {\"topic\":\"a\"}"),
        "{missing}"
    );
    let over = net.resume(&path, &last_id(&missing)).await;
    let over = { over }.read_to_end().await;
    assert!(over.starts_with("HTTP/1.1 204 "), "{over}");
}

async fn a_slow_client_receives_many_changes_as_few(kind: Kind) {
    let hub = Hub::new(Retention::default());
    let [a, b, c] = topics(&hub, ["a", "b", "c"]);
    let (_server, net, _) = serve_all(kind, &hub, Start::Live);
    let (token, path) = stream("a");
    let mut client = net.get_slow(&path, 400).await;
    let large = "x".repeat(300_000);
    say(&a, &large);
    settle().await;
    let set = hub.stream_topics(&token).unwrap();
    for number in 0..200 {
        set.add([&b], Start::Live).unwrap();
        say(&b, &format!("b{number}"));
        set.add([&c], Start::Live).unwrap();
        say(&c, &format!("c{number}"));
        if number < 199 {
            set.remove(["b"]);
        }
        settle().await;
        set.remove(["c"]);
    }
    let mut text = String::new();
    while !text.contains("c199") && !text.ends_with("{\"topics\":[\"a\",\"b\"]}\n\n") {
        text += &client.wait().await;
    }
    let blocks = blocks(&text);
    // An HTTP/2 connection has buffers of its own.
    assert!(blocks.len() < 400, "{} blocks", blocks.len());
    assert!(blocks.contains(&"id b199".to_owned()));
}

async fn a_keyed_topic_is_added_with_its_state(kind: Kind) {
    let marker = EventType::from_static("complete");
    let hub = Hub::new(TopicConfig::from(retention()).marker_type(marker));
    let [b] = topics(&hub, ["b"]);
    let keyed = hub.keyed_topic("k").unwrap();
    let (_server, net, _) = serve_all(kind, &hub, Start::Live);
    let (token, path) = stream("a");
    let mut client = net.get(&path).await;
    client.read().await;
    let set = |key: &str, data: &str| {
        keyed.publish_for(key, &Event::new().data(data)).unwrap();
    };
    for number in 0..100 {
        set("x", &format!("x{number}"));
        set("y", &format!("y{number}"));
    }
    keyed.remove("y").unwrap();
    say(&b, "b1");
    let stream = hub.stream_topics(&token).unwrap();
    stream.add([&keyed, &b], Start::Live).unwrap();
    let text = client.read().await;
    let blocks = blocks(&text);
    assert!(blocks[0].ends_with("\"from\":{\"k\":null}}"), "{text}");
    assert_eq!(blocks[1..4], ["x99", "remove y", "complete "], "{text}");
    assert!(blocks[4].starts_with("id topics "), "{text}");
    set("x", "x100");
    let text = client.read().await;
    assert!(text.ends_with("\ndata: x100\n\n"), "{text}");
    drop(client);
    set("x", "x101");
    let back = net.resume(&path, &last_id(&text)).await.read().await;
    assert!(said(&back).contains(" x101"), "{back}");
    assert!(!said(&back).contains("gap"), "{back}");
}

#[tokio::test(start_paused = true)]
async fn topics_that_cannot_be_followed_are_refused() {
    let hub = Hub::new(HubConfig::from(retention()).max_topics_per_stream(3));
    let [a, b, c, d] = topics(&hub, ["a", "b", "c", "d"]);
    let token = StreamToken::random();
    let subscribe = |topics: &[&Topic]| {
        Subscription::with_token(token.clone(), topics.iter().copied(), None, Start::Live)
    };
    let alone = Topic::new(retention());
    let other = self::hub().topic("a").unwrap();
    let many = FollowError::TooManyTopics { max: 3 };
    for (topics, expected) in [
        (vec![], FollowError::NoTopic),
        (vec![&alone], FollowError::StandsAlone),
        (vec![&a, &alone], FollowError::DifferentHubs),
        (vec![&a, &other], FollowError::DifferentHubs),
        (vec![&a, &b, &c, &d], many),
    ] {
        assert_eq!(subscribe(&topics).unwrap_err(), expected);
        assert!(hub.stream_topics(&token).is_none());
    }
    let subscription = subscribe(&[&a, &b, &a, &b]).unwrap();
    assert_eq!(subscription.resume(), Resume::New);
    let set = hub.stream_topics(&token).unwrap();
    for (topics, expected) in [
        (vec![&c, &alone], Err(FollowError::StandsAlone)),
        (vec![&c, &other], Err(FollowError::DifferentHubs)),
        (vec![&c, &d], Err(many)),
        (vec![&a, &b, &c, &d], Err(many)),
        (vec![], Ok(())),
        (vec![&a, &b], Ok(())),
        (vec![&a, &c, &c], Ok(())),
        (vec![&d], Err(many)),
    ] {
        assert_eq!(set.add(topics, Start::Live), expected);
    }
    assert_eq!(set.names(), ["a", "b", "c"]);
    let untold = Subscription::to([&a, &b, &c, &d], None, Start::Live);
    assert_eq!(untold.unwrap_err(), many);
    for (error, text) in [
        (
            many,
            "the stream would have more than 3 topics, the most that the hub allows; remove some, \
             or raise `max_topics_per_stream`",
        ),
        (
            FollowError::StandsAlone,
            "the topic stands alone, and a stream whose topics change needs topics of a hub; \
             create it with `Hub::topic`",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_topics_of_a_request_are_the_client_s_mistake() {
    let hub = Hub::new(HubConfig::from(retention()).max_topics_per_stream(2));
    let (_server, net, _) = serve_all(Kind::Server, &hub, Start::Live);
    let answer = net.get("/a,b,c").await.read_to_end().await;
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("the stream would have too many topics\n"));
}

/// Reads all events that there are.
async fn read(subscription: &mut Subscription) -> Vec<String> {
    let mut out = Vec::new();
    while let Ok(read) =
        tokio::time::timeout(Duration::from_millis(1), subscription.read(&mut out)).await
    {
        read.unwrap();
    }
    blocks(&String::from_utf8(out).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_subscription_reads_changes_between_events() {
    let hub = hub();
    let [a, b] = topics(&hub, ["a", "b"]);
    let token = StreamToken::random();
    let mut subscription =
        Subscription::with_token(token.clone(), [&a], None, Start::Live).unwrap();
    let set = hub.stream_topics(&token).unwrap();
    say(&b, "b1");
    set.add([&b], Start::Earliest).unwrap();
    assert_eq!(
        read(&mut subscription).await,
        [
            "topics {\"topics\":[\"a\"]}",
            "topics {\"topics\":[\"a\",\"b\"],\"from\":{\"b\":null}}",
            "b1",
            "id topics {\"topics\":[\"a\",\"b\"]}"
        ]
    );
    drop(subscription);
    assert_eq!(a.subscriptions() + b.subscriptions(), 0);
    let seen = EventId::from(1);
    let token = StreamToken::random();
    let mut unknown = Subscription::with_token(token, [&a], seen, Start::Live).unwrap();
    assert_eq!(unknown.resume(), Resume::Unknown);
    let mut out = Vec::new();
    assert!(
        unknown.read(&mut out).await.is_err(),
        "the topic has a gap, too"
    );
    assert!(unknown.read(&mut out).await.is_ok());
    assert!(
        String::from_utf8(out)
            .unwrap()
            .contains("\"token\":\"unknown\"")
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_kept_for_the_age_of_its_events_and_their_number_is_limited() {
    let minute = Duration::from_secs(60);
    let config = HubConfig::from(retention()).max_kept_streams(2);
    let hub = Hub::new(config.topics(
        "long/",
        TopicConfig::from(Retention::events(9).age(10 * minute)),
    ));
    let [a, b] = topics(&hub, ["a", "b"]);
    let token = StreamToken::random();
    let open = || Subscription::with_token(token.clone(), [&a], None, Start::Live).unwrap();
    let streams = [open(), open()];
    let set = hub.stream_topics(&token).unwrap();
    set.add([&b], Start::Live).unwrap();
    let [first, second] = streams;
    drop(first);
    assert!(hub.stream_topics(&token).is_some());
    drop(second);
    // A change while nobody follows counts.
    set.remove(["a"]);
    let names = |token: &StreamToken| hub.stream_topics(token).as_ref().map(StreamTopics::names);
    assert_eq!(names(&token), Some(vec!["b".to_owned()]));
    let others = [(); 3].map(|()| StreamToken::random());
    let open = |token: &StreamToken| {
        drop(Subscription::with_token(token.clone(), [&a], None, Start::Live).unwrap());
    };
    open(&others[0]);
    // It comes back, and is not the oldest any more.
    open(&token);
    open(&others[1]);
    let is_kept = [&others[0], &token, &others[1]].map(|token| names(token).is_some());
    assert_eq!(is_kept, [false, true, true]);
    // A handle of a stream that is no longer kept changes nothing.
    open(&others[2]);
    assert!(names(&token).is_none());
    set.add([&a], Start::Live).unwrap();
    assert!(names(&token).is_none());
}

/// A kept stream holds its topics, and a hub does not hold itself.
#[tokio::test(start_paused = true)]
async fn topics_of_a_stream_that_is_dropped_are_dropped() {
    let config = HubConfig::from(retention()).max_kept_streams(1);
    let hub = Hub::new(config);
    let token = StreamToken::random();
    let open = |token: &StreamToken, name: &str| {
        let topic = hub.topic(name).unwrap();
        Subscription::with_token(token.clone(), [&topic], None, Start::Live).unwrap()
    };
    let stream = open(&token, "a");
    let set = hub.stream_topics(&token).unwrap();
    set.add([hub.topic("b").unwrap()], Start::Live).unwrap();
    assert_eq!(hub.topics(), 2);
    set.remove(["b"]);
    assert_eq!(hub.topics(), 1, "nobody uses it");
    drop(stream);
    drop(set);
    drop(open(&StreamToken::random(), "c"));
    assert_eq!(hub.topics(), 1);
}

/// Publishers and a client that switches on several threads: everything that is published into a
/// topic between its addition and its removal is received once, and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn changes_race_with_publishers_on_other_threads() {
    const COUNT: usize = 3000;
    let hub = Hub::new(Retention::events(usize::MAX));
    let (_server, net, _) = serve_all(Kind::Server, &hub, Start::Live);
    let all = topics(&hub, ["a", "b", "c"]);
    let mut clients = Vec::new();
    for _ in 0..4 {
        let (token, path) = stream("end");
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut client = net.ask(WIDE, &head).await;
        let opening = client.wait().await;
        assert!(opening.contains("retry: "), "{opening}");
        clients.push((
            hub.stream_topics(&token).unwrap(),
            tokio::spawn(async move { client.read_to_end().await }),
        ));
    }
    let publishers = all.clone().map(|topic| {
        std::thread::spawn(move || {
            for number in 0..COUNT {
                say(&topic, &format!("{} {number}", topic.name().unwrap()));
                if number % 50 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        })
    });
    let switchers: Vec<_> = clients
        .iter()
        .map(|(set, _)| {
            let (set, all) = (set.clone(), all.clone());
            std::thread::spawn(move || {
                for round in 0..60 {
                    let topic = &all[fastrand::usize(..3)];
                    match round % 3 {
                        0 => set.add([topic], Start::Live).unwrap(),
                        1 => set.add([topic], Start::Earliest).unwrap(),
                        _ => set.remove([topic.name().unwrap()]),
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                set.remove(["a", "b", "c"]);
                set.add(&all, Start::Earliest).unwrap();
            })
        })
        .collect();
    for thread in publishers.into_iter().chain(switchers) {
        thread.join().unwrap();
    }
    for topic in all.iter().chain(&topics(&hub, ["end"])) {
        topic.finish(None).unwrap();
    }
    for (_, client) in clients {
        let text = client.await.unwrap();
        let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
        assert!(ids.map(|id| LogId::parse(id).unwrap()).is_sorted());
        check_runs(&text, COUNT);
    }
}

/// Each topic rises by one from where it was added, and ends with the last event.
fn check_runs(text: &str, count: usize) {
    let mut next = HashMap::<&str, usize>::new();
    let mut followed: Vec<&str> = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        if let Some((names, from)) = line
            .strip_prefix("{\"topics\":")
            .and_then(|line| line.split_once(']'))
        {
            let names: Vec<_> = names.split('"').skip(1).step_by(2).collect();
            for name in from
                .split('"')
                .filter(|name| ["a", "b", "c"].contains(name))
            {
                next.insert(name, 0); // It comes from its beginning.
            }
            next.retain(|name, _| names.contains(name));
            followed = names;
        } else if let Some((name, number)) = line.split_once(' ') {
            let number: usize = number.parse().unwrap();
            assert!(
                followed.contains(&name) || next.contains_key(name),
                "{line}"
            );
            let expected = *next.entry(name).or_insert(number);
            assert_eq!(number, expected, "{name}");
            next.insert(name, number + 1);
        }
    }
    assert_eq!(
        next,
        HashMap::from(["a", "b", "c"].map(|name| (name, count)))
    );
}
