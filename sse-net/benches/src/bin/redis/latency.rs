//! The way of an event from a publisher at one node to a client of another.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use redis::ConnectionLike;
use sse_net::{Engine, Event, Hub, HubConfig};
use sse_net_benches::bars::Row;
use sse_net_benches::feed::{Feed, Options};
use sse_net_benches::histogram::Histogram;
use sse_net_benches::load::{Kind, Load};
use sse_net_benches::process::{Server, pin};
use sse_net_benches::redis_server::RedisServer;
use sse_net_benches::runtime;
use tokio::time::sleep;

use crate::{ANY, other};

/// Compares it with the round trip of a bare `PUBLISH`, in turns and 100 times a second each.
pub(crate) fn latency() -> io::Result<Vec<Row>> {
    pin(ANY)?;
    let redis = RedisServer::start(ANY)?;
    let node = format!("fanout --redis {} --follower", redis.url());
    let node = Server::start_on(ANY, &node)?;
    let mut load = Load::new(node.address())?;
    load.connect(1, Kind::Reader)?;
    let client = thread::spawn(move || load.run(TIME + Duration::from_secs(1)));
    let bare = runtime(1)?.block_on(publish(&redis))?;
    let ours = client
        .join()
        .map_err(|_| io::ErrorKind::Other)??
        .complete()?;
    let (ours, bare) = (ours.latency.quantile(0.5), bare.quantile(0.5));
    let ratio = ours.as_secs_f64() / bare.as_secs_f64();
    let measured = format!("{ratio:.2} × ({ours:.0?} of {bare:.0?})");
    let what = "publish at one node to a client of another, beside a PUBLISH";
    Ok(vec![Row::new(what, &measured, "≤ 3 ×", ratio <= 3.0)])
}

/// Publishes in turn through a hub and without, and measures the latter.
async fn publish(redis: &RedisServer) -> io::Result<Histogram> {
    let engine = Engine::redis(&redis.url()).and_then(|engine| engine.hub("fanout"));
    let hub = Hub::connect(HubConfig::default(), engine.map_err(other)?);
    let topic = hub.await.map_err(other)?.topic("0").map_err(other)?;
    let options = Options::parse(Vec::new()).map_err(|error| other(error.to_string()))?;
    let mut feed = Feed::new(&options);
    let mut connection = redis.connect()?;
    let mut times = Histogram::default();
    let begun = Instant::now();
    while begun.elapsed() < TIME {
        sleep(PAUSE).await;
        let data = feed.store();
        topic.publish(&Event::new().data(data)).map_err(other)?;
        sleep(PAUSE).await;
        let mut publish = redis::cmd("PUBLISH");
        let publish = publish
            .arg("bare")
            .arg("x".repeat(100))
            .get_packed_command();
        let begun = Instant::now();
        connection.req_packed_command(&publish).map_err(other)?;
        times.add(begun.elapsed().as_nanos() as u64);
    }
    Ok(times)
}

const TIME: Duration = Duration::from_secs(8);

/// Half of the time between two events.
const PAUSE: Duration = Duration::from_millis(5);
