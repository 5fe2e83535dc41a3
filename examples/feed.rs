//! The feed of `fanout` and of the servers it is compared with: options and due events.
#![allow(
    unreachable_pub,
    reason = "the benchmarks include this file as a public module"
)]

use std::error::Error;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The options of a server.
#[derive(Debug, Clone)]
pub struct Options {
    pub port: Option<u16>,
    pub unix: Option<PathBuf>,
    /// The files of a certificate and its key, to serve TLS on the port.
    pub tls: Option<(PathBuf, PathBuf)>,
    pub ramp: Ramp,
    /// The rate of the second topic, in events per second.
    pub second: f64,
    /// The size of an event's data in bytes.
    pub size: usize,
    /// The number of events published before the start.
    pub preload: usize,
    /// The number of keys of a keyed topic; 0 is a topic without keys.
    pub keys: usize,
    pub flood: bool,
    pub linger: Duration,
    pub threads: usize,
    /// The number of topics of a hub, which get the events in turn; 0 is a topic that stands alone.
    pub topics: usize,
    /// The number of topics that each client follows.
    pub follow: usize,
    /// The number of further topics without events, one of which each client follows, too.
    pub own: usize,
    /// The URL of a Redis server, over which several servers share the topics.
    pub redis: Option<String>,
    /// Whether another server publishes.
    pub follower: bool,
}

/// The text of `--help`.
const HELP: &str = "\
Usage: fanout [OPTIONS]

Serves one feed to all clients, for measuring. The servers that it is compared with have the
same options.

  --port PORT, --unix PATH      where to listen
  --tls --cert FILE --key FILE  serve TLS on the port
  --rate RATE                   events a second (default 0)
  --ramp RATE:FACTOR:STEP:DELAY multiply the rate every STEP seconds after DELAY
  --second RATE                 events a second of another topic, /second
  --size BYTES                  of an event's data (default 100)
  --preload COUNT               events before the start
  --flood                       publish without pause
  --linger MILLISECONDS         collect events for this time (default 0)
  --threads COUNT               worker threads (default 1)
  --topics COUNT                topics of a hub, published to in turn (default 0: one alone)
  --keys COUNT                  keys of a keyed topic, published in turn (default 0: no keys)
  --follow COUNT                topics that each client follows (default 1)
  --own COUNT                   topics without events, one of which each client follows, too
  --redis URL                   share the topics with other servers over Redis
  --follower                    publish nothing: another server does
  --help                        print this text
";

impl Options {
    /// # Errors
    ///
    /// An unknown option, or an invalid value.
    pub fn parse(mut args: Vec<String>) -> Result<Self, Box<dyn Error>> {
        if flag(&mut args, "--help") {
            print!("{HELP}");
            std::process::exit(0);
        }
        let rate = value(&mut args, "--rate")?;
        let ramp = value(&mut args, "--ramp")?;
        let is_tls = flag(&mut args, "--tls");
        let certificate = value(&mut args, "--cert")?.zip(value(&mut args, "--key")?);
        if is_tls != certificate.is_some() {
            return Err("--tls goes with --cert FILE and --key FILE".into());
        }
        let options = Self {
            port: value(&mut args, "--port")?,
            unix: value(&mut args, "--unix")?,
            tls: certificate,
            ramp: ramp.unwrap_or(Ramp::constant(rate.unwrap_or(0.0))),
            second: value(&mut args, "--second")?.unwrap_or(0.0),
            size: value(&mut args, "--size")?.unwrap_or(100),
            preload: value(&mut args, "--preload")?.unwrap_or(0),
            keys: value(&mut args, "--keys")?.unwrap_or(0),
            flood: flag(&mut args, "--flood"),
            linger: Duration::from_millis(value(&mut args, "--linger")?.unwrap_or(0)),
            threads: value(&mut args, "--threads")?.unwrap_or(1),
            topics: value(&mut args, "--topics")?.unwrap_or(0),
            follow: value(&mut args, "--follow")?.unwrap_or(1),
            own: value(&mut args, "--own")?.unwrap_or(0),
            redis: value(&mut args, "--redis")?,
            follower: flag(&mut args, "--follower"),
        };
        if !(1..=options.topics.max(1)).contains(&options.follow) {
            return Err("--follow is at least 1 and at most --topics".into());
        }
        if options.topics > 1 && (options.flood || options.preload > 0) {
            return Err("--topics goes without --flood and --preload".into());
        }
        match args.first() {
            Some(unknown) => Err(format!("there is no option {unknown:?}").into()),
            None => Ok(options),
        }
    }
}

