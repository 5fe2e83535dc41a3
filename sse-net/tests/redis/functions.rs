//! The functions in Lua, called as another program calls them: what they store and refuse.

use std::time::{Duration, SystemTime};

use redis::RedisResult;
use sse_core::LogId;

use crate::server::Redis;

pub(crate) const FRAME: &str = "data: a\n\n";

/// A server with the functions, and the settings that the next calls pass.
pub(crate) struct Functions {
    pub(crate) redis: Redis,
    random: u16,
    max_events: &'static str,
    max_age: &'static str,
    topic_expiry: &'static str,
}

impl Functions {
    pub(crate) fn start() -> Self {
        let redis = Redis::start(&[]);
        redis.load_functions();
        let library = include_str!("../../src/engine/run.lua");
        redis.call::<()>(&["FUNCTION", "LOAD", library]);
        Self {
            redis,
            random: 7,
            max_events: "1000",
            max_age: "0",
            topic_expiry: "0",
        }
    }

    pub(crate) fn try_publish(&self, topic: &str, kind: &[&str]) -> RedisResult<String> {
        let (stream, random) = (key(&format!("topic:{topic}")), self.random.to_string());
        let keys = ["hub", "epochs", "changed"].map(key);
        let mut words = vec!["FCALL", "sse_publish", "4"];
        words.extend(keys.iter().map(String::as_str));
        words.extend([&stream, &random, "channel", topic]);
        words.extend([self.max_events, self.max_age, "1000", self.topic_expiry]);
        words.extend(kind);
        self.redis.try_call(&words)
    }

    #[track_caller]
    pub(crate) fn publish(&self, topic: &str, kind: &[&str]) -> LogId {
        LogId::parse(&self.try_publish(topic, kind).unwrap()).unwrap()
    }

    #[track_caller]
    pub(crate) fn store(&self, topic: &str) -> LogId {
        self.publish(topic, &["events", FRAME])
    }

    #[track_caller]
    pub(crate) fn refused(&self, topic: &str, kind: &[&str]) -> String {
        let error = self.try_publish(topic, kind).unwrap_err();
        error.code().unwrap_or_default().to_owned()
    }

    /// Returns the ID that the first entry of a topic names as the one before it.
    pub(crate) fn before(&self, topic: &str) -> String {
        let stream = key(&format!("topic:{topic}"));
        let entries: Vec<(String, Vec<String>)> = self.redis.call(&["XRANGE", &stream, "-", "+"]);
        entries[0].1[1].clone()
    }

    pub(crate) fn field(&self, name: &str) -> Option<String> {
        self.redis.call(&["HGET", &key("hub"), name])
    }

    pub(crate) fn set_last(&self, id: LogId) {
        let id = id.to_string();
        self.redis.call::<()>(&["HSET", &key("hub"), "last", &id]);
    }

    /// Makes the server one that is not known to have all events.
    fn begin_epoch(&self) {
        self.redis
            .call::<()>(&["HSET", &key("hub"), "primary", "x"]);
    }

    fn epochs(&self) -> Vec<String> {
        self.redis.call(&["LRANGE", &key("epochs"), "0", "-1"])
    }

    pub(crate) fn runs(&self) -> Vec<String> {
        self.redis.call(&["ZRANGE", &key("runs"), "0", "-1"])
    }
}

pub(crate) fn key(name: &str) -> String {
    format!("sse:{{hub}}:{name}")
}

/// A minute after this time: the clock of the server is behind such an ID.
pub(crate) fn in_a_minute() -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(60);
    u64::try_from(now.as_millis()).unwrap()
}

/// Else a demoted server would answer nodes that are still connected to it.
#[test]
#[ignore = "needs redis-server"]
fn a_replica_refuses_a_tick() {
    let Functions { redis, .. } = Functions::start();
    let replica = Redis::replica_of(&redis);
    let keys = ["hub", "epochs", "changed"].map(key);
    let mut words = vec!["FCALL", "sse_tick", "3"];
    words.extend(keys.iter().map(String::as_str));
    words.extend(["7", "node", "5", "0-0", "0"]);
    redis.call::<String>(&words);
    let error = replica.try_call::<String>(&words).unwrap_err();
    assert_eq!(error.code(), Some("READONLY"));
}

/// The clock may be behind the last ID, and behind the newest event after the hub's key is lost.
#[test]
#[ignore = "needs redis-server"]
fn an_epoch_begins_after_all_events_though_the_clock_has_stepped_back() {
    let mut functions = Functions::start();
    functions.store("news");
    // Its sequence is that of many events in this millisecond.
    let last = LogId::new(in_a_minute(), 7 + (100 << 16));
    functions.set_last(last);
    functions.begin_epoch();
    functions.random = 8;
    let next = functions.store("news");
    assert!(next > last && next.epoch() == 8, "{next} after {last}");

    functions.redis.call::<()>(&["DEL", &key("hub")]);
    functions.random = 9;
    let again = functions.store("news");
    assert!(again > next && again.epoch() == 9, "{again} after {next}");
    // Another topic of that time may have had events later in the same second.
    assert!(
        again.millis() >= next.millis() + 1000,
        "{again} after {next}"
    );
}

