//! Failovers by Sentinel, which the nodes ask for the primary.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use sse_net::{Engine, Hub, HubConfig};

use crate::basics::wait_until;
use crate::faults::{Program, rounds};
use crate::node::Node;
use crate::server::{Redis, wait_for};

/// A primary, its replica and three Sentinels.
struct Servers {
    primary: Redis,
    replica: Redis,
    sentinels: Vec<Redis>,
}

impl Servers {
    fn start() -> Self {
        let primary = Redis::start(&[]);
        let replica = Redis::replica_of(&primary);
        let sentinels: Vec<_> = (0..3).map(|_| Redis::sentinel_of(&primary, 2)).collect();
        let servers = Self {
            primary,
            replica,
            sentinels,
        };
        for sentinel in &servers.sentinels {
            wait_for(|| {
                let info = sentinel.info("sentinel", "master0");
                info.ends_with(
                    "status=ok,address=127.0.0.1:PORT,slaves=1,sentinels=3"
                        .replace("PORT", &servers.primary.port.to_string())
                        .as_str(),
                )
            });
        }
        servers
    }

    fn url(&self) -> String {
        let hosts: Vec<_> = self
            .sentinels
            .iter()
            .map(|sentinel| format!("127.0.0.1:{}", sentinel.port))
            .collect();
        format!("redis+sentinel://{}/main", hosts.join(","))
    }

    /// Waits until a Sentinel names the former replica.
    fn wait_for_failover(&self, sentinel: &Redis) -> Instant {
        wait_for(|| {
            let addr: Vec<String> = sentinel.call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"]);
            addr[1] == self.replica.port.to_string()
        });
        Instant::now()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn a_killed_primary_is_replaced_by_the_one_that_sentinel_names() {
    for _ in 0..rounds() {
        let mut servers = Servers::start();
        let program = Program::begin(&servers.url()).await;
        program.run(400).await;
        servers.primary.kill();
        // One of those that the nodes know is gone, too.
        servers.sentinels[0].kill();
        let named = servers.wait_for_failover(&servers.sentinels[1]);
        program.recover().await;
        assert!(named.elapsed() < RECOVERY, "{:?}", named.elapsed());
        program.run(400).await;
        program.end(&servers.replica).await;
    }
}

/// The old primary lives, and keeps its connections for ten seconds more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn nodes_leave_a_primary_that_sentinel_has_replaced() {
    for _ in 0..rounds() {
        let servers = Servers::start();
        let program = Program::begin(&servers.url()).await;
        program.run(300).await;
        let sentinel = &servers.sentinels[0];
        sentinel.call::<()>(&["SENTINEL", "FAILOVER", "main"]);
        let named = servers.wait_for_failover(sentinel);
        program.reconnect(2).await;
        assert!(named.elapsed() < RECOVERY, "{:?}", named.elapsed());
        program.run(400).await;
        program.end(&servers.replica).await;
    }
}

/// One of them has missed a failover, and another stands still.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn the_sentinel_with_the_latest_configuration_counts() {
    let [old, new] = [Redis::start(&[]), Redis::start(&[])];
    let [stale, latest] = [Redis::sentinel_at(&old, 3), Redis::sentinel_at(&new, 9)];
    // It accepts connections, and nothing else.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap().port();
    for ports in [
        [stale.port, silent, latest.port],
        [latest.port, silent, stale.port],
    ] {
        let hosts = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
        let node = Node::connect(&format!("redis+sentinel://{hosts}/main")).await;
        let id = node.publish("news", "one").await;
        let last: String = new.call(&["HGET", "sse:{hub}:hub", "last"]);
        assert_eq!(last, id.to_string());
        // A Sentinel is asked every two seconds, and the node compares after five.
        let compared = || new.info("commandstats", "cmdstat_zrangebyscore");
        let before = compared();
        wait_until(|| compared() != before).await;
        assert_eq!(node.hub.engine_snapshot().unwrap().connects, 1);
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn sentinels_have_a_login_of_their_own() {
    let redis = Redis::start(&[]);
    let sentinel = Redis::sentinel_at(&redis, 1);
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port);
    let connect = async |user: &str, password: &str| {
        let engine = Engine::redis(&url).unwrap().sentinel_login(user, password);
        Hub::connect(HubConfig::default(), engine).await
    };
    let node = [
        "ACL",
        "SETUSER",
        "node",
        "on",
        ">two",
        "+@all",
        "allchannels",
    ];
    sentinel.call::<()>(&node);
    let default = ["ACL", "SETUSER", "default", "resetpass", ">one"];
    sentinel.call::<()>(&default);
    for (user, password, is_right) in [
        ("", "one", true),
        ("node", "two", true),
        ("", "two", false),
        ("node", "one", false),
    ] {
        let connected = connect(user, password).await;
        assert_eq!(
            connected.is_ok(),
            is_right,
            "{user} {password} {connected:?}"
        );
    }
}

const RECOVERY: Duration = Duration::from_secs(2);
