//! Subscriptions in a node whose server has lost events.

use std::time::Duration;

use sse_net::{Event, Start, Subscription};
use tokio::time::timeout;

use crate::basics::wait_until;
use crate::node::Node;
use crate::proxy::Proxy;
use crate::server::Redis;

/// Reads until the text has all of these.
async fn read(subscription: &mut Subscription, all: &[&str]) -> String {
    let mut text = Vec::new();
    let reading = async {
        while !all.iter().all(|part| {
            let part = format!("data: {part}\n");
            text.windows(part.len()).any(|at| at == part.as_bytes())
        }) {
            subscription.read(&mut text).await.unwrap();
        }
    };
    let read = timeout(Duration::from_secs(10), reading).await;
    let text = String::from_utf8(text).unwrap();
    read.unwrap_or_else(|_| panic!("{all:?} are not in {text:?}"));
    text
}

/// The subscription is read only after new events are there.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_subscription_lags_once_and_reads_all_that_the_server_has() {
    for loses_all in [false, true] {
        let redis = Redis::start(&[]);
        let proxy = Proxy::to(redis.port).await;
        let node = Node::connect(&proxy.url()).await;
        let news = node.hub.topic("news").unwrap();
        let prices = node.hub.keyed_topic("prices").unwrap();
        node.hub.ready([&news, &prices], None).await;
        let put = async |key: &str, data: &str| {
            let event = Event::new().data(data);
            let published = prices.publish_for(key, &event).unwrap();
            published.stored().await.unwrap();
        };
        let topics = [&news, &prices];
        let mut subscription = Subscription::to(topics, None, Start::Live).unwrap();
        put("a", "a1").await;
        let last = node.publish("news", "one").await;
        put("b", "b1").await;
        node.publish("news", "two").await;
        read(&mut subscription, &["a1", "one", "b1", "two"]).await;

        proxy.switch(0);
        proxy.cut();
        if loses_all {
            redis.call::<()>(&["FLUSHALL"]);
        } else {
            // The later events, like a replica that becomes the primary.
            let last = last.to_string();
            let fields = ["last", &last, "primary", "another"];
            redis.call::<()>(&[&["HSET", "sse:{hub}:hub"][..], &fields].concat());
        }
        proxy.switch(redis.port);
        let snapshot = || node.hub.engine_snapshot().unwrap();
        wait_until(|| snapshot().connects == 2 && snapshot().is_ready).await;
        let mut client = node.follow("/news,prices").await;
        node.publish("news", "three").await;
        put("c", "c1").await;
        while client.event().await.unwrap().data() != "c1" {}

        let lagged = timeout(Duration::from_secs(10), subscription.read_bytes());
        lagged.await.unwrap().unwrap_err();
        let kept: &[_] = match loses_all {
            true => &["three", "c1"],
            false => &["a1", "three", "c1"],
        };
        let text = read(&mut subscription, kept).await;
        assert!(!loses_all || !text.contains("a1"), "{text}");
    }
}
