//! Clients that follow a keyed topic and change nodes, and the keys that they must have in the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sse_core::Decoded;
use sse_net::testing::RawClient;
use sse_net::{Event, Topic};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::node::Node;
use crate::server::Redis;

type Keys = HashMap<String, String>;

pub(crate) struct KeyedFollower(JoinHandle<Keys>);

const TOPIC: &str = "keyed";

/// The key of the last event.
const END: &str = "end";

fn topic(node: &Node) -> &Topic {
    let create = || node.hub.keyed_topic(TOPIC).unwrap();
    node.keyed.get_or_init(create)
}

/// Publishes a value or a removal of some key.
pub(crate) fn publish_random(node: &Node, number: u64) {
    let key = format!("key{}", fastrand::u8(..12));
    if fastrand::u8(..4) == 0 {
        topic(node).remove(&key).unwrap();
    } else {
        let event = Event::new().data(format!("{key} {number}"));
        topic(node).publish_for(&key, &event).unwrap();
    }
}

impl KeyedFollower {
    /// Creates the topic on all nodes.
    pub(crate) async fn prepare(nodes: &[Node]) {
        for node in nodes {
            node.hub.ready([topic(node)], None).await;
        }
    }

    /// Follows the topic until its end. With `moves`, it often changes the node.
    pub(crate) fn spawn(nodes: &Arc<[Node]>, moves: bool) -> Self {
        let nodes = Arc::clone(nodes);
        Self(tokio::spawn(async move {
            let (mut keys, mut last) = (Keys::new(), String::new());
            let mut at = fastrand::usize(..nodes.len());
            while !keys.contains_key(END) {
                if moves {
                    at = fastrand::usize(..nodes.len());
                }
                let most = if moves {
                    fastrand::u64(20..600)
                } else {
                    60_000
                };
                let mut client = nodes[at].client().limit(Duration::from_secs(60));
                let reading = read(&mut client, &last, &mut keys);
                let _ = timeout(Duration::from_millis(most), reading).await;
                if !client.last_event_id().is_empty() {
                    last = client.last_event_id().to_owned();
                }
                sleep(Duration::from_millis(fastrand::u64(1..20))).await;
            }
            keys
        }))
    }

    /// Publishes the end.
    pub(crate) async fn end(node: &Node) {
        let published = topic(node).publish_for(END, &Event::new().data(END));
        published.unwrap().stored().await.unwrap();
    }

    /// Waits for the end, and compares the keys with the stored ones.
    pub(crate) async fn check(self, redis: &Redis) {
        let keys = timeout(Duration::from_secs(20), self.0).await;
        let keys = keys.expect("the client receives the end").unwrap();
        let stored: HashMap<String, String> = redis.call(&["HGETALL", "sse:{hub}:state:keyed"]);
        let values = stored.into_iter().filter_map(|(key, value)| {
            let (head, frame) = value.split_once('\n')?;
            let data = frame.lines().find_map(|line| line.strip_prefix("data: "))?;
            (!head.ends_with(" removal")).then(|| (key, data.to_owned()))
        });
        assert_eq!(keys, values.collect::<Keys>());
    }
}

async fn read(
    client: &mut RawClient<DuplexStream>,
    last: &str,
    keys: &mut Keys,
) -> std::io::Result<()> {
    let path = format!("/{TOPIC}");
    let head = match last {
        "" => client.get(&path).await?,
        last => client.resume(&path, last).await?,
    };
    assert_eq!(head.status(), 200);
    while !keys.contains_key(END) {
        let Some(decoded) = client.next().await? else {
            return Ok(());
        };
        let Decoded::Event(event) = decoded else {
            continue;
        };
        match event.event() {
            "gap" => keys.clear(),
            "message" => {
                let key = event.data().split(' ').next().unwrap_or_default();
                keys.insert(key.to_owned(), event.data().to_owned());
            }
            _ => drop(keys.remove(event.data())),
        }
    }
    Ok(())
}
