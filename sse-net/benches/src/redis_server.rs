//! A Redis server that is started for a measurement, in a temporary folder.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs, io};

use redis::{Client, Connection, FromRedisValue, RedisError};

use crate::process::Server;

/// A server without persistence.
#[derive(Debug)]
pub struct RedisServer {
    pub server: Server,
    dir: PathBuf,
}

impl RedisServer {
    /// Starts a server on some cores.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub fn start(cores: &str) -> io::Result<Self> {
        let mut dir = PathBuf::new();
        let server = Server::start_with(|address| {
            let port = address.port().to_string();
            dir = env::temp_dir().join(format!("sse-net-redis-{port}"));
            fs::create_dir_all(&dir)?;
            let mut command = Command::new("taskset");
            command.args(["-c", cores, "redis-server", "--port", &port]);
            command.args(["--bind", "127.0.0.1", "--save", ""]);
            command.args(["--logfile", "log", "--dir"]).arg(&dir);
            Ok(command)
        })?;
        Ok(Self { server, dir })
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.server.address())
    }

    /// # Errors
    ///
    /// The server cannot be reached.
    pub fn connect(&self) -> io::Result<Connection> {
        let client = Client::open(self.url()).map_err(io::Error::other)?;
        client.get_connection().map_err(io::Error::other)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Calls a command.
///
/// # Errors
///
/// The connection broke, or the server has refused the command.
pub fn call<T: FromRedisValue>(connection: &mut Connection, words: &[&str]) -> io::Result<T> {
    let mut cmd = redis::Cmd::new();
    cmd.arg(words);
    cmd.query(connection)
        .map_err(|error: RedisError| io::Error::other(error))
}
