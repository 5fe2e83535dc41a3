//! nginx with nchan, and a publisher that feeds it over HTTP.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::feed::{BATCH, Feed, Options, now};
use crate::process::Server;

/// nginx and the thread that publishes.
#[derive(Debug)]
pub struct Nchan {
    pub server: Server,
    is_over: Arc<AtomicBool>,
    publishing: Option<JoinHandle<io::Result<()>>>,
}

/// The file of Debian's package.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

impl Nchan {
    /// Returns whether nginx with nchan is installed.
    #[must_use]
    pub fn is_installed() -> bool {
        let nginx = Command::new("nginx")
            .arg("-v")
            .stderr(Stdio::null())
            .status();
        Path::new(MODULE).exists() && nginx.is_ok()
    }

    /// Starts nginx on some cores, and publishes a feed unless another one does.
    ///
    /// # Errors
    ///
    /// nginx does not start.
    pub fn start(cores: &str, options: &Options) -> io::Result<Self> {
        let server = Server::start_with(|address| {
            let name = format!("sse-net-nchan-{}-{}", std::process::id(), address.port());
            let dir = std::env::temp_dir().join(name);
            fs::create_dir_all(&dir)?;
            let file = dir.join("nginx.conf");
            fs::write(&file, configuration(address, options))?;
            let mut command = Command::new("taskset");
            command.args(["-c", cores, "nginx", "-p"]).arg(&dir);
            command.arg("-c").arg(&file).stderr(Stdio::null());
            Ok(command)
        })?;
        let mut feed = Feed::new(options);
        let mut publisher = Publisher::connect(server.address())?;
        for _ in 0..options.preload {
            publisher.publish(&[feed.store()])?;
        }
        let is_over = Arc::<AtomicBool>::default();
        let ends = Arc::clone(&is_over);
        let is_publisher = !options.follower;
        let publishing = thread::spawn(move || {
            while is_publisher
                && let Some(wait) = feed.wait()
                && !ends.load(Ordering::Relaxed)
            {
                thread::sleep(wait);
                let now = now();
                let due: Vec<_> = std::iter::from_fn(|| feed.pop(now)).take(BATCH).collect();
                publisher.publish(&due)?;
            }
            Ok(())
        });
        Ok(Self {
            server,
            is_over,
            publishing: Some(publishing),
        })
    }
}

impl Drop for Nchan {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(publishing) = self.publishing.take() {
            let _ = publishing.join();
        }
    }
}

/// A connection that is kept alive, with pipelined requests.
struct Publisher(BufReader<TcpStream>);

impl Publisher {
    fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        Ok(Self(BufReader::new(socket)))
    }

    fn publish(&mut self, events: &[String]) -> io::Result<()> {
        for events in events.chunks(16) {
            let mut requests = String::new();
            for event in events {
                requests += "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: ";
                requests += &format!("{}\r\n\r\n{event}", event.len());
            }
            self.0.get_mut().write_all(requests.as_bytes())?;
            for _ in events {
                self.read_response()?;
            }
        }
        Ok(())
    }

    fn read_response(&mut self) -> io::Result<()> {
        let (mut line, mut len) = (String::new(), 0);
        loop {
            line.clear();
            if self.0.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let field = line.trim_end().to_ascii_lowercase();
            if let Some(value) = field.strip_prefix("content-length: ") {
                len = value.parse().map_err(io::Error::other)?;
            }
            if field.is_empty() {
                break;
            }
        }
        io::copy(&mut self.0.by_ref().take(len), &mut io::sink())?;
        Ok(())
    }
}

fn configuration(address: SocketAddr, options: &Options) -> String {
    let threads = options.threads;
    let (upstream, pass) = match &options.redis {
        Some(url) => (
            format!("upstream redis {{ nchan_redis_server {url}; }}"),
            "nchan_redis_pass redis;",
        ),
        None => (String::new(), ""),
    };
    format!(
        "load_module {MODULE};
daemon off;
pid nginx.pid;
error_log /dev/null;
worker_processes {threads};
worker_rlimit_nofile 65536;
events {{ worker_connections 32768; }}
http {{
  access_log off;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  nchan_shared_memory_size 512M;
  {upstream}
  server {{
    listen {address} backlog=4096;
    location = /publish {{
      {pass}
      nchan_publisher;
      nchan_channel_id feed;
      nchan_message_buffer_length 20000;
    }}
    location = /events {{
      {pass}
      nchan_subscriber eventsource;
      nchan_channel_id feed;
      nchan_subscriber_first_message newest;
    }}
    location = /late {{
      {pass}
      nchan_subscriber eventsource;
      nchan_channel_id feed;
      nchan_subscriber_last_message_id $arg_none;
      nchan_subscriber_first_message oldest;
    }}
  }}
}}
"
    )
}
