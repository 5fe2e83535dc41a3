//! Nodes in processes of their own: this program, started again.

use std::env;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sse_net::testing::RawClient;
use sse_net::{Config, Engine, Event, Hub, Request, Response, Retention, Server, Tcp};
use tokio::io::{DuplexStream, copy_bidirectional, duplex};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::faults::{TOPICS, rounds};
use crate::followers::{Follower, Nodes, finish};
use crate::node::{Node, follow};
use crate::server::{Redis, free_port, wait_for};

/// The variables of a node: the URL of the engine, the port, and whether it publishes.
const VARIABLES: [&str; 3] = ["SSE_NODE_URL", "SSE_NODE_PORT", "SSE_NODE_PUBLISHES"];

/// A node in another process, which is killed at the end.
pub(crate) struct Process {
    url: String,
    pub(crate) port: u16,
    publishes: bool,
    /// Which certificates it trusts, if not those of the system.
    authority: Option<PathBuf>,
    child: Child,
}

impl Process {
    /// Starts a node, which publishes to all topics until `/stop` is requested.
    pub(crate) fn start(url: &str, publishes: bool) -> Self {
        Self::start_with(url, publishes, None)
    }

    pub(crate) fn start_with(url: &str, publishes: bool, authority: Option<&Path>) -> Self {
        let port = free_port();
        Self {
            url: url.to_owned(),
            port,
            publishes,
            authority: authority.map(Path::to_owned),
            child: spawn(url, port, publishes, authority),
        }
    }

    fn restart(&mut self) {
        let authority = self.authority.as_deref();
        self.child = spawn(&self.url, self.port, self.publishes, authority);
    }

    /// As `kill -9`.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(url: &str, port: u16, publishes: bool, authority: Option<&Path>) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    if let Some(path) = authority {
        command.env("SSL_CERT_FILE", path);
    }
    let child = command
        .args(["process::a_node", "--exact", "--ignored", "--nocapture"])
        .env(VARIABLES[0], url)
        .env(VARIABLES[1], port.to_string())
        .env(VARIABLES[2], u8::from(publishes).to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
    child
}

/// A node if the variables are set; otherwise nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn a_node() {
    let [Ok(url), Ok(port), Ok(publishes)] = VARIABLES.map(env::var) else {
        return;
    };
    let engine = Engine::redis(&url).unwrap();
    let hub = Hub::connect(Retention::events(100_000), engine)
        .await
        .unwrap();
    let (stop, is_over) = watch::channel(publishes == "0");
    let (stopped, is_stopped) = watch::channel(false);
    let followed = hub.clone();
    let listener = Tcp::default()
        .bind(("127.0.0.1", port.parse().unwrap()))
        .unwrap();
    let _server = Server::new(Config::default())
        .listen(listener)
        .serve(move |request: Request| {
            let (hub, stop, mut is_stopped) = (followed.clone(), stop.clone(), is_stopped.clone());
            async move {
                if request.path() != "/stop" {
                    return follow(&hub, request);
                }
                stop.send_replace(true);
                is_stopped.wait_for(|is_stopped| *is_stopped).await.unwrap();
                request.respond(Response::new(200))
            }
        });
    let publish = |topic: &str, data: String| {
        let topic = hub.topic(topic).unwrap();
        topic.publish(&Event::new().data(data)).unwrap()
    };
    for number in 0.. {
        if *is_over.borrow() {
            break;
        }
        let topic = fastrand::choice(TOPICS).unwrap();
        publish(topic, format!("{port} {number} {topic}"));
        sleep(Duration::from_millis(fastrand::u64(1..8))).await;
    }
    publish("stop", String::new()).stored().await.unwrap();
    stopped.send_replace(true);
    std::future::pending::<()>().await;
}

/// The ports of processes.
#[derive(Clone)]
struct Ports(Vec<u16>);

impl Nodes for Ports {
    fn count(&self) -> usize {
        self.0.len()
    }

    /// The client's connection ends if the process is away.
    fn connect(&self, node: usize) -> DuplexStream {
        let (ours, mut theirs) = duplex(1 << 20);
        let port = self.0[node];
        tokio::spawn(async move {
            let mut server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
            copy_bidirectional(&mut theirs, &mut server).await
        });
        ours
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn clients_of_nodes_that_are_killed_miss_nothing() {
    for _ in 0..rounds() {
        let redis = Redis::start(&[]);
        let judge = Node::connect(&redis.url()).await;
        let from = judge.publish("first", "first").await;
        let mut nodes = [(); 2].map(|()| Process::start(&redis.url(), true));
        let ports = Ports(nodes.iter().map(|node| node.port).collect());
        let followers = (0..12).map(|number| {
            let mut topics = TOPICS.to_vec();
            fastrand::shuffle(&mut topics);
            topics.truncate(fastrand::usize(1..=TOPICS.len()));
            Follower::spawn(ports.clone(), &topics, from, number % 3 != 0)
        });
        let followers: Vec<_> = followers.collect();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            sleep(Duration::from_millis(fastrand::u64(300..2000))).await;
            let node = &mut nodes[fastrand::usize(..2)];
            node.kill();
            sleep(Duration::from_millis(fastrand::u64(..300))).await;
            node.restart();
        }
        for node in 0..2 {
            let mut client = RawClient::new(ports.connect(node));
            assert_eq!(client.get("/stop").await.unwrap().status(), 200);
        }
        let stored = finish(&judge, &redis, &TOPICS, from).await;
        assert!(stored.values().all(|events| events.len() > 100));
        for follower in followers {
            follower.check(&stored).await;
        }
    }
}
