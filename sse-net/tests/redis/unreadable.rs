//! Topics whose keys or channels a node cannot use: other topics go on.

use std::sync::Arc;

use sse_net::Event;
use sse_net::testing::RawClient;
use tokio::io::DuplexStream;

use crate::basics::wait_until;
use crate::holes::end_of;
use crate::node::{Node, behind_proxy};
use crate::server::Redis;

/// Publishes to a topic, and reads the event.
async fn check_delivery(node: &Node, client: &mut RawClient<DuplexStream>, topic: &str) {
    let id = node.publish(topic, "hey").await;
    while client.event().await.unwrap().last_event_id() != id.to_string() {}
}

/// Waits until topics cannot be read, and checks that the node has never been away.
async fn wait_for_unreadable(node: &Node, count: usize) {
    let snapshot = || node.hub.engine_snapshot().unwrap();
    wait_until(|| snapshot().unreadable == count).await;
    assert!(snapshot().is_ready);
    assert_eq!(snapshot().connects, 1);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_key_of_the_wrong_type_costs_new_clients_of_its_topic_only() {
    let redis = Redis::start(&[]);
    let node = Node::connect(&redis.url()).await;
    let mut client = node.follow("/other").await;
    let first = node.publish("other", "one").await;
    let keys = ["sse:{hub}:topic:news", "sse:{hub}:state:prices"];
    for key in keys {
        redis.call::<()>(&["SET", key, "hey"]);
    }
    let news = node.hub.topic("news").unwrap();
    let prices = node.hub.keyed_topic("prices").unwrap();
    wait_for_unreadable(&node, 2).await;
    news.publish(&Event::new().data("hey"))
        .unwrap()
        .stored()
        .await
        .unwrap_err();
    check_delivery(&node, &mut client, "other").await;
    // Topics are read first, clients resume, and nodes connect.
    let mut late = node.resume("/other,late", &first.to_string()).await;
    check_delivery(&node, &mut late, "late").await;
    let elsewhere = Node::connect(&redis.url()).await;
    let mut resumed = elsewhere.resume("/late,other", &first.to_string()).await;
    check_delivery(&elsewhere, &mut resumed, "other").await;
    wait_for_unreadable(&node, 2).await;

    for key in keys {
        redis.call::<()>(&["DEL", key]);
    }
    node.hub.ready([&news, &prices], None).await;
    let mut client = node.follow("/news").await;
    check_delivery(&node, &mut client, "news").await;
    wait_for_unreadable(&node, 0).await;
    assert_eq!(node.hub.engine_snapshot().unwrap().gaps, 0);
}

/// Nothing is missed: they wait, as if the whole engine were away.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn streams_of_a_topic_that_cannot_be_read_continue_once_it_can() {
    for is_notified in [false, true] {
        let (redis, proxy, node) = behind_proxy().await;
        let mut client = node.follow("/news").await;
        let mut both = node.follow("/news,other").await;
        let mut other = node.follow("/other").await;
        node.publish("news", "one").await;
        check_delivery(&node, &mut other, "other").await;
        let stream = "sse:{hub}:topic:news";
        let break_key = || {
            redis.call::<()>(&["RENAME", stream, "saved"]);
            redis.call::<()>(&["SET", stream, "hey"]);
        };
        let connects = if is_notified {
            redis.store("news", "events:elsewhere", "data: two\n\n");
            let id = redis.store("news", "events:elsewhere", "data: three\n\n");
            break_key();
            // An event that is too long for its notification.
            let message = format!("0-0 {id}");
            redis.call::<()>(&["PUBLISH", "sse:{hub}:events:news", &message]);
            1
        } else {
            proxy.switch(0);
            proxy.cut();
            for data in ["two", "three"] {
                redis.store("news", "events:news", &format!("data: {data}\n\n"));
            }
            redis.store("other", "events:other", "data: away\n\n");
            break_key();
            proxy.switch(redis.port);
            while other.event().await.unwrap().data() != "away" {}
            2
        };
        let snapshot = || node.hub.engine_snapshot().unwrap();
        wait_until(|| snapshot().unreadable == 1).await;
        check_delivery(&node, &mut other, "other").await;
        redis.call::<()>(&["RENAME", "saved", stream]);
        for data in ["one", "two", "three"] {
            assert_eq!(client.event().await.unwrap().data(), data);
        }
        check_delivery(&node, &mut client, "news").await;
        check_delivery(&node, &mut both, "other").await;
        assert_eq!((snapshot().unreadable, snapshot().gaps), (0, 0));
        assert_eq!((snapshot().connects, snapshot().is_ready), (connects, true));
    }
}

