//! The task that sends queued events to the engine.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use redis::{ServerError, Value, pipe};
use sse_core::KeyedFull;
use tokio::sync::watch;
use tokio::time::sleep;

use super::error::EngineError;
use super::functions;
use super::link::Link;
use super::message::id;
use super::notice::EngineNotice;
use super::queue::{Job, MAX_JOBS};
use super::shared::EngineShared;
use super::snapshot::add;

/// Sends events until the hub is dropped, and then those that are left.
pub(super) async fn run(shared: Arc<EngineShared>) {
    let shared = Running(shared);
    let shared = &*shared.0;
    tokio::select! {
        () = send_all(shared) => {}
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

/// Batches that have been sent. They may be stored if the task is dropped before the replies.
struct Sent<'a> {
    shared: &'a EngineShared,
    jobs: Vec<Job>,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        for job in self.jobs.drain(..) {
            self.shared.fail(job, EngineError::Unconfirmed);
        }
    }
}

async fn send_all(shared: &EngineShared) {
    let mut links = shared.link.subscribe();
    let (mut dropped, mut is_refused) = (0, false);
    loop {
        let link = match links.wait_for(Option::is_some).await {
            Ok(link) => link.clone(),
            Err(_) => return,
        };
        let before = mem::replace(&mut dropped, shared.counters.dropped.load(Relaxed));
        if dropped > before {
            let count = usize::try_from(dropped - before).unwrap_or(usize::MAX);
            shared.notify(&EngineNotice::Dropped(count));
        }
        // The server may refuse a batch and store later ones of the same pipeline. So after a
        // refusal, a single batch is tried.
        let jobs = shared.queue.take(if is_refused { 1 } else { MAX_JOBS });
        match link {
            Some(link) if !jobs.is_empty() => {
                is_refused = send(shared, &mut links, link, jobs).await;
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

/// Sends batches in one pipeline. Returns `true` if the server cannot store some now.
async fn send(
    shared: &EngineShared,
    links: &mut watch::Receiver<Option<Link>>,
    mut link: Link,
    jobs: Vec<Job>,
) -> bool {
    let number = link.number;
    let mut sent = Sent { shared, jobs };
    let mut pipeline = pipe();
    // Redis writes to connections in the reverse order of their first replies. With this reply,
    // the notifications of other nodes are written before this node wakes up for its replies.
    pipeline.cmd("PING");
    for job in &sent.jobs {
        pipeline.add_command(functions::publish(&shared.keys, job, &shared.ages));
    }
    // Redis then sends this node its notifications and the replies at once.
    let replies = link
        .notifications
        .send_packed_commands(&pipeline, 1, sent.jobs.len());
    let is_replaced = |link: &Option<Link>| link.as_ref().is_none_or(|link| link.number != number);
    let replies = tokio::select! {
        replies = replies => replies.map_err(|error| error.to_string()),
        _ = links.wait_for(is_replaced) => Err("the connection has ended".to_owned()),
    };
    let jobs = mem::take(&mut sent.jobs);
    match replies {
        Ok(replies) if replies.len() == jobs.len() => {
            return settle(shared, number, jobs, replies).await;
        }
        Ok(_) => give_up(shared, number, "replies are missing", jobs),
        Err(reason) => give_up(shared, number, &reason, jobs),
    }
    false
}

/// Resolves the outcomes of batches, and puts back those that the server cannot store now. Returns
/// `true` if there are any.
async fn settle(shared: &EngineShared, number: u64, jobs: Vec<Job>, replies: Vec<Value>) -> bool {
    let (mut waiting, mut broken) = (Vec::new(), None);
    for (job, reply) in jobs.into_iter().zip(replies) {
        let error = match &reply {
            Value::ServerError(error) => error,
            reply => {
                match id(reply) {
                    Some(id) => {
                        add(&shared.counters.stored, job.frames.len());
                        job.outcome.send_replace(Some(Ok(id)));
                    }
                    None => shared.fail(job, EngineError::Failed("an unknown reply".to_owned())),
                }
                continue;
            }
        };
        match error.code() {
            // The functions were deleted. They are loaded with the next link.
            "ERR" if error.details().is_some_and(is_missing) => {
                broken = Some(text(error));
                waiting.push(job);
            }
            // It is not the primary any more, or not yet. Nothing was stored.
            "READONLY" | "LOADING" | "MASTERDOWN" => {
                broken = Some(text(error));
                waiting.push(job);
            }
            "NOREPLICAS" | "BUSY" | "CLUSTERDOWN" | "TRYAGAIN" => waiting.push(job),
            _ => {
                let failure = failure(&job, error);
                shared.fail(job, failure);
            }
        }
    }
    if waiting.is_empty() {
        return false;
    }
    shared.queue.put_back(waiting);
    match broken {
        Some(reason) => shared.report_broken(number, &reason),
        None => sleep(PAUSE).await,
    }
    true
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

fn text(error: &ServerError) -> String {
    format!("{} {}", error.code(), error.details().unwrap_or_default())
}

fn is_missing(details: &str) -> bool {
    details.starts_with("Function not found")
}

/// Resolves the outcomes of batches that may have been stored, or sends them again.
fn give_up(shared: &EngineShared, number: u64, reason: &str, jobs: Vec<Job>) {
    shared.report_broken(number, reason);
    let (repeatable, others): (Vec<_>, Vec<_>) = jobs.into_iter().partition(Job::is_repeatable);
    for job in others {
        shared.fail(job, EngineError::Unconfirmed);
    }
    shared.queue.put_back(repeatable);
}

/// How long events are sent after the hub has been dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait for a server that cannot store anything now.
const PAUSE: Duration = Duration::from_millis(100);
