//! The command line.

use std::time::Duration;

use cli::{Args, Ending, Sockets};
use sse_core::Upgrader;

use crate::encrypt;

pub(crate) struct Options {
    /// The sockets that were passed to the program.
    pub(crate) sockets: Sockets,
    /// `None` if there are such sockets and no other address was asked for.
    pub(crate) listen: Option<String>,
    pub(crate) unix: Option<String>,
    pub(crate) count: Option<u64>,
    pub(crate) every: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) max_connections: usize,
    pub(crate) record: Option<String>,
    pub(crate) journal: Option<String>,
    pub(crate) redis: Option<String>,
    pub(crate) tls: Option<encrypt::Source>,
    pub(crate) upgrader: Upgrader,
}

impl Options {
    pub(crate) fn parse(mut args: Args) -> Result<Self, Ending> {
        let upgrader = Upgrader::new().allow_methods(["GET", "HEAD", "POST"]);
        let mut options = Self {
            sockets: Sockets::take().map_err(Ending::failure)?,
            listen: None,
            unix: None,
            count: None,
            every: Duration::from_secs(1),
            heartbeat: Duration::from_secs(15),
            max_connections: 4096,
            record: None,
            journal: None,
            redis: None,
            tls: None,
            upgrader: upgrader.map_err(Ending::failure)?,
        };
        let mut tls = encrypt::Options::default();
        while let Some(option) = args.option()? {
            match &*option {
                "--listen" => options.listen = Some(args.value("an address")?),
                "--unix" => options.unix = Some(args.value("a path")?),
                "--count" => options.count = Some(args.value("a number")?),
                "--every" => options.every = args.seconds()?,
                "--heartbeat" => options.heartbeat = args.seconds()?,
                "--allow-origin" => {
                    let origin: String = args.value("an origin")?;
                    let allowed = options.upgrader.allow_origin(&origin);
                    options.upgrader = allowed.map_err(|error| Ending::Usage(error.to_string()))?;
                }
                "--max-connections" => options.max_connections = args.value("a number")?,
                "--record" => options.record = Some(args.value("a file")?),
                "--journal" => options.journal = Some(args.value("a folder")?),
                "--redis" => options.redis = Some(args.value("a URL")?),
                "--tls" => tls.is_on = true,
                "--cert" => tls.certificate = Some(args.value("a file")?),
                "--key" => tls.key = Some(args.value("a file")?),
                "--client-ca" => tls.client_ca = Some(args.value("a file")?),
                _ => return Err(args.unknown()),
            }
        }
        options.tls = tls.source()?;
        if options.sockets.is_empty() {
            options.listen.get_or_insert("127.0.0.1:31337".to_owned());
        }
        match (&options.redis, &options.journal, options.count) {
            (Some(_), None, None) | (None, ..) => Ok(options),
            (Some(_), ..) => Err(Ending::Usage(REDIS.to_owned())),
        }
    }
}

const REDIS: &str = "--redis excludes --journal, and --count, which would end the feed";

pub(crate) const USAGE: &str = "\
Usage: demo [OPTIONS]

Serves a page that shows a feed, and the feed at /sse: one event a second, the same for all
clients. A new client gets the last ten events first; one that reconnects gets the events
after its last event ID. Ctrl-C drains the server; a second Ctrl-C ends it at once.

Sockets that systemd passes are served too; with --tls, all but those that have the name
`http` speak TLS. Metrics are at /metrics, probes at /healthz and /readyz.

The page at /hub shows three topics over one connection: the feed, a table of changing values
and an inbox of messages for its visitor. Other tabs of the browser share the connection.

  --listen ADDR         the address to listen on (127.0.0.1:31337); :8080 is port 8080 on
                        all addresses, and port 0 any free port
  --unix PATH           listen on this Unix socket too
  --count N             end the feed with a `close` event after N events
  --every SECONDS       the time between two events of the feed (1)
  --heartbeat SECONDS   send a `heartbeat` event after this long without an event (15)
  --journal DIR         keep all topics in this folder, and restore them at the next start
  --redis URL           share the feed with other demos over this Redis server, such as
                        redis://127.0.0.1:6379; without /hub
  --record FILE         record the feed, with times, to a file that `replay` plays
  --tls                 speak TLS, with a certificate made for this run
  --cert FILE           speak TLS with this certificate, followed by its issuers, in PEM,
  --key FILE            and this key; renewed files are loaded within 10 seconds
  --client-ca FILE      require client certificates that this authority has signed
  --allow-origin ORIGIN allow pages of this origin to read the streams (https://example.org)
  --max-connections N   the maximum number of connections; further ones get 503 (4096)
  --help                print this text";
