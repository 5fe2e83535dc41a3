//! The feed of `fanout` and of what it is measured against: its options, and what is due when.
#![allow(
    unreachable_pub,
    reason = "it is public where the peers of `fanout` share it"
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
    /// The files of a certificate and its key, if it is to be TLS on the port.
    pub tls: Option<(PathBuf, PathBuf)>,
    pub ramp: Ramp,
    /// How many events per second a second topic has.
    pub second: f64,
    /// How many bytes of data an event has.
    pub size: usize,
    /// How many events are stored before the start.
    pub preload: usize,
    pub flood: bool,
    pub linger: Duration,
    pub threads: usize,
}

impl Options {
    /// # Errors
    ///
    /// An option that is unknown, or whose value is none.
    pub fn parse(mut args: Vec<String>) -> Result<Self, Box<dyn Error>> {
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
            flood: flag(&mut args, "--flood"),
            linger: Duration::from_millis(value(&mut args, "--linger")?.unwrap_or(0)),
            threads: value(&mut args, "--threads")?.unwrap_or(1),
        };
        match args.first() {
            Some(unknown) => Err(format!("unknown option {unknown}").into()),
            None => Ok(options),
        }
    }
}

/// Takes `--name VALUE` out of `args`.
///
/// # Errors
///
/// A value that is missing or not of its type.
pub fn value<T>(args: &mut Vec<String>, name: &str) -> Result<Option<T>, Box<dyn Error>>
where
    T: FromStr<Err: Error + 'static>,
{
    let Some(at) = args.iter().position(|arg| arg == name) else {
        return Ok(None);
    };
    args.remove(at);
    if at == args.len() {
        return Err(format!("{name} needs a value").into());
    }
    Ok(Some(args.remove(at).parse()?))
}

/// Takes `--name` out of `args`.
pub fn flag(args: &mut Vec<String>, name: &str) -> bool {
    let before = args.len();
    args.retain(|arg| arg != name);
    args.len() < before
}

/// How many events a second are due: `rate` until `delay`, then more by `factor` every `step`.
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

/// The events, as they fall due.
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

    /// The events of the second topic.
    pub fn second(options: &Options) -> Self {
        Self::new(&Options {
            ramp: Ramp::constant(options.second),
            ..options.clone()
        })
    }

    /// The data of the next event, whenever it would be due.
    pub fn store(&mut self) -> String {
        self.data(now())
    }

    /// The data of the next event, if it is due. Nanoseconds from [`now`].
    pub fn pop(&mut self, now: u64) -> Option<String> {
        let due = self.due().filter(|due| *due <= now)?;
        self.due += 1.0 / self.ramp.rate_at(self.due);
        Some(self.data(due))
    }

    /// How long it is until an event is due.
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

/// `CLOCK_MONOTONIC` in nanoseconds.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// How many events are made for one burst at most, so that a server that can't keep up does
/// not do nothing else.
pub const BURST: usize = 1 << 14;
