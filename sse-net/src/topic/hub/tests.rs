use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use sse_core::{Event, EventId, Resume, Retention};

use super::names::Dropped;
use super::*;
use crate::topic::{NewEvents, PublishError, Several, Start, Subscription};

const AGE: Duration = Duration::from_secs(60);

fn hub() -> Hub {
    Hub::new(Retention::events(2).age(AGE).backlog(Duration::ZERO, 0))
}

fn publish(topic: &Topic) -> LogId {
    let published = topic.publish(&Event::new().data("x")).unwrap();
    published.id().unwrap()
}

fn poll(subscription: &mut Subscription) -> Option<String> {
    let cx = &mut Context::from_waker(Waker::noop());
    match subscription.poll_bytes(cx) {
        Poll::Ready(bytes) => Some(String::from_utf8(bytes.unwrap().unwrap().to_vec()).unwrap()),
        Poll::Pending => None,
    }
}

/// Looks at all names when the retention's age has passed `times` times.
fn sweep(hub: &Hub, times: u32) {
    let mut now = now();
    now.steady += times * (AGE + Duration::from_millis(1));
    let mut dropped = Dropped::new();
    let mut names = hub.0.names();
    names.sweep(1000, (1000, LogId::MAX), now, &mut dropped);
    drop(names);
}

#[test]
fn ids_rise_over_all_topics() {
    let hub = hub();
    let [a, b] = ["a", "b"].map(|name| hub.topic(name).unwrap());
    let ids = [publish(&a), publish(&b), publish(&b), publish(&a)];
    assert!(ids.is_sorted(), "{ids:?}");
    assert!(ids.iter().all(|id| id.epoch() == ids[0].epoch()));
    let batch = [Event::new().data("x"), Event::new().data("x".repeat(9000))];
    let last = b.publish_all(&batch).unwrap().id().unwrap();
    assert!(ids[3] < last && last < publish(&a));
    assert_eq!(hub.topic("a").unwrap().name(), Some("a"));
    assert_eq!(hub.topics(), 2);
}

#[test]
fn a_publishers_id_is_refused() {
    let topic = hub().topic("a").unwrap();
    let event = Event::new().id(1).data("x");
    for error in [
        topic.publish(&event).unwrap_err(),
        topic
            .publish_all(&[Event::new(), event.clone()])
            .unwrap_err(),
        topic.finish(Some(&event)).unwrap_err(),
    ] {
        assert_eq!(error, PublishError::OwnId);
        assert_eq!(
            error.to_string(),
            "the event has an ID, but a hub assigns the IDs of its topics; publish it without \
             one, or in a topic that stands alone"
        );
    }
    assert!(!topic.is_finished());
}

#[test]
fn the_number_of_topics_is_limited() {
    let config = HubConfig::from(Retention::events(2)).max_topics(2);
    let hub = Hub::new(config);
    let a = hub.topic("a").unwrap();
    publish(&hub.topic("b").unwrap());
    let error = hub.topic("c").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the hub has 2 topics in use, the most it allows; raise `max_topics` or check the names \
         that clients ask for"
    );
    assert!(hub.topic("a").is_ok() && hub.topic("b").is_ok());
    drop(a);
    assert!(
        hub.topic("c").is_ok(),
        "the first one is not in use any more"
    );
}

#[test]
fn a_topic_is_dropped_when_it_is_empty_and_nobody_holds_it() {
    let hub = hub();
    let a = hub.topic("a").unwrap();
    let also_a = a.clone();
    drop(a);
    assert_eq!(hub.topics(), 1);
    let subscription = also_a.subscribe(Start::Live);
    drop(also_a);
    assert_eq!(hub.topics(), 1, "a subscription holds it");
    drop(subscription);
    assert_eq!(hub.topics(), 0);

    publish(&hub.topic("b").unwrap());
    assert_eq!(hub.topics(), 1);
    sweep(&hub, 0);
    assert_eq!(hub.topics(), 1, "it retains an event");
    let b = hub.topic("b").unwrap();
    sweep(&hub, 1);
    assert_eq!(hub.topics(), 1, "it is held");
    drop(b);
    sweep(&hub, 1);
    assert_eq!(hub.topics(), 0);
}

