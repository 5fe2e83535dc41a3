//! Random programs of two nodes, during which something fails.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sse_core::LogId;
use sse_net::Event;
use tokio::time::sleep;

use crate::followers::{FINISHED, Follower, finish};
use crate::keyed_followers::{KeyedFollower, publish_random};
use crate::node::Node;
use crate::proxy::Proxy;
use crate::server::{Redis, wait_for};

pub(crate) const TOPICS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Publishers and clients of two nodes.
pub(crate) struct Program {
    nodes: Arc<[Node]>,
    is_over: Arc<AtomicBool>,
    publishers: Vec<tokio::task::JoinHandle<(usize, usize)>>,
    followers: Vec<Follower>,
    keyed: Vec<KeyedFollower>,
    from: LogId,
}

impl Program {
    pub(crate) async fn begin(url: &str) -> Self {
        let nodes: Arc<[Node]> = [Node::connect(url).await, Node::connect(url).await].into();
        KeyedFollower::prepare(&nodes).await;
        let first = nodes[0].hub.topic("first").unwrap();
        let first = first.publish(&Event::new().data("first")).unwrap();
        let from = first.stored().await.unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let publishers = (0..2).map(|node| {
            let (nodes, is_over) = (Arc::clone(&nodes), Arc::clone(&is_over));
            tokio::spawn(async move {
                let (mut stored, mut failed, mut last) = (0, 0, LogId::default());
                for number in 0.. {
                    // Of the last one, it waits for the outcome, so that nothing is queued after.
                    let is_last = is_over.load(Ordering::Relaxed);
                    if fastrand::u8(..3) == 0 {
                        publish_random(&nodes[node], number);
                    }
                    let topic = nodes[node]
                        .hub
                        .topic(fastrand::choice(TOPICS).unwrap())
                        .unwrap();
                    let data = format!("{node} {number} {}", topic.name().unwrap());
                    let long = "x".repeat(70_000);
                    let event = match fastrand::u8(..) {
                        0 => Event::new().data(format!("{data} {long}")),
                        _ => Event::new().data(data),
                    };
                    let published = topic.publish(&event).unwrap();
                    if is_last || fastrand::u8(..4) == 0 {
                        match published.stored().await {
                            Ok(id) => {
                                assert!(
                                    id > last || id.epoch() != last.epoch(),
                                    "{id} after {last}"
                                );
                                (stored, last) = (stored + 1, id);
                            }
                            Err(_) => failed += 1,
                        }
                    }
                    if is_last {
                        break;
                    }
                    sleep(Duration::from_millis(fastrand::u64(..8))).await;
                }
                (stored, failed)
            })
        });
        let publishers = publishers.collect();
        let followers = (0..12).map(|number| {
            let mut topics = TOPICS.to_vec();
            fastrand::shuffle(&mut topics);
            topics.truncate(fastrand::usize(1..=TOPICS.len()));
            Follower::spawn(Arc::clone(&nodes), &topics, from, number % 3 != 0)
        });
        let followers = followers.collect();
        let keyed = (0..6).map(|number| KeyedFollower::spawn(&nodes, number % 3 != 0));
        let keyed = keyed.collect();
        Self {
            nodes,
            is_over,
            publishers,
            followers,
            keyed,
            from,
        }
    }

    pub(crate) async fn run(&self, millis: u64) {
        sleep(Duration::from_millis(millis)).await;
    }

    /// Waits until both nodes are connected.
    pub(crate) async fn recover(&self) {
        self.reconnect(1).await;
    }

