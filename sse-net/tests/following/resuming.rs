//! The position at which a client begins or resumes.

use std::time::Duration;

use sse_core::{Event, EventType, Events, Retention};
use sse_net::{Routes, Start, Topic, TopicConfig, UnknownId};

use crate::common::{Kind, config, over_all_servers, publish, published, serve};

over_all_servers! {
    a_client_resumes_or_gets_a_gap_event,
    an_evicted_id_of_the_log_is_a_gap,
}

#[tokio::test(start_paused = true)]
async fn a_new_client_begins_at_the_start_of_its_route() {
    let topic = Topic::new(Retention::events(3).backlog(Duration::ZERO, 0));
    publish(&topic, 0..5);
    let routes = Routes::new()
        .topic("/live", &topic)
        .topic_from("/last", &topic, Start::Last(2))
        .topic_from("/earliest", &topic, Start::Earliest);
    let (server, net) = serve(config(), routes);
    let mut clients = Vec::new();
    for (path, begin) in [("/live", 5), ("/last", 3), ("/earliest", 2)] {
        let mut client = net.get(path).await;
        assert_eq!(client.follow().await, published(begin..5), "{path}");
        clients.push(client);
    }
    publish(&topic, 5..6);
    for client in &mut clients {
        assert_eq!(client.read().await, published(5..6));
    }
    assert_eq!(server.stats().connections, 3);
}

async fn a_client_resumes_or_gets_a_gap_event(kind: Kind) {
    let gap = |asked: &str, from: &str| {
        format!("event: gap\ndata: {{\"asked\":\"{asked}\",\"from\":{from}}}\n\n")
    };
    for (unknown_id, start, unknown) in [
        (
            UnknownId::ReplayAll,
            Start::Live,
            gap("x", "\"3\"") + &published(3..6),
        ),
        (UnknownId::StartLive, Start::Live, gap("x", "null")),
        (
            UnknownId::StartLive,
            Start::Last(1),
            gap("x", "\"5\"") + &published(5..6),
        ),
    ] {
        let topic = Topic::new(
            TopicConfig::default()
                .retention(Retention::events(3).backlog(Duration::ZERO, 0))
                .unknown_id(unknown_id),
        );
        publish(&topic, 0..6);
        let (server, net, _) = kind.serve_topic(config(), &topic, start);
        for (id, expected) in [
            ("4", published(5..6)),
            ("5", String::new()),
            ("2", published(3..6)),
            ("x", unknown),
        ] {
            let mut client = net.resume("/", id).await;
            assert_eq!(client.follow().await, expected, "{id}");
            let mut polyfill = net.get(&format!("/?lastEventId={id}")).await;
            assert_eq!(polyfill.follow().await, expected, "{id}");
        }
        let stats = server.stats();
        assert_eq!((stats.resumed, stats.gaps, stats.unknown_ids), (6, 0, 2));
    }
}

async fn an_evicted_id_of_the_log_is_a_gap(kind: Kind) {
    let topic = Topic::new(
        TopicConfig::default()
            .retention(Retention::events(1).backlog(Duration::ZERO, 0))
            .gap_type(EventType::from_static("missed")),
    );
    let mut subscription = topic.subscribe(Start::Live);
    let mut ids = Vec::new();
    for _ in 0..3 {
        topic.publish(&Event::new().data("d")).unwrap();
        let mut bytes = Vec::new();
        subscription.read(&mut bytes).await.unwrap();
        let event = Events::new(&*bytes).next().unwrap().unwrap();
        ids.push(event.last_event_id().to_owned());
    }
    let (server, net, _) = kind.serve_topic(config(), &topic, Start::Live);
    let mut client = net.resume("/", &ids[0]).await;
    assert_eq!(
        client.follow().await,
        format!(
            "event: missed\ndata: {{\"asked\":\"{0}\",\"from\":\"{1}\"}}\n\nid: {1}\ndata: d\n\n",
            ids[0], ids[2]
        )
    );
    assert_eq!(server.stats().gaps, 1);
}
