//! Runs: started once, followed from any ID, stopped, kept, and expired.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::{pending, ready};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use sse_core::{Event, EventId, Rejection};
use sse_net::{
    Hub, HubConfig, Request, Run, RunEnd, RunNotFound, Runs, RunsConfig, Start, StartError,
    Subscription,
};
use tokio::runtime::Builder;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};

mod common;

use common::{Net, config, serve};

fn runs(config: RunsConfig) -> Runs {
    Runs::new(Hub::new(HubConfig::default()), config)
}

type Work = Result<(), io::Error>;

/// Reads until the end of the topic, without the IDs.
async fn data(mut subscription: Subscription) -> String {
    let mut bytes = Vec::new();
    while subscription.read(&mut bytes).await.unwrap() > 0 {}
    let text = String::from_utf8(bytes).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("id:") && !line.is_empty());
    lines.collect::<Vec<_>>().join("|")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_is_done_once_however_many_tasks_ask() {
    let (runs, done) = (runs(RunsConfig::default()), Arc::new(AtomicUsize::new(0)));
    let tasks = Vec::from_iter((0..100).map(|_| {
        let (runs, done) = (runs.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            for _ in 0..10 {
                let done = Arc::clone(&done);
                let run = runs.start("question", async move |run| {
                    done.fetch_add(1, Relaxed);
                    run.publish(&Event::new().data("answer"))?;
                    Work::Ok(())
                });
                let answer = data(run.unwrap().subscribe(Start::Earliest)).await;
                assert_eq!(answer, "data: answer");
            }
        })
    }));
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(done.load(Relaxed), 1);
    let counts = runs.stats();
    assert_eq!((counts.started, counts.found), (1, 999));
    assert_eq!((counts.running, counts.kept, counts.completed), (0, 1, 1));
}

/// Else the second one would end the runs of the first.
#[tokio::test(start_paused = true)]
async fn the_runs_of_a_hub_have_different_prefixes() {
    let hub = Hub::new(HubConfig::default());
    let create = |prefix: &str| {
        let config = RunsConfig::default().name_prefix(prefix);
        catch_unwind(AssertUnwindSafe(|| Runs::new(hub.clone(), config)))
    };
    let runs = create("run/").unwrap();
    let (end, ended) = oneshot::channel();
    let work = async move |_| ended.await;
    let run = runs.start("key", work).unwrap();
    for prefix in ["run/", "run/of/", "ru", ""] {
        let error = create(prefix).unwrap_err();
        assert_eq!(
            error.downcast_ref::<String>().unwrap(),
            &format!(
                "the hub has `Runs` whose topics may have names that begin with {prefix:?}; clone \
                 those, or set another `name_prefix`"
            )
        );
    }
    let other = create("answers/").unwrap();
    other.start("key", async |_| Work::Ok(())).unwrap();
    assert!(!run.is_finished());
    // The run continues without a handle, and the prefix is in use until it ends.
    drop(runs);
    create("run/").unwrap_err();
    assert!(!run.is_finished());
    end.send(()).unwrap();
    assert_eq!(data(run.subscribe(Start::Earliest)).await, "");
    sleep(Duration::from_millis(1)).await;
    let runs = create("run/").unwrap();
    assert_eq!((runs.stats().running, runs.stats().interrupted), (0, 0));
}