/// Runs that are kept are such topics.
#[test]
fn a_finished_topic_that_is_kept_stays_packed() {
    let hub = hub();
    let topic = hub.topic("a").unwrap();
    publish(&topic);
    drop(topic.subscribe(Start::Live));
    topic.finish(None).unwrap();
    drop(topic.subscribe(Start::Live));
    let shared = Arc::downgrade(&topic.shared);
    let is_packed = || shared.upgrade().unwrap().lock_packed().log.is_packed();
    assert!(is_packed());
    let event = Event::new().data("x");
    assert_eq!(topic.publish(&event), Err(PublishError::Finished));
    assert!(is_packed(), "an event was refused");
    assert_eq!(topic.resume(None), Resume::New);
    assert!(format!("{topic:?}").contains("events: 1"));
    assert!(is_packed(), "it was looked at");
    assert!(topic.locate(None, Start::Live).is_over);
    let topics = vec![topic.clone()];
    let several = Several::locate(Arc::clone(&hub.0), topics, None, Start::Live, None);
    assert!(several.is_over());
    assert!(is_packed(), "clients got 204");
    drop((topic, several));
    assert!(is_packed(), "a handle was dropped");
    sweep(&hub, 0);
    assert!(is_packed(), "its retention was looked at");
    sweep(&hub, 1);
    assert_eq!(hub.topics(), 0, "its event is too old");
}

#[test]
fn many_topics_that_come_and_go_leave_nothing() {
    let hub = hub();
    for number in 0..1000 {
        drop(hub.topic(number.to_string()));
        drop(hub.topic("again"));
    }
    let names = hub.0.names();
    assert!(names.lens() <= (0, 4), "{:?}", names.lens());
}

#[test]
fn a_gap_is_known_after_the_topic_was_dropped() {
    let hub = hub();
    let resume = |name: &str, id: LogId| hub.topic(name).unwrap().resume(Some(&id.into()));
    let other = hub.topic("other").unwrap();
    let before = publish(&other);
    publish(&hub.topic("a").unwrap());
    let after = publish(&other);
    assert_eq!(resume("a", before), Resume::Resumed);
    sweep(&hub, 1);
    assert_eq!(
        resume("a", before),
        Resume::Gap,
        "its event was dropped with it"
    );
    assert_eq!(resume("a", after), Resume::Resumed);
    assert_eq!(resume("b", before), Resume::Resumed, "it is another topic");

    drop(hub.topic("a"));
    sweep(&hub, 2);
    assert_eq!(resume("b", before), Resume::Gap, "the name is dropped, too");
    assert_eq!(resume("b", after), Resume::Resumed);
    assert_eq!(resume("a", before), Resume::Gap);
    assert_eq!(hub.0.names().lens().0, 1, "only the other one");
}

#[test]
fn a_client_resumes_by_the_ids_of_its_hub_only() {
    let hub = hub();
    let [a, b] = ["a", "b"].map(|name| hub.topic(name).unwrap());
    let start = hub.0.order().epochs.origin();
    let ids = [publish(&b), publish(&a), publish(&b), publish(&b)];
    let last = publish(&b);
    for (id, expected, lag) in [
        (start.to_string(), Resume::Resumed, 1),
        (ids[0].to_string(), Resume::Resumed, 1),
        (ids[1].to_string(), Resume::Resumed, 0),
        (last.to_string(), Resume::Resumed, 0),
        // Of the future: it was lost.
        (
            LogId::new(last.millis() + 1000, last.sequence()).to_string(),
            Resume::Gap,
            0,
        ),
        // Of another hub, another run, or another kind.
        (
            LogId::new(last.millis(), last.sequence() + 1).to_string(),
            Resume::Unknown,
            1,
        ),
        (
            LogId::new(1, start.sequence()).to_string(),
            Resume::Unknown,
            1,
        ),
        ("1".to_owned(), Resume::Unknown, 1),
        (String::new(), Resume::New, 0),
    ] {
        let subscription = a.subscribe_after(EventId::new(&id).unwrap().into_owned(), Start::Live);
        assert_eq!(subscription.resume(), expected, "{id}");
        assert_eq!(subscription.lag() > 0, lag > 0, "{id}");
    }
    // It has evicted its first two events.
    for (id, expected) in [
        (start, Resume::Gap),
        (ids[0], Resume::Gap),
        (ids[1], Resume::Gap),
        (ids[2], Resume::Resumed),
        (ids[3], Resume::Resumed),
    ] {
        assert_eq!(b.resume(Some(&id.into())), expected, "{id}");
    }
}

