//! Streams whose topics change.

use sse_net::testing::RawClient;
use sse_net::{EventId, Start, StreamToken};
use tokio::io::DuplexStream;

use crate::node::Node;
use crate::server::Redis;

/// Returns the data of the next event of a type, after events that are not checked.
async fn next(client: &mut RawClient<DuplexStream>, event_type: &str) -> String {
    client.event_of(event_type).await.unwrap().data().to_owned()
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn topics_are_added_and_removed_while_a_client_follows() {
    let redis = Redis::start(&[]);
    let [a, b] = [
        Node::connect(&redis.url()).await,
        Node::connect(&redis.url()).await,
    ];
    b.publish("inbox", "old").await;
    let token = StreamToken::random();
    let path = format!("/news?token={}", token.as_str());
    let mut client = a.follow(&path).await;
    assert_eq!(next(&mut client, "topics").await, r#"{"topics":["news"]}"#);
    b.publish("news", "one").await;
    assert_eq!(client.event().await.unwrap().data(), "one");

    // A topic that is new to the node, with its past.
    let topics = a.hub.stream_topics(&token).unwrap();
    let inbox = a.hub.topic("inbox").unwrap();
    topics.add([&inbox], Start::Last(10)).unwrap();
    assert_eq!(
        next(&mut client, "topics").await,
        r#"{"topics":["news","inbox"],"from":{"inbox":null}}"#
    );
    let old = client.event().await.unwrap();
    assert_eq!(old.data(), "old");
    let change = client.event().await.unwrap();
    assert_eq!(change.data(), r#"{"topics":["news","inbox"]}"#);
    let change = change.last_event_id().to_owned();
    let later = b.publish("inbox", "two").await;
    let event = client.event().await.unwrap();
    assert_eq!(
        (event.data(), event.last_event_id()),
        ("two", &*later.to_string())
    );

    // The ID of a change is known to all nodes, and so is the token to this one.
    let mut client = a.resume(&path, &change).await;
    assert_eq!(
        next(&mut client, "topics").await,
        r#"{"topics":["news","inbox"]}"#
    );
    assert_eq!(client.event().await.unwrap().data(), "two");
    topics.remove(["news"]);
    assert_eq!(next(&mut client, "topics").await, r#"{"topics":["inbox"]}"#);
    b.publish("news", "not this").await;
    b.publish("inbox", "three").await;
    assert_eq!(client.event().await.unwrap().data(), "three");

    // The other node does not know the token: the page sends its topics again.
    let mut client = b.resume(&path, &change).await;
    assert!(
        next(&mut client, "gap")
            .await
            .contains(r#""token":"unknown""#)
    );
    let asked = EventId::new(change).unwrap();
    let inbox = b.hub.topic("inbox").unwrap();
    let topics = b.hub.stream_topics(&token).unwrap();
    topics
        .add_after([&inbox], Some(asked), Start::Live)
        .unwrap();
    let mut data = Vec::new();
    while data.last().is_none_or(|last| last != "three") {
        data.push(client.event_of("message").await.unwrap().data().to_owned());
    }
    assert_eq!(data, ["not this", "two", "three"]);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn topics_stay_added_after_the_engine_has_lost_everything() {
    let redis = Redis::start(&[]);
    let node = Node::connect(&redis.url()).await;
    let token = StreamToken::random();
    let path = format!("/news?token={}", token.as_str());
    let mut client = node.follow(&path).await;
    next(&mut client, "topics").await;
    let topics = node.hub.stream_topics(&token).unwrap();
    topics
        .add([&node.hub.topic("inbox").unwrap()], Start::Live)
        .unwrap();
    let both = r#"{"topics":["news","inbox"]}"#;
    assert_eq!(next(&mut client, "topics").await, both);
    let change = client.last_event_id().to_owned();
    redis.call::<()>(&["FLUSHALL"]);
    node.publish("news", "one").await;
    while client.next().await.is_ok_and(|next| next.is_some()) {}
    let mut client = node.resume(&path, &change).await;
    assert!(next(&mut client, "gap").await.contains("news"));
    while next(&mut client, "topics").await != both {}
    node.publish("inbox", "two").await;
    while next(&mut client, "message").await != "two" {}
}