/// Runs of few keys that are started, stopped, followed and dropped at the same moments.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_start_and_stop_at_once_are_counted_once_and_read_to_their_ends() {
    const KEYS: [&str; 4] = ["a/1", "a/2", "b/1", "c"];
    let config = RunsConfig::default()
        .keep(Duration::ZERO)
        .max_running(3)
        .max_running_per_prefix(1);
    let runs = runs(config);
    let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tasks = Vec::from_iter((0..4).map(|seed| {
        let (runs, begun, ended) = (runs.clone(), Arc::clone(&begun), Arc::clone(&ended));
        tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed);
            for _ in 0..500 {
                let key = KEYS[random.usize(..KEYS.len())];
                let (begun, count, waits) = (Arc::clone(&begun), random.usize(..3), random.bool());
                let run = runs.start(key, async move |run| {
                    begun.fetch_add(1, Relaxed);
                    for number in 0..count {
                        run.publish(&Event::new().data(number.to_string()))?;
                        tokio::task::yield_now().await;
                    }
                    if waits {
                        pending::<()>().await;
                    }
                    Work::Ok(())
                });
                if random.u8(..4) == 0 {
                    tokio::task::yield_now().await;
                }
                if let Ok(run) = run {
                    let reader = run.subscribe(Start::Earliest);
                    runs.stop(key);
                    // Whoever has stopped it, it ends, and nothing of it is missing.
                    let read = data(reader).await;
                    let numbers = read
                        .split('|')
                        .filter(|line| line.starts_with("data: ") && !line.contains('{'));
                    assert!(
                        (0..)
                            .zip(numbers)
                            .all(|(number, line)| line == format!("data: {number}")),
                        "{read}"
                    );
                    ended.fetch_add(1, Relaxed);
                }
            }
        })
    }));
    for task in tasks {
        task.await.unwrap();
    }
    for key in KEYS {
        runs.stop(key);
    }
    while runs.stats().running > 0 {
        tokio::task::yield_now().await;
    }
    let counts = runs.stats();
    assert_eq!(counts.started, counts.completed + counts.stopped);
    assert_eq!(counts.started + counts.found, ended.load(Relaxed) as u64);
    assert!(begun.load(Relaxed) as u64 <= counts.started);
    for key in ["a/1", "b/1", "c"] {
        let run = runs.start(key, async |_| pending::<Work>().await);
        run.expect("no count is left of those that have ended");
    }
}

/// What the run of a key looks like at each time a subscriber is woken.
struct Looks {
    runs: Runs,
    seen: Mutex<Vec<(usize, usize, bool)>>,
}

impl Wake for Looks {
    fn wake(self: Arc<Self>) {
        let counts = self.runs.stats();
        let seen = (counts.running, counts.kept, self.runs.stop("key"));
        self.seen.lock().unwrap().push(seen);
    }
}

/// A client that sees the end may ask for the next run at once.
#[tokio::test(start_paused = true)]
async fn a_run_that_clients_see_end_does_not_count_as_running() {
    let runs = runs(RunsConfig::default());
    let go = Arc::new(Notify::new());
    let gone = Arc::clone(&go);
    let run = runs.start("key", async move |_| {
        gone.notified().await;
        Work::Ok(())
    });
    let looks = Arc::new(Looks {
        runs,
        seen: Mutex::default(),
    });
    let waker = Waker::from(Arc::clone(&looks));
    let mut reading = pin!(data(run.unwrap().subscribe(Start::Earliest)));
    let mut cx = Context::from_waker(&waker);
    assert!(reading.as_mut().poll(&mut cx).is_pending());
    go.notify_one();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(*looks.seen.lock().unwrap(), [(0, 1, false)]);
    assert!(reading.poll(&mut cx).is_ready());
}

