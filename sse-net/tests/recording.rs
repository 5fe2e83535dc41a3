//! Topics recorded, and recordings played in real time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{self, BufWriter, Cursor, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{WIDE, pass, publish, published, settle};
use sse_core::testing::{Comparison, Faulty};
use sse_core::{Event, EventId, Events, MessageEvent, Pace, Recorder, Replayer, Retention};
use sse_net::{
    Hub, HubConfig, Player, SlowClients, Start, Stream, Subscription, Tee, Topic, TopicConfig,
};
use tokio::io::{AsyncReadExt, duplex};
use tokio::time::Instant;

const HOUR: Duration = Duration::from_secs(3600);

/// An event every ten minutes, with heartbeats in between.
fn hour() -> Vec<u8> {
    let mut recorder = Recorder::new(Vec::new());
    for id in 1..=6 {
        let at = HOUR / 6 * id;
        let beat = Event::new().comment("beat");
        recorder.send(at - Duration::from_secs(15), &beat).unwrap();
        recorder.send(at, &Event::new().id(id).data("d")).unwrap();
    }
    recorder.into_parts().0
}

fn player(recording: &[u8], pace: Pace) -> Player<&[u8]> {
    Player::new(Replayer::new(recording), pace)
}

/// A writer whose bytes the test can read.
#[derive(Debug, Clone, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_is_recorded_in_real_time() {
    let topic = Topic::new(Retention::events(10));
    publish(&topic, 0..1);
    let file = File::default();
    let (subscription, recorder) = (
        topic.subscribe(Start::Earliest),
        Recorder::new(file.clone()),
    );
    let began = Instant::now();
    let recording = tokio::spawn(async move { subscription.record(recorder, began).await });
    settle().await;
    pass(Duration::from_millis(249)).await;
    publish(&topic, 1..3);
    settle().await;
    let so_far = file.0.lock().unwrap().clone();
    let expected = format!(
        ":T+0.000000000\n{}:T+0.250000000\n{}",
        published(0..1),
        published(1..3)
    );
    assert_eq!(String::from_utf8(so_far).unwrap(), expected);

    pass(HOUR).await;
    publish(&topic, 3..4);
    topic.finish(Some(&Event::new().id(4).data("d"))).unwrap();
    recording.await.unwrap().unwrap();
    assert_eq!(topic.subscriptions(), 0);
    let recorded = file.0.lock().unwrap().clone();
    assert!(recorded.ends_with(published(3..5).as_bytes()));
    Comparison::new().assert_same(published(0..5).as_bytes(), &recorded[..]);
}

/// The state, and then what follows.
#[tokio::test(start_paused = true)]
async fn a_keyed_topic_is_recorded() {
    let topic = Hub::new(HubConfig::default()).keyed_topic("state").unwrap();
    let publish = |data: &str| {
        topic
            .publish_for(&data[..1], &Event::new().data(data))
            .unwrap()
    };
    for data in ["a1", "b1", "a2"] {
        publish(data);
    }
    let file = File::default();
    let (subscription, recorder) = (topic.subscribe(Start::Live), Recorder::new(file.clone()));
    let began = Instant::now();
    let recording = tokio::spawn(async move { subscription.record(recorder, began).await });
    settle().await;
    publish("b2");
    topic.remove("a").unwrap();
    topic.finish(None).unwrap();
    recording.await.unwrap().unwrap();
    let recorded = file.0.lock().unwrap().clone();
    let events = Events::new(&recorded[..]).map(Result::unwrap);
    let data = events.map(|event| event.data().to_owned());
    assert_eq!(data.collect::<Vec<_>>(), ["b1", "a2", "b2", "a"]);
}

/// More slices than are written in one go.
#[tokio::test]
async fn a_long_history_is_recorded_completely() {
    let topic = Topic::new(Retention::events(100).bytes(usize::MAX));
    let mebibyte = "x".repeat(1 << 20);
    for id in 0..40 {
        topic.publish(&Event::new().id(id).data(&mebibyte)).unwrap();
    }
    topic.finish(None).unwrap();
    let recorder = Recorder::new(Vec::new());
    let recording = topic
        .subscribe(Start::Earliest)
        .record(recorder, Instant::now());
    let recorded = recording.await.unwrap().into_parts().0;
    let (mut expected, mut subscription) = (Vec::new(), topic.subscribe(Start::Earliest));
    while subscription.read(&mut expected).await.unwrap() > 0 {}
    Comparison::new().assert_same(&expected[..], &recorded[..]);
}

