//! Runs over two nodes.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sse_core::Decoded;
use sse_net::testing::RawClient;
use sse_net::{
    EngineError, Event, PublishError, Run, RunNotFound, Runs, RunsConfig, Start, StoreError,
};
use tokio::io::DuplexStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::basics::wait_until;
use crate::node::Node;
use crate::proxy::Proxy;
use crate::server::Redis;

async fn nodes(url: &str, config: &RunsConfig) -> [(Node, Runs); 2] {
    let (a, b) = (Node::connect(url).await, Node::connect(url).await);
    let [runs_a, runs_b] = [&a, &b].map(|node| Runs::new(node.hub.clone(), config.clone()));
    [(a, runs_a), (b, runs_b)]
}

/// Reads events up to the end of the stream's only topic.
async fn read(client: &mut RawClient<DuplexStream>) -> Vec<String> {
    let mut events = Vec::new();
    loop {
        let event = client.event().await.unwrap();
        if event.event() == "close" {
            return events;
        }
        events.push(event.data().to_owned());
    }
}

/// Waits until a run is not found for this reason.
async fn not_found(runs: &Runs, key: &str, reason: RunNotFound) {
    while runs.find(key).await.err().as_ref() != Some(&reason) {
        sleep(Duration::from_millis(5)).await;
    }
}

