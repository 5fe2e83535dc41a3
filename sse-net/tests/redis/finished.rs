//! Topics that are finished, over two nodes and a third one that comes later.

use std::error::Error;
use std::time::Duration;

use sse_net::{EngineError, Event, PublishError, StoreError};
use tokio::time::sleep;

use crate::node::Node;
use crate::proxy::Proxy;
use crate::server::Redis;

fn is_finished(error: &StoreError) -> bool {
    let source = error.source().unwrap().downcast_ref();
    !error.may_be_stored() && source == Some(&EngineError::Finished)
}

/// Waits until a node knows that a topic has ended.
async fn ended(node: &Node, topic: &str) {
    let topic = node.hub.topic(topic).unwrap();
    node.hub.ready([&topic], None).await;
    for _ in 0..1000 {
        if topic.is_finished() {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("the node does not hear of the end");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_topic_ends_on_every_node_after_its_last_event() {
    let redis = Redis::start(&[]);
    let [a, b] = [
        Node::connect(&redis.url()).await,
        Node::connect(&redis.url()).await,
    ];
    for (topic, last) in [("with", Some("done")), ("without", None)] {
        let mut client = b.follow(&format!("/{topic}")).await;
        let first = a.publish(topic, "one").await.to_string();
        let event = last.map(|data| Event::new().data(data));
        let finished = a.hub.topic(topic).unwrap();
        let ended_at = finished.finish(event.as_ref()).unwrap();
        let again = finished.finish(Some(&Event::new().data("again"))).unwrap();
        let ended_at = ended_at.stored().await.unwrap();
        assert_eq!(again.stored().await.unwrap(), ended_at);
        // The engine has the end now, whichever nodes have heard of it.
        let late = b.hub.topic(topic).unwrap().publish(&Event::new());
        match late {
            Ok(late) => assert!(is_finished(&late.stored().await.unwrap_err())),
            Err(error) => assert_eq!(error, PublishError::Finished),
        }
        for data in ["one"].into_iter().chain(last) {
            assert_eq!(client.event().await.unwrap().data(), data);
        }
        let end = client.last_event_id().to_owned();
        assert_eq!(client.event().await.unwrap().event(), "close");
        ended(&a, topic).await;
        ended(&b, topic).await;
        let again = finished.finish(None).unwrap().stored().await;
        assert_eq!(again.unwrap(), ended_at);
        for node in [&a, &b] {
            let late = node.hub.topic(topic).unwrap().publish(&Event::new());
            assert_eq!(late, Err(PublishError::Finished));
        }
        // A node that comes later, with a client that has missed the end, and one that has not.
        let c = Node::connect(&redis.url()).await;
        let late = c.hub.topic(topic).unwrap().publish(&Event::new()).unwrap();
        assert!(is_finished(&late.stored().await.unwrap_err()));
        for node in [&a, &b, &c] {
            let mut client = node.resume(&format!("/{topic}"), &first).await;
            if let Some(last) = last {
                assert_eq!(client.event().await.unwrap().data(), last);
                let mut client = node.client();
                let head = client.resume(&format!("/{topic}"), &end).await.unwrap();
                assert_eq!(head.status(), 204);
            }
        }
    }
    let snapshot = b.hub.engine_snapshot().unwrap();
    assert_eq!((snapshot.gaps, snapshot.skipped), (0, 0));
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn an_end_is_sent_again_after_the_connection_has_broken() {
    let mut redis = Redis::durable();
    let proxy = Proxy::to(redis.port).await;
    let node = Node::connect(&proxy.url()).await;
    let mut client = node.follow("/job,other").await;
    node.publish("job", "one").await;
    proxy.switch(0);
    proxy.cut();
    let job = node.hub.topic("job").unwrap();
    job.finish(Some(&Event::new().data("done"))).unwrap();
    let end = job.finish(None).unwrap();
    let late = job.publish(&Event::new().data("late")).unwrap();
    redis.kill();
    redis.restart();
    proxy.switch(redis.port);
    for data in ["one", "done"] {
        assert_eq!(client.event().await.unwrap().data(), data);
    }
    let close = client.event().await.unwrap();
    assert_eq!(
        (close.event(), close.data()),
        ("close", r#"{"topic":"job"}"#)
    );
    end.stored().await.unwrap();
    // It is refused, or was on its way when the connection broke.
    late.stored().await.unwrap_err();
    // The other topic continues, and so does the stream.
    node.publish("other", "two").await;
    assert_eq!(client.event().await.unwrap().data(), "two");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_topic_that_the_engine_has_lost_begins_anew() {
    let redis = Redis::start(&[]);
    let node = Node::connect(&redis.url()).await;
    node.publish("job", "one").await;
    node.hub.topic("job").unwrap().finish(None).unwrap();
    ended(&node, "job").await;
    redis.call::<()>(&["FLUSHALL"]);
    node.publish("other", "hey").await;
    let job = node.hub.topic("job").unwrap();
    for _ in 0..1000 {
        if !job.is_finished() {
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    node.publish("job", "two").await;
}

/// Only the last entry of the stream says it then.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_topic_stays_finished_after_the_key_of_the_hub_is_lost() {
    let redis = Redis::start(&[]);
    let a = Node::connect(&redis.url()).await;
    a.publish("job", "one").await;
    let job = a.hub.topic("job").unwrap();
    job.finish(Some(&Event::new().data("done")))
        .unwrap()
        .stored()
        .await
        .unwrap();
    redis.call::<()>(&["DEL", "sse:{hub}:hub"]);
    let b = Node::connect(&redis.url()).await;
    ended(&b, "job").await;
    ended(&a, "job").await;
}

/// The engine has dropped the topic, and the next event names its last one as the one before.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_finished_topic_that_has_expired_begins_anew_on_nodes_that_have_it() {
    let redis = Redis::start(&[]);
    let [a, b] = [
        Node::connect(&redis.url()).await,
        Node::connect(&redis.url()).await,
    ];
    a.publish("job", "one").await;
    let job = a.hub.topic("job").unwrap();
    let end = job.finish(None).unwrap().stored().await.unwrap();
    ended(&a, "job").await;
    redis.call::<()>(&["HDEL", "sse:{hub}:hub", "topic:job"]);
    redis.call::<()>(&["HSET", "sse:{hub}:hub", "floor", &end.to_string()]);
    redis.call::<()>(&["ZREM", "sse:{hub}:changed", "job"]);
    redis.call::<()>(&["DEL", "sse:{hub}:topic:job"]);
    b.publish("job", "two").await;
    for _ in 0..1000 {
        if !job.is_finished() {
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    a.publish("job", "three").await;
    let mut client = a.resume("/job", &end.to_string()).await;
    for data in ["two", "three"] {
        assert_eq!(client.event().await.unwrap().data(), data);
    }
}

/// Its last ID is a part of the floor.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn what_a_topic_had_before_it_expired_is_a_gap() {
    let redis = Redis::start(&[]);
    let a = Node::connect(&redis.url()).await;
    let first = a.publish("job", "one").await;
    let last = a.publish("job", "two").await;
    redis.call::<()>(&["HDEL", "sse:{hub}:hub", "topic:job"]);
    redis.call::<()>(&["HSET", "sse:{hub}:hub", "floor", &last.to_string()]);
    redis.call::<()>(&["ZREM", "sse:{hub}:changed", "job"]);
    redis.call::<()>(&["DEL", "sse:{hub}:topic:job"]);
    for is_keyed in [false, true] {
        let b = Node::connect(&redis.url()).await;
        let topic = match is_keyed {
            true => b.hub.keyed_topic("job").unwrap(),
            false => b.hub.topic("job").unwrap(),
        };
        let mut client = b.resume("/job", &first.to_string()).await;
        assert_eq!(client.event().await.unwrap().event(), "gap", "{is_keyed}");
        drop(topic);
    }
}