/// A writer that floods the topic once it has written much of it.
#[derive(Debug)]
struct Flooded {
    topic: Topic,
    bytes: File,
}

impl Write for Flooded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.0.lock().unwrap().len() > 512 << 10 && !self.topic.is_finished() {
            publish(&self.topic, 100_000..200_000);
            self.topic.finish(None).unwrap();
        }
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn events_read_before_a_gap_are_recorded_before_it() {
    for slow_clients in [SlowClients::Disconnect, SlowClients::SkipAhead] {
        let topic = Topic::new(
            TopicConfig::default()
                .retention(
                    Retention::events(usize::MAX)
                        .bytes(1 << 20)
                        .backlog(Duration::ZERO, 0),
                )
                .slow_clients(slow_clients),
        );
        publish(&topic, 0..40_000);
        let subscription = topic.subscribe(Start::Earliest);
        let bytes = File::default();
        let flooded = Flooded {
            topic: topic.clone(),
            bytes: bytes.clone(),
        };
        let recorded = subscription
            .record(Recorder::new(flooded), Instant::now())
            .await;
        assert_eq!(recorded.is_ok(), slow_clients == SlowClients::SkipAhead);
        let recording = String::from_utf8(bytes.0.lock().unwrap().clone()).unwrap();
        let (read, rest) = match recording.split_once("event: gap\n") {
            Some((read, rest)) => (read, Some(rest)),
            None => (&recording[..], None),
        };
        let read = read.strip_prefix(":T+0.000000000\n").unwrap();
        assert!(read.len() > 512 << 10, "{}", read.len());
        assert!(published(0..40_000).starts_with(read) && read.ends_with("\n\n"));
        let rest = rest.map(|rest| rest.split_once("\n\n").unwrap().1);
        if let Some(rest) = rest {
            assert!(published(100_000..200_000).ends_with(rest) && rest.len() > 512 << 10);
        }
        assert_eq!(rest.is_some(), slow_clients == SlowClients::SkipAhead);
    }
}

/// What has been recorded is in the file, whatever happens to the process.
#[tokio::test(start_paused = true)]
async fn a_recording_is_flushed_when_it_has_caught_up() {
    let topic = Topic::new(Retention::events(10));
    let file = File::default();
    let recorder = Recorder::new(BufWriter::new(file.clone()));
    let live = topic.subscribe(Start::Live);
    let recording = tokio::spawn(live.record(recorder, Instant::now()));
    for id in 0..2 {
        publish(&topic, id..id + 1);
        pass(Duration::from_secs(1)).await;
        let recorded = file.0.lock().unwrap().clone();
        assert!(recorded.ends_with(published(id..id + 1).as_bytes()), "{id}");
    }
    topic.finish(None).unwrap();
    recording.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_gap_before_the_beginning_is_recorded_once() {
    let topic = Topic::new(Retention::events(2).backlog(Duration::ZERO, 0));
    publish(&topic, 0..9);
    let resumed = topic.subscribe_after(EventId::new("0").ok(), Start::Live);
    topic.finish(None).unwrap();
    let recorder = Recorder::new(Vec::new());
    let recorded = resumed.record(recorder, Instant::now()).await.unwrap();
    let recording = recorded.into_parts().0;
    let events = Vec::from_iter(Events::new(&recording[..]).map(Result::unwrap));
    let kinds = Vec::from_iter(events.iter().map(MessageEvent::event));
    assert_eq!(kinds, ["gap", "message", "message"]);
}

#[tokio::test(start_paused = true)]
async fn a_tee_reports_that_its_recording_could_not_be_flushed() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }
    let (ours, _theirs) = duplex(WIDE);
    let stream = Stream::new(ours, HOUR);
    let mut stream = stream.map_connection(|conn| Tee::new(conn, Recorder::new(Full)));
    stream.write_str("token").await.unwrap();
    let recorded = stream.into_parts().0.into_parts().1;
    assert_eq!(recorded.err().unwrap().kind(), io::ErrorKind::StorageFull);
}