/// How a run ends, and its last event.
#[tokio::test(start_paused = true)]
async fn a_run_ends_with_an_event_that_says_why() {
    let runs = runs(RunsConfig::default().stop_unfollowed(Duration::from_secs(30)));
    let (never, failure) = ("never", "fails");
    let start = |key: &'static str| {
        runs.start(key, async move |run| {
            run.publish(&Event::new().data(key))?;
            match key {
                "never" | "unfollowed" => pending().await,
                "panics" => panic!("as the test has it"),
                "fails" => Err(io::Error::other("the model is out of memory")),
                "finishes" => {
                    run.finish(Some(&Event::new().data("[DONE]")))?;
                    Ok(())
                }
                _ => Ok(()),
            }
        })
        .unwrap()
    };
    let error = |key: &str, reason: &str, message: &str| {
        format!(
            "data: {key}|event: error|data: {{\"reason\":\"{reason}\",\"message\":\"{message}\"}}"
        )
    };
    let unfollowed = start("unfollowed");
    let from = Instant::now();
    let stopped = start(never);
    let reader = tokio::spawn(data(stopped.subscribe(Start::Earliest)));
    tokio::task::yield_now().await;
    assert!(runs.stop(never));
    assert_eq!(
        reader.await.unwrap(),
        error(never, "stopped", "the run was stopped")
    );
    assert!(!runs.stop(never), "it has ended");
    assert!(!runs.stop("nothing"));
    for (key, expected) in [
        ("completes", "data: completes".to_owned()),
        ("finishes", "data: finishes|data: [DONE]".to_owned()),
        (failure, error(failure, "failed", "the run has failed")),
        ("panics", error("panics", "panicked", "the run has failed")),
    ] {
        assert_eq!(data(start(key).subscribe(Start::Earliest)).await, expected);
    }
    while !unfollowed.is_finished() {
        sleep(Duration::from_secs(1)).await;
    }
    let seconds = from.elapsed().as_secs();
    assert!((30..32).contains(&seconds), "{seconds}");
    let sentence = "the run was stopped, because it had no subscriber";
    let expected = error("unfollowed", "unfollowed", sentence);
    assert_eq!(data(unfollowed.subscribe(Start::Earliest)).await, expected);
    let counts = runs.stats();
    let ends = [
        counts.completed,
        counts.failed,
        counts.panicked,
        counts.stopped,
        counts.unfollowed,
    ];
    assert_eq!(ends, [2, 1, 1, 1, 1]);
    assert_eq!((counts.running, counts.kept), (0, 6));
}

