//! The task that sends queued events to the engine.

use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use redis::{ServerError, Value, pipe};
use sse_core::KeyedFull;
use tokio::sync::{Mutex, watch};
use tokio::task::yield_now;
use tokio::time::sleep;

use super::error::EngineError;
use super::functions::{self, Refusal, text};
use super::link::Link;
use super::message::id;
use super::notice::EngineNotice;
use super::queue::{Job, MAX_JOBS, Taken};
use super::shared::EngineShared;
use super::snapshot::add;

/// Sends events until the hub is dropped, and then those that are left.
pub(super) async fn run(shared: Arc<EngineShared>) {
    let shared = Running(shared);
    let shared = &*shared.0;
    let publisher = Publisher {
        shared,
        turn: Mutex::default(),
        reported: AtomicU64::new(0),
        is_refused: AtomicBool::new(false),
    };
    tokio::select! {
        // Two pipelines are under way at a time: the server works on one while this node works on
        // the replies to the other.
        _ = async { tokio::join!(publisher.send_queued(), publisher.send_queued()) } => {}
        () = async {
            shared.closing().await;
            sleep(CLOSE_TIMEOUT).await;
        } => {}
    }
}

/// Fails what is left when the task ends, also if its runtime is shut down before the hub is
/// dropped.
struct Running(Arc<EngineShared>);

impl Drop for Running {
    fn drop(&mut self) {
        if !*self.0.is_closing.borrow() {
            self.0.set_ready(false);
            self.0
                .report_broken(u64::MAX, "the runtime of the hub has ended");
        }
        for job in self.0.queue.close() {
            self.0.fail(job, EngineError::Closed);
        }
    }
}

struct Publisher<'a> {
    shared: &'a EngineShared,
    /// Held until a pipeline is sent, so that pipelines are sent in the order of the queue.
    turn: Mutex<()>,
    /// The number of dropped events that have been reported.
    reported: AtomicU64,
    /// Whether the server could not store a batch. It may store later ones, so then a single batch
    /// is tried.
    is_refused: AtomicBool,
}

/// Batches that have been sent. They may be stored if the task is dropped before the replies.
struct Sent<'a> {
    shared: &'a EngineShared,
    jobs: Vec<Taken>,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        for taken in self.jobs.drain(..) {
            self.shared.fail(taken.job, EngineError::Unconfirmed);
        }
    }
}

