//! What clients of several topics receive.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use sse_core::{Event, EventType, LogId, Retention};
use sse_net::{
    Disconnect, Hub, HubConfig, Request, Run, Runs, RunsConfig, SlowClients, Start, StreamToken,
    Subscription, Topic, TopicConfig,
};
use tokio::time::Instant;

use crate::common::{
    Client, Control, Ends, Kind, Net, WIDE, config, over_all_servers, pass, serve, settle,
};

over_all_servers! {
    one_id_resumes_all_topics,
    topics_with_a_follower_of_their_own_are_sent_in_order,
    a_gap_in_one_topic_is_reported_with_its_name,
    a_slow_client_skips_ahead_in_the_topic_that_it_missed,
    a_slow_client_is_disconnected,
    the_end_of_one_topic_is_reported_and_the_stream_continues,
    topics_of_different_hubs_are_an_error,
    clients_that_share_a_topic_come_and_go,
    events_of_a_hub_linger,
    clients_of_a_hub_that_lingers_do_not_wait_for_each_other,
    a_client_of_several_topics_that_is_behind_does_not_linger,
    a_keyed_topic_is_followed_beside_others,
    a_stream_continues_with_a_new_run_of_a_key,
}

/// Serves the topics whose names are in the path, joined with commas. The query is the token of
/// the stream, if it has one.
pub(crate) fn serve_all(kind: Kind, hub: &Hub, start: Start) -> (Control, Net, Ends) {
    let (hub, ends) = (hub.clone(), Ends::default());
    let topics = move |path: &str| -> Vec<Topic> {
        let names = path[1..].split(',');
        names.map(|name| hub.topic(name).unwrap()).collect()
    };
    let told = ends.clone();
    match kind {
        Kind::Server => {
            let (server, net) = serve(config(), move |request: Request| {
                let topics = topics(request.path());
                let request = match token(request.query()) {
                    Some(token) => request.with_token(token),
                    None => request,
                };
                ready(told.watch(request.follow_all_from(&topics, start)))
            });
            (Control::Server(server), net, ends)
        }
        #[cfg(feature = "http")]
        Kind::Http1 | Kind::Http2 => {
            let responder = sse_net::Responder::new(config());
            let inner = responder.clone();
            let net = crate::common::http::serve(kind == Kind::Http2, move |request| {
                let topics = topics(request.uri().path());
                let responder = match token(request.uri().query()) {
                    Some(token) => inner.with_token(token),
                    None => inner.clone(),
                };
                let response = responder.follow_all_from(&request, &topics, start);
                let told = told.clone();
                response.map(|body| body.on_end(move |reason| told.push(reason)))
            });
            (Control::Responder(responder), net, ends)
        }
    }
}

fn token(query: Option<&str>) -> Option<StreamToken> {
    query.map(|token| StreamToken::parse(token).unwrap())
}

fn hub() -> Hub {
    Hub::new(Retention::events(3).backlog(Duration::ZERO, 0))
}

pub(crate) fn topics<const N: usize>(hub: &Hub, names: [&str; N]) -> [Topic; N] {
    names.map(|name| hub.topic(name).unwrap())
}

pub(crate) fn say(topic: &Topic, data: &str) -> LogId {
    let published = topic.publish(&Event::new().data(data)).unwrap();
    published.id().unwrap()
}

/// The types and data of the events.
pub(crate) fn said(text: &str) -> String {
    let fields = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: ").or(line.strip_prefix("event: ")));
    fields.collect::<Vec<_>>().join(" ")
}

/// The event after which the client resumes.
pub(crate) fn last_id(text: &str) -> String {
    let mut ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
    ids.next_back().unwrap().to_owned()
}

pub(crate) async fn next(client: &mut Client) -> String {
    said(&client.read().await)
}

async fn one_id_resumes_all_topics(kind: Kind) {
    let hub = hub();
    let [a, b, c] = topics(&hub, ["a", "b", "c"]);
    let (server, net, _) = serve_all(kind, &hub, Start::Live);
    let mut client = net.get("/a,b,c").await;
    let opening = client.read().await;
    assert!(
        opening.contains("\r\nContent-Type: text/event-stream"),
        "{opening}"
    );
    let position = last_id(&opening);
    for (topic, data) in [(&b, "b1"), (&a, "a1"), (&b, "b2"), (&c, "c1")] {
        say(topic, data);
    }
    let text = client.read().await;
    assert_eq!(said(&text), "b1 a1 b2 c1");
    for (id, expected) in [(position, "b1 a1 b2 c1"), (last_id(&text), "")] {
        assert_eq!(
            next(&mut net.resume("/c,a,b", &id).await).await,
            expected,
            "after {id}"
        );
        let some = expected.replace("a1 ", "");
        assert_eq!(
            next(&mut net.resume("/c,b", &id).await).await,
            some,
            "after {id}"
        );
    }
    let ids: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .collect();
    for (after, expected) in [(0, "a1 b2 c1"), (1, "b2 c1"), (2, "c1"), (3, "")] {
        assert_eq!(
            next(&mut net.resume("/a,b,c", ids[after]).await).await,
            expected
        );
    }
    assert_eq!(server.stats().resumed, 8);
}

