//! Servers that lose events, restart or change their role: no ID is given twice.

use sse_core::LogId;

use crate::server::{Redis, wait_for};

fn store(redis: &Redis, data: &str) -> LogId {
    redis.store("news", "events:news", &format!("data: {data}\n\n"))
}

fn follow(replica: &Redis, primary: &Redis) {
    replica.call::<()>(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
    wait_for(|| replica.info("replication", "master_link_status") == "up");
}

/// A function keeps what the server has written, so that it need not ask for its replication ID.
#[test]
#[ignore = "needs redis-server"]
fn a_server_that_has_received_all_data_from_another_begins_an_epoch() {
    for load in ["disabled", "swapdb"] {
        let a = Redis::start(&["--repl-diskless-load", load]);
        a.load_functions();
        let first = store(&a, "one");
        assert_eq!(store(&a, "two").epoch(), first.epoch());
        let b = Redis::replica_of(&a);
        let error = b
            .try_store("news", "events:news", "data: three\n\n")
            .unwrap_err();
        assert_eq!(error.code(), Some("READONLY"));
        b.call::<()>(&["REPLICAOF", "NO", "ONE"]);
        // It is lost, and nothing is published to the other server meanwhile.
        let lost = store(&a, "three");
        follow(&a, &b);
        a.call::<()>(&["REPLICAOF", "NO", "ONE"]);
        let next = store(&a, "four");
        assert_ne!(next.epoch(), lost.epoch(), "{load}: {next} after {lost}");
        assert!(next > first);
        // The other one begins an epoch, too: it does not know what the first has lost.
        let other = store(&b, "five");
        assert_ne!(other.epoch(), lost.epoch());
    }
}

#[test]
#[ignore = "needs redis-server"]
fn a_server_that_was_restarted_begins_an_epoch() {
    let mut redis = Redis::durable();
    redis.load_functions();
    let before = store(&redis, "one");
    redis.kill();
    redis.restart();
    let after = store(&redis, "two");
    assert_ne!(after.epoch(), before.epoch());
    assert!(after > before);
    // A library that is loaded again asks once more, and goes on.
    redis.load_functions();
    assert_eq!(store(&redis, "three").epoch(), after.epoch());
    redis.call::<()>(&["FLUSHALL"]);
    assert_ne!(store(&redis, "four").epoch(), after.epoch());
}

/// Nothing is lost when a server becomes a replica and returns with all of the other one's data.
#[test]
#[ignore = "needs redis-server"]
fn ids_rise_over_failovers_that_lose_nothing() {
    let [a, b] = [Redis::start(&[]), Redis::start(&[])];
    a.load_functions();
    follow(&b, &a);
    let mut last = store(&a, "first");
    let (mut primary, mut replica) = (&a, &b);
    for _ in 0..6 {
        primary.call::<()>(&["FAILOVER"]);
        wait_for(|| replica.info("replication", "role") == "master");
        wait_for(|| primary.info("replication", "master_link_status") == "up");
        (primary, replica) = (replica, primary);
        if fastrand::bool() {
            let id = store(primary, "next");
            assert!(id > last, "{id} after {last}");
            last = id;
        }
    }
}

#[test]
#[ignore = "needs redis-server"]
fn topics_continue_after_the_key_of_their_hub_is_lost() {
    let redis = Redis::start(&[]);
    redis.load_functions();
    let publish = |topic: &str, kind: &[&str]| redis.try_publish(topic, "events:x", kind);
    let store = |topic: &str| publish(topic, &["events", "data: a\n\n"]).unwrap();
    let before = |topic: &str| {
        let stream = format!("sse:{{hub}}:topic:{topic}");
        let last: Vec<(String, Vec<String>)> =
            redis.call(&["XREVRANGE", &stream, "+", "-", "COUNT", "1"]);
        last[0].1[1].clone()
    };
    let kept = store("kept");
    store("ended");
    publish("ended", &["end"]).unwrap();
    let keyed = ["value", "key", "9", "999", "0", "data: a\n\n"];
    publish("keyed", &keyed).unwrap();
    let emptied = store("emptied");
    redis.call::<()>(&["XTRIM", "sse:{hub}:topic:emptied", "MAXLEN", "0"]);
    let last = store("last");
    redis.call::<()>(&["DEL", "sse:{hub}:hub"]);
    // The next event names the one before it, or all that may be missing.
    let next = store("kept");
    assert_eq!(before("kept"), kept);
    let ids = [emptied, last.clone(), next, store("emptied")];
    let ids = ids.map(|id| LogId::parse(&id).unwrap());
    assert!(ids.is_sorted(), "{ids:?}");
    assert_eq!(before("emptied"), last);
    let epochs: Vec<String> = redis.call(&["LRANGE", "sse:{hub}:epochs", "0", "-1"]);
    assert!(
        epochs.len() == 1 && epochs[0].ends_with(&last),
        "{epochs:?}"
    );
    for (topic, code) in [("ended", "FINISHED"), ("keyed", "KEYED")] {
        let refused = publish(topic, &["events", "data: a\n\n"]).unwrap_err();
        assert_eq!(refused.code(), Some(code));
    }
    publish("keyed", &keyed).unwrap();
}

#[test]
#[ignore = "needs redis-server"]
fn a_call_without_an_event_changes_nothing() {
    let redis = Redis::start(&[]);
    redis.load_functions();
    let publish = |topic: &str, kind: &[&str]| redis.try_publish(topic, "events:x", kind);
    let first = publish("news", &["events", "data: a\n\n"]).unwrap();
    let last = publish("other", &["events", "data: a\n\n"]).unwrap();
    assert_eq!(publish("news", &["events"]).unwrap(), first);
    publish("news", &["event", "data: a\n\n"]).unwrap_err();
    let hub: Vec<String> = redis.call(&["HMGET", "sse:{hub}:hub", "last", "topic:news"]);
    assert_eq!(hub, [last, first]);
}

/// IDs stand still until the clock has caught up, but ages do not.
#[test]
#[ignore = "needs redis-server"]
fn events_do_not_expire_early_after_the_clock_has_stepped_back() {
    let redis = Redis::start(&[]);
    redis.load_functions();
    let store = || {
        let keys = ["hub", "epochs", "changed", "topic:news"];
        let keys = keys.map(|name| format!("sse:{{hub}}:{name}"));
        let mut words = vec!["FCALL", "sse_publish", "4"];
        words.extend(keys.iter().map(String::as_str));
        words.extend(["7", "channel", "news", "1000", "60000", "0", "0"]);
        words.extend(["events", "data: a\n\n"]);
        LogId::parse(&redis.call::<String>(&words)).unwrap()
    };
    let first = store();
    let later = LogId::new(first.millis() + 3_600_000, first.sequence());
    redis.call::<()>(&["HSET", "sse:{hub}:hub", "last", &later.to_string()]);
    assert!(store() > later);
    redis.call::<()>(&["PEXPIRE", "sse:{hub}:topic:news", "5000"]);
    assert!(store() > later);
    let left: u64 = redis.call(&["PTTL", "sse:{hub}:topic:news"]);
    assert!(left > 30_000, "the new event expires in {left} ms");
}
