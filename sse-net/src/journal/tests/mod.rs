//! A journal on a disk in memory, step by step.

mod bounds;
mod damage;
mod disk;
mod faults;
mod files;
mod keyed;
mod pace;
mod power;

use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use fastrand::Rng;
use sse_core::{Epoch, Event, LogId, Now, Retention};

use super::jobs::Helper;
use super::link::Link;
use super::writer::{Next, Writer};
use super::writer_waker::Urgency;
use super::{Journal, SyncPolicy};
use crate::config::HubConfig;
use crate::topic::{Hub, Start, Topic, now, simulated};
use disk::MemoryDisk;

const DIR: &str = "/journal";

const NEVER: SyncPolicy = SyncPolicy::Never;
const INTERVAL: SyncPolicy = SyncPolicy::Interval(Duration::from_millis(200));
const EVERY: SyncPolicy = SyncPolicy::EveryEvent;

/// A process with a hub whose journal has no threads.
struct Process {
    hub: Hub,
    writer: Writer,
    helper: Helper,
    link: Arc<Link>,
    /// The time of this thread.
    now: Now,
    notices: Arc<Mutex<Vec<String>>>,
}

fn journal(disk: &MemoryDisk, policy: SyncPolicy) -> Journal {
    let mut journal = Journal::new(DIR).sync(policy).segment_bytes(2000);
    journal.disk = Arc::new(disk.clone());
    journal
}

/// Begins a program of a test that can be repeated.
fn begin(seed: u64) {
    let began = Duration::from_secs(1_700_000_000);
    let now = Now {
        unix: began,
        steady: began,
    };
    simulated::begin(now, Rng::with_seed(seed).u16(..));
}

impl Process {
    fn start(journal: &Journal) -> Self {
        Self::start_with(Retention::events(100_000).bytes(64 << 20), journal)
    }

    fn start_with(config: impl Into<HubConfig>, journal: &Journal) -> Self {
        let notices: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = Arc::clone(&notices);
        let journal = journal
            .clone()
            .on_notice(move |notice| noted.lock().unwrap().push(notice.to_string()));
        let (hub, (writer, helper)) = Hub::open_idle(config, &journal).unwrap();
        Self {
            hub,
            writer,
            link: Arc::clone(&helper.link),
            helper,
            now: now(),
            notices,
        }
    }

    fn publish(&self, topic: &str, data: &str) -> LogId {
        let topic = self.hub.topic(topic).unwrap();
        topic.publish(&Event::new().data(data)).unwrap().last
    }

    /// Returns the epochs of the hub, the last of which is the current one.
    fn epochs(&self) -> Vec<Epoch> {
        self.hub.epochs()
    }

    /// Steps until there is nothing to do at this time.
    fn settle(&mut self) -> Next {
        let mut last = Next::Now;
        for _ in 0..10_000 {
            self.helper.work_all();
            let next = self.step();
            match next {
                Next::At(until, None | Some(Urgency::High)) => {
                    self.advance(until.saturating_sub(self.now.steady));
                }
                Next::At(until, _) if until > self.now.steady && next == last => return next,
                Next::End => return next,
                _ => {}
            }
            last = next;
        }
        panic!("the writer does not come to an end");
    }

    fn step(&mut self) -> Next {
        self.writer.step(self.now)
    }

    fn advance(&mut self, time: Duration) {
        self.now.steady += time;
        self.now.unix += time;
        simulated::set(self.now);
    }

    fn is_storing(&self) -> bool {
        self.link.status.borrow().failure.is_none()
    }

    /// Returns the number of segments and their bytes.
    fn size(&self) -> (usize, u64) {
        let status = self.link.status.borrow();
        (status.state.segments, status.state.bytes)
    }

    fn notices(&self) -> Vec<String> {
        std::mem::take(&mut self.notices.lock().unwrap())
    }
}

/// Returns the bytes of the events after an ID, as far as they are visible.
fn bytes(topic: &Topic, after: Option<LogId>) -> String {
    let mut bytes = Vec::new();
    let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
    let mut subscription = topic.subscribe_after(after.map(Into::into), Start::Earliest);
    while !matches!(
        subscription.poll_read(cx, &mut bytes),
        Poll::Pending | Poll::Ready(Ok(0)) // Nothing is left, or the topic has ended.
    ) {}
    String::from_utf8(bytes).unwrap()
}

/// Returns the data of the retained events of a topic.
fn retained(topic: &Topic) -> String {
    let text = bytes(topic, None);
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.collect::<Vec<_>>().join(" ")
}

fn ids(topic: &Topic, after: Option<LogId>) -> Vec<LogId> {
    let text = bytes(topic, after);
    let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
    ids.map(|id| LogId::parse(id).unwrap()).collect()
}