async fn topics_with_a_follower_of_their_own_are_sent_in_order(kind: Kind) {
    let hub = Hub::new(Retention::default());
    let (_server, net, _) = serve_all(kind, &hub, Start::Live);
    let [all, other] = topics(&hub, ["all", "other"]);
    let mut clients = Vec::new();
    for number in 0..10 {
        let mut client = net.get(&format!("/all,inbox/{number}")).await;
        client.read().await;
        clients.push((
            client,
            hub.topic(format!("inbox/{number}")).unwrap(),
            String::new(),
        ));
    }
    for round in 0..20 {
        let from = fastrand::usize(..clients.len());
        for step in 0..fastrand::usize(1..8) {
            let data = format!("{round}.{step}");
            match fastrand::usize(..4) {
                0 => {
                    say(&all, &data);
                    for (_, _, expected) in &mut clients {
                        *expected += &format!("{data} ");
                    }
                }
                1 => _ = say(&other, "none follows it"),
                _ => {
                    let at = (from + step % 3) % clients.len();
                    say(&clients[at].1, &data);
                    clients[at].2 += &format!("{data} ");
                }
            }
        }
        if fastrand::bool() {
            settle().await;
        }
    }
    for (client, _, expected) in &mut clients {
        assert_eq!(next(client).await, expected.trim_end());
    }
}

async fn a_gap_in_one_topic_is_reported_with_its_name(kind: Kind) {
    let hub = hub();
    let [a, b] = topics(&hub, ["a", "b"]);
    let (server, net, _) = serve_all(kind, &hub, Start::Live);
    let first = say(&b, "b1").to_string();
    for data in ["a1", "a2", "a3", "a4"] {
        say(&a, data);
    }
    say(&b, "b2");
    let text = net.resume("/a,b", &first).await.read().await;
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    let gap = format!("event: gap\ndata: {{\"asked\":\"{first}\",\"from\":");
    let opening = format!("\"topic\":\"a\"}}\n\nid: {first}\nretry: ");
    assert!(body.starts_with(&gap) && body.contains(&opening), "{body}");
    assert!(said(body).ends_with("} a2 a3 a4 b2"), "{body}");
    assert_eq!(server.stats().gaps, 1);

    let unknown = net.resume("/a,b", "1-1").await.read().await;
    assert_eq!(unknown.matches("event: gap").count(), 2, "{unknown}");
    assert!(said(&unknown).ends_with("} b1 a2 a3 a4 b2"), "{unknown}");
    assert_eq!(server.stats().unknown_ids, 1);
}

async fn a_slow_client_skips_ahead_in_the_topic_that_it_missed(kind: Kind) {
    let retention = Retention::events(3).backlog(Duration::ZERO, 0);
    let hub = Hub::new(TopicConfig::from(retention).slow_clients(SlowClients::SkipAhead));
    let [a, b] = topics(&hub, ["a", "b"]);
    let (_server, net, _) = serve_all(kind, &hub, Start::Live);
    let mut slow = net.get_slow("/a,b", 400).await;
    let large = "x".repeat(200_000);
    say(&a, &large);
    settle().await;
    say(&b, "b1");
    for data in ["a1", "a2", "a3", "a4"] {
        say(&a, data);
    }
    let mut text = String::new();
    while !text.contains("data: a4\n\n") {
        text += &slow.wait().await;
    }
    let said = said(&text);
    let rest = said.strip_prefix(&large).unwrap().trim_start();
    assert!(
        rest.starts_with("gap {\"asked\":null,\"from\":\""),
        "{rest}"
    );
    assert!(rest.ends_with("\"topic\":\"a\"} b1 a2 a3 a4"), "{rest}");
}

