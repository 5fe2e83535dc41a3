//! Kept runs cost little more than their events.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use sse_core::{Event, FieldError};
use sse_net::{Hub, HubConfig, Runs, RunsConfig};
use tokio::runtime::Builder;

#[test]
fn a_kept_run_costs_at_most_a_kibibyte_and_its_events() {
    const RUNS: i64 = 10_000;
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let _guard = runtime.enter();
    let runs = Runs::new(Hub::new(HubConfig::default()), RunsConfig::default());
    for (tokens, token) in [(1, 20), (10, 100)] {
        let used = allocation_counter::measure(|| {
            for n in 0..RUNS / 2 {
                let text = "x".repeat(token);
                let work = async move |run: sse_net::Run| {
                    for _ in 0..tokens {
                        run.publish(&Event::new().data(&*text)).unwrap();
                    }
                    Ok::<_, FieldError>(())
                };
                runs.start(format!("{tokens} tokens of run {n}"), work)
                    .unwrap();
                runtime.block_on(tokio::task::yield_now());
            }
            while runs.snapshot().running > 0 {
                runtime.block_on(tokio::task::yield_now());
            }
        });
        let event = "id: 1700000000000-16777216\ndata: \n\n".len() + token;
        let events = i64::try_from(tokens * event).unwrap();
        let each = used.bytes_current / (RUNS / 2);
        println!("{each} bytes for a run with {events} bytes of events");
        assert!(each <= events + 1024, "{each} bytes, {events} of events");
    }
    assert_eq!(runs.snapshot().kept, usize::try_from(RUNS).unwrap());
}
