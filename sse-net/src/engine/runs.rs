//! What the registry of runs asks the engine, with the function of `run.lua`.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use sse_core::LogId;
use tokio::time::{sleep, timeout};

use super::functions;
use super::message::text;
use super::shared::EngineShared;
use crate::topic::{Asking, FoundRun, Lease};

pub(super) fn renew(
    shared: &Arc<EngineShared>,
    topic: &str,
    token: LogId,
) -> Asking<'static, Lease> {
    let reply = ask(
        Arc::clone(shared),
        topic.to_owned(),
        vec!["renew".to_owned(), token.to_string()],
    );
    Box::pin(async {
        match reply.await.first().map(String::as_str) {
            Some("held") => Lease::Held,
            Some("stop") => Lease::Stopped,
            _ => Lease::Lost,
        }
    })
}

pub(super) fn stop(shared: &Arc<EngineShared>, topic: &str) -> Asking<'static, bool> {
    let channel = shared.keys.channel(topic);
    let reply = ask(
        Arc::clone(shared),
        topic.to_owned(),
        vec!["stop".to_owned(), channel],
    );
    Box::pin(async { reply.await.first().is_some_and(|reply| reply == "stopped") })
}

pub(super) fn find(shared: &Arc<EngineShared>, topic: &str) -> Asking<'static, FoundRun> {
    let reply = ask(
        Arc::clone(shared),
        topic.to_owned(),
        vec!["find".to_owned()],
    );
    Box::pin(async {
        match reply.await.first().map(String::as_str) {
            Some("running" | "kept") => FoundRun::Present,
            Some("expired") => FoundRun::Expired,
            _ => FoundRun::Unknown,
        }
    })
}

pub(super) fn lost(
    shared: &Arc<EngineShared>,
    prefix: &str,
) -> Asking<'static, Vec<(String, LogId)>> {
    let reply = ask(
        Arc::clone(shared),
        String::new(),
        vec!["lost".to_owned(), shared.keys.run(""), prefix.to_owned()],
    );
    Box::pin(async {
        let reply = reply.await;
        let pairs = reply.chunks_exact(2);
        let runs = pairs.filter_map(|pair| Some((pair[0].clone(), LogId::parse(&pair[1])?)));
        runs.collect()
    })
}

/// Calls the function, again and again while the engine is away.
async fn ask(shared: Arc<EngineShared>, topic: String, args: Vec<String>) -> Vec<String> {
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let mut links = shared.link.subscribe();
    loop {
        let link = match links.wait_for(Option::is_some).await {
            Ok(link) => link.clone(),
            Err(_) => return Vec::new(),
        };
        if let Some(mut link) = link {
            let cmd = functions::run(&shared.keys, &topic, &args);
            if let Ok(Ok(Value::Array(values))) = timeout(TIMEOUT, link.call(&cmd)).await {
                return values.iter().filter_map(text).collect();
            }
        }
        sleep(PAUSE).await;
    }
}

/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait before another attempt.
const PAUSE: Duration = Duration::from_millis(100);
