//! What the registry of runs asks the engine, with the function of `run.lua`.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use sse_core::LogId;
use tokio::time::{sleep, timeout};

use super::functions::{self, Refusal};
use super::message::text;
use super::notice::EngineNotice;
use super::shared::EngineShared;
use crate::topic::{Asking, FoundRun, Lease};

pub(super) fn renew(
    shared: &Arc<EngineShared>,
    topic: &str,
    token: LogId,
) -> Asking<'static, Lease> {
    let args = vec!["renew".to_owned(), token.to_string()];
    let reply = ask_and_notify(Arc::clone(shared), topic.to_owned(), args);
    Box::pin(async {
        Ok(match reply.await?.first().map(String::as_str) {
            Some("held") => Lease::Held,
            Some("stop") => Lease::Stopped,
            _ => Lease::Lost,
        })
    })
}

pub(super) fn stop(shared: &Arc<EngineShared>, topic: &str) -> Asking<'static, bool> {
    let args = vec!["stop".to_owned(), shared.keys.channel(topic)];
    let reply = ask(Arc::clone(shared), topic.to_owned(), args);
    Box::pin(async { Ok(reply.await?.first().is_some_and(|reply| reply == "stopped")) })
}

pub(super) fn find(shared: &Arc<EngineShared>, topic: &str) -> Asking<'static, FoundRun> {
    let reply = ask(
        Arc::clone(shared),
        topic.to_owned(),
        vec!["find".to_owned()],
    );
    Box::pin(async {
        Ok(match reply.await?.first().map(String::as_str) {
            Some("running" | "kept") => FoundRun::Present,
            Some("expired") => FoundRun::Expired,
            _ => FoundRun::Unknown,
        })
    })
}

pub(super) fn lost(
    shared: &Arc<EngineShared>,
    prefix: &str,
) -> Asking<'static, Vec<(String, LogId)>> {
    let args = vec!["lost".to_owned(), shared.keys.run(""), prefix.to_owned()];
    let reply = ask_and_notify(Arc::clone(shared), String::new(), args);
    Box::pin(async {
        let reply = reply.await?;
        let pairs = reply.chunks_exact(2);
        let runs = pairs.filter_map(|pair| Some((pair[0].clone(), LogId::parse(&pair[1])?)));
        Ok(runs.collect())
    })
}

/// Calls the function for a task whose caller does not learn why it is refused.
async fn ask_and_notify(
    shared: Arc<EngineShared>,
    topic: String,
    args: Vec<String>,
) -> Result<Vec<String>, String> {
    let reply = ask(Arc::clone(&shared), topic, args).await;
    if let Err(reason) = &reply
        && shared.note_runs_refused(reason)
    {
        shared.notify(&EngineNotice::RunsRefused(reason.clone()));
    }
    reply
}

/// Calls the function, again and again while the engine is away. Returns why a server refuses it.
async fn ask(
    shared: Arc<EngineShared>,
    topic: String,
    args: Vec<String>,
) -> Result<Vec<String>, String> {
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let mut links = shared.link.subscribe();
    loop {
        let link = match links.wait_for(Option::is_some).await {
            Ok(link) => link.clone(),
            Err(_) => return Ok(Vec::new()),
        };
        if let Some(mut link) = link {
            let cmd = functions::run(&shared.keys, &topic, &args);
            match timeout(TIMEOUT, link.commands.send_packed_command(&cmd)).await {
                Ok(Ok(Value::Array(values))) => {
                    return Ok(values.iter().filter_map(text).collect());
                }
                Ok(Ok(Value::ServerError(error))) => {
                    if Refusal::of(&error) == Refusal::Final {
                        return Err(functions::text(&error));
                    }
                }
                Ok(Ok(_)) => return Err("the server sent an unknown reply".to_owned()),
                Ok(Err(_)) | Err(_) => {}
            }
        }
        sleep(PAUSE).await;
    }
}

/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait before another attempt.
const PAUSE: Duration = Duration::from_millis(100);