/// Removes `--name VALUE` from `args` and returns the value.
///
/// # Errors
///
/// The value is missing or not of type `T`.
pub fn value<T>(args: &mut Vec<String>, name: &str) -> Result<Option<T>, Box<dyn Error>>
where
    T: FromStr<Err: Error>,
{
    let Some(at) = args.iter().position(|arg| arg == name) else {
        return Ok(None);
    };
    args.remove(at);
    if at == args.len() {
        return Err(format!("{name} needs a value").into());
    }
    let value = args.remove(at);
    match value.parse() {
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(format!("{name} cannot be {value:?}: {error}").into()),
    }
}

/// Removes `--name` from `args` and returns whether it was there.
pub fn flag(args: &mut Vec<String>, name: &str) -> bool {
    let before = args.len();
    args.retain(|arg| arg != name);
    args.len() < before
}

/// A rate in events per second: `rate` until `delay`, then multiplied by `factor` every `step`.
#[derive(Debug, Clone, Copy)]
pub struct Ramp {
    rate: f64,
    factor: f64,
    /// Seconds.
    step: f64,
    /// Seconds.
    delay: f64,
}

impl Ramp {
    pub const fn constant(rate: f64) -> Self {
        Self {
            rate,
            factor: 1.0,
            step: 1.0,
            delay: 0.0,
        }
    }

    fn rate_at(&self, seconds: f64) -> f64 {
        let steps = ((seconds - self.delay) / self.step).floor().max(0.0);
        self.rate * self.factor.powf(steps)
    }
}

impl FromStr for Ramp {
    type Err = std::num::ParseFloatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut numbers = text.split(':').map(str::parse);
        let mut next = || numbers.next().unwrap_or_else(|| "".parse());
        Ok(Self {
            rate: next()?,
            factor: next()?,
            step: next()?,
            delay: next()?,
        })
    }
}

/// A source of events, each due at a time that the ramp sets.
#[derive(Debug)]
pub struct Feed {
    ramp: Ramp,
    size: usize,
    sequence: u64,
    start: u64,
    /// When the next event is due, in seconds after the start.
    due: f64,
}

impl Feed {
    pub fn new(options: &Options) -> Self {
        Self {
            ramp: options.ramp,
            size: options.size,
            sequence: 0,
            start: now(),
            due: 0.0,
        }
    }

    /// Returns the feed of the second topic.
    pub fn second(options: &Options) -> Self {
        Self::new(&Options {
            ramp: Ramp::constant(options.second),
            ..options.clone()
        })
    }

    /// Returns the data of the next event, whether or not it is due.
    pub fn store(&mut self) -> String {
        self.data(now())
    }

    /// Returns the data of the next event if it is due at `now`, in nanoseconds as of [`now`].
    pub fn pop(&mut self, now: u64) -> Option<String> {
        let due = self.due().filter(|due| *due <= now)?;
        self.due += 1.0 / self.ramp.rate_at(self.due);
        Some(self.data(due))
    }

    /// Returns the time until the next event is due.
    pub fn wait(&self) -> Option<Duration> {
        let due = self.due()?;
        Some(Duration::from_nanos(due.saturating_sub(now())))
    }

    fn due(&self) -> Option<u64> {
        let is_going = self.ramp.rate > 0.0;
        is_going.then(|| {
            let due = Duration::from_secs_f64(self.due).as_nanos();
            self.start + u64::try_from(due).unwrap_or(u64::MAX)
        })
    }

    fn data(&mut self, due: u64) -> String {
        let mut data = String::with_capacity(self.size.max(64));
        data.push_str("{\"n\":");
        data.push_str(itoa::Buffer::new().format(self.sequence));
        data.push_str(",\"t\":");
        data.push_str(itoa::Buffer::new().format(due));
        data.push_str(",\"pad\":\"");
        while data.len() + 2 < self.size {
            data.push('x');
        }
        data.push_str("\"}");
        self.sequence += 1;
        data
    }
}

/// Returns `CLOCK_MONOTONIC` in nanoseconds.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The maximum number of events in a batch, so that a server that can't keep up still serves.
pub const BATCH: usize = 1 << 14;
