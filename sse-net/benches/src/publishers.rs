//! Publishing from two threads at once.

use std::io;
use std::thread;
use std::time::Instant;

use rustix::thread::{CpuSet, sched_setaffinity};
use sse_core::{Event, Retention};
use sse_net::{Hub, Topic};

/// Events a second.
#[derive(Debug, Clone, Copy)]
pub struct Publishers {
    /// Of two threads, each with a topic of one hub.
    pub hub: f64,
    /// Of two threads, each with a hub.
    pub hubs: f64,
    /// Of one thread.
    pub one: f64,
}

impl Publishers {
    /// Measures each several times in turn, and takes the medians.
    ///
    /// # Errors
    ///
    /// There are no two cores.
    pub fn measure() -> io::Result<Self> {
        let mut rates = [const { Vec::new() }; 3];
        for _ in 0..9 {
            let hubs = [0; 2].map(|_| Hub::new(Retention::events(10_000)));
            let topic = |hub: usize, name| hubs[hub].topic(name).map_err(io::Error::other);
            rates[0].push(publish(&[topic(0, "a")?, topic(0, "b")?])?);
            rates[1].push(publish(&[topic(0, "c")?, topic(1, "a")?])?);
            rates[2].push(publish(&[topic(1, "b")?])?);
        }
        let [hub, hubs, one] = rates.map(|mut rates| {
            rates.sort_by(f64::total_cmp);
            rates[rates.len() / 2]
        });
        Ok(Self { hub, hubs, one })
    }
}

/// Publishes into the topics, each from one thread pinned to one core. Returns the sum of the
/// rates.
fn publish(topics: &[Topic]) -> io::Result<f64> {
    let data = "x".repeat(100);
    let event = &Event::new().data(&data);
    thread::scope(|scope| {
        let threads = topics.iter().enumerate().map(|(core, topic)| {
            scope.spawn(move || {
                let mut cores = CpuSet::new();
                cores.set(core);
                sched_setaffinity(None, &cores)?;
                let start = Instant::now();
                for _ in 0..COUNT {
                    topic.publish(event).map_err(io::Error::other)?;
                }
                Ok(f64::from(COUNT) / start.elapsed().as_secs_f64())
            })
        });
        let threads = Vec::from_iter(threads);
        let rates = threads.into_iter().map(|thread| {
            let rate: io::Result<f64> = thread.join().map_err(|_| io::ErrorKind::Other)?;
            rate
        });
        rates.sum()
    })
}

const COUNT: u32 = 300_000;
