//! Settings at their smallest and greatest values.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{config, pass, serve, settle};
use sse_core::{Event, KeyedRetention, Retention};
use sse_net::{
    Config, Hub, HubConfig, Request, Response, Runs, RunsConfig, SlowClients, Start, StreamToken,
    TopicConfig,
};

const TIMES: [Duration; 3] = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX];

fn servers() -> Vec<(String, Config)> {
    let mut all = vec![("default".to_owned(), config())];
    for time in TIMES {
        all.extend([
            (format!("heartbeat {time:?}"), config().heartbeat(time)),
            (
                format!("write_timeout {time:?}"),
                config().write_timeout(time),
            ),
            (format!("max_age {time:?}"), config().max_age(time)),
            (format!("retry {time:?}"), config().retry(time)),
            (
                format!("head_timeout {time:?}"),
                config().head_timeout(time),
            ),
            (
                format!("body_timeout {time:?}"),
                config().body_timeout(time),
            ),
            (
                format!("handler_timeout {time:?}"),
                config().handler_timeout(time),
            ),
        ]);
    }
    for number in [0, 1, usize::MAX] {
        all.extend([
            (format!("max_input {number}"), config().max_input(number)),
            (
                format!("max_connections {number}"),
                config().max_connections(number),
            ),
            (
                format!("max_connections_per_address {number}"),
                config().max_connections_per_address(number),
            ),
            (
                format!("max_refusals {number}"),
                config().max_connections(1).max_refusals(number),
            ),
            (
                format!("max_json {number}"),
                config().max_json(number as u64),
            ),
        ]);
    }
    all
}

fn topics() -> Vec<(String, TopicConfig)> {
    let mut all = Vec::new();
    for time in TIMES {
        for count in [0, 1, usize::MAX] {
            let retention = Retention::events(count)
                .bytes(count)
                .age(time)
                .backlog(time, count);
            let keyed = KeyedRetention::default()
                .keys(count)
                .bytes(count)
                .removals(time);
            let config = TopicConfig::from(retention).keyed(keyed).linger(time);
            let config = config
                .max_event(count.max(1000))
                .slow_clients(SlowClients::SkipAhead);
            all.push((format!("{time:?} {count}"), config));
        }
    }
    all
}

/// Follows topics in every way, changes them, and drains the server.
async fn run(server: Config, topic: TopicConfig, count: usize, window: Duration, what: &str) {
    let hub = Hub::new(
        HubConfig::from(topic)
            .max_topics_per_stream(count.max(2))
            .max_kept_streams(count)
            .max_counted_topics(count),
    );
    let runs = Runs::new(
        hub.clone(),
        RunsConfig::default()
            .keep(window)
            .remember(window)
            .max_remembered(count)
            .stop_unfollowed(window)
            .lease(window),
    );
    let names = ["a", "b", "c"];
    let [a, b, c] = names.map(|name| hub.topic(name).unwrap());
    let keyed = hub.keyed_topic("k").unwrap();
    let token = StreamToken::random();
    let (of_token, mine, of_runs) = (token.clone(), hub.clone(), runs.clone());
    let (running, net) = serve(server, move |mut request: Request| {
        let hub = mine.clone();
        let (token, runs) = (of_token.clone(), of_runs.clone());
        let topic = move |name: &str| match name {
            "k" => hub.keyed_topic("k").unwrap(),
            name => hub.topic(name).unwrap(),
        };
        async move {
            let path = request.path().to_owned();
            match &*path {
                "/one" => request.follow_from(&topic("a"), Start::Last(usize::MAX)),
                "/keyed" => request.follow(&topic("k")),
                "/all" => {
                    request.follow_all_from([topic("a"), topic("b"), topic("k")], Start::Earliest)
                }
                "/token" => request.with_token(token).follow_all([topic("b")]),
                "/stream" => request.stream(async |mut stream| {
                    stream.write_str("hey").await?;
                    stream.closed().await;
                    Ok(())
                }),
                "/run" => {
                    let run = runs.start("r", async |run| {
                        run.publish(&Event::new().data("x"))?;
                        std::future::pending::<()>().await;
                        Ok::<(), sse_net::PublishError>(())
                    });
                    request.follow(&run.unwrap())
                }
                _ => match request.body(9).await {
                    Ok(_) => request.respond(Response::new(204)),
                    Err(rejection) => request.reject(rejection),
                },
            }
        }
    });
    let mut clients = Vec::new();
    for path in [
        "/one", "/keyed", "/all", "/token", "/stream", "/run", "/body",
    ] {
        let mut client = net.get(path).await;
        client.read().await;
        clients.push(client);
    }
    for number in 0..3 {
        for topic in [&a, &b, &c] {
            let _ = topic.publish(&Event::new().data(number.to_string()));
        }
        let _ = keyed.publish_for("k", &Event::new().data("v"));
        settle().await;
        let _ = keyed.remove("k");
        if let Some(topics) = hub.stream_topics(&token) {
            let _ = topics.add([&a, &c], Start::Earliest);
            topics.remove(["b"]);
        }
        pass(Duration::from_millis(700)).await;
    }
    let received = clients[0].read().await;
    let lasts = |name| what.starts_with(name);
    if ![
        "max_age",
        "max_connections",
        "max_refusals",
        "head_timeout",
        "handler_timeout",
    ]
    .into_iter()
    .any(lasts)
    {
        assert_eq!(received.matches("data: ").count(), 3, "{what}: {received}");
    }
    let stats = running.stats();
    assert_eq!(
        stats.panics + stats.handler_panics + stats.accept_panics,
        0,
        "{what}: {stats:?}"
    );
    assert!(running.is_live(), "{what}");
    let _ = runs.get("r");
    c.finish(None).unwrap();
    let draining = tokio::spawn(running.drain(window));
    pass(Duration::from_secs(3)).await;
    drop(clients);
    pass(Duration::from_secs(3)).await;
    assert!(draining.is_finished(), "{what}");
    draining.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn settings_of_servers() {
    for (what, server) in servers() {
        for window in TIMES {
            let topic = TopicConfig::default();
            run(
                server.clone(),
                topic,
                1,
                window,
                &format!("{what}, drain {window:?}"),
            )
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn settings_of_topics() {
    for (what, topic) in topics() {
        for count in [0, 1, usize::MAX] {
            run(
                config(),
                topic.clone(),
                count,
                Duration::ZERO,
                &format!("{what}, {count}"),
            )
            .await;
        }
    }
}
