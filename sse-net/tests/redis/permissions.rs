//! The permissions of a node's user, as `DEPLOYMENT.md` lists them.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::Value;
use sse_net::{
    Engine, EngineNotice, Event, Hub, HubConfig, PublishError, RunNotFound, Runs, RunsConfig,
};
use tokio::time::{sleep, timeout};

use crate::basics::wait_until;
use crate::node::Node;
use crate::server::Redis;

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_node_needs_the_documented_permissions_only() {
    let text = include_str!("../../../DEPLOYMENT.md");
    let (_, list) = text.split_once("A node needs these permissions:").unwrap();
    let (list, _) = list.split_once("\n\n").unwrap();
    let rules = list.split('`').skip(1).step_by(2);
    let mut user = vec!["ACL", "SETUSER", "node", "on", ">secret"];
    user.extend(rules.flat_map(str::split_whitespace));
    let redis = Redis::start(&[]);
    redis.call::<()>(&user);
    let url = redis.url().replace("//", "//node:secret@");
    let node = Node::connect(&url).await;
    let mut client = node.follow("/news,other").await;

    // Events, also with a key, and without a notification.
    node.publish("news", "one").await;
    let news = node.hub.topic("news").unwrap();
    let once = news.publish_once("key", &Event::new().data("two"));
    once.unwrap().stored().await.unwrap();
    redis.load_functions();
    redis.store("news", "events:elsewhere", "data: three\n\n");
    node.publish("news", "four").await;
    for data in ["one", "two", "three", "four"] {
        assert_eq!(client.event().await.unwrap().data(), data);
    }
    // Another epoch, and a hole.
    redis.call::<()>(&["DEL", "sse:{hub}:hub"]);
    node.publish("news", "five").await;
    redis.store("news", "events:elsewhere", "data: six\n\n");
    node.publish("other", "hey").await;
    redis.store("news", "events:news", "data: seven\n\n");
    let keyed = node.hub.keyed_topic("keyed").unwrap();
    let value = keyed.publish_for("a", &Event::new().data("1")).unwrap();
    value.stored().await.unwrap();
    keyed.remove("a").unwrap().unwrap().stored().await.unwrap();

    let runs = Runs::new(node.hub.clone(), RunsConfig::default());
    let run = runs.start("key", async |run| {
        run.finish(Some(&Event::new().data("done")))?;
        Ok::<(), PublishError>(())
    });
    let run = run.unwrap();
    let ended = async {
        while !run.is_finished() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), ended).await.unwrap();
    let denied: Vec<Value> = redis.call(&["ACL", "LOG"]);
    assert!(denied.is_empty(), "{denied:?}");
}

/// They would wait for ever otherwise.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn what_asks_for_runs_that_may_not_be_used_is_an_error() {
    let redis = Redis::start(&[]);
    let user = ["ACL", "SETUSER", "node", "on", ">secret", "+@all", "&*"];
    let keys = [
        "~sse:{hub}:[^r]*",
        "~sse:{hub}:runs",
        "~sse:{hub}:run:run/odd",
    ];
    redis.call::<()>(&[&user[..], &keys].concat());
    redis.call::<()>(&["SET", "sse:{hub}:run:run/odd", "hey"]);
    let notices = Arc::<Mutex<Vec<EngineNotice>>>::default();
    let noted = Arc::clone(&notices);
    let engine = Engine::redis(&redis.url().replace("//", "//node:secret@")).unwrap();
    let engine = engine.on_notice(move |notice| noted.lock().unwrap().push(notice.clone()));
    let hub = Hub::connect(HubConfig::default(), engine).await.unwrap();
    let lease = Duration::from_millis(300);
    let runs = Runs::new(hub, RunsConfig::default().lease(lease));
    for (key, code) in [("key", "NOPERM"), ("odd", "WRONGTYPE")] {
        let begin = format!("the engine refuses to look for the run {key:?}: {code} ");
        let end = "; give the node's user the documented permissions, or delete the key of the \
                   run if another program has written it";
        let asked = async { (runs.find(key).await, runs.stop_anywhere(key).await) };
        let (found, stopped) = timeout(Duration::from_secs(20), asked).await.unwrap();
        for error in [
            found.unwrap_err().to_string(),
            stopped.unwrap_err().to_string(),
        ] {
            assert!(error.starts_with(&begin) && error.ends_with(end), "{error}");
        }
    }
    let is_refused = |notice: &EngineNotice| matches!(notice, EngineNotice::RunsRefused(_));
    let count = || {
        notices
            .lock()
            .unwrap()
            .iter()
            .filter(|notice| is_refused(notice))
            .count()
    };
    // Lost runs cannot be looked for, either. That is reported once.
    let calls = || {
        redis
            .info("errorstats", "errorstat_NOPERM")
            .trim_start_matches("count=")
            .parse::<usize>()
    };
    let before = calls().unwrap();
    while calls().unwrap() < before + 5 {
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(count(), 1);
}

/// A lease that was refused once is renewed later.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_run_ends_when_its_lease_is_refused_until_it_has_run_out() {
    let redis = Redis::start(&[]);
    let user = [
        "ACL", "SETUSER", "node", "on", ">secret", "+@all", "&*", "~*",
    ];
    redis.call::<()>(&user);
    let node = Node::connect(&redis.url().replace("//", "//node:secret@")).await;
    let lease = Duration::from_secs(6);
    let runs = Runs::new(node.hub.clone(), RunsConfig::default().lease(lease));
    let begun = Arc::new(tokio::sync::Notify::new());
    let started = Arc::clone(&begun);
    let work = async move |_| {
        started.notify_one();
        std::future::pending::<io::Result<()>>().await
    };
    runs.start("key", work).unwrap();
    timeout(Duration::from_secs(20), begun.notified())
        .await
        .unwrap();
    let refusals = || redis.info("errorstats", "errorstat_NOPERM");
    redis.call::<()>(&["ACL", "SETUSER", "node", "resetkeys", "~sse:{hub}:[^r]*"]);
    wait_until(|| !refusals().is_empty()).await;
    redis.call::<()>(&["ACL", "SETUSER", "node", "allkeys"]);
    let key = ["HGET", "sse:{hub}:run:run/key", "until"];
    let until: u64 = redis.call(&key);
    wait_until(|| redis.call::<u64>(&key) > until).await;
    assert_eq!(runs.stats().running, 1);
    redis.call::<()>(&["ACL", "SETUSER", "node", "resetkeys", "~sse:{hub}:[^r]*"]);
    wait_until(|| runs.stats().running == 0).await;
    assert_eq!(runs.stats().interrupted, 1);
    let found = timeout(Duration::from_secs(20), runs.find("other")).await;
    assert!(matches!(found.unwrap(), Err(RunNotFound::Refused(_))));
}
