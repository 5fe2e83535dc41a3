//! The permissions of a node's user, as `DEPLOYMENT.md` lists them.

use std::time::Duration;

use redis::Value;
use sse_net::{Event, PublishError, Runs, RunsConfig};
use tokio::time::{sleep, timeout};

use crate::node::Node;
use crate::server::Redis;

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_node_needs_the_documented_permissions_only() {
    let text = include_str!("../../../DEPLOYMENT.md");
    let (_, list) = text.split_once("A node needs these permissions:").unwrap();
    let (list, _) = list.split_once("\n\n").unwrap();
    let rules = list.split('`').skip(1).step_by(2);
    let mut user = vec!["ACL", "SETUSER", "node", "on", ">secret"];
    user.extend(rules.flat_map(str::split_whitespace));
    let redis = Redis::start(&[]);
    redis.call::<()>(&user);
    let url = redis.url().replace("//", "//node:secret@");
    let node = Node::connect(&url).await;
    let mut client = node.follow("/news,other").await;

    // Events, also with a key, and without a notification.
    node.publish("news", "one").await;
    let news = node.hub.topic("news").unwrap();
    let once = news.publish_once("key", &Event::new().data("two"));
    once.unwrap().stored().await.unwrap();
    redis.load_functions();
    redis.store("news", "events:elsewhere", "data: three\n\n");
    node.publish("news", "four").await;
    for data in ["one", "two", "three", "four"] {
        assert_eq!(client.event().await.unwrap().data(), data);
    }
    // Another epoch, and a hole.
    redis.call::<()>(&["DEL", "sse:{hub}:hub"]);
    node.publish("news", "five").await;
    redis.store("news", "events:elsewhere", "data: six\n\n");
    node.publish("other", "hey").await;
    redis.store("news", "events:news", "data: seven\n\n");
    let keyed = node.hub.keyed_topic("keyed").unwrap();
    let value = keyed.publish_for("a", &Event::new().data("1")).unwrap();
    value.stored().await.unwrap();
    keyed.remove("a").unwrap().unwrap().stored().await.unwrap();

    let runs = Runs::new(node.hub.clone(), RunsConfig::default());
    let run = runs.start("key", async |run| {
        run.finish(Some(&Event::new().data("done")))?;
        Ok::<(), PublishError>(())
    });
    let run = run.unwrap();
    let ended = async {
        while !run.is_finished() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), ended).await.unwrap();
    let denied: Vec<Value> = redis.call(&["ACL", "LOG"]);
    assert!(denied.is_empty(), "{denied:?}");
}
