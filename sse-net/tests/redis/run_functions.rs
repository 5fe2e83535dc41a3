//! The functions in Lua, called for runs: what starts, ends and renews them.

use sse_core::LogId;

use crate::functions::{FRAME, Functions, in_a_minute, key};

#[test]
#[ignore = "needs redis-server"]
fn a_run_whose_key_is_of_another_type_hides_no_lost_run() {
    let functions = Functions::start();
    let (run, runs) = (key("run:"), key("runs"));
    functions.redis.call::<()>(&["SET", &key("run:a"), "hey"]);
    for topic in ["a", "b"] {
        functions.redis.call::<()>(&["ZADD", &runs, "1000", topic]);
    }
    let lost: Vec<String> = functions
        .redis
        .call(&["FCALL", "sse_run", "2", &run, &runs, "lost", &run, ""]);
    assert_eq!(lost, ["b", "0-0"]);
}

/// A start is sent again if the connection breaks before the reply.
#[test]
#[ignore = "needs redis-server"]
fn a_start_that_is_repeated_returns_its_token() {
    let functions = Functions::start();
    let start = |owner| functions.publish("run", &["start", owner, "60000", "1000", "1000"]);
    let token = start("7");
    assert_eq!(start("7"), token);
    assert_eq!(start("8"), LogId::default());
}

#[test]
#[ignore = "needs redis-server"]
fn a_run_takes_the_events_of_its_token_only() {
    let functions = Functions::start();
    let start = ["start", "7", "60000", "1000", "1000"];
    let token = functions.publish("run", &start);
    // Another node ends the run if its own never renews the lease.
    let until: String = functions.redis.call(&["HGET", &key("run:run"), "until"]);
    let score: String = functions.redis.call(&["ZSCORE", &key("runs"), "run"]);
    assert_eq!(score, until);
    let other = LogId::new(token.millis() - 1, token.sequence());
    for kind in [
        format!("events {other}"),
        format!("end {other}"),
        format!("end !{other}"),
        // Its lease has not run out.
        format!("end !{token}"),
    ] {
        assert_eq!(
            functions.refused("run", &[&kind, FRAME]),
            "FENCED",
            "{kind}"
        );
    }
    assert_eq!(functions.refused("run", &["events", FRAME]), "OWNED");
    assert_eq!(functions.runs(), ["run"]);
    functions.publish("run", &[&format!("events {token}"), FRAME]);
    functions
        .redis
        .call::<()>(&["HSET", &key("run:run"), "until", "1000"]);
    for kind in [format!("events {token}"), format!("end !{other}")] {
        assert_eq!(
            functions.refused("run", &[&kind, FRAME]),
            "FENCED",
            "{kind}"
        );
    }
    functions.publish("run", &[&format!("end !{token}"), FRAME]);
    assert_eq!(functions.runs(), [""; 0]);
    // It is kept, and then remembered for a time.
    let left: u64 = functions.redis.call(&["PTTL", &key("run:run")]);
    assert!((1..=2000).contains(&left), "{left} ms");
}

/// Nodes ask for 64 runs at a time, so those for which nothing can be done must not stay.
#[test]
#[ignore = "needs redis-server"]
fn runs_that_have_ended_or_are_lost_leave_the_set() {
    let functions = Functions::start();
    let add = |topic: &str| {
        functions
            .redis
            .call::<()>(&["ZADD", &key("runs"), "1000", topic]);
    };
    let lost = || -> Vec<String> {
        let (run, runs) = (key("run:"), key("runs"));
        functions
            .redis
            .call(&["FCALL", "sse_run", "2", &run, &runs, "lost", &run, ""])
    };
    let token = functions.publish("ended", &["start", "7", "60000", "1000", "1000"]);
    let last = functions.publish("ended", &[&format!("end {token}"), FRAME]);
    // Its lease has not run out then.
    functions.publish("running", &["start", "7", "60000", "1000", "1000"]);
    assert_eq!(lost(), [""; 0]);
    functions
        .redis
        .call::<()>(&["ZREM", &key("runs"), "running"]);
    add("ended");
    assert_eq!(lost(), ["ended", &token.to_string()]);
    assert_eq!(
        functions.publish("ended", &[&format!("end !{token}")]),
        last
    );
    assert_eq!(functions.runs(), [""; 0]);

    functions.store("ordinary");
    add("ordinary");
    assert_eq!(lost(), ["ordinary", "0-0"]);
    assert_eq!(functions.refused("ordinary", &["end !0-0"]), "FENCED");
    assert_eq!(functions.runs(), [""; 0]);
}

/// No node may have their settings any more, and then they stay.
#[test]
#[ignore = "needs redis-server"]
fn lost_runs_with_other_names_hide_none() {
    let functions = Functions::start();
    let (run, runs) = (key("run:"), key("runs"));
    let add = |score: &str, topic: &str| {
        functions.redis.call::<()>(&["ZADD", &runs, score, topic]);
    };
    for number in 0..200 {
        add("1000", &format!("old/{number}"));
    }
    add("2000", "run/a");
    let lost: Vec<String> = functions
        .redis
        .call(&["FCALL", "sse_run", "2", &run, &runs, "lost", &run, "run/"]);
    assert_eq!(lost, ["run/a", "0-0"]);
    // Some at a time.
    for number in 0..100 {
        add("2000", &format!("run/{number}"));
    }
    let lost: Vec<String> = functions
        .redis
        .call(&["FCALL", "sse_run", "2", &run, &runs, "lost", &run, "run/"]);
    assert_eq!(lost.len(), 128);
}