#[tokio::test(start_paused = true)]
async fn a_write_error_ends_the_recording() {
    let topic = Topic::new(Retention::events(10));
    let live = topic.subscribe(Start::Live);
    let recorder = Recorder::new(Faulty::new().breaks_at(40, io::ErrorKind::StorageFull));
    let recording = tokio::spawn(async move { live.record(recorder, Instant::now()).await });
    settle().await;
    publish(&topic, 0..10);
    let error = recording.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(topic.subscriptions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_recording_that_lags_ends_or_records_the_gap() {
    for slow_clients in [SlowClients::Disconnect, SlowClients::SkipAhead] {
        let topic = Topic::new(
            TopicConfig::default()
                .retention(Retention::events(2).backlog(Duration::ZERO, 0))
                .slow_clients(slow_clients),
        );
        let live = topic.subscribe(Start::Live);
        publish(&topic, 0..4);
        topic.finish(None).unwrap();
        let recorded = live.record(Recorder::new(Vec::new()), Instant::now()).await;
        match slow_clients {
            SlowClients::SkipAhead => {
                let gap = "event: gap\ndata: {\"asked\":null,\"from\":\"2\"}\n\n";
                let expected = format!(":T+0.000000000\n{gap}{}", published(2..4));
                let recording = recorded.unwrap().into_parts().0;
                assert_eq!(String::from_utf8(recording).unwrap(), expected);
            }
            _ => assert_eq!(
                recorded.unwrap_err().to_string(),
                "the reader lagged: events were evicted before it had read them; continue with \
                 the oldest retained event"
            ),
        }
    }
}

/// A read of several topics reports the gap of each, one after the other.
#[tokio::test(start_paused = true)]
async fn the_gaps_of_many_topics_are_all_recorded() {
    let config = TopicConfig::from(Retention::events(2).backlog(Duration::ZERO, 0));
    let hub = Hub::new(config.slow_clients(SlowClients::SkipAhead));
    let names = Vec::from_iter((0..20).map(|number| format!("topic {number}")));
    let topics = Vec::from_iter(names.iter().map(|name| hub.topic(name).unwrap()));
    let live = Subscription::to(&topics, None, Start::Live).unwrap();
    for topic in &topics {
        for _ in 0..4 {
            topic.publish(&Event::new().data("d")).unwrap();
        }
        topic.finish(None).unwrap();
    }
    let recorded = live.record(Recorder::new(Vec::new()), Instant::now()).await;
    let recording = recorded.unwrap().into_parts().0;
    let events = Vec::from_iter(Events::new(&recording[..]).map(Result::unwrap));
    for name in names {
        let named = format!("\"topic\":\"{name}\"");
        let is_gap = |event: &&MessageEvent<'_>| event.event() == "gap";
        let gaps = events.iter().filter(is_gap);
        let gaps = gaps.filter(|gap| gap.data().contains(&named));
        assert_eq!(gaps.count(), 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tee_records_the_bytes_that_the_client_takes() {
    for fails_at in [usize::MAX, 20] {
        let (ours, mut theirs) = duplex(7);
        let writer = Faulty::new().breaks_at(fails_at, io::ErrorKind::StorageFull);
        let stream = Stream::new(ours, HOUR);
        let mut stream = stream.map_connection(|conn| Tee::new(conn, Recorder::new(writer)));
        let writing = async {
            stream.write_event(1, "token", "two\nlines").await.unwrap();
            pass(Duration::from_secs(1)).await;
            stream.comment("beat").await.unwrap();
            stream.write_str("more").await.unwrap();
            stream.into_parts().0.into_parts().1
        };
        let mut got = String::new();
        let (recorded, read) = tokio::join!(writing, theirs.read_to_string(&mut got));
        read.unwrap();
        let sent = "id: 1\nevent: token\ndata: two\ndata: lines\n\n: beat\ndata: more\n\n";
        assert_eq!(got, sent);
        match recorded {
            Ok(recorder) => {
                let recording = recorder.into_parts().0.into_written();
                Comparison::new().assert_same(sent.as_bytes(), &recording[..]);
                let items = Replayer::new(&recording[..]);
                let times = items.map(|item| item.unwrap().at().as_secs());
                assert_eq!(Vec::from_iter(times), [0, 1, 1]);
            }
            Err(error) => {
                assert_eq!((error.kind(), fails_at), (io::ErrorKind::StorageFull, 20));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_hour_is_played_at_any_pace() {
    for (pace, expected) in [
        (Pace::RECORDED, HOUR),
        (Pace::times(60.0).unwrap(), HOUR / 60),
        (Pace::times(0.5).unwrap(), HOUR * 2),
        (Pace::FASTEST, Duration::ZERO),
    ] {
        let topic = Topic::new(Retention::events(10));
        let began = Instant::now();
        let published = player(&hour(), pace).publish_to(&topic).await.unwrap();
        assert_eq!(published, 6);
        assert_eq!(began.elapsed(), expected, "{pace:?}");

        let (ours, theirs) = duplex(WIDE);
        let mut stream = Stream::new(ours, HOUR);
        let began = Instant::now();
        assert_eq!(player(&hour(), pace).send_to(&mut stream).await.unwrap(), 6);
        assert_eq!(began.elapsed(), expected, "{pace:?}");
        drop(theirs);
    }
}

#[tokio::test(start_paused = true)]
async fn playing_reproduces_the_recorded_events() {
    let topic = Topic::new(Retention::events(10));
    let live = topic.subscribe(Start::Live);
    let began = Instant::now();
    let recording =
        tokio::spawn(async move { live.record(Recorder::new(Vec::new()), began).await });
    let recorded = hour();
    player(&recorded, Pace::RECORDED)
        .publish_to(&topic)
        .await
        .unwrap();
    topic.finish(None).unwrap();
    let again = recording.await.unwrap().unwrap().into_parts().0;
    let without_comments = Comparison::new().without_comments();
    without_comments
        .times_within(Duration::ZERO)
        .assert_same(&recorded[..], &again[..]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_gets_comments_and_ends_with_its_client() {
    const SENT: &str = ": beat\nid: 1\ndata: d\n\n: beat\nid: 2\ndata: d\n\n";
    let (ours, mut theirs) = duplex(WIDE);
    let mut stream = Stream::new(ours, HOUR);
    let recorded = hour();
    let playing = async {
        let mut player = player(&recorded, Pace::RECORDED);
        player.send_to(&mut stream).await
    };
    let reading = async {
        let mut sent = [0; SENT.len()];
        theirs.read_exact(&mut sent).await.unwrap();
        drop(theirs);
        sent
    };
    let (played, sent) = tokio::join!(playing, reading);
    assert_eq!(played.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(std::str::from_utf8(&sent).unwrap(), SENT);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_loses_nothing() {
    let recorded = hour();
    let mut player = player(&recorded, Pace::RECORDED);
    let began = Instant::now();
    let mut seen = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_secs(7), player.next()).await {
            Ok(Ok(Some(item))) => seen.push(item.into_owned()),
            Ok(end) => break assert_eq!(end.unwrap(), None),
            Err(_) => {}
        }
    }
    let expected: Vec<_> = Replayer::new(&recorded[..]).map(Result::unwrap).collect();
    assert_eq!(seen, expected);
    assert_eq!(began.elapsed(), HOUR);
}

#[tokio::test(start_paused = true)]
async fn a_looped_recording_is_played_until_the_topic_is_finished() {
    let topic = Topic::new(Retention::events(100));
    let recorded = Cursor::new(hour());
    let replayer = Replayer::new(recorded).looped().from_id(EventId::from(5));
    let playing = topic.clone();
    let playing = tokio::spawn(async move {
        Player::new(replayer, Pace::RECORDED)
            .publish_to(&playing)
            .await
    });
    pass(HOUR + Duration::from_secs(1)).await;
    topic.finish(None).unwrap();
    // 5, then 6 and 5 again every ten minutes; the one after the end is not accepted.
    assert_eq!(playing.await.unwrap().unwrap(), 13);
}

/// Other tasks run meanwhile, on a single thread.
#[tokio::test]
async fn an_endless_recording_at_full_speed_yields_to_other_tasks() {
    let topic = Topic::new(Retention::events(10));
    let replayer = Replayer::new(Cursor::new(hour())).looped();
    let playing = topic.clone();
    let playing = tokio::spawn(async move {
        Player::new(replayer, Pace::FASTEST)
            .publish_to(&playing)
            .await
    });
    let mut live = topic.subscribe(Start::Live);
    let mut bytes = Vec::new();
    while bytes.len() < 10_000 {
        let _ = live.read(&mut bytes).await;
    }
    topic.finish(None).unwrap();
    playing.await.unwrap().unwrap();
}