/// Else IDs of the former one would be known in the new one.
#[test]
#[ignore = "needs redis-server"]
fn each_epoch_has_a_number_of_its_own() {
    let mut functions = Functions::start();
    let mut numbers = Vec::new();
    for _ in 0..3 {
        numbers.push(functions.store("news").epoch());
        functions.begin_epoch();
    }
    assert_eq!(numbers, [7, 8, 9]);
    assert_eq!(functions.epochs().len(), 2);
    // The first number follows the last one.
    for (random, number) in [(65535, 65535), (0, 0), (65535, 1)] {
        functions.random = random;
        functions.begin_epoch();
        assert_eq!(functions.store("news").epoch(), number);
    }
}

#[test]
#[ignore = "needs redis-server"]
fn a_thousand_past_epochs_are_kept() {
    let functions = Functions::start();
    functions.store("news");
    for number in 0..1010 {
        let epoch = format!("1-{number} 2-{number}");
        functions
            .redis
            .call::<()>(&["RPUSH", &key("epochs"), &epoch]);
    }
    functions.begin_epoch();
    functions.store("news");
    let epochs = functions.epochs();
    assert_eq!((epochs.len(), &*epochs[0]), (1000, "1-11 2-11"));
}

/// A topic has the time of its first event in a second, so the newest time need not be that of the
/// last event.
#[test]
#[ignore = "needs redis-server"]
fn a_lost_key_of_the_hub_is_recovered_from_all_topics_of_the_last_second() {
    let functions = Functions::start();
    for topic in ["a", "b"] {
        functions.store(topic);
    }
    let last = functions.store("a");
    for (topic, score) in [("a", "1700000000400"), ("b", "1700000000500")] {
        functions
            .redis
            .call::<()>(&["ZADD", &key("changed"), score, topic]);
    }
    functions.redis.call::<()>(&["DEL", &key("hub")]);
    functions.store("c");
    let epochs = functions.epochs();
    // All IDs of the epoch up to that one are known.
    assert_eq!(epochs, [format!("0-7 {last}")]);
    // A topic may have had events that are lost.
    assert_eq!(functions.before("c"), last.to_string());
    assert_eq!(functions.field("floor"), Some(last.to_string()));
}

/// Another program has written it. Else no node could begin an epoch.
#[test]
#[ignore = "needs redis-server"]
fn a_lost_key_of_the_hub_is_recovered_though_a_stream_is_of_another_type() {
    let functions = Functions::start();
    functions.store("other");
    let last = functions.store("news");
    for topic in ["a", "z"] {
        for words in [
            ["ZADD", &key("changed"), "1700000000400", topic],
            ["SET", &key(&format!("topic:{topic}")), "hey", "KEEPTTL"],
        ] {
            functions.redis.call::<()>(&words);
        }
    }
    for topic in ["news", "other"] {
        functions
            .redis
            .call::<()>(&["ZADD", &key("changed"), "1700000000400", topic]);
    }
    functions.redis.call::<()>(&["DEL", &key("hub")]);
    functions.store("next");
    assert_eq!(functions.epochs(), [format!("0-7 {last}")]);
    assert_eq!(functions.refused("a", &["events", FRAME]), "WRONGTYPE");
}

/// Else one event would pay for all of them.
#[test]
#[ignore = "needs redis-server"]
fn a_call_removes_some_idle_topics_only() {
    let mut functions = Functions::start();
    for number in 0..100 {
        let topic = format!("idle{number}");
        functions
            .redis
            .call::<()>(&["ZADD", &key("changed"), "1000", &topic]);
    }
    functions.topic_expiry = "60000";
    functions.random = 16;
    functions.store("other");
    let left: usize = functions.redis.call(&["ZCARD", &key("changed")]);
    assert_eq!(left, 100 - 32 + 1);
}

/// Else the events of other topics would be stored, but neither confirmed nor notified.
#[test]
#[ignore = "needs redis-server"]
fn an_idle_topic_with_keys_of_another_type_refuses_no_event_of_others() {
    let mut functions = Functions::start();
    functions.publish("keyed", &["value", "key", "9", "9999", "0", FRAME]);
    functions.store("idle");
    functions
        .redis
        .call::<()>(&["SET", &key("state:keyed"), "hey"]);
    for topic in ["idle", "keyed"] {
        functions
            .redis
            .call::<()>(&["ZADD", &key("changed"), "1000", topic]);
    }
    functions.topic_expiry = "60000";
    functions.random = 16;
    functions.store("other");
    assert_eq!(functions.field("topic:idle"), None);
    // It is looked at again later.
    let time: u64 = functions.redis.call(&["ZSCORE", &key("changed"), "keyed"]);
    assert!(time > 1000);
}