async fn a_slow_client_is_disconnected(kind: Kind) {
    let hub = hub();
    let [a, b] = topics(&hub, ["a", "b"]);
    let (_server, net, ends) = serve_all(kind, &hub, Start::Live);
    let mut slow = net.get_slow("/a,b", 400).await;
    let large = "x".repeat(200_000);
    say(&b, &large);
    settle().await;
    for data in ["a1", "a2", "a3", "a4"] {
        say(&a, data);
    }
    let text = slow.read_to_end().await;
    assert_eq!(said(&text), large);
    assert_eq!(ends.take(), [Disconnect::Lagged]);
}

async fn the_end_of_one_topic_is_reported_and_the_stream_continues(kind: Kind) {
    let hub = hub();
    let [a, b] = topics(&hub, ["a", "b"]);
    let (_server, net, ends) = serve_all(kind, &hub, Start::Live);
    let mut clients = [net.get("/a,b").await, net.get("/a,b").await];
    for client in &mut clients {
        client.read().await;
    }
    a.finish(Some(&Event::new().data("a1"))).unwrap();
    let mut last = String::new();
    for client in &mut clients {
        assert_eq!(next(client).await, "a1 close {\"topic\":\"a\"}");
    }
    say(&b, "b1");
    for client in &mut clients {
        let text = client.read().await;
        assert_eq!(said(&text), "b1");
        last = last_id(&text);
    }
    // One that comes back is told again, and gets 204 only when all are finished.
    assert_eq!(
        next(&mut net.resume("/a,b", &last).await).await,
        "close {\"topic\":\"a\"}"
    );
    b.finish(Some(&Event::new().data("b2"))).unwrap();
    for client in &mut clients {
        let text = client.read_to_end().await;
        assert_eq!(said(&text), "b2 close {\"topic\":\"b\"}");
    }
    settle().await;
    assert!(ends.take().contains(&Disconnect::Finished));
    let text = net.resume("/a,b", &last).await.read_to_end().await;
    assert!(said(&text).contains("b2"), "{text}");
    last = last_id(&text);
    let over = net.resume("/b,a", &last).await.read_to_end().await;
    assert!(over.starts_with("HTTP/1.1 204 No Content\r\n"), "{over}");
}

/// The run's topic was removed from the hub meanwhile, and its name is used again.
async fn a_stream_continues_with_a_new_run_of_a_key(kind: Kind) {
    const CLOSE: &str = "close {\"topic\":\"run/key\"}";
    let token = StreamToken::random();
    for (count, query) in [(1, ""), (2, ""), (1, &*format!("?{}", token.as_str()))] {
        let path = format!("/run/key,news{query}");
        let hub = hub();
        let [news] = topics(&hub, ["news"]);
        let runs = Runs::new(
            hub.clone(),
            RunsConfig::default().keep(Duration::from_secs(60)),
        );
        let start = |text: &'static str| {
            let work = async move |run: Run| run.publish(&Event::new().data(text));
            drop(runs.start("key", work).unwrap());
        };
        let (_server, net, _) = serve_all(kind, &hub, Start::Live);
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(net.get(&path).await);
        }
        for client in &mut clients {
            client.read().await;
        }
        let (mut seen, mut last) = (String::new(), String::new());
        start("old");
        for client in &mut clients {
            let text = client.read().await;
            assert_eq!(said(&text), format!("old {CLOSE}"));
            seen = last_id(&text);
        }
        for text in ["new", "newer"] {
            pass(Duration::from_secs(61)).await;
            start(text);
            for client in &mut clients {
                assert_eq!(next(client).await, format!("{text} {CLOSE}"));
            }
            say(&news, text);
            for client in &mut clients {
                let events = client.read().await;
                assert_eq!(said(&events), text);
                last = last_id(&events);
            }
        }
        let mut back = net.resume(&path, &last).await;
        let text = back.read().await;
        assert!(
            said(&text).ends_with(CLOSE) && !text.contains("gap"),
            "{text}"
        );
        let text = net.resume(&path, &seen).await.read().await;
        assert!(
            text.contains("gap") && said(&text).ends_with(&format!("newer newer {CLOSE}")),
            "{text}"
        );
    }
}

async fn topics_of_different_hubs_are_an_error(kind: Kind) {
    let topics = [hub().topic("a").unwrap(), Topic::new(Retention::default())];
    let (_server, net) = match kind {
        Kind::Server => {
            let handler = move |request: Request| ready(request.follow_all(&topics));
            let (server, net) = serve(config(), handler);
            (Some(server), net)
        }
        #[cfg(feature = "http")]
        Kind::Http1 | Kind::Http2 => {
            let responder = sse_net::Responder::new(config());
            let net = crate::common::http::serve(kind == Kind::Http2, move |request| {
                responder.follow_all(&request, &topics)
            });
            (None, net)
        }
    };
    let answer = net.get("/").await.read_to_end().await;
    assert!(
        answer.starts_with("HTTP/1.1 500 Internal Server Error\r\n"),
        "{answer}"
    );
}