#[tokio::test(start_paused = true)]
async fn the_end_event_is_the_applications() {
    let config = RunsConfig::default().end_event(|end| {
        let text = match end {
            RunEnd::Failed(error) => format!("{{\"error\":\"{error}\"}}"),
            other => format!("{other:?}"),
        };
        Some(Event::new().data(text))
    });
    let runs = runs(config);
    for (key, expected) in [
        ("fails", "data: {\"error\":\"no memory\"}"),
        ("ends", "data: Completed"),
    ] {
        let run = runs.start(key, async move |_| match key {
            "fails" => Err("no memory"),
            _ => Ok(()),
        });
        assert_eq!(
            data(run.unwrap().subscribe(Start::Earliest)).await,
            expected
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_end_event_ends_the_run_without_one() {
    let runs = runs(RunsConfig::default().end_event(|_| panic!("as the test has it")));
    let run = runs.start("key", async |run| {
        run.publish(&Event::new().data("hey"))?;
        Work::Err(io::ErrorKind::Other.into())
    });
    assert_eq!(
        data(run.unwrap().subscribe(Start::Earliest)).await,
        "data: hey"
    );
}

#[tokio::test(start_paused = true)]
async fn stopping_drops_the_work_where_it_waits() {
    struct OnDrop(Option<oneshot::Sender<Instant>>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            let _ = self.0.take().unwrap().send(Instant::now());
        }
    }
    let runs = runs(RunsConfig::default());
    let (sender, dropped) = oneshot::channel();
    let on_drop = OnDrop(Some(sender));
    let run = runs.start("key", async move |_| {
        let _on_drop = on_drop;
        sleep(Duration::from_secs(3600)).await;
        Work::Ok(())
    });
    sleep(Duration::from_millis(1)).await;
    let stopped = Instant::now();
    assert!(runs.stop("key"));
    let waited = dropped.await.unwrap() - stopped;
    assert!(waited < Duration::from_millis(10), "{waited:?}");
    drop(run);
}

#[tokio::test(start_paused = true)]
async fn a_followed_run_is_not_stopped_for_want_of_followers() {
    let runs = runs(RunsConfig::default().stop_unfollowed(Duration::from_secs(5)));
    let run = runs
        .start("key", async |_| pending::<Work>().await)
        .unwrap();
    let first = run.subscribe(Start::Live);
    sleep(Duration::from_secs(60)).await;
    drop(first);
    sleep(Duration::from_secs(4)).await;
    let second = run.subscribe(Start::Live);
    sleep(Duration::from_secs(60)).await;
    assert!(!run.is_finished());
    drop(second);
    sleep(Duration::from_secs(6)).await;
    assert!(run.is_finished());
    assert_eq!(runs.stats().unfollowed, 1);
}

/// Clients leave at the end of the topic, and the work may have to store its result.
#[tokio::test(start_paused = true)]
async fn work_that_has_finished_its_topic_is_not_stopped_for_want_of_followers() {
    let runs = runs(RunsConfig::default().stop_unfollowed(Duration::from_secs(5)));
    let run = runs.start("key", async |run| {
        sleep(Duration::from_secs(1)).await;
        run.finish(Some(&Event::new().data("all")))?;
        sleep(Duration::from_secs(60)).await;
        Work::Ok(())
    });
    assert_eq!(data(run.unwrap().subscribe(Start::Live)).await, "data: all");
    sleep(Duration::from_secs(61)).await;
    let counts = runs.stats();
    assert_eq!((counts.unfollowed, counts.completed), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_kept_run_counts_for_its_prefix_until_it_expires() {
    let hub = Hub::new(HubConfig::default());
    let create = || Runs::new(hub.clone(), RunsConfig::default().max_runs_per_prefix(2));
    let start = |runs: &Runs, key: &str| {
        let work = async |run: Run| run.publish(&Event::new().data("hey")).map(drop);
        runs.start(key, work).map(drop)
    };
    let refused = Err(StartError::TooManyKeptOfPrefix { max: 2 });
    let runs = create();
    for round in 0..2 {
        start(&runs, &format!("alice/{round}/1")).unwrap();
        start(&runs, &format!("alice/{round}/2")).unwrap();
        sleep(Duration::from_secs(599)).await;
        assert_eq!(start(&runs, "alice/3"), refused);
        start(&runs, &format!("alice/{round}/2")).expect("it is kept");
        start(&runs, &format!("bob/{round}")).unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    start(&runs, "alice/3").unwrap();
    start(&runs, "alice/4").unwrap();
    sleep(Duration::from_secs(1)).await;
    // Those that were restored count, too.
    drop(runs);
    assert_eq!(start(&create(), "alice/5"), refused);
}

#[tokio::test(start_paused = true)]
async fn limits_refuse_runs_with_an_error() {
    let config = || RunsConfig::default();
    for (config, keys, expected, status) in [
        (
            config().max_running(2),
            ["a", "b", "c"],
            "the maximum of 2 running runs is reached; try again later, or raise `max_running`",
            503,
        ),
        (
            config().max_runs(2),
            ["ended", "b", "c"],
            "the maximum of 2 running and kept runs is reached; try again later, or raise `max_runs`",
            503,
        ),
        (
            config().max_running_per_prefix(1),
            ["alice/1", "bob/1", "alice/2"],
            "the maximum of 1 running runs with this prefix is reached; wait for one to end, or \
             raise `max_running_per_prefix`",
            429,
        ),
        (
            config().separator(':').max_runs_per_prefix(1),
            ["ended:1", "bob:1", "ended:2"],
            "the maximum of 1 running and kept runs with this prefix is reached; try again later, \
             or raise `max_runs_per_prefix`",
            429,
        ),
    ] {
        let runs = runs(config);
        let start = |key: &'static str| {
            runs.start(key, async move |_| match key {
                "ended" | "ended:1" => Work::Ok(()),
                _ => pending().await,
            })
        };
        start(keys[0]).unwrap();
        sleep(Duration::from_millis(1)).await;
        start(keys[1]).unwrap();
        let error = start(keys[2]).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(Rejection::from(error).status(), status);
        start(keys[1]).expect("it is running");
        runs.stop(keys[0]);
        runs.stop(keys[1]);
        assert_eq!(runs.stats().refused, 1);
    }
    let short = Runs::new(
        Hub::new(HubConfig::default()),
        RunsConfig::default().max_key(3),
    );
    let error = short.start("abcd", async |_| Work::Ok(())).unwrap_err();
    let expected = "the key of the run has 4 bytes, and 3 are allowed; use a hash of it, or raise \
                    `max_key`";
    assert_eq!(error.to_string(), expected);
    assert_eq!(Rejection::from(error).status(), 400);
    short.start("abc", async |_| Work::Ok(())).unwrap();

    let hub = Hub::new(HubConfig::default().max_topics(1));
    let runs = Runs::new(hub, RunsConfig::default());
    runs.start("a", async |_| pending::<Work>().await).unwrap();
    let error = runs.start("b", async |_| pending::<Work>().await);
    assert!(matches!(error, Err(StartError::Hub(_))));
}

#[tokio::test(start_paused = true)]
async fn a_run_is_kept_then_remembered_then_unknown() {
    const MINUTE: Duration = Duration::from_secs(60);
    let config = RunsConfig::default()
        .keep(10 * MINUTE)
        .remember(100 * MINUTE);
    let hub = Hub::new(HubConfig::default());
    let runs = Runs::new(hub.clone(), config);
    let start = |text: &'static str| {
        runs.start("key", async move |run| {
            run.publish(&Event::new().data(text))?;
            Work::Ok(())
        })
    };
    assert_eq!(runs.get("key").unwrap_err(), RunNotFound::Unknown);
    let run = start("first").unwrap();
    assert_eq!(data(run.subscribe(Start::Earliest)).await, "data: first");
    sleep(9 * MINUTE).await;
    let kept = runs.get("key").unwrap();
    assert_eq!(data(kept.subscribe(Start::Earliest)).await, "data: first");
    drop((run, kept));

    // The registry is not called meanwhile.
    sleep(2 * MINUTE).await;
    assert_eq!(hub.topics(), 0, "its memory is free");
    let error = runs.get("key").unwrap_err();
    assert_eq!(error, RunNotFound::Expired);
    assert_eq!(Rejection::from(error).status(), 410);
    sleep(100 * MINUTE).await;
    let counts = runs.stats();
    assert_eq!((counts.kept, counts.remembered), (0, 0));
    let error = runs.get("key").unwrap_err();
    assert_eq!(error, RunNotFound::Unknown);
    assert_eq!(Rejection::from(error).status(), 404);
}

/// Its work is dropped with the runtime.
#[test]
fn a_run_ends_with_its_runtime() {
    let runs = runs(RunsConfig::default());
    let runtime = || Builder::new_current_thread().enable_time().build().unwrap();
    for (key, is_begun) in [("begun", true), ("not begun", false)] {
        let first = runtime();
        let run = first.block_on(async {
            let run = runs.start(key, async |_| pending::<Work>().await);
            if is_begun {
                sleep(Duration::from_millis(1)).await;
            }
            run.unwrap()
        });
        drop(first);
        let read = runtime().block_on(data(run.subscribe(Start::Earliest)));
        let expected = r#"event: error|data: {"reason":"interrupted","#;
        assert!(read.starts_with(expected), "{read}");
    }
    let counts = runs.stats();
    assert_eq!((counts.running, counts.interrupted, counts.kept), (0, 2, 2));
}

/// The first runtime takes the task with it that waits for runs to expire.
#[test]
fn runs_expire_in_a_later_runtime() {
    let hub = Hub::new(HubConfig::default());
    let runs = Runs::new(hub.clone(), RunsConfig::default());
    for (key, seconds, kept) in [("first", 1, 1), ("second", 602, 0)] {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            runs.start(key, async |_| Work::Ok(())).unwrap();
            sleep(Duration::from_secs(seconds)).await;
        });
        assert_eq!(hub.topics(), kept);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_work_panics_when_it_is_dropped_expires_too() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("as the test has it");
        }
    }
    let hub = Hub::new(HubConfig::default());
    let runs = Runs::new(hub.clone(), RunsConfig::default());
    let panics = Panics;
    let work = async move |_| {
        let _panics = panics;
        pending::<Work>().await
    };
    runs.start("key", work).unwrap();
    sleep(Duration::from_secs(1)).await;
    assert!(runs.stop("key"));
    sleep(Duration::from_secs(1)).await;
    assert_eq!((hub.topics(), runs.stats().panicked), (1, 1));
    sleep(Duration::from_secs(601)).await;
    assert_eq!(hub.topics(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_keys_are_dropped_first() {
    let config = RunsConfig::default().keep(Duration::ZERO).max_remembered(2);
    let runs = runs(config);
    for key in ["a", "b", "c"] {
        runs.start(key, async |_| Work::Ok(())).unwrap();
        sleep(Duration::from_millis(1)).await;
    }
    let found = ["a", "b", "c"].map(|key| runs.get(key).unwrap_err());
    assert_eq!(
        found,
        [
            RunNotFound::Unknown,
            RunNotFound::Expired,
            RunNotFound::Expired
        ]
    );
}

/// A client that reconnects with an ID of an earlier run of the key.
#[tokio::test(start_paused = true)]
async fn a_new_run_is_a_gap_for_the_ids_of_the_old_one() {
    let runs = runs(RunsConfig::default().keep(Duration::from_secs(60)));
    let start = |text: &'static str| {
        runs.start("key", async move |run| {
            run.publish(&Event::new().data(text))?;
            Work::Ok(())
        })
    };
    let old = start("old").unwrap();
    let mut bytes = Vec::new();
    let mut reader = old.subscribe(Start::Earliest);
    reader.read(&mut bytes).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let id = text
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .unwrap()
        .to_owned();
    sleep(Duration::from_secs(61)).await;

    // Somebody still holds the old run, and a client has seen all of it.
    let new = start("new").unwrap();
    let id = EventId::new(id).unwrap();
    let mut back = new.subscribe_after(id, Start::Earliest);
    assert!(back.read(&mut Vec::new()).await.is_err(), "a gap");
    assert_eq!(data(back).await, "data: new");
    assert_eq!(data(old.subscribe(Start::Earliest)).await, "data: old");
}

/// The responses to a client of a run, from its beginning to its end.
#[tokio::test(start_paused = true)]
async fn clients_follow_from_any_id_and_get_204_at_the_end() {
    let (runs, next) = (runs(RunsConfig::default()), Arc::new(Notify::new()));
    let handler = {
        let (runs, next) = (runs.clone(), Arc::clone(&next));
        move |request: Request| {
            let next = Arc::clone(&next);
            let run = runs.start("key", async move |run| {
                for n in 0..3 {
                    run.publish(&Event::new().data(n.to_string()))?;
                    next.notified().await;
                }
                run.finish(Some(&Event::new().data("[DONE]")))?;
                Work::Ok(())
            });
            ready(request.follow(&run.unwrap()))
        }
    };
    let (_server, net) = serve(config(), handler);
    let mut first = net.get("/").await;
    let begin = first.follow().await;
    assert!(begin.ends_with("data: 0\n\n"), "{begin}");
    next.notify_one();
    let second = first.read().await;
    let id = second
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .unwrap();
    drop(first);
    next.notify_one();

    let mut back = net.resume("/", id).await;
    let rest = back.follow().await;
    assert!(
        rest.ends_with("data: 2\n\n") && !rest.contains("data: 1"),
        "{rest}"
    );
    next.notify_one();
    let end = back.read_to_end().await;
    let last = end
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .unwrap();
    assert!(end.ends_with("data: [DONE]\n\n"), "{end}");
    assert!(status(&net, last).await.starts_with("HTTP/1.1 204 "));

    let mut late = net.get("/").await;
    let all = late.read_to_end().await;
    for text in ["data: 0\n", "data: 1\n", "data: 2\n", "data: [DONE]\n"] {
        assert!(all.contains(text), "{all}");
    }
}

async fn status(net: &Net, id: &str) -> String {
    net.resume("/", id).await.read_to_end().await
}
