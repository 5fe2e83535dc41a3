//! The way of an event from a publisher at one node to a client of another.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use redis::{Connection, ConnectionLike};
use sse_net::{Engine, Event, Hub, HubConfig};
use sse_net_benches::bars::Row;
use sse_net_benches::feed::{self, Feed, Options};
use sse_net_benches::histogram::Histogram;
use sse_net_benches::load::{Kind, Load};
use sse_net_benches::process::{Server, pin};
use sse_net_benches::redis_server::RedisServer;
use sse_net_benches::runtime;
use tokio::time::sleep;

use crate::{ANY, other};

/// Measures three times in turns, of each 67 a second, and compares the medians:
///
/// - from before `Topic::publish` at one node until a client of another node has read the event,
///   which takes four wake-ups: of the task, Redis, the other node and the client;
/// - from before a bare `PUBLISH` to nobody until its reply has been read, which takes two;
/// - from before a bare `PUBLISH` until a subscriber has read the message, which takes two.
///
/// All have 100 bytes of data, and one is over before the next begins.
pub(crate) fn latency() -> io::Result<Vec<Row>> {
    pin(ANY)?;
    let redis = RedisServer::start(ANY)?;
    let node = format!("fanout --redis {} --follower", redis.url());
    let node = Server::start_on(ANY, &node)?;
    let mut load = Load::new(node.address())?;
    load.connect(1, Kind::Reader)?;
    let client = thread::spawn(move || load.run(TIME + Duration::from_secs(1)));
    let subscriber = subscribe(redis.connect()?);
    // A task, because each wake-up of the runtime's root future is a system call.
    let bare = runtime(1)?.block_on(async {
        let published = tokio::spawn(publish(redis.url(), redis.connect()?));
        published.await.map_err(other)?
    })?;
    let ours = client
        .join()
        .map_err(|_| io::ErrorKind::Other)??
        .complete()?;
    let received = subscriber.join().map_err(|_| io::ErrorKind::Other)??;
    let [ours, bare, received] = [&ours.latency, &bare, &received].map(|times| times.quantile(0.5));
    let row = |what: &str, beside: Duration, target: &str, is_met: fn(f64) -> bool| {
        let ratio = ours.as_secs_f64() / beside.as_secs_f64();
        let measured = format!("{ratio:.2} × ({ours:.0?} of {beside:.0?})");
        let what = format!("publish at one node to a client of another, beside {what}");
        Row::new(&what, &measured, target, is_met(ratio))
    };
    Ok(vec![
        row("a PUBLISH and its reply", bare, "≤ 3 ×", |ratio| {
            ratio <= 3.0
        }),
        row("a PUBLISH to a subscriber", received, "none", |_| true),
    ])
}

/// Publishes in turn through a hub and without, and measures the replies to the latter.
async fn publish(url: String, mut connection: Connection) -> io::Result<Histogram> {
    let engine = Engine::redis(&url).and_then(|engine| engine.hub("fanout"));
    let hub = Hub::connect(HubConfig::default(), engine.map_err(other)?);
    let topic = hub.await.map_err(other)?.topic("0").map_err(other)?;
    let options = Options::parse(Vec::new()).map_err(|error| other(error.to_string()))?;
    let mut feed = Feed::new(&options);
    let mut times = Histogram::default();
    let begun = Instant::now();
    while begun.elapsed() < TIME {
        sleep(PAUSE).await;
        let data = feed.store();
        topic.publish(&Event::new().data(data)).map_err(other)?;
        sleep(PAUSE).await;
        let begun = feed::now();
        publish_bare(&mut connection, "nobody", begun)?;
        times.add(feed::now().saturating_sub(begun));
        sleep(PAUSE).await;
        publish_bare(&mut connection, CHANNEL, feed::now())?;
    }
    publish_bare(&mut connection, CHANNEL, END)?;
    Ok(times)
}

/// Publishes a time in nanoseconds, and waits for the reply.
fn publish_bare(connection: &mut Connection, channel: &str, time: u64) -> io::Result<()> {
    let mut publish = redis::cmd("PUBLISH");
    let publish = publish.arg(channel).arg(format!("{time:0100}"));
    let publish = publish.get_packed_command();
    connection.req_packed_command(&publish).map_err(other)?;
    Ok(())
}

/// Measures what a subscriber receives.
fn subscribe(mut connection: Connection) -> JoinHandle<io::Result<Histogram>> {
    thread::spawn(move || {
        let mut times = Histogram::default();
        let mut subscription = connection.as_pubsub();
        subscription.subscribe(CHANNEL).map_err(other)?;
        loop {
            let message = subscription.get_message().map_err(other)?;
            match message.get_payload().map_err(other)? {
                END => return Ok(times),
                sent => times.add(feed::now().saturating_sub(sent)),
            }
        }
    })
}

const TIME: Duration = Duration::from_secs(8);

/// A third of the time between two events.
const PAUSE: Duration = Duration::from_millis(5);

const CHANNEL: &str = "bare";

/// The payload after the last time.
const END: u64 = 0;