async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(20), future).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn work_is_done_once_and_followed_on_both_nodes() {
    let redis = Redis::start(&[]);
    let nodes = nodes(&redis.url(), &RunsConfig::default()).await;
    let works = Arc::new(AtomicUsize::new(0));
    for key in 0..20 {
        for (_, runs) in &nodes {
            let works = Arc::clone(&works);
            let started = runs.start(key.to_string(), async move |run| {
                works.fetch_add(1, Ordering::SeqCst);
                for data in ["one", "two"] {
                    run.publish(&Event::new().data(data))?;
                    sleep(Duration::from_millis(5)).await;
                }
                run.finish(Some(&Event::new().data("[DONE]")))
            });
            started.unwrap();
        }
        for (node, runs) in &nodes {
            // It may still be starting.
            let found = within(async {
                loop {
                    match runs.find(key.to_string()).await {
                        Ok(run) => break run,
                        Err(_) => sleep(Duration::from_millis(5)).await,
                    }
                }
            })
            .await;
            node.hub.ready([&*found], None).await;
            let mut events = found.subscribe(Start::Earliest);
            let mut text = String::new();
            while let Some(bytes) = within(events.read_bytes()).await.unwrap() {
                text.push_str(str::from_utf8(&bytes).unwrap());
            }
            let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
            let data: Vec<_> = data.collect();
            let close = format!(r#"{{"topic":"run/{key}"}}"#);
            assert_eq!(data, ["one", "two", "[DONE]", &close]);
            let last = text.lines().rfind(|line| line.starts_with("id: ")).unwrap();
            let mut client = node.client();
            let head = client.resume(&format!("/run/{key}"), &last[4..]).await;
            assert_eq!(head.unwrap().status(), 204);
        }
    }
    assert_eq!(works.load(Ordering::SeqCst), 20);
    let snapshots = nodes.each_ref().map(|(_, runs)| runs.stats());
    let [a, b] = snapshots;
    assert_eq!(a.started + b.started, 20);
    assert_eq!(a.completed + b.completed, 20);
    assert_eq!((a.running, b.running, a.found + b.found), (0, 0, 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn a_run_is_found_and_stopped_on_any_node_and_begins_anew_after_its_time() {
    let redis = Redis::start(&[]);
    let config = RunsConfig::default()
        .keep(Duration::from_millis(700))
        .remember(Duration::from_secs(3));
    let [(a, runs_a), (b, runs_b)] = nodes(&redis.url(), &config).await;
    assert_eq!(runs_b.find("key").await.unwrap_err(), RunNotFound::Unknown);
    assert!(!runs_b.stop_anywhere("key").await.unwrap());
    for round in ["first", "second"] {
        let run = runs_a.start("key", async move |run| {
            run.publish(&Event::new().data(round))?;
            std::future::pending::<Result<(), PublishError>>().await
        });
        let run = run.unwrap();
        a.hub.ready([&*run], None).await;
        let found = within(async {
            loop {
                match runs_b.find("key").await {
                    Ok(run) => break run,
                    Err(_) => sleep(Duration::from_millis(5)).await,
                }
            }
        })
        .await;
        assert_eq!(runs_b.get("key").unwrap_err(), RunNotFound::Unknown);
        b.hub.ready([&*found], None).await;
        let mut clients = [a.client(), b.client()];
        let first = runs_a.stats().started;
        assert_eq!(first, if round == "first" { 1 } else { 2 });
        for client in &mut clients {
            client.get("/run/key").await.unwrap();
        }
        assert!(!runs_b.stop("key"), "it is not one of this node");
        assert!(runs_b.stop_anywhere("key").await.unwrap());
        for client in &mut clients {
            let events = within(read(client)).await;
            let (last, before) = events.split_last().unwrap();
            assert!(last.contains("stopped"), "{events:?}");
            assert!(before.iter().all(|event| event == round), "{events:?}");
        }
        assert!(runs_b.find("key").await.is_ok(), "it is kept");
        assert!(!runs_b.stop_anywhere("key").await.unwrap());
        within(not_found(&runs_b, "key", RunNotFound::Expired)).await;
    }
    within(not_found(&runs_b, "key", RunNotFound::Unknown)).await;
    assert_eq!(runs_a.stats().stopped, 2);
}

/// The nodes keep the run's topic for as long as it is followed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn a_stream_of_several_topics_continues_with_a_new_run_on_both_nodes() {
    let redis = Redis::start(&[]);
    let config = RunsConfig::default().keep(Duration::from_millis(300));
    let nodes = nodes(&redis.url(), &config).await;
    let mut clients = nodes.each_ref().map(|(node, _)| node.client());
    for client in &mut clients {
        client.get("/run/key,news").await.unwrap();
    }
    for (round, starter) in [0, 0, 1, 0].into_iter().enumerate() {
        let (node, runs) = &nodes[starter];
        let text = format!("round {round}");
        let data = text.clone();
        let work = async move |run: Run| run.publish(&Event::new().data(data));
        drop(within(async { runs.start("key", work).unwrap() }).await);
        for client in &mut clients {
            assert_eq!(within(read(client)).await, [&*text]);
        }
        node.publish("news", &text).await;
        for client in &mut clients {
            assert_eq!(within(client.event()).await.unwrap().data(), text);
        }
        within(not_found(&nodes[1].1, "key", RunNotFound::Expired)).await;
        within(not_found(&nodes[0].1, "key", RunNotFound::Expired)).await;
    }
}

/// They would be there for ever, because their events have no maximum age.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn topics_of_ended_runs_do_not_pile_up_on_other_nodes() {
    let redis = Redis::start(&[]);
    let [(_a, runs_a), (b, runs_b)] = nodes(&redis.url(), &RunsConfig::default()).await;
    for key in 0..50 {
        let work = async |run: Run| run.publish(&Event::new().data("answer"));
        drop(runs_a.start(key.to_string(), work).unwrap());
        within(async {
            let found = loop {
                match runs_b.find(key.to_string()).await {
                    Ok(run) => break run,
                    Err(_) => sleep(Duration::from_millis(1)).await,
                }
            };
            b.hub.ready([&*found], None).await;
            let mut events = found.subscribe(Start::Earliest);
            while events.read_bytes().await.unwrap().is_some() {}
        })
        .await;
    }
    let topics = b.hub.topics();
    assert!(topics < 25, "{topics} topics");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn a_run_whose_node_is_away_is_ended_by_another_and_never_started_again() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::to(redis.port).await;
    let config = RunsConfig::default().lease(Duration::from_secs(2));
    let [a, b] = [
        Node::connect(&proxy.url()).await,
        Node::connect(&redis.url()).await,
    ];
    let runs_a = Runs::new(a.hub.clone(), config.clone());
    let runs_b = Runs::new(b.hub.clone(), config);
    let (works, begun) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (counted, began) = (Arc::clone(&works), Arc::clone(&begun));
    let run = runs_a.start("key", async move |run| {
        counted.fetch_add(1, Ordering::SeqCst);
        run.publish(&Event::new().data("one"))?
            .stored()
            .await
            .unwrap();
        began.notify_one();
        std::future::pending::<Result<(), PublishError>>().await
    });
    let run = run.unwrap();
    within(begun.notified()).await;
    // Longer than the lease: it is renewed.
    let until = || redis.call::<u64>(&["HGET", "sse:{hub}:run:run/key", "until"]);
    let first = until();
    wait_until(|| until() > first + 2000).await;
    let found = runs_b.find("key").await.unwrap();
    assert!(!found.is_finished());
    let mut client = b.follow("/run/key").await;
    proxy.switch(0);
    proxy.cut();
    let events = within(read(&mut client)).await;
    assert!(events.last().unwrap().contains("interrupted"), "{events:?}");
    within(async {
        while runs_a.stats().interrupted == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // What the old owner has queued or publishes now is refused.
    let late = run.publish(&Event::new().data("late")).unwrap();
    proxy.switch(redis.port);
    let error: StoreError = within(late.stored()).await.unwrap_err();
    let source = error.source().unwrap().downcast_ref();
    assert!(
        matches!(source, Some(EngineError::Finished | EngineError::LeaseLost)),
        "{error}"
    );
    let again = runs_b
        .start("key", async |_| Ok::<(), PublishError>(()))
        .unwrap();
    b.hub.ready([&*again], None).await;
    assert_eq!(works.load(Ordering::SeqCst), 1);
    assert!(runs_b.find("key").await.is_ok(), "it is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn a_topic_of_a_run_is_its_works_alone_and_ends_with_the_run_when_that_is_lost() {
    let redis = Redis::start(&[]);
    let config = RunsConfig::default().lease(Duration::from_millis(600));
    let [(_a, runs_a), (b, _runs_b)] = nodes(&redis.url(), &config).await;
    let lose: [(&str, &[&str]); 2] = [
        ("one", &["DEL", "sse:{hub}:run:run/one"]),
        ("two", &["FLUSHALL"]),
    ];
    for (key, command) in lose {
        let begun = Arc::new(Notify::new());
        let began = Arc::clone(&begun);
        let run = runs_a.start(key, async move |run| {
            let published = run.publish(&Event::new().data("hey"))?;
            published.stored().await.unwrap();
            began.notify_one();
            std::future::pending::<Result<(), PublishError>>().await
        });
        let run = run.unwrap();
        within(begun.notified()).await;
        let path = format!("/run/{key}");
        let other = b.hub.topic(&path[1..]).unwrap();
        let refused = other.publish(&Event::new().data("mine")).unwrap();
        let error = within(refused.stored()).await.unwrap_err();
        assert!(!error.may_be_stored());
        let source = error.source().unwrap().downcast_ref();
        assert_eq!(source, Some(&EngineError::Owned));

        redis.call::<()>(command);
        // The stream may end with a gap before it tells the end of the run.
        let mut last = String::new();
        within(async {
            loop {
                let mut client = b.resume(&path, &last).await;
                while let Ok(Some(decoded)) = client.next().await {
                    let Decoded::Event(event) = decoded else {
                        continue;
                    };
                    assert_ne!(event.data(), "mine");
                    if event.data().contains("interrupted") {
                        return;
                    }
                }
                last = client.last_event_id().to_owned();
            }
        })
        .await;
        within(async {
            while !run.is_finished() {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        let lost: usize = redis.call(&["ZCARD", "sse:{hub}:runs"]);
        assert_eq!(lost, 0);
    }
}

/// The hub reserves their names for as long as they are there.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn dropped_runs_do_not_wait_for_an_engine_that_is_away() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::to(redis.port).await;
    let node = Node::connect(&proxy.url()).await;
    wait_until(|| node.is_ready()).await;
    redis.call::<()>(&["ZADD", "sse:{hub}:runs", "1000", "run/lost"]);
    let away = proxy.clone();
    // The node reads the topic of the lost run, to end it.
    proxy.pause_after(b"events:run/lost", move || {
        away.switch(0);
        away.cut();
    });
    let config = RunsConfig::default().lease(Duration::from_millis(300));
    let create = || {
        let (hub, config) = (node.hub.clone(), config.clone());
        catch_unwind(AssertUnwindSafe(|| Runs::new(hub, config)))
    };
    let runs = create().unwrap();
    wait_until(|| !node.is_ready()).await;
    drop(runs);
    wait_until(|| create().is_ok()).await;
    assert!(!node.is_ready());
}

#[test]
#[ignore = "needs redis-server"]
fn a_lease_is_renewed_in_a_hub_of_any_name() {
    let redis = Redis::start(&[]);
    let library = include_str!("../../src/engine/run.lua");
    redis.call::<()>(&["FUNCTION", "LOAD", library]);
    for hub in ["hub", "a:run:b"] {
        let (run, runs) = (
            format!("sse:{{{hub}}}:run:the:run:key"),
            format!("sse:{{{hub}}}:runs"),
        );
        let until = "99999999999999";
        let lease = ["token", "1-7", "until", until, "lease", "1000"];
        redis.call::<()>(&[&["HSET", &run][..], &lease].concat());
        let renewed: Vec<String> =
            redis.call(&["FCALL", "sse_run", "2", &run, &runs, "renew", "1-7"]);
        assert_eq!(renewed, ["held"]);
        let topics: Vec<String> = redis.call(&["ZRANGE", &runs, "0", "-1"]);
        assert_eq!(topics, ["the:run:key"]);
    }
}

/// The topic expires, because the run publishes less often than `Engine::topic_expiry`.
#[test]
#[ignore = "needs redis-server"]
fn others_stay_out_of_the_topic_of_a_run_whose_topic_has_expired() {
    let redis = Redis::start(&[]);
    redis.load_functions();
    let publish = |kind: &[&str]| redis.try_publish("news", "events:news", kind);
    let token = publish(&["start", "7", "60000", "1000", "1000"]).unwrap();
    redis.call::<()>(&["HDEL", "sse:{hub}:hub", "topic:news"]);
    redis.call::<()>(&["ZREM", "sse:{hub}:changed", "news"]);
    redis.call::<()>(&["DEL", "sse:{hub}:topic:news"]);
    let fence = format!("events {token}");
    let refused = || publish(&["events", "data: b\n\n"]).unwrap_err();
    assert_eq!(refused().code(), Some("OWNED"));
    publish(&[&fence, "data: a\n\n"]).unwrap();
    assert_eq!(refused().code(), Some("OWNED"));
    publish(&[&format!("end {token}")]).unwrap();
    let finished = publish(&[&fence, "data: c\n\n"]).unwrap_err();
    assert_eq!(finished.code(), Some("FINISHED"));
}

/// As `DEPLOYMENT.md` has it for operators.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn a_run_with_a_stop_in_its_hash_is_stopped_at_the_next_renewal() {
    let redis = Redis::start(&[]);
    let node = Node::connect(&redis.url()).await;
    let config = RunsConfig::default().lease(Duration::from_millis(600));
    let runs = Runs::new(node.hub.clone(), config);
    let run = runs.start("key", async |run| {
        run.publish(&Event::new().data("one"))?;
        std::future::pending::<Result<(), PublishError>>().await
    });
    let run = run.unwrap();
    let mut client = node.follow("/run/key").await;
    assert_eq!(client.event().await.unwrap().data(), "one");
    redis.call::<()>(&["HSET", "sse:{hub}:run:run/key", "stop", "1"]);
    let events = within(read(&mut client)).await;
    assert!(events.last().unwrap().contains("stopped"), "{events:?}");
    drop(run);
}