#[test]
fn a_position_is_told_with_which_a_client_resumes() {
    let hub = hub();
    let [a, b] = ["a", "b"].map(|name| hub.topic(name).unwrap());
    for count in 0..4 {
        for start in [Start::Live, Start::Last(1), Start::Last(9), Start::Earliest] {
            let located = a.locate(None, start);
            let mut opening = Vec::new();
            located.encode_opening(&a, Some(Duration::from_secs(1)), &mut opening);
            let text = String::from_utf8(opening).unwrap();
            let id = text
                .lines()
                .find_map(|line| line.strip_prefix("id: "))
                .unwrap();
            let back = a.locate(Some(&EventId::new(id).unwrap()), Start::Live);
            assert_eq!(
                (back.resume, back.cursor),
                (Resume::Resumed, located.cursor),
                "{start:?} with {count} events"
            );
        }
        publish(&a);
        publish(&b);
    }
}

#[test]
fn events_after_the_mark_are_not_visible() {
    let hub = hub();
    let start = hub.0.order().visible();
    hub.0.set_visible(start, &[]);
    let [a, b] = ["a", "b"].map(|name| hub.topic(name).unwrap());
    let mut subscription = a.subscribe(Start::Live);
    let ids = [publish(&a), publish(&b), publish(&a)];
    assert_eq!(poll(&mut subscription), None);
    assert_eq!(
        a.resume(Some(&ids[0].into())),
        Resume::Gap,
        "nobody has received it"
    );
    hub.0
        .set_visible(ids[1], &[Arc::clone(&a.shared), Arc::clone(&b.shared)]);
    let expected = |id: LogId| Some(format!("id: {id}\ndata: x\n\n"));
    assert_eq!(poll(&mut subscription), expected(ids[0]));
    assert_eq!(poll(&mut subscription), None);
    assert_eq!(poll(&mut b.subscribe(Start::Earliest)), expected(ids[1]));
    hub.0.set_visible(ids[2], &[Arc::clone(&a.shared)]);
    assert_eq!(poll(&mut subscription), expected(ids[2]));
}

/// When an ID is visible, every smaller one of the hub is.
#[test]
fn a_reader_of_the_last_id_finds_every_event_before_it() {
    const COUNT: usize = 5000;
    let hub = Hub::new(Retention::events(usize::MAX));
    let topics = ["a", "b", "c"].map(|name| hub.topic(name).unwrap());
    let publishers = topics.clone().map(|topic| {
        thread::spawn(move || (0..COUNT).map(|_| publish(&topic)).collect::<Vec<_>>())
    });
    let mut seen = Vec::new();
    while seen.last().is_none_or(|(_, counts)| *counts != [COUNT; 3]) {
        let visible = hub.0.order().visible();
        let is_newer = topics
            .each_ref()
            .map(|topic| topic.shared.newest.load() > visible);
        let counts = topics.each_ref().map(|topic| {
            let (mut state, mut count, mut after) = (topic.lock(), 0, LogId::default());
            while let Some(slice) = state.log.slice_between(after, visible).unwrap() {
                (count, after) = (count + slice.count(), slice.last_id());
            }
            count
        });
        // Events up to the ID are found by this number, too, without a lock.
        for (topic, is_newer) in topics.iter().zip(is_newer) {
            let newest = topic.lock().log.newest_id();
            assert!(is_newer || newest <= visible || topic.shared.newest.load() > visible);
        }
        seen.push((visible, counts));
    }
    let published = publishers.map(|publisher| publisher.join().unwrap());
    for (visible, counts) in seen {
        let expected = published
            .each_ref()
            .map(|ids| ids.partition_point(|id| *id <= visible));
        assert_eq!(counts, expected);
    }
}

/// The data of the events, and the types and the data of those with a type.
fn read(subscription: &mut Subscription) -> String {
    let mut all = Vec::new();
    loop {
        let mut out = Vec::new();
        let cx = &mut Context::from_waker(Waker::noop());
        match subscription.poll_read(cx, &mut out) {
            Poll::Pending => break,
            Poll::Ready(Ok(0)) => {
                all.push("over".to_owned());
                break;
            }
            Poll::Ready(Ok(_)) => {
                let text = String::from_utf8(out).unwrap();
                let fields = text.lines().filter_map(|line| {
                    line.strip_prefix("data: ").or(line.strip_prefix("event: "))
                });
                all.extend(fields.map(str::to_owned));
            }
            Poll::Ready(Err(_)) => {
                all.push("lagged".to_owned());
            }
        }
    }
    all.join(" ")
}

fn say(topic: &Topic, data: &str) -> LogId {
    let published = topic.publish(&Event::new().data(data)).unwrap();
    published.id().unwrap()
}