/// Redis rolls nothing back when a command of a function fails.
#[test]
#[ignore = "needs redis-server"]
fn an_event_that_cannot_be_appended_leaves_nothing() {
    let functions = Functions::start();
    let last = functions.store("other").to_string();
    functions
        .redis
        .call::<()>(&["SET", &key("topic:news"), "x"]);
    functions
        .try_publish("news", &["events", FRAME])
        .unwrap_err();
    // Another program has appended an event with a later ID.
    let (stream, later) = (key("topic:late"), format!("{}-7", in_a_minute()));
    functions
        .redis
        .call::<()>(&["XADD", &stream, &later, "before", "0-0", "frame", FRAME]);
    functions
        .try_publish("late", &["events", FRAME])
        .unwrap_err();
    assert_eq!(functions.field("last"), Some(last));
    for topic in ["news", "late"] {
        assert_eq!(functions.field(&format!("topic:{topic}")), None);
        let time: Option<String> = functions.redis.call(&["ZSCORE", &key("changed"), topic]);
        assert_eq!(time, None);
    }
}

/// A node that was away asks for topics with events after its last ID.
#[test]
#[ignore = "needs redis-server"]
fn changed_topics_have_the_times_of_their_events_though_the_clock_has_stepped_back() {
    let functions = Functions::start();
    let last = LogId::new(in_a_minute(), functions.store("other").sequence());
    functions.set_last(last);
    functions.store("news");
    let time: u64 = functions.redis.call(&["ZSCORE", &key("changed"), "news"]);
    assert_eq!(time, last.millis());
}

/// It costs a fifth of a call.
#[test]
#[ignore = "needs redis-server"]
fn an_event_does_not_ask_for_the_replication_id_again() {
    let functions = Functions::start();
    let calls = || {
        let calls = functions.redis.info("commandstats", "cmdstat_info");
        let calls = calls.split(['=', ',']).nth(1).map(str::to_owned);
        calls.unwrap().parse::<usize>().unwrap()
    };
    functions.store("news");
    let before = calls();
    for _ in 0..10 {
        functions.store("news");
    }
    // Of this test.
    assert_eq!(calls() - before, 1);
}

/// It has the time of its first event in a second.
#[test]
#[ignore = "needs redis-server"]
fn a_topic_has_another_time_in_another_second() {
    let functions = Functions::start();
    let earlier = functions.store("news").millis() - 1000;
    let score = earlier.to_string();
    functions
        .redis
        .call::<()>(&["ZADD", &key("changed"), &score, "news"]);
    let last = LogId::new(earlier, 7).to_string();
    functions
        .redis
        .call::<()>(&["HSET", &key("hub"), "topic:news", &last]);
    let next = functions.store("news");
    let time: u64 = functions.redis.call(&["ZSCORE", &key("changed"), "news"]);
    assert_eq!(time, next.millis());
}

#[test]
#[ignore = "needs redis-server"]
fn idle_topics_expire_and_leave_their_last_id() {
    let mut functions = Functions::start();
    let value = ["value", "key", "9", "9999", "0", FRAME];
    let removal = ["removal", "key", "9", "9999", "0", FRAME];
    let idle = functions.store("idle");
    functions.publish("keyed", &value);
    functions.publish("emptied", &value);
    let emptied = functions.publish("emptied", &removal);
    for topic in ["idle", "keyed", "emptied"] {
        functions
            .redis
            .call::<()>(&["ZADD", &key("changed"), "1000", topic]);
    }
    functions.topic_expiry = "60000";
    functions.random = 5; // Only one call of 16 looks for them.
    functions.store("first");
    assert!(functions.field("topic:idle").is_some());
    functions.random = 16;
    functions.store("second");
    for topic in ["idle", "emptied"] {
        assert_eq!(functions.field(&format!("topic:{topic}")), None);
        for name in ["topic", "state", "removals"] {
            let name = key(&format!("{name}:{topic}"));
            assert!(!functions.redis.call::<bool>(&["EXISTS", &name]), "{name}");
        }
    }
    let keyed: Vec<String> = functions.redis.call(&["HKEYS", &key("keyed")]);
    assert_eq!(keyed, ["keyed"]);
    let changed: Vec<String> = functions
        .redis
        .call(&["ZRANGE", &key("changed"), "0", "-1"]);
    assert_eq!(changed.len(), 3, "{changed:?}");
    assert!(idle < emptied);
    assert_eq!(functions.field("floor"), Some(emptied.to_string()));
    // A keyed topic stays, and is looked at again later.
    let time: u64 = functions.redis.call(&["ZSCORE", &key("changed"), "keyed"]);
    assert!(time > 1000);
    // All that it may have had counts as missed.
    functions.store("idle");
    assert_eq!(functions.before("idle"), emptied.to_string());
}

