//! Ticks: the last ID of the hub, by way of the subscription.

use std::time::Duration;

use sse_core::LogId;
use tokio::time::timeout;

use super::functions;
use super::link::{Broken, Link, Push};
use super::message::{Notification, Tick};
use super::shared::EngineShared;

/// Asks for a tick and waits for it. Returns the notifications before it, too.
///
/// With `takes_id`, its ID is one that no event has. The tick comes with the past epochs unless
/// `first` is the first ID of the current one.
pub(super) async fn tick(
    shared: &EngineShared,
    link: &mut Link,
    first: LogId,
    takes_id: bool,
) -> Result<(Tick, Vec<Notification>), Broken> {
    match timeout(TIMEOUT, request(shared, link, first, takes_id)).await {
        Ok(ticked) => ticked,
        Err(_) => Err(Broken("the server has not answered a tick".to_owned())),
    }
}

async fn request(
    shared: &EngineShared,
    link: &mut Link,
    first: LogId,
    takes_id: bool,
) -> Result<(Tick, Vec<Notification>), Broken> {
    let (nonce, first) = (fastrand::u64(..), first.to_string());
    let cmd = functions::tick(&shared.keys, nonce, &first, takes_id);
    link.call(&cmd).await?;
    let mut before = Vec::new();
    loop {
        let (mut pushes, _) = link.inbox.take()?;
        while let Some(push) = pushes.pop_front() {
            match push {
                Push::Event(notification) => before.push(notification),
                Push::Tick(tick) if tick.nonce == nonce => {
                    link.inbox.put_back(pushes);
                    shared.note_tick();
                    return Ok((tick, before));
                }
                Push::Tick(_) => {} // Of a wait that was given up.
            }
        }
        link.inbox.filled().await;
    }
}

/// How long a tick may take.
const TIMEOUT: Duration = Duration::from_secs(1);