/// The streams are judged once the topics can be read.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn what_is_lost_in_a_topic_that_cannot_be_read_is_told_once_it_can() {
    let (redis, proxy, node) = behind_proxy().await;
    let keyed = node.hub.keyed_topic("prices").unwrap();
    node.hub.ready([&keyed], None).await;
    let mut clients = [node.follow("/news").await, node.follow("/prices").await];
    let mut other = node.follow("/other").await;
    let last = node.publish("other", "hey").await;
    let lost = node.publish("news", "lost").await;
    let value = keyed.publish_for("a", &Event::new().data("lost")).unwrap();
    value.stored().await.unwrap();
    for client in &mut clients {
        assert_eq!(client.event().await.unwrap().data(), "lost");
    }
    let keys = ["topic:news", "state:prices"].map(|key| format!("sse:{{hub}}:{key}"));
    for key in &keys {
        redis.call::<()>(&["SET", key, "hey"]);
    }
    proxy.switch(0);
    proxy.cut();
    // As of another primary.
    let hub = ["HSET", "sse:{hub}:hub", "primary", "x", "last"];
    redis.call::<()>(&[&hub[..], &[&last.to_string()]].concat());
    proxy.switch(redis.port);
    let snapshot = || node.hub.engine_snapshot().unwrap();
    wait_until(|| snapshot().unreadable == 2).await;
    check_delivery(&node, &mut other, "other").await;
    assert_eq!((snapshot().connects, snapshot().is_ready), (2, true));
    for key in &keys {
        redis.call::<()>(&["DEL", key]);
    }
    for client in &mut clients {
        end_of(client, "").await;
    }
    assert_eq!(snapshot().unreadable, 0);
    for path in ["/news", "/prices"] {
        let mut client = node.resume(path, &lost.to_string()).await;
        assert_eq!(client.event().await.unwrap().event(), "gap");
    }
}

/// The user may use the keys and channels of some topics only.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn topics_whose_keys_or_channels_are_not_allowed_cost_no_other() {
    let redis = Arc::new(Redis::start(&[]));
    let mut user = vec!["ACL", "SETUSER", "node", "on", ">secret", "+@all"];
    user.extend([
        "~sse:{hub}:[hekrc]*",
        "~sse:{hub}:topic:[^s]*",
        "~sse:{hub}:state:[^s]*",
    ]);
    user.extend([
        "~sse:{hub}:removals:*",
        "&sse:{hub}:node:*",
        "&sse:{hub}:events:[^c]*",
    ]);
    redis.call::<()>(&user);
    let node = Node::connect(&redis.url().replace("//", "//node:secret@")).await;
    let mut client = node.follow("/other").await;
    let refused = ["secret", "closed"].map(|name| node.hub.topic(name).unwrap());
    let keyed = node.hub.keyed_topic("shut").unwrap();
    wait_for_unreadable(&node, 3).await;
    check_delivery(&node, &mut client, "other").await;
    let mut late = node.follow("/late").await;
    check_delivery(&node, &mut late, "late").await;
    // The connections are made anew.
    redis.call::<()>(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    wait_until(|| node.hub.engine_snapshot().unwrap().connects == 2 && node.is_ready()).await;
    check_delivery(&node, &mut client, "other").await;
    redis.call::<()>(&["ACL", "SETUSER", "node", "allkeys", "allchannels"]);
    node.hub.ready(refused.iter().chain([&keyed]), None).await;
    let mut client = node.follow("/secret,closed").await;
    check_delivery(&node, &mut client, "closed").await;
    check_delivery(&node, &mut client, "secret").await;
}