async fn clients_that_share_a_topic_come_and_go(kind: Kind) {
    let hub = hub();
    let [all, inbox] = topics(&hub, ["all", "inbox"]);
    let (server, net, _) = serve_all(kind, &hub, Start::Live);
    let mut first = net.get("/all,inbox").await;
    first.read().await;
    say(&inbox, "1");
    let mut second = net.get("/inbox,all").await;
    second.read().await;
    let mut third = net.get("/inbox").await;
    third.read().await;
    say(&all, "2");
    say(&inbox, "3");
    assert_eq!(next(&mut first).await, "1 2 3");
    assert_eq!(next(&mut second).await, "2 3");
    assert_eq!(next(&mut third).await, "3");
    drop(first);
    settle().await;
    say(&inbox, "4");
    say(&all, "5");
    assert_eq!(next(&mut second).await, "4 5");
    assert_eq!(next(&mut third).await, "4");
    drop((second, third));
    settle().await;
    assert_eq!(server.stats().connections, 0);
    assert_eq!(all.subscriptions() + inbox.subscriptions(), 0);
    drop((all, inbox));
    assert_eq!(hub.topics(), 2, "they retain events");
}

async fn events_of_a_hub_linger(kind: Kind) {
    let config = TopicConfig::default().linger(Duration::from_millis(100));
    let hub = Hub::new(config);
    let [a, b] = topics(&hub, ["a", "b"]);
    let (_server, net, _) = serve_all(kind, &hub, Start::Live);
    let mut client = net.get("/a,b").await;
    client.read().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    say(&a, "1");
    assert_eq!(said(&client.wait().await), "1");
    assert!(start.elapsed() < Duration::from_millis(10));
    say(&b, "2");
    settle().await;
    say(&a, "3");
    assert_eq!(said(&client.wait().await), "2 3");
    let waited = start.elapsed().as_millis();
    assert!((95..=110).contains(&waited), "{waited} ms");
}

