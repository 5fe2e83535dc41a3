//! Heartbeats, disconnects and half-closed connections.

use sse_core::{EventType, Retention};
use sse_net::{Disconnect, Heartbeat, Routes, Start, Topic};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::SECOND;
use crate::common::{
    Kind, config, over_all_servers, pass, publish, published, serve, serve_topic, settle,
};

over_all_servers! {
    heartbeats_are_sent_in_silence,
    heartbeats_are_spread_over_time,
    a_client_that_closes_is_noticed_at_once,
}

async fn heartbeats_are_sent_in_silence(kind: Kind) {
    for (form, heartbeat) in [
        (Heartbeat::Comment, ":\n"),
        (
            Heartbeat::Event(EventType::from_static("beat")),
            "event: beat\ndata: \n\n",
        ),
    ] {
        let topic = Topic::new(Retention::default());
        let config = config().heartbeat_form(form);
        let (server, net, _) = kind.serve_topic(config, &topic, Start::Live);
        let mut client = net.get("/").await;
        client.follow().await;
        for _ in 0..3 {
            let start = Instant::now();
            assert_eq!(client.wait().await, heartbeat);
            let silence = start.elapsed();
            assert!((SECOND * 13..SECOND * 16).contains(&silence), "{silence:?}");
        }
        for id in 0..10 {
            pass(SECOND * 5).await;
            publish(&topic, id..id + 1);
            assert_eq!(client.read().await, published(id..id + 1), "no heartbeat");
        }
        assert_eq!(server.stats().heartbeats, 3);
    }
}

async fn heartbeats_are_spread_over_time(kind: Kind) {
    let topic = Topic::new(Retention::default());
    let (_server, net, _) = kind.serve_topic(config(), &topic, Start::Live);
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = net.get("/").await;
        client.follow().await;
        clients.push(client);
    }
    publish(&topic, 0..1);
    for client in &mut clients {
        client.read().await;
    }
    let start = Instant::now();
    let mut times = std::collections::BTreeSet::new();
    let mut heartbeats = tokio::task::JoinSet::new();
    for mut client in clients {
        heartbeats.spawn(async move {
            client.wait().await;
            Instant::now()
        });
    }
    while let Some(time) = heartbeats.join_next().await {
        times.insert((time.unwrap() - start).as_millis() / 250);
    }
    assert!(times.len() >= 4, "{times:?}");
}

async fn a_client_that_closes_is_noticed_at_once(kind: Kind) {
    let topic = Topic::new(Retention::default());
    let (server, net, ends) = kind.serve_topic(config(), &topic, Start::Live);
    let mut client = net.get("/").await;
    client.follow().await;
    assert_eq!(server.stats().connections, 1);
    drop(client);
    pass(SECOND / 20).await;
    assert_eq!(ends.take(), [Disconnect::ClientClosed]);
    assert_eq!(
        (server.stats().connections, server.stats().client_closed),
        (0, 1)
    );
    assert_eq!(topic.subscriptions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_client_keeps_its_stream() {
    let topic = Topic::new(Retention::default());
    let (server, net, ends) = serve_topic(config(), &topic, Start::Live);
    let mut client = net.get("/").await;
    client.follow().await;
    client.pipe.shutdown().await.unwrap();
    pass(SECOND).await;
    let heartbeats = client.read().await;
    assert!(
        !heartbeats.is_empty() && heartbeats.replace(":\n", "").is_empty(),
        "{heartbeats}"
    );
    publish(&topic, 0..1);
    assert_eq!(client.read().await, published(0..1));
    pass(SECOND * 60).await;
    assert_eq!(client.read().await.replace(":\n", ""), "");
    assert_eq!((server.stats().connections, ends.take().len()), (1, 0));
    drop(client);
    pass(SECOND / 2).await;
    assert_eq!(ends.take(), [Disconnect::ClientClosed]);
}

#[tokio::test(start_paused = true)]
async fn input_after_the_request_is_discarded() {
    let topic = Topic::new(Retention::default());
    let (_server, net, _) = serve_topic(config(), &topic, Start::Live);
    let mut client = net.get("/").await;
    client.follow().await;
    for _ in 0..100 {
        client.send(&"blah ".repeat(1000)).await;
    }
    publish(&topic, 0..1);
    assert_eq!(client.read().await, published(0..1));
}

#[tokio::test(start_paused = true)]
async fn counters_of_connections_return_to_zero() {
    let topics: Vec<_> = (0..10).map(|_| Topic::new(Retention::default())).collect();
    let routes = topics
        .iter()
        .enumerate()
        .fold(Routes::new(), |routes, (at, topic)| {
            routes.topic(&format!("/{at}"), topic)
        });
    let config = config().max_connections_per_address(200);
    let (server, net) = serve(config, routes);
    for round in 1..=10 {
        let mut clients = Vec::new();
        for at in 0..100 {
            let mut client = net.connect_from([127, 0, 0, 1]);
            client
                .send(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", at % 10))
                .await;
            clients.push(client);
        }
        settle().await;
        for topic in &topics {
            publish(topic, 0..1);
            assert_eq!(topic.subscriptions(), 1, "one for all clients of a shard");
        }
        for client in &mut clients {
            assert_eq!(client.follow().await, published(0..1));
        }
        assert_eq!(server.stats().connections, 100);
        drop(clients);
        pass(SECOND).await;
        let stats = server.stats();
        assert_eq!((stats.connections, stats.furthest_lag), (0, 0));
        assert_eq!(stats.client_closed, 100 * round);
        assert!(topics.iter().all(|topic| topic.subscriptions() == 0));
    }
}