/// What a kept or remembered run is on all nodes, and that its topic begins anew.
#[test]
#[ignore = "needs redis-server"]
fn a_run_is_kept_then_expired_and_can_then_be_started_again() {
    let functions = Functions::start();
    let start = ["start", "7", "60000", "60000", "60000"];
    let found = || -> Vec<String> {
        let (run, runs) = (key("run:run"), key("runs"));
        functions
            .redis
            .call(&["FCALL", "sse_run", "2", &run, &runs, "find"])
    };
    assert_eq!(found(), ["unknown"]);
    let token = functions.publish("run", &start);
    assert_eq!(found(), ["running"]);
    functions.publish("run", &[&format!("end {token}"), FRAME]);
    assert_eq!(functions.publish("run", &start), LogId::default());
    assert_eq!(found(), ["kept"]);
    // It ended two minutes ago.
    let ended = functions.redis.millis() - 120_000;
    functions
        .redis
        .call::<()>(&["HSET", &key("run:run"), "ended", &ended.to_string()]);
    assert_eq!(found(), ["expired"]);
    assert!(functions.publish("run", &start) > token);
    let len: usize = functions.redis.call(&["XLEN", &key("topic:run")]);
    assert_eq!(len, 1);
}

/// The topic expires earlier than the run, or later.
#[test]
#[ignore = "needs redis-server"]
fn what_is_left_of_a_run_refuses_its_owner_and_nobody_else() {
    let functions = Functions::start();
    let start = ["start", "7", "60000", "1000", "1000"];
    let token = functions.publish("lost", &start);
    functions.redis.call::<()>(&["DEL", &key("run:lost")]);
    let events = format!("events {token}");
    assert_eq!(functions.refused("lost", &[&events, FRAME]), "FENCED");
    functions.publish("lost", &[&format!("end {token}"), FRAME]);

    let token = functions.publish("ended", &start);
    functions.publish("ended", &[&format!("end {token}"), FRAME]);
    functions
        .redis
        .call::<()>(&["HDEL", &key("hub"), "topic:ended"]);
    functions.redis.call::<()>(&["DEL", &key("topic:ended")]);
    functions.store("ended");
}

/// A start removes the events of a former run.
#[test]
#[ignore = "needs redis-server"]
fn a_run_does_not_start_in_a_keyed_topic() {
    let functions = Functions::start();
    functions.publish("keyed", &["value", "key", "9", "9999", "0", FRAME]);
    let start = ["start", "7", "60000", "1000", "1000"];
    assert_eq!(functions.refused("keyed", &start), "KEYED");
    let len: usize = functions.redis.call(&["XLEN", &key("topic:keyed")]);
    assert_eq!(len, 1);
}

/// It would be kept for longer than its time otherwise.
#[test]
#[ignore = "needs redis-server"]
fn a_run_has_ended_at_the_time_of_the_clock_though_that_has_stepped_back() {
    let functions = Functions::start();
    functions.set_last(LogId::new(
        in_a_minute(),
        functions.store("other").sequence(),
    ));
    let token = functions.publish("run", &["start", "7", "60000", "1000", "1000"]);
    functions.publish("run", &[&format!("end {token}")]);
    let ended: u64 = functions.redis.call(&["HGET", &key("run:run"), "ended"]);
    assert!(ended <= functions.redis.millis());
}

#[test]
#[ignore = "needs redis-server"]
fn a_lease_is_renewed_with_its_token_until_it_has_run_out() {
    let functions = Functions::start();
    let (run, runs) = (key("run:run"), key("runs"));
    let ask = |words: &[&str]| -> Vec<String> {
        functions
            .redis
            .call(&[&["FCALL", "sse_run", "2", &run, &runs], words].concat())
    };
    let token = functions.publish("run", &["start", "7", "60000", "1000", "1000"]);
    let token = token.to_string();
    functions.redis.call::<()>(&["ZADD", &runs, "1000", "run"]);
    assert_eq!(ask(&["renew", &token]), ["held"]);
    let until: u64 = functions.redis.call(&["ZSCORE", &runs, "run"]);
    assert!(until > 1000);
    assert_eq!(ask(&["renew", "1000-7"]), ["lost"]);
    // Its node is notified at once.
    let client = redis::Client::open(functions.redis.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let limit = Some(std::time::Duration::from_secs(20));
    connection.set_read_timeout(limit).unwrap();
    let mut notifications = connection.as_pubsub();
    notifications.subscribe("channel").unwrap();
    assert_eq!(ask(&["stop", "channel"]), ["stopped"]);
    let payload: String = notifications.get_message().unwrap().get_payload().unwrap();
    assert_eq!(payload, format!("{token} {token} stop "));
    // A notification may be lost.
    assert_eq!(ask(&["renew", &token]), ["stop"]);
    functions.redis.call::<()>(&["HSET", &run, "until", "1000"]);
    assert_eq!(ask(&["renew", &token]), ["lost"]);
    assert_eq!(ask(&["stop", "channel"]), ["none"]);
}

/// Its stream has no event yet.
#[test]
#[ignore = "needs redis-server"]
fn a_run_continues_after_the_key_of_the_hub_is_lost() {
    let functions = Functions::start();
    let token = functions.publish("run", &["start", "7", "60000", "1000", "1000"]);
    functions.redis.call::<()>(&["DEL", &key("hub")]);
    functions.publish("run", &[&format!("events {token}"), FRAME]);
    functions.redis.call::<()>(&["DEL", &key("hub")]);
    let run = key("run:run");
    let until: String = functions.redis.call(&["HGET", &run, "until"]);
    functions.redis.call::<()>(&["HSET", &run, "until", "1000"]);
    let events = format!("events {token}");
    assert_eq!(functions.refused("run", &[&events, FRAME]), "FENCED");
    functions.redis.call::<()>(&["HSET", &run, "until", &until]);
    functions.publish("run", &[&format!("end {token}"), FRAME]);
}
