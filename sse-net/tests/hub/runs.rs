//! Streams of several topics, some of them of runs that expire and are started again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::ready;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use sse_core::Event;
use sse_net::testing::RawClient;
use sse_net::{
    Hub, HubConfig, PublishError, Request, Run, Runs, RunsConfig, Start, Subscription, Topic,
    Transport,
};
use tokio::io::{DuplexStream, duplex};
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::common::{Net, config, serve};

const KEYS: [&str; 2] = ["a", "b"];
const TOPICS: [&str; 3] = ["run/a", "run/b", "news"];

fn topics(hub: &Hub) -> [Topic; 3] {
    TOPICS.map(|name| hub.topic(name).unwrap())
}

/// What a follower receives.
enum Received {
    Data(String),
    Gap,
}

#[expect(clippy::large_enum_variant, reason = "there are four")]
enum Follower {
    Subscription(Subscription, VecDeque<String>),
    Client(RawClient<DuplexStream>, Net),
}

impl Follower {
    async fn client(net: &Net, id: &str) -> RawClient<DuplexStream> {
        let (ours, theirs) = duplex(4096);
        net.accept(Transport::new(theirs));
        let mut client = RawClient::new(ours);
        client.resume("/", id).await.unwrap();
        client
    }

    async fn next(&mut self) -> Received {
        loop {
            match self {
                Self::Subscription(subscription, blocks) => {
                    while let Some(block) = blocks.pop_front() {
                        if let Some((_, data)) = block.split_once("data: ")
                            && !block.contains("event: ")
                        {
                            return Received::Data(data.to_owned());
                        }
                    }
                    match subscription.read_bytes().await {
                        Ok(bytes) => {
                            let text = String::from_utf8(bytes.unwrap().into()).unwrap();
                            blocks.extend(text.split("\n\n").map(str::to_owned));
                        }
                        Err(_) => return Received::Gap,
                    }
                }
                Self::Client(client, net) => match client.event().await {
                    Ok(event) if event.event() == "gap" => return Received::Gap,
                    Ok(event) if event.event() == "close" => {}
                    Ok(event) => return Received::Data(event.data().to_owned()),
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
                        let id = client.last_event_id().to_owned();
                        *client = Self::client(net, &id).await;
                    }
                },
            }
        }
    }

    /// Follows until the end of all, and returns how often a run followed the one before it.
    async fn check(mut self) -> usize {
        let (mut expected, mut gaps, mut count) = (HashMap::new(), HashSet::new(), 0);
        loop {
            let data = match self.next().await {
                Received::Data(data) if data == "over" => return count,
                Received::Data(data) => data,
                Received::Gap => {
                    gaps.extend(KEYS);
                    continue;
                }
            };
            let Some((key, part)) = data.split_once(' ') else {
                continue; // News.
            };
            let (run, number) = part.split_once(' ').unwrap();
            // The end of a run has no number.
            let (run, number) = (run.parse::<usize>().unwrap(), number.parse::<usize>().ok());
            let next: (usize, usize) = expected.remove(key).unwrap_or((run, 0));
            let is_next = run == next.0 && number.is_none_or(|number| number == next.1);
            assert!(gaps.remove(key) || is_next, "{data} instead of {next:?}");
            count += usize::from(run > 0 && is_next && number == Some(0));
            let after = number.map_or((run + 1, 0), |number| (run, number + 1));
            expected.insert(key.to_owned(), after);
        }
    }
}

/// Runs that expire at once and are started again, again and again, on several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_get_all_of_each_run_of_a_key_or_are_told() {
    let hub = Hub::new(HubConfig::default());
    let runs = Runs::new(hub.clone(), RunsConfig::default().keep(Duration::ZERO));
    let followed = hub.clone();
    let (_server, net) = serve(config().shards(2), move |request: Request| {
        ready(request.follow_all_from(topics(&followed), Start::Live))
    });
    let mut followers = Vec::new();
    for _ in 0..2 {
        let subscription = Subscription::to(topics(&hub), None, Start::Live).unwrap();
        followers.push(Follower::Subscription(subscription, VecDeque::new()));
        let client = Follower::client(&net, "").await;
        followers.push(Follower::Client(client, net.clone()));
    }
    let followers = followers
        .into_iter()
        .map(|follower| tokio::spawn(follower.check()));
    let followers = Vec::from_iter(followers);
    let starters = KEYS.map(|key| {
        let (runs, hub, run) = (runs.clone(), hub.clone(), Arc::new(AtomicUsize::new(0)));
        tokio::spawn(async move {
            let (news, mut random) = (hub.topic("news").unwrap(), fastrand::Rng::new());
            while run.load(Relaxed) < 300 {
                let (run, count) = (Arc::clone(&run), random.usize(..4));
                let work = async move |topic: Run| {
                    let run = run.fetch_add(1, Relaxed);
                    for number in 0..count {
                        topic.publish(&Event::new().data(format!("{key} {run} {number}")))?;
                        yield_now().await;
                    }
                    topic.finish(Some(&Event::new().data(format!("{key} {run} end"))))?;
                    Ok::<_, PublishError>(())
                };
                runs.start(key, work).unwrap();
                if random.bool() {
                    news.publish(&Event::new().data("news")).unwrap();
                }
                yield_now().await;
            }
        })
    });
    for starter in starters {
        starter.await.unwrap();
    }
    while runs.stats().running > 0 {
        yield_now().await;
    }
    hub.topic("news")
        .unwrap()
        .publish(&Event::new().data("over"))
        .unwrap();
    for follower in followers {
        let count = timeout(Duration::from_secs(30), follower)
            .await
            .unwrap()
            .unwrap();
        assert!(count > 0, "it has followed a second run");
    }
}
