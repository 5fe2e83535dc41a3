//! Failovers by Sentinel, which the nodes ask for the primary.

use std::time::{Duration, Instant};

use crate::faults::{Program, rounds};
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

const RECOVERY: Duration = Duration::from_secs(2);