/// Each client follows topics of its own. They have new events at the end of each wait.
async fn clients_of_a_hub_that_lingers_do_not_wait_for_each_other(kind: Kind) {
    let hub = Hub::new(TopicConfig::default().linger(Duration::from_millis(100)));
    let names = ["a", "b", "c", "d", "e", "f"];
    let topics = topics(&hub, names);
    let (_server, net, _) = serve_all(kind, &hub, Start::Live);
    let mut clients = Vec::new();
    for path in ["/a,b", "/c,d", "/e,f"] {
        let mut client = net.get(path).await;
        client.read().await;
        clients.push(client);
    }
    let mut published = String::new();
    for number in 0..20 {
        for topic in &topics {
            say(topic, &number.to_string());
        }
        published += &format!("{number} {number} ");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    for client in &mut clients {
        let received = said(&client.read().await);
        assert!(
            received.contains(" 15 "),
            "the last 100 ms wait: {received}"
        );
        assert!(published.starts_with(&received), "{received}");
    }
}

async fn a_client_of_several_topics_that_is_behind_does_not_linger(kind: Kind) {
    let hub = Hub::new(TopicConfig::default().linger(Duration::from_secs(60)));
    let [a, b] = topics(&hub, ["a", "b"]);
    let data = "x".repeat(10_000);
    for _ in 0..10 {
        say(&a, &data);
        say(&b, &data);
    }
    let (_server, net, _) = serve_all(kind, &hub, Start::Earliest);
    for _ in 0..2 {
        let mut client = net.get("/a,b").await;
        let events = client.read().await.matches("\ndata: ").count();
        assert_eq!(events, 20, "all events are older than the client");
    }
}

async fn a_keyed_topic_is_followed_beside_others(kind: Kind) {
    let config = TopicConfig::from(Retention::events(3).backlog(Duration::ZERO, 0));
    let hub = Hub::new(config.marker_type(EventType::from_static("ready")));
    let state = hub.keyed_topic("state").unwrap();
    let [log] = topics(&hub, ["log"]);
    let put = |data: &str| {
        let published = state.publish_for(&data[..1], &Event::new().data(data));
        published.unwrap();
    };
    let (_server, net, _) = serve_all(kind, &hub, Start::Live);
    put("a1");
    say(&log, "l1");
    put("b1");
    put("a2");
    let mut client = net.get("/log,state").await;
    let opening = client.follow().await;
    assert_eq!(said(&opening), "b1 a2 ready ");
    let seen = last_id(&opening);
    say(&log, "l2");
    put("b2");
    assert_eq!(next(&mut client).await, "l2 b2");
    put("b3");
    say(&log, "l3");
    put("a3");
    assert_eq!(next(&mut client).await, "b3 l3 a3");
    let mut back = net.resume("/log,state", &seen).await;
    assert_eq!(said(&back.follow().await), "l2 b3 l3 a3 ready ");
    // Many in the groups of both topics.
    let mut others = Vec::new();
    for _ in 0..3 {
        let mut other = net.get("/state,log").await;
        assert_eq!(said(&other.follow().await), "b3 a3 ready ");
        others.push(other);
    }
    put("c1");
    for other in &mut others {
        assert_eq!(next(other).await, "c1");
    }

    // A gap of the other topic is none of the state.
    for data in ["l4", "l5", "l6"] {
        say(&log, data);
    }
    let mut late = net.resume("/log,state", &seen).await;
    let wire = late.follow().await;
    let gap = format!("gap {{\"asked\":\"{seen}\",\"from\":");
    assert!(said(&wire).starts_with(&gap), "{wire}");
    assert!(
        said(&wire).contains("\"topic\":\"log\"} b3 a3 c1 l4 l5 l6 ready "),
        "{wire}"
    );
    state.finish(None).unwrap();
    assert_eq!(
        next(&mut others[0]).await,
        "l4 l5 l6 close {\"topic\":\"state\"}"
    );
}

#[tokio::test(start_paused = true)]
async fn events_get_the_type_of_their_topic() {
    let tick = EventType::from_static("tick");
    let ticks = TopicConfig::from(Retention::events(9)).event_type(tick);
    let hub = Hub::new(HubConfig::default().topics("ticks/", ticks));
    let [ticks, other] = topics(&hub, ["ticks/1", "other"]);
    let mut subscription = Subscription::to([&ticks, &other], None, Start::Live).unwrap();
    say(&ticks, "1");
    say(&other, "2");
    let own = EventType::from_static("own");
    let large = "x".repeat(10_000);
    ticks
        .publish_all(&[
            Event::new().event(&own).data("3"),
            Event::new().data(&large),
        ])
        .unwrap();
    ticks.publish(&Event::new().comment("no data")).unwrap();
    let mut out = Vec::new();
    subscription.read(&mut out).await.unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(said(&text), format!("tick 1 2 own 3 tick {large}"));
}

/// Publishers on other threads, and clients of which each follows some topics.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn each_client_receives_all_of_its_topics_in_order_from_several_publishers() {
    const COUNT: usize = 2000;
    let hub = Hub::new(Retention::events(usize::MAX));
    let names = ["a", "b", "c"];
    let (_server, net, _) = serve_all(Kind::Server, &hub, Start::Live);
    let net = Arc::new(net);
    let mut clients = Vec::new();
    for path in ["/a,b,c", "/a,b", "/b,c", "/c", "/c,a", "/a,b,c"] {
        let mut client = net
            .ask(WIDE, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        let opening = client.wait().await;
        assert!(opening.contains("retry: "), "{opening}");
        clients.push(tokio::spawn(
            async move { (path, client.read_to_end().await) },
        ));
    }
    let publishers = topics(&hub, names).map(|topic| {
        std::thread::spawn(move || {
            for number in 0..COUNT {
                say(&topic, &format!("{} {number}", topic.name().unwrap()));
                if number % 50 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            topic.finish(None).unwrap();
        })
    });
    for client in clients {
        let (path, text) = client.await.unwrap();
        let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
        let ids: Vec<_> = ids.map(|id| LogId::parse(id).unwrap()).collect();
        assert!(ids.is_sorted(), "{path}");
        for name in path[1..].split(',') {
            let prefix = format!("data: {name} ");
            let numbers = text.lines().filter_map(|line| line.strip_prefix(&prefix));
            let numbers: Vec<_> = numbers
                .map(|number| number.parse::<usize>().unwrap())
                .collect();
            assert_eq!(numbers, Vec::from_iter(0..COUNT), "{name} of {path}");
        }
    }
    for publisher in publishers {
        publisher.join().unwrap();
    }
}
