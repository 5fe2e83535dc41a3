//! Redis servers for tests, each with a separate folder and port.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use redis::{Client, Connection, FromRedisValue};
use sse_core::LogId;
use tempfile::TempDir;

pub(crate) struct Redis {
    dir: TempDir,
    pub(crate) port: u16,
    args: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// Starts a server, with more arguments.
    pub(crate) fn start(args: &[&str]) -> Self {
        let all = [&["--save", "", "--repl-diskless-sync-delay", "0"], args].concat();
        Self::start_in(TempDir::new().unwrap(), &all)
    }

    /// Starts a Sentinel of a primary, with this quorum.
    pub(crate) fn sentinel_of(primary: &Self, quorum: usize) -> Self {
        Self::sentinel(primary.port, quorum, &[])
    }

    /// Starts a Sentinel with another number of its configuration.
    pub(crate) fn sentinel_at(primary: &Self, epoch: u64) -> Self {
        Self::sentinel_with(primary.port, 9, epoch, &[])
    }

    /// Starts a Sentinel of the primary at a port, with more arguments.
    pub(crate) fn sentinel(port: u16, quorum: usize, args: &[&str]) -> Self {
        Self::sentinel_with(port, quorum, 0, args)
    }

    fn sentinel_with(port: u16, quorum: usize, epoch: u64, args: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("sentinel.conf");
        let config = format!(
            "sentinel monitor main 127.0.0.1 {port} {quorum}
             sentinel down-after-milliseconds main 300
             sentinel failover-timeout main 3000
             sentinel config-epoch main {epoch}"
        );
        fs::write(&path, config).unwrap();
        let all = [&[path.to_str().unwrap(), "--sentinel"], args].concat();
        Self::start_in(dir, &all)
    }

    fn start_in(dir: TempDir, args: &[&str]) -> Self {
        let mut redis = Self {
            dir,
            port: 0,
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            child: None,
        };
        // Another test may take the port before the server does.
        let has_started = (0..10).any(|_| {
            redis.port = free_port();
            redis.try_start()
        });
        assert!(has_started, "no server starts");
        redis
    }

    /// Starts a server whose events survive its restart.
    pub(crate) fn durable() -> Self {
        Self::start(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    pub(crate) fn replica_of(primary: &Self) -> Self {
        let port = primary.port.to_string();
        let replica = Self::start(&["--replicaof", "127.0.0.1", &port]);
        wait_for(|| replica.info("replication", "master_link_status") == "up");
        replica
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts the server again, after [`kill`](Self::kill).
    pub(crate) fn restart(&mut self) {
        assert!(self.try_start(), "the server does not start again");
    }

    /// Starts the server, and returns `false` if it has ended, as when its port is taken.
    fn try_start(&mut self) -> bool {
        let child = Command::new("redis-server")
            .args(&self.args)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .arg("--dir")
            .arg(self.dir.path())
            .stdout(Stdio::null())
            .spawn();
        let id = child.as_ref().expect("redis-server is installed").id();
        self.child = child.ok();
        let begun = Instant::now();
        while !self.answers_as(id) {
            let child = self.child.as_mut();
            if child.is_none_or(|child| child.try_wait().unwrap().is_some()) {
                return false;
            }
            assert!(begun.elapsed() < LIMIT, "the server does not answer");
            sleep(Duration::from_millis(5));
        }
        true
    }

    /// Returns `true` if the server at the port is this process, and not that of another test.
    fn answers_as(&self, process: u32) -> bool {
        let info = self.try_connect().map(|mut connection| {
            let info = redis::cmd("INFO").arg("server").query(&mut connection);
            info.unwrap_or_else(|_| String::new())
        });
        info.is_some_and(|info| info.contains(&format!("process_id:{process}\r\n")))
    }

    /// Kills the server at once.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops the process, or lets it continue.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status();
        assert!(status.unwrap().success());
    }

    fn try_connect(&self) -> Option<Connection> {
        let client = Client::open(self.url()).unwrap();
        let mut connection = client.get_connection().ok()?;
        let pong: Result<String, _> = redis::cmd("PING").query(&mut connection);
        pong.ok().map(|_| connection)
    }

    pub(crate) fn try_call<T: FromRedisValue>(&self, args: &[&str]) -> redis::RedisResult<T> {
        let mut connection = self.try_connect().expect("the server runs");
        let (name, args) = args.split_first().unwrap();
        redis::cmd(name).arg(args).query(&mut connection)
    }

    /// Calls a command.
    #[track_caller]
    pub(crate) fn call<T: FromRedisValue>(&self, args: &[&str]) -> T {
        self.try_call(args).unwrap()
    }

    /// Loads the functions for programs that are not nodes.
    pub(crate) fn load_functions(&self) {
        let library = include_str!("../../src/engine/publish.lua");
        self.call::<()>(&["FUNCTION", "LOAD", "REPLACE", library]);
    }

    /// Stores an event of a topic as another program does, and notifies nodes by a channel.
    /// Returns its ID.
    #[track_caller]
    pub(crate) fn store(&self, topic: &str, channel: &str, frame: &str) -> LogId {
        let id = self.try_store(topic, channel, frame).unwrap();
        LogId::parse(&id).unwrap()
    }

    pub(crate) fn try_store(
        &self,
        topic: &str,
        channel: &str,
        frame: &str,
    ) -> redis::RedisResult<String> {
        self.try_publish(topic, channel, &["events", frame])
    }

    /// Calls the function with a kind and what follows it.
    pub(crate) fn try_publish(
        &self,
        topic: &str,
        channel: &str,
        kind: &[&str],
    ) -> redis::RedisResult<String> {
        let (stream, channel) = (format!("topic:{topic}"), format!("sse:{{hub}}:{channel}"));
        let keys = ["hub", "epochs", "changed", &stream];
        let keys = keys.map(|name| format!("sse:{{hub}}:{name}"));
        let random = fastrand::u16(..).to_string();
        let mut words = vec!["FCALL", "sse_publish", "4"];
        words.extend(keys.iter().map(String::as_str));
        words.extend([&random, &channel, topic, "1000", "0", "0", "0"]);
        words.extend(kind);
        self.try_call(&words)
    }

    /// Returns the time of the server's clock.
    pub(crate) fn millis(&self) -> u64 {
        let (seconds, micros): (u64, u64) = self.call(&["TIME"]);
        seconds * 1000 + micros / 1000
    }

    pub(crate) fn info(&self, section: &str, name: &str) -> String {
        let info: String = self.call(&["INFO", section]);
        let value = info
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_default().to_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// How long another process may take for something.
const LIMIT: Duration = Duration::from_secs(20);

/// Waits for what another process does.
#[track_caller]
pub(crate) fn wait_for(is_done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_done() {
        assert!(begun.elapsed() < LIMIT, "it does not happen");
        sleep(Duration::from_millis(5));
    }
}