impl Publisher<'_> {
    /// Sends queued batches, one pipeline at a time.
    async fn send_queued(&self) {
        let shared = self.shared;
        let mut links = shared.link.subscribe();
        loop {
            let turn = self.turn.lock().await;
            let is_refused = self.is_refused.load(Relaxed);
            if is_refused {
                sleep(PAUSE).await;
            }
            let link = match links.wait_for(Option::is_some).await {
                Ok(link) => link.clone(),
                Err(_) => return,
            };
            self.report_dropped();
            let jobs = shared.queue.take(if is_refused { 1 } else { MAX_JOBS });
            match link {
                Some(link) if !jobs.is_empty() => {
                    let mut sending = pin!(self.send(&mut links, link, jobs));
                    tokio::select! {
                        biased;
                        () = &mut sending => continue,
                        // The pipeline has been passed on. Redis answers at once what it has
                        // received at once, so it is to begin before it receives the next one.
                        () = yield_now(), if !is_refused => drop(turn),
                    }
                    sending.await;
                }
                _ => tokio::select! {
                    // In this order, because a hub may be dropped just after an event.
                    biased;
                    () = shared.queue.filled() => {}
                    () = shared.closing() => return,
                },
            }
        }
    }

    fn report_dropped(&self) {
        let dropped = self.shared.counters.dropped.load(Relaxed);
        let before = self.reported.swap(dropped, Relaxed);
        if dropped > before {
            let count = usize::try_from(dropped - before).unwrap_or(usize::MAX);
            self.shared.notify(&EngineNotice::Dropped(count));
        }
    }

    /// Sends batches in one pipeline, and resolves their outcomes.
    async fn send(
        &self,
        links: &mut watch::Receiver<Option<Link>>,
        mut link: Link,
        jobs: Vec<Taken>,
    ) {
        let (shared, number) = (self.shared, link.number);
        let mut sent = Sent { shared, jobs };
        let mut pipeline = pipe();
        // Redis writes to connections in the reverse order of their first replies. With this reply,
        // the notifications of other nodes are written before this node wakes up for its replies.
        pipeline.cmd("PING");
        for Taken { job, .. } in &sent.jobs {
            pipeline.add_command(functions::publish(&shared.keys, job, &shared.ages));
        }
        // Redis then sends this node its notifications and the replies at once.
        let replies = link
            .notifications
            .send_packed_commands(&pipeline, 1, sent.jobs.len());
        let is_replaced =
            |link: &Option<Link>| link.as_ref().is_none_or(|link| link.number != number);
        let replies = tokio::select! {
            replies = replies => replies.map_err(|error| error.to_string()),
            _ = links.wait_for(is_replaced) => Err("the connection has ended".to_owned()),
        };
        let jobs = mem::take(&mut sent.jobs);
        match replies {
            Ok(replies) if replies.len() == jobs.len() => self.settle(number, jobs, replies),
            Ok(_) => give_up(shared, number, "replies are missing", jobs),
            Err(reason) => give_up(shared, number, &reason, jobs),
        }
    }

    /// Resolves the outcomes of batches, and puts back those that the server cannot store now.
    fn settle(&self, number: u64, jobs: Vec<Taken>, replies: Vec<Value>) {
        let shared = self.shared;
        let (mut waiting, mut broken) = (Vec::new(), None);
        for (taken, reply) in jobs.into_iter().zip(replies) {
            let error = match &reply {
                Value::ServerError(error) => error,
                reply => {
                    match id(reply) {
                        Some(id) => {
                            let job = taken.job;
                            add(&shared.counters.stored, job.frames.len());
                            job.outcome.send_replace(Some(Ok(id)));
                        }
                        None => {
                            let error = EngineError::Failed("an unknown reply".to_owned());
                            shared.fail(taken.job, error);
                        }
                    }
                    continue;
                }
            };
            match Refusal::of(error) {
                Refusal::Broken => {
                    broken = Some(text(error));
                    waiting.push(taken);
                }
                Refusal::Passing => waiting.push(taken),
                Refusal::Final => {
                    let failure = failure(&taken.job, error);
                    shared.fail(taken.job, failure);
                }
            }
        }
        // Before others are taken from the queue.
        self.is_refused.store(!waiting.is_empty(), Relaxed);
        shared.queue.put_back(waiting);
        if let Some(reason) = broken {
            shared.report_broken(number, &reason);
        }
    }
}

/// Returns why a batch is not stored.
fn failure(job: &Job, error: &ServerError) -> EngineError {
    match error.code() {
        "FINISHED" => EngineError::Finished,
        "FENCED" => EngineError::LeaseLost,
        "OWNED" => EngineError::Owned,
        "KEYED" => EngineError::Keyed,
        "NOTKEYED" => EngineError::NotKeyed,
        "FULL" => EngineError::Full(match error.details() {
            Some("keys") => KeyedFull::Keys {
                max: job.keyed.max_keys(),
            },
            _ => KeyedFull::Bytes {
                max: job.keyed.max_bytes(),
            },
        }),
        "OOM" | "NOPERM" | "MISCONF" => EngineError::Refused(text(error)),
        _ => EngineError::Failed(text(error)),
    }
}

/// Resolves the outcomes of batches that may have been stored, or sends them again.
fn give_up(shared: &EngineShared, number: u64, reason: &str, jobs: Vec<Taken>) {
    shared.report_broken(number, reason);
    let jobs = jobs.into_iter();
    let (repeatable, others): (Vec<_>, Vec<_>) = jobs.partition(|taken| taken.job.is_repeatable());
    for taken in others {
        shared.fail(taken.job, EngineError::Unconfirmed);
    }
    shared.queue.put_back(repeatable);
}

/// How long events are sent after the hub has been dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait for a server that cannot store anything now.
const PAUSE: Duration = Duration::from_millis(100);
