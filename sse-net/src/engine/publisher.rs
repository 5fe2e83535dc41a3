//! The task that sends queued events to the engine.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use redis::{Value, pipe};
use sse_core::KeyedFull;
use tokio::sync::watch;
use tokio::time::sleep;

use super::error::EngineError;
use super::functions;
use super::link::Link;
use super::message::id;
use super::notice::EngineNotice;
use super::queue::Job;
use super::shared::EngineShared;
use super::snapshot::add;

/// Sends events until the hub is dropped, and then those that are left.
pub(super) async fn run(shared: Arc<EngineShared>) {
    tokio::select! {
        () = send_all(&shared) => {}
        () = async {
            shared.closing().await;
            sleep(CLOSE_TIMEOUT).await;
        } => {}
    }
}

async fn send_all(shared: &EngineShared) {
    let mut links = shared.link.subscribe();
    let mut dropped = 0;
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
        let jobs = shared.queue.take();
        match link {
            Some(link) if !jobs.is_empty() => send(shared, &mut links, link, jobs).await,
            _ => tokio::select! {
                () = shared.queue.filled() => {}
                () = shared.closing() => return,
            },
        }
    }
}

/// Sends batches in one pipeline.
async fn send(
    shared: &EngineShared,
    links: &mut watch::Receiver<Option<Link>>,
    mut link: Link,
    jobs: Vec<Job>,
) {
    let number = link.number;
    let mut pipeline = pipe();
    // Redis writes first to the connection that has got its first reply last. So those of other
    // nodes get the notifications before this one wakes up for its replies.
    pipeline.cmd("PING");
    for job in &jobs {
        pipeline.add_command(functions::publish(&shared.keys, job, &shared.ages));
    }
    // Redis then sends this node its notifications and the replies at once.
    let sent = link
        .notifications
        .send_packed_commands(&pipeline, 1, jobs.len());
    let is_replaced = |link: &Option<Link>| link.as_ref().is_none_or(|link| link.number != number);
    let replies = tokio::select! {
        replies = sent => replies.map_err(|error| error.to_string()),
        _ = links.wait_for(is_replaced) => Err("the connection has ended".to_owned()),
    };
    match replies {
        Ok(replies) if replies.len() == jobs.len() => settle(shared, number, jobs, replies).await,
        Ok(_) => give_up(shared, number, "replies are missing", jobs),
        Err(reason) => give_up(shared, number, &reason, jobs),
    }
}

/// Resolves the outcomes of batches, and puts back those that the server cannot store now.
async fn settle(shared: &EngineShared, number: u64, jobs: Vec<Job>, replies: Vec<Value>) {
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
                    None => shared.fail(job, EngineError::Failed("an odd reply".to_owned())),
                }
                continue;
            }
        };
        let reason = || format!("{} {}", error.code(), error.details().unwrap_or_default());
        match error.code() {
            // The functions were deleted. They are loaded with the next link.
            "ERR" if error.details().is_some_and(is_missing) => {
                broken = Some(reason());
                waiting.push(job);
            }
            // It is not the primary any more, or not yet. Nothing was stored.
            "READONLY" | "LOADING" | "MASTERDOWN" => {
                broken = Some(reason());
                waiting.push(job);
            }
            "NOREPLICAS" | "BUSY" | "CLUSTERDOWN" | "TRYAGAIN" => waiting.push(job),
            code => {
                let error = match code {
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
                    "OOM" | "NOPERM" | "MISCONF" => EngineError::Refused(reason()),
                    _ => EngineError::Failed(reason()),
                };
                shared.fail(job, error);
            }
        }
    }
    if !waiting.is_empty() {
        shared.queue.put_back(waiting);
        match broken {
            Some(reason) => shared.report_broken(number, &reason),
            None => sleep(PAUSE).await,
        }
    }
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