#[test]
#[ignore = "needs redis-server"]
fn events_beyond_the_age_are_trimmed_from_a_busy_topic() {
    let mut functions = Functions::start();
    functions.max_events = "100000";
    functions.max_age = "60000";
    let recent = functions.redis.millis() - 10_000;
    for (topic, millis, is_trimmed) in [("old", 1000, true), ("recent", recent, false)] {
        let stream = key(&format!("topic:{topic}"));
        for number in 1..=1000 {
            let id = format!("{millis}-{number}");
            functions
                .redis
                .call::<()>(&["XADD", &stream, &id, "before", "0-0", "frame", FRAME]);
        }
        functions.store(topic);
        let len: usize = functions.redis.call(&["XLEN", &stream]);
        let is_right = if is_trimmed { len < 200 } else { len == 1001 };
        assert!(is_right, "{topic}: {len} entries");
    }
}

/// A node reads a longer event from the stream, and need not read a shorter one.
#[test]
#[ignore = "needs redis-server"]
fn a_notification_has_its_event_up_to_64_kib() {
    let functions = Functions::start();
    let client = redis::Client::open(functions.redis.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let limit = Some(Duration::from_secs(20));
    connection.set_read_timeout(limit).unwrap();
    let mut notifications = connection.as_pubsub();
    notifications.subscribe("channel").unwrap();
    let mut before = "0-0".to_owned();
    for (len, is_long) in [(9, false), (65536, false), (65537, true)] {
        let frame = format!("data: {}\n\n", "x".repeat(len - 8));
        let id = functions.publish("news", &["events", &frame]).to_string();
        let payload: String = notifications.get_message().unwrap().get_payload().unwrap();
        let line = format!("{before} {id}");
        let expected = if is_long {
            line
        } else {
            format!("{line}\n{frame}")
        };
        assert!(payload == expected, "{len} bytes");
        before = id;
    }
    // Each event of a batch has a notification.
    let frames = ["data: a\n\n", "data: b\n\n", "data: c\n\n"];
    functions.publish("news", &[&["events"], &frames[..]].concat());
    for frame in frames {
        let payload: String = notifications.get_message().unwrap().get_payload().unwrap();
        assert!(payload.starts_with(&before) && payload.ends_with(frame));
        payload
            .split([' ', '\n'])
            .nth(1)
            .unwrap()
            .clone_into(&mut before);
    }
}

/// Its first event may be of the same second as the hub's floor, or as the end of a former run.
#[test]
#[ignore = "needs redis-server"]
fn a_topic_that_begins_has_a_time_and_an_age() {
    let mut functions = Functions::start();
    functions.max_age = "60000";
    let floor = functions.store("other").to_string();
    functions
        .redis
        .call::<()>(&["HSET", &key("hub"), "floor", &floor]);
    functions.store("news");
    let start = ["start", "7", "60000", "0", "60000"];
    for _ in 0..2 {
        let token = functions.publish("run", &start);
        functions.publish("run", &[&format!("events {token}"), FRAME]);
        for topic in ["news", "run"] {
            let time: Option<u64> = functions.redis.call(&["ZSCORE", &key("changed"), topic]);
            let age: i64 = functions
                .redis
                .call(&["PTTL", &key(&format!("topic:{topic}"))]);
            assert!(time.is_some() && age > 0, "{topic}: {time:?}, {age} ms");
        }
        functions.publish("run", &[&format!("end {token}")]);
    }
}

/// A node with such a server is up to date, and its runs continue.
#[test]
#[ignore = "needs redis-server"]
fn a_full_memory_refuses_neither_ticks_nor_leases() {
    let functions = Functions::start();
    let token = functions.publish("run", &["start", "7", "60000", "1000", "1000"]);
    functions
        .redis
        .call::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(functions.refused("news", &["events", FRAME]), "OOM");
    let keys = ["hub", "epochs", "changed", "run:run", "runs"].map(key);
    let [hub, epochs, changed, run, runs] = keys.each_ref().map(String::as_str);
    let tick = [
        "FCALL", "sse_tick", "3", hub, epochs, changed, "7", "node", "5", "0-0", "1",
    ];
    assert!(LogId::parse(&functions.redis.call::<String>(&tick)) > Some(token));
    let renew = [
        "FCALL",
        "sse_run",
        "2",
        run,
        runs,
        "renew",
        &token.to_string(),
    ];
    assert_eq!(functions.redis.call::<Vec<String>>(&renew), ["held"]);
}
