//! The task that sends queued events to the engine.

use std::collections::VecDeque;
use std::future::{pending, poll_fn, ready};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use redis::{RedisResult, Value, pipe};
use tokio::sync::watch;
use tokio::time::sleep;

use super::error::EngineError;
use super::link::Link;
use super::message::id;
use super::notice::EngineNotice;
use super::queue::Job;
use super::script::{self, Call};
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
    loop {
        let link = match links.wait_for(Option::is_some).await {
            Ok(link) => link.clone(),
            Err(_) => return,
        };
        if let Some(link) = link
            && !send_over(shared, &mut links, link).await
        {
            return;
        }
    }
}

/// Jobs that have been sent in one pipeline.
struct Sent {
    jobs: Vec<Job>,
    replies: Pin<Box<dyn Future<Output = RedisResult<Vec<Value>>> + Send>>,
}

/// Sends batches over a link until it is replaced. Returns `false` when the hub has been dropped
/// and everything has been sent.
///
/// Several are under way, so that the server is not idle while the node processes replies.
async fn send_over(
    shared: &EngineShared,
    links: &mut watch::Receiver<Option<Link>>,
    link: Link,
) -> bool {
    let number = link.number;
    let is_replaced = |link: &Option<Link>| link.as_ref().is_none_or(|link| link.number != number);
    let (mut sent, mut again) = (VecDeque::<Sent>::new(), Again::default());
    let mut call = Call::Hash;
    loop {
        if sent.is_empty() {
            call = again.put_back(shared, number).await;
        }
        report_dropped(shared);
        while again.is_empty() && sent.len() < MAX_SENT {
            let jobs = shared.queue.take();
            if jobs.is_empty() {
                break;
            }
            sent.push_back(send(shared, &link, call, jobs).await);
            call = Call::Hash;
        }
        let has_room = again.is_empty() && sent.len() < MAX_SENT;
        let is_idle = sent.is_empty() && again.is_empty();
        let replies = async {
            match sent.front_mut() {
                Some(first) => first.replies.as_mut().await,
                None => pending().await,
            }
        };
        let reason = tokio::select! {
            replies = replies => match (replies, sent.pop_front()) {
                (Ok(replies), Some(Sent { jobs, .. })) if replies.len() == jobs.len() => {
                    settle(shared, jobs, replies, &mut again);
                    continue;
                }
                (replies, first) => {
                    sent.extend(first);
                    sent.rotate_right(1);
                    replies.map_or_else(|error| error.to_string(), |_| "replies are missing".to_owned())
                }
            },
            () = shared.queue.filled(), if has_room => continue,
            _ = links.wait_for(is_replaced) => "the connection has ended".to_owned(),
            () = shared.closing(), if is_idle => return false,
        };
        let left = sent.into_iter().flat_map(|sent| sent.jobs).collect();
        give_up(shared, number, &reason, left);
        shared.queue.put_back(again.jobs);
        return true;
    }
}

/// Sends batches in one pipeline. Those of a later call are sent after them.
async fn send(shared: &EngineShared, link: &Link, first: Call, jobs: Vec<Job>) -> Sent {
    let mut pipeline = pipe();
    for (index, job) in jobs.iter().enumerate() {
        let call = if index == 0 { first } else { Call::Hash };
        pipeline.add_command(script::publish(call, &shared.keys, job, &shared.ages));
    }
    let (mut commands, count) = (link.commands.clone(), jobs.len());
    let mut replies: Pin<Box<dyn Future<Output = _> + Send>> =
        Box::pin(async move { commands.send_packed_commands(&pipeline, 0, count).await });
    // The first poll takes the place in the order.
    let polled = poll_fn(|cx| Poll::Ready(replies.as_mut().poll(cx))).await;
    if let Poll::Ready(polled) = polled {
        replies = Box::pin(ready(polled));
    }
    Sent { jobs, replies }
}

/// Batches that are sent again, once no others are under way: so they stay in order.
#[derive(Default)]
struct Again {
    jobs: Vec<Job>,
    /// The server lacks the script.
    needs_script: bool,
    /// The server cannot store anything now.
    must_wait: bool,
    /// Why the server is not the primary any more, or not yet.
    broken: Option<String>,
}

impl Again {
    fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Queues the batches first, and returns how the next one is called.
    async fn put_back(&mut self, shared: &EngineShared, number: u64) -> Call {
        let Self {
            jobs,
            needs_script,
            must_wait,
            broken,
        } = mem::take(self);
        if !jobs.is_empty() {
            shared.queue.put_back(jobs);
        }
        match broken {
            Some(reason) => shared.report_broken(number, &reason),
            None if must_wait => sleep(PAUSE).await,
            None => {}
        }
        match needs_script {
            true => Call::Text,
            false => Call::Hash,
        }
    }
}

fn report_dropped(shared: &EngineShared) {
    let dropped = shared.counters.dropped.load(Relaxed);
    let reported = shared.counters.reported.swap(dropped, Relaxed);
    if dropped > reported {
        let count = usize::try_from(dropped - reported).unwrap_or(usize::MAX);
        shared.notify(&EngineNotice::Dropped(count));
    }
}

/// Resolves the outcomes of batches, and collects those that are sent again.
fn settle(shared: &EngineShared, jobs: Vec<Job>, replies: Vec<Value>, again: &mut Again) {
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
            "NOSCRIPT" => {
                again.needs_script = true;
                again.jobs.push(job);
            }
            // It is not the primary any more, or not yet. Nothing was stored.
            "READONLY" | "LOADING" | "MASTERDOWN" => {
                again.broken = Some(reason());
                again.jobs.push(job);
            }
            "NOREPLICAS" | "BUSY" | "CLUSTERDOWN" | "TRYAGAIN" => {
                again.must_wait = true;
                again.jobs.push(job);
            }
            code => {
                let error = match code {
                    "OOM" | "NOPERM" | "MISCONF" => EngineError::Refused(reason()),
                    _ => EngineError::Failed(reason()),
                };
                shared.fail(job, error);
            }
        }
    }
}

/// Resolves the outcomes of batches that may have been stored. Those with a key are sent again.
fn give_up(shared: &EngineShared, number: u64, reason: &str, jobs: Vec<Job>) {
    shared.report_broken(number, reason);
    let (keyed, others): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.key.is_some());
    for job in others {
        shared.fail(job, EngineError::Unconfirmed);
    }
    shared.queue.put_back(keyed);
}

/// The most pipelines that are under way.
const MAX_SENT: usize = 16;

/// How long events are sent after the hub has been dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait for a server that cannot store anything now.
const PAUSE: Duration = Duration::from_millis(100);