#[test]
fn several_topics_are_read_in_the_order_of_their_ids() {
    let hub = hub();
    let [a, b, c] = ["a", "b", "c"].map(|name| hub.topic(name).unwrap());
    let mut live = Subscription::to([&a, &b, &a], None, Start::Live).unwrap();
    let ids = [
        say(&a, "a1"),
        say(&b, "b1"),
        say(&c, "c1"),
        say(&a, "a2"),
        say(&b, "b2"),
    ];
    assert_eq!(read(&mut live), "a1 b1 a2 b2");
    assert_eq!((live.resume(), live.lag()), (Resume::New, 0));
    for (id, expected) in [
        (ids[0], "b1 a2 b2"),
        (ids[1], "a2 b2"),
        (ids[2], "a2 b2"),
        (ids[3], "b2"),
        (ids[4], ""),
    ] {
        let mut back = Subscription::to([&b, &a], Some(id.into()), Start::Live).unwrap();
        assert_eq!((back.resume(), back.gaps().count()), (Resume::Resumed, 0));
        assert_eq!(read(&mut back), expected);
    }
    for (start, expected) in [
        (Start::Live, ""),
        (Start::Last(1), "c1 a2 b2"),
        (Start::Last(2), "a1 b1 c1 a2 b2"),
        (Start::Earliest, "a1 b1 c1 a2 b2"),
    ] {
        let mut joins = Subscription::to([&a, &b, &c], None, start).unwrap();
        assert_eq!(read(&mut joins), expected, "{start:?}");
    }
    say(&b, "b3");
    assert_eq!(read(&mut live), "b3");
    drop(live);
    assert_eq!(a.subscriptions() + b.subscriptions(), 0);
}

#[test]
fn a_gap_in_one_topic_does_not_hold_up_the_others() {
    let hub = hub();
    let [a, b] = ["a", "b"].map(|name| hub.topic(name).unwrap());
    let first = say(&b, "b1");
    let mut slow = Subscription::to([&a, &b], None, Start::Earliest).unwrap();
    for data in ["a1", "a2", "a3"] {
        say(&a, data);
    }
    say(&b, "b2");
    assert_eq!(read(&mut slow), "lagged b1 a2 a3 b2");

    let back = || Subscription::to([&a, &b], Some(first.into()), Start::Live).unwrap();
    let gaps: Vec<_> = back().gaps().map(str::to_owned).collect();
    assert_eq!((back().resume(), &*gaps.join(" ")), (Resume::Gap, "a"));
    assert_eq!(read(&mut back()), "lagged a2 a3 b2");
    let mut told = back();
    let gap = String::from_utf8(told.take_notices().unwrap()).unwrap();
    let next = Subscription::to([&a], None, Start::Last(2)).unwrap();
    drop(next);
    let expected = format!("event: gap\ndata: {{\"asked\":\"{first}\",\"from\":");
    assert!(
        gap.starts_with(&expected) && gap.ends_with("\"topic\":\"a\"}\n\n"),
        "{gap}"
    );
    assert_eq!(read(&mut told), "a2 a3 b2");

    let unknown = EventId::from_static("unknown");
    let unknown = Subscription::to([&a, &b], unknown, Start::Live).unwrap();
    assert_eq!(
        (unknown.resume(), unknown.gaps().count()),
        (Resume::Unknown, 2)
    );
}

#[test]
fn the_end_of_one_of_several_topics_is_read_once() {
    let hub = hub();
    let [a, b] = ["a", "b"].map(|name| hub.topic(name).unwrap());
    let mut subscription = Subscription::to([&a, &b], None, Start::Live).unwrap();
    a.finish(Some(&Event::new().data("a1"))).unwrap();
    say(&b, "b1");
    assert_eq!(read(&mut subscription), "a1 b1 close {\"topic\":\"a\"}");
    say(&b, "b2");
    assert_eq!(read(&mut subscription), "b2");
    b.finish(None).unwrap();
    assert_eq!(read(&mut subscription), "close {\"topic\":\"b\"} over");
    assert_eq!(read(&mut subscription), "over");
}

