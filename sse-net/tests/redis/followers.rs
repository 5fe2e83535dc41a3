//! Clients that follow several topics and change nodes, and what they must have received.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sse_core::{Decoded, LogId};
use sse_net::testing::RawClient;
use sse_net::{Event, Transport};
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::node::Node;
use crate::server::{Redis, wait_for};

/// The items that a client received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// A response begins.
    Response,
    Event(LogId, String),
    /// The topic, or `None` for one that is not named.
    Gap(String),
}

/// Nodes that clients connect to.
pub(crate) trait Nodes: Send + 'static {
    fn count(&self) -> usize;

    fn connect(&self, node: usize) -> DuplexStream;
}

impl Nodes for Arc<[Node]> {
    fn count(&self) -> usize {
        self.len()
    }

    fn connect(&self, node: usize) -> DuplexStream {
        let (ours, theirs) = duplex(1 << 20);
        self[node].net.accept(Transport::new(theirs));
        ours
    }
}

pub(crate) struct Follower {
    topics: Vec<String>,
    task: JoinHandle<Vec<Record>>,
}

/// The topic that is finished in the end.
pub(crate) const FINISHED: &str = "e";

/// The data of the last event of each topic.
const END: &str = "end";

impl Follower {
    /// Follows topics from an ID, until it has received the end of all of them. With `moves`, it
    /// often changes the node.
    pub(crate) fn spawn(nodes: impl Nodes, topics: &[&str], from: LogId, moves: bool) -> Self {
        let topics: Vec<_> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let path = format!("/{}", topics.join(","));
        let mut ended: HashSet<_> = topics.iter().cloned().collect();
        let task = tokio::spawn(async move {
            let (mut last, mut records) = (from.to_string(), Vec::new());
            let mut at = fastrand::usize(..nodes.count());
            while !ended.is_empty() {
                if moves {
                    at = fastrand::usize(..nodes.count());
                }
                let most = Duration::from_millis(if moves {
                    fastrand::u64(20..600)
                } else {
                    60_000
                });
                let mut client = RawClient::new(nodes.connect(at)).limit(Duration::from_secs(60));
                let reading = read(&mut client, &path, &last, &mut records, &mut ended);
                let _ = timeout(most, reading).await;
                last = client.last_event_id().to_owned();
                sleep(Duration::from_millis(fastrand::u64(1..20))).await;
            }
            records
        });
        Self { topics, task }
    }

    /// Waits for the end, and checks the received events against the stored ones.
    pub(crate) async fn check(self, stored: &Stored) {
        let records = timeout(Duration::from_secs(20), self.task).await;
        let records = records.expect("the client receives the end").unwrap();
        check(&records, &self.topics, stored);
    }
}

async fn read(
    client: &mut RawClient<DuplexStream>,
    path: &str,
    last: &str,
    records: &mut Vec<Record>,
    ended: &mut HashSet<String>,
) -> std::io::Result<()> {
    let head = client.resume(path, last).await?;
    assert_eq!(head.status(), 200);
    records.push(Record::Response);
    while !ended.is_empty() {
        let Some(decoded) = client.next().await? else {
            return Ok(());
        };
        let Decoded::Event(event) = decoded else {
            continue;
        };
        if event.event() == "gap" {
            let topic = event.data().split("\"topic\":\"").nth(1);
            let topic = topic.and_then(|rest| rest.split('"').next());
            records.push(Record::Gap(topic.unwrap().to_owned()));
            continue;
        }
        if event.event() == "close" {
            continue; // The topic has been finished.
        }
        let id = LogId::parse(event.last_event_id()).unwrap();
        if let Some(topic) = event.data().strip_prefix(END) {
            ended.remove(topic.trim());
        }
        records.push(Record::Event(id, event.data().to_owned()));
    }
    Ok(())
}

/// The stored events of each topic.
pub(crate) type Stored = HashMap<String, Vec<(LogId, String)>>;

/// Publishes the end of topics, and returns the events stored after a client's first ID.
pub(crate) async fn finish(node: &Node, redis: &Redis, topics: &[&str], from: LogId) -> Stored {
    for name in topics {
        let event = format!("{END} {name}");
        let topic = node.hub.topic(name).unwrap();
        if *name == FINISHED {
            topic.finish(Some(&Event::new().data(&event))).unwrap();
            wait_for(|| {
                let tip: Option<String> =
                    redis.call(&["HGET", "sse:{hub}:hub", &format!("topic:{name}")]);
                tip.is_some_and(|tip| tip.ends_with(" end"))
            });
            continue;
        }
        for _ in 0..50 {
            let published = topic.publish(&Event::new().data(&event)).unwrap();
            if published.stored().await.is_ok() {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
    let mut stored = Stored::new();
    for topic in topics {
        let key = format!("sse:{{hub}}:topic:{topic}");
        let entries: Vec<(String, Vec<Vec<u8>>)> = redis.call(&["XRANGE", &key, "-", "+"]);
        let events = entries.into_iter().filter_map(|(id, fields)| {
            let frame = String::from_utf8(fields.get(3)?.clone()).ok()?;
            let data = frame.lines().filter_map(|line| line.strip_prefix("data: "));
            let data: Vec<_> = data.collect();
            Some((LogId::parse(&id).unwrap(), data.join("\n")))
        });
        let events = events.filter(|(id, _)| *id > from).collect();
        stored.insert((*topic).to_owned(), events);
    }
    stored
}

/// Checks that a client received each stored event once, in the order of IDs, or a gap event.
pub(crate) fn check(records: &[Record], topics: &[String], stored: &Stored) {
    let mut seen = HashSet::new();
    let (mut last, mut may_fall) = (LogId::default(), false);
    for record in records {
        match record {
            Record::Response => {}
            Record::Gap(_) => may_fall = true,
            Record::Event(id, data) => {
                assert!(seen.insert((id, data)), "{id} {data} came twice");
                assert!(*id > last || may_fall, "{id} came after {last}");
                (last, may_fall) = (*id, false);
            }
        }
    }
    let mut within = LogId::default();
    for record in records {
        match record {
            Record::Response => within = LogId::default(),
            Record::Gap(_) => {}
            Record::Event(id, _) => {
                assert!(*id > within, "{id} came after {within} in one response");
                within = *id;
            }
        }
    }
    for topic in topics {
        let mut expected = stored[topic].iter().peekable();
        let mut is_told = false;
        let known: HashMap<_, _> = stored[topic].iter().map(|(id, data)| (*id, data)).collect();
        for record in records {
            match record {
                Record::Gap(of) if of == topic => is_told = true,
                Record::Event(id, data) if known.get(id).is_some_and(|known| *known == data) => {
                    while let Some((missed, data)) = expected.next_if(|(next, _)| next < id) {
                        assert!(
                            is_told,
                            "{missed} {data} of {topic} was missed in silence, before {id}"
                        );
                    }
                    expected.next_if(|(next, _)| next == id);
                    is_told = false;
                }
                _ => {}
            }
        }
        let missed = expected.next();
        assert!(
            missed.is_none() || is_told,
            "{missed:?} of {topic} was missed in silence"
        );
    }
    // An event that was received and is not stored any more was lost: a gap event follows.
    for (index, record) in records.iter().enumerate() {
        let Record::Event(id, data) = record else {
            continue;
        };
        let is_stored = |events: &Vec<(LogId, String)>| events.iter().any(|(other, _)| other == id);
        if !stored.values().any(is_stored) {
            let told = records[index..]
                .iter()
                .any(|record| matches!(record, Record::Gap(_)));
            assert!(told, "{id} {data} was lost in silence");
        }
    }
}
