//! The memory of runs that have ended and are kept.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;

use sse_core::Event;
use sse_net::{Hub, HubConfig, Runs, RunsConfig, Start};
use tokio::runtime::Builder;
use tokio::task::yield_now;

#[test]
fn a_kept_run_costs_its_bytes_and_one_kibibyte() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    // Just after their tables have grown, and as many as are kept by default.
    for (count, events) in [(7_200, 1), (10_000, 2), (200, 100), (200, 1000)] {
        let runs = Runs::new(Hub::new(HubConfig::default()), RunsConfig::default());
        let mut bytes = 0;
        let used = allocation_counter::measure(|| {
            runtime.block_on(async {
                for number in 0..count {
                    bytes += run(&runs, number, events).await;
                }
            });
        });
        assert_eq!(runs.stats().kept, count);
        let used = usize::try_from(used.bytes_current).unwrap();
        let more = (used - bytes) / count;
        let of = bytes / count;
        println!("{count} runs: {more} bytes more than the {of} of {events} events");
        assert!(
            more <= 1024,
            "{count} runs: {more} bytes more than the {of} of {events} events"
        );
    }
}

/// Runs to the end, and returns the bytes of the events.
async fn run(runs: &Runs, number: usize, events: usize) -> usize {
    let key = format!("user/{number}");
    let work = runs.start(key, async move |run| {
        for token in 0..events {
            run.publish(&Event::new().data(format!("token {token}")))?;
            yield_now().await;
        }
        io::Result::Ok(())
    });
    let mut subscription = work.unwrap().subscribe(Start::Earliest);
    let mut all = Vec::new();
    while subscription.read(&mut all).await.unwrap() > 0 {}
    all.len()
}
