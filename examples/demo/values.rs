//! The values: made-up water levels of a dozen rivers, measured while the topic has clients.
//!
//! The topic is keyed by river, so a page that joins or comes back gets the newest value of each.

use std::io;
use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use sse_core::{Event, EventType};
use sse_net::{Hub, KeyedTopicError, Topic, TopicConfig};
use tokio::time::{MissedTickBehavior, interval, timeout};

pub(crate) const TOPIC: &str = "values";

pub(crate) fn config() -> TopicConfig {
    TopicConfig::default().event_type(EventType::from_static("value"))
}

pub(crate) fn topic(hub: &Hub) -> Result<Topic, KeyedTopicError> {
    hub.keyed_topic(TOPIC)
}

/// Publishes values while the topic has clients.
pub(crate) async fn publish_while_watched(values: Topic) -> io::Result<()> {
    loop {
        values.watched().await;
        cli::print("the values have a client: measuring begins");
        measure(&values).await?;
        cli::print("the values have no client: measuring ends");
    }
}

/// Publishes one value after the other until the clients have left.
async fn measure(values: &Topic) -> io::Result<()> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut left = pin!(all_left(values));
    for (river, phase) in RIVERS.into_iter().zip(1_u8..).cycle() {
        tokio::select! {
            () = &mut left => break,
            _ = ticks.tick() => {}
        }
        let level = level(f64::from(phase));
        let value = Event::new().json_data(&Value { river, level });
        let value = value.expect("a struct of text and a number serializes");
        values.publish_for(river, &value)?;
    }
    Ok(())
}

/// Waits until the topic has had no client for [`STOP_DELAY`].
async fn all_left(values: &Topic) {
    loop {
        values.unwatched().await;
        if timeout(STOP_DELAY, values.watched()).await.is_err() {
            return;
        }
    }
}

#[derive(Serialize)]
struct Value {
    river: &'static str,
    /// Centimetres.
    level: f64,
}

/// Returns the level of a river now: some waves, so that it goes on smoothly after a restart.
fn level(phase: f64) -> f64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    let time = elapsed.map_or(0.0, |elapsed| elapsed.as_secs_f64());
    let slow = (time / (20.0 + 3.0 * phase) + phase).sin();
    let fast = (time / (4.0 + phase) + phase * phase).sin();
    let level = 150.0 + 20.0 * phase + 40.0 * slow + 15.0 * fast;
    (level * 10.0).round() / 10.0
}

const RIVERS: [&str; 12] = [
    "Amazon", "Congo", "Danube", "Elbe", "Ganges", "Mekong", "Murray", "Nile", "Rhine", "Thames",
    "Volga", "Yukon",
];

/// The time between two values.
const EVERY: Duration = Duration::from_millis(100);

/// The time without clients after which the measuring stops; longer than the reconnection time of browsers.
const STOP_DELAY: Duration = Duration::from_secs(3);