    /// Waits until both nodes have connected this often. The limit is for a busy machine.
    pub(crate) async fn reconnect(&self, count: u64) {
        let is_connected = |node: &Node| {
            let snapshot = node.hub.engine_snapshot().unwrap();
            snapshot.is_ready && snapshot.connects >= count
        };
        for _ in 0..3_000 {
            if self.nodes.iter().all(is_connected) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("the nodes have not recovered within 30 s");
    }

    pub(crate) async fn end(self, redis: &Redis) {
        self.is_over.store(true, Ordering::Relaxed);
        for publisher in self.publishers {
            let (stored, _failed) = publisher.await.unwrap();
            assert!(stored > 0);
        }
        self.nodes[0].hub.topic("first").unwrap();
        let stored = finish(&self.nodes[1], redis, &TOPICS, self.from).await;
        for follower in self.followers {
            follower.check(&stored).await;
        }
        KeyedFollower::end(&self.nodes[0]).await;
        for follower in self.keyed {
            follower.check(redis).await;
        }
        for node in self.nodes.iter() {
            let finished = node.hub.topic(FINISHED).unwrap();
            assert!(finished.is_finished());
            let snapshot = node.hub.engine_snapshot().unwrap();
            assert!(snapshot.is_ready && snapshot.skipped == 0, "{snapshot:?}");
        }
    }

    fn lost(&self) -> u64 {
        let lost = |node: &Node| node.hub.engine_snapshot().unwrap().lost;
        self.nodes.iter().map(lost).sum()
    }

    fn gaps(&self) -> u64 {
        let gaps = |node: &Node| node.hub.engine_snapshot().unwrap().gaps;
        self.nodes.iter().map(gaps).sum()
    }
}

/// Returns how often each program runs, by the variable `SSE_REDIS_ROUNDS`.
pub(crate) fn rounds() -> usize {
    let rounds = env::var("SSE_REDIS_ROUNDS").ok();
    rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn without_a_fault_nothing_is_missed() {
    for _ in 0..rounds() {
        let redis = Redis::start(&[]);
        let program = Program::begin(&redis.url()).await;
        program.run(6000).await; // Longer than the time between two comparisons.
        assert_eq!((program.lost(), program.gaps()), (0, 0));
        program.end(&redis).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn a_server_that_is_killed_and_comes_back_loses_nothing_that_it_keeps() {
    for _ in 0..rounds() {
        let mut redis = Redis::durable();
        let program = Program::begin(&redis.url()).await;
        program.run(500).await;
        redis.kill();
        program.run(300).await;
        redis.restart();
        program.recover().await;
        program.run(500).await;
        assert_eq!((program.lost(), program.gaps()), (0, 0));
        program.end(&redis).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn clients_receive_a_gap_after_a_server_has_lost_everything() {
    for _ in 0..rounds() {
        let mut redis = Redis::start(&[]);
        let program = Program::begin(&redis.url()).await;
        program.run(500).await;
        redis.kill();
        redis.restart();
        program.recover().await;
        program.run(500).await;
        // Without a lost connection, too.
        redis.call::<()>(&["FLUSHALL"]);
        program.run(500).await;
        assert!(program.lost() > 0);
        program.end(&redis).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn a_lost_key_of_the_hub_begins_another_epoch() {
    for _ in 0..rounds() {
        let redis = Redis::start(&[]);
        let program = Program::begin(&redis.url()).await;
        program.run(500).await;
        redis.call::<()>(&["DEL", "sse:{hub}:hub"]);
        program.run(500).await;
        program.end(&redis).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn links_that_are_cut_or_refused_are_made_again() {
    for _ in 0..rounds() {
        let redis = Redis::start(&[]);
        let proxy = Proxy::to(redis.port).await;
        let program = Program::begin(&proxy.url()).await;
        program.run(300).await;
        for _ in 0..3 {
            redis.call::<()>(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            program.run(100).await;
            proxy.switch(0);
            proxy.cut();
            program.run(300).await;
            proxy.switch(redis.port);
            program.recover().await;
        }
        assert_eq!((program.lost(), program.gaps()), (0, 0));
        program.end(&redis).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn a_server_that_stands_still_is_left_and_found_again() {
    let redis = Redis::start(&[]);
    let program = Program::begin(&redis.url()).await;
    program.run(300).await;
    redis.signal("-STOP");
    for _ in 0..700 {
        if !program.nodes.iter().any(Node::is_ready) {
            break;
        }
        program.run(10).await;
    }
    assert!(!program.nodes.iter().any(Node::is_ready));
    redis.signal("-CONT");
    program.recover().await;
    program.run(300).await;
    assert_eq!((program.lost(), program.gaps()), (0, 0));
    program.end(&redis).await;
}

/// Promotes a replica that may lack the last events of the primary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn clients_receive_a_gap_for_events_that_a_promoted_replica_lacks() {
    for _ in 0..rounds() {
        let mut primary = Redis::start(&[]);
        let replica = Redis::replica_of(&primary);
        let proxy = Proxy::to(primary.port).await;
        let program = Program::begin(&proxy.url()).await;
        program.run(400).await;
        // Later events of the primary do not reach the replica.
        replica.signal("-STOP");
        program.run(200).await;
        primary.kill();
        replica.signal("-CONT");
        replica.call::<()>(&["REPLICAOF", "NO", "ONE"]);
        proxy.switch(replica.port);
        proxy.cut();
        program.recover().await;
        program.run(400).await;
        program.end(&replica).await;
    }
}

/// As Sentinel's failover: the old primary takes events that are lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn clients_receive_a_gap_for_events_of_an_old_primary() {
    for _ in 0..rounds() {
        let old = Redis::start(&[]);
        let new = Redis::replica_of(&old);
        let proxy = Proxy::to(old.port).await;
        let program = Program::begin(&proxy.url()).await;
        program.run(400).await;
        new.call::<()>(&["REPLICAOF", "NO", "ONE"]);
        proxy.switch(new.port);
        // The nodes are still connected to the old one.
        program.run(400).await;
        let port = new.port.to_string();
        old.call::<()>(&["REPLICAOF", "127.0.0.1", &port]);
        program.run(300).await;
        proxy.cut();
        program.recover().await;
        program.run(300).await;
        assert!(program.lost() > 0);
        program.end(&new).await;
    }
}

/// A is demoted, nothing is published to B, and A is promoted again without its last events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn a_primary_that_returns_without_its_last_events_begins_another_epoch() {
    for _ in 0..rounds() {
        let a = Redis::start(&[]);
        let b = Redis::replica_of(&a);
        let (port_a, port_b) = (a.port.to_string(), b.port.to_string());
        let program = Program::begin(&a.url()).await;
        program.run(300).await;
        b.call::<()>(&["REPLICAOF", "NO", "ONE"]);
        program.run(150).await;
        a.call::<()>(&["REPLICAOF", "127.0.0.1", &port_b]);
        wait_for(|| a.info("replication", "master_link_status") == "up");
        a.call::<()>(&["REPLICAOF", "NO", "ONE"]);
        b.call::<()>(&["REPLICAOF", "127.0.0.1", &port_a]);
        program.run(200).await;
        program.recover().await;
        program.run(400).await;
        program.end(&a).await;
    }
}

/// A demotion that leaves all connections open, and loses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn a_failover_that_is_coordinated_loses_nothing() {
    for _ in 0..rounds() {
        let old = Redis::start(&[]);
        let new = Redis::replica_of(&old);
        let proxy = Proxy::to(old.port).await;
        let program = Program::begin(&proxy.url()).await;
        program.run(300).await;
        proxy.switch(new.port);
        old.call::<()>(&["FAILOVER"]);
        wait_for(|| new.info("replication", "role") == "master");
        program.run(1000).await;
        program.recover().await;
        program.run(300).await;
        assert_eq!((program.lost(), program.gaps()), (0, 0));
        program.end(&new).await;
    }
}