#[test]
fn topics_that_cannot_be_followed_together_are_refused() {
    let (hub, alone) = (hub(), Topic::new(Retention::default()));
    let [a, b] = ["a", "b"].map(|name| hub.topic(name).unwrap());
    let other = self::hub().topic("a").unwrap();
    let to = |topics: &[&Topic]| {
        let subscription = Subscription::to(topics.iter().copied(), None, Start::Live);
        subscription.map(drop).map_err(|error| error.to_string())
    };
    for topics in [&[&a, &b][..], &[&a], &[&alone], &[&alone, &alone]] {
        assert_eq!(to(topics), Ok(()));
    }
    let different = "the topics belong to different hubs, so no event ID resumes all of them; \
                     follow topics of one hub, or use a stream for each hub";
    for topics in [&[&a, &other][..], &[&a, &alone], &[&alone, &a]] {
        assert_eq!(to(topics), Err(different.to_owned()));
    }
    let none = "there is no topic to follow; name at least one";
    assert_eq!(to(&[]), Err(none.to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_topics_wake_their_reader() {
    const COUNT: usize = 2000;
    let hub = Hub::new(Retention::events(usize::MAX));
    let topics = ["a", "b", "c"].map(|name| hub.topic(name).unwrap());
    let mut subscription = Subscription::to(&topics, None, Start::Live).unwrap();
    let reader = tokio::spawn(async move {
        let mut out = Vec::new();
        while subscription.read(&mut out).await.unwrap() > 0 {}
        String::from_utf8(out).unwrap()
    });
    let publishers = topics.map(|topic| {
        thread::spawn(move || {
            for number in 0..COUNT {
                say(&topic, "x");
                if number % 64 == 0 {
                    thread::yield_now();
                }
            }
            topic.finish(None).unwrap();
        })
    });
    for publisher in publishers {
        publisher.join().unwrap();
    }
    let text = reader.await.unwrap();
    let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
    let ids = Vec::from_iter(ids.map(|id| LogId::parse(id).unwrap()));
    assert_eq!(ids.len(), 3 * COUNT);
    assert!(ids.is_sorted());
}

/// Runs are removed long before their keys are dropped.
#[test]
fn the_names_of_removed_topics_do_not_pile_up() {
    let config = || HubConfig::default().max_topics(10);
    let remove_many = |hub: &Hub| {
        for number in 0..1000 {
            let topic = hub.topic(number.to_string()).unwrap();
            publish(&topic);
            topic.remove_from_hub(AGE * 1000);
            drop(hub.0.order().take_new_events()); // As a journal does, which has failed.
        }
        hub.0.names().lens().0
    };
    let hub = Hub::new(config());
    let first = publish(&hub.topic("0").unwrap());
    assert!(remove_many(&hub) <= 12);
    let again = hub.topic("0").unwrap();
    assert_eq!(again.resume(Some(&first.into())), Resume::Gap);

    let epochs = Epochs::new(7, now().unix);
    let first = epochs.last();
    let core = HubCore::restore(config(), epochs, first, Arc::default(), [].into_iter());
    let (core, storage) = (Arc::new(core), None);
    let hub = Hub(Arc::new(HubShared { core, storage }));
    assert_eq!(remove_many(&hub), 1000, "a journal has synced nothing");
    hub.0.set_safe(LogId::MAX);
    assert!(remove_many(&hub) <= 30);
}

/// A handle of the removed topic is left.
#[test]
fn a_topic_that_was_removed_does_not_remove_the_next_one_of_its_name() {
    let hub = hub();
    let start = hub.0.order().visible();
    hub.0.set_visible(start, &[]);
    let old = hub.topic("a").unwrap();
    old.remove_from_hub(AGE);
    let new = hub.topic("a").unwrap();
    publish(&new);
    old.remove_from_hub(AGE);
    assert_eq!(hub.0.order().take_new_events().removed.len(), 1);
    assert_eq!(hub.topic("a").unwrap().address(), new.address());
}

/// A compaction that has a removal must not have the topic, whose events would come back.
#[test]
fn a_topic_is_gone_for_all_that_see_its_removal() {
    let hub = Hub::new(Retention::default());
    // The reader mostly holds the lock of the names, so that the publisher waits for it.
    let _others = Vec::from_iter((0..1000).map(|number| hub.topic(number.to_string()).unwrap()));
    let removed = thread::scope(|scope| {
        let removals = scope.spawn(|| {
            let mut removals = Vec::new();
            for number in 0..300 {
                let topic = hub.topic("a").unwrap();
                say(&topic, "x");
                let (shared, before) = (Arc::clone(&topic.shared), hub.0.order().epochs.last());
                topic.remove_from_hub(Duration::ZERO);
                removals.push((shared, before));
                if number % 8 == 0 {
                    thread::yield_now();
                }
            }
            removals
        });
        let mut seen = Vec::new();
        while !removals.is_finished() {
            seen.push(hub.0.events_after(LogId::default()));
        }
        let removals = removals.join().unwrap();
        let has = |new: &NewEvents, (topic, before): &(_, LogId)| {
            new.until > *before && new.topics.iter().any(|other| Arc::ptr_eq(other, topic))
        };
        let both = |new: &NewEvents| removals.iter().any(|removal| has(new, removal));
        assert!(!seen.iter().any(both), "of {} readings", seen.len());
        removals.len()
    });
    assert_eq!(removed, 300);
}
