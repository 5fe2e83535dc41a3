//! Simulated outages: a day of them for one client, and one for a herd.

use std::io;
use std::time::Duration;

use sse_core::client::{EventSource, Item, Machine, Step};

/// A server that is up or down. It sends the events that follow the client's last ID.
struct Server {
    /// The times when the server changes between up and down; it begins up.
    changes: Vec<Duration>,
}

impl Server {
    fn is_up(&self, now: Duration) -> bool {
        self.changes.partition_point(|change| *change <= now) % 2 == 0
    }

    fn next_change(&self, now: Duration) -> Duration {
        let next = self.changes.partition_point(|change| *change <= now);
        self.changes.get(next).copied().unwrap_or(Duration::MAX)
    }
}

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

/// The server publishes event `n` at ten times `n` seconds.
fn events(after: u64, now: Duration) -> (Vec<u8>, u64) {
    let last = now.as_secs() / 10;
    let mut bytes = Vec::new();
    for id in after + 1..=last {
        bytes.extend_from_slice(format!("id: {id}\ndata: {id}\n\n").as_bytes());
    }
    (bytes, last.max(after))
}

/// Runs a client for a day. Returns the IDs of its events and the number of its attempts.
fn follow(seed: u64, server: &Server, end: Duration) -> (Vec<u64>, u64) {
    let source = EventSource::get("http://a/").unwrap();
    let mut machine = Machine::new(source, seed);
    let mut now = Duration::ZERO;
    let mut ids = Vec::new();
    let mut sent = None;
    while now < end {
        match machine.step(now) {
            Step::Wait { until } => now = until,
            Step::Connect { .. } if server.is_up(now) => {
                machine.connected(now);
                let request = String::from_utf8_lossy(machine.unsent()).into_owned();
                let id = request
                    .lines()
                    .find_map(|line| line.strip_prefix("Last-Event-ID: "));
                sent = Some(id.map_or(0, |id| id.parse().unwrap()));
                machine.sent(now, request.len());
                machine.receive(now, HEAD);
            }
            Step::Connect { .. } => {
                machine.fail(now, io::ErrorKind::ConnectionRefused.into());
            }
            Step::Exchange { deadline } => {
                let change = server.next_change(now);
                let next = Duration::from_secs(now.as_secs() + 60)
                    .min(change)
                    .min(deadline);
                let (bytes, last) = events(sent.unwrap(), next - Duration::from_nanos(1));
                sent = Some(last);
                // The last bytes before an outage are cut within an event.
                let cut = if next == change { bytes.len() / 2 } else { 0 };
                machine.receive(now, &bytes[..bytes.len() - cut]);
                now = next;
                if next == change {
                    machine.end(now);
                }
            }
            step => panic!("{step:?}"),
        }
        while let Some(item) = machine.next_item() {
            if let Item::Event(event) = item {
                ids.push(event.data().parse().unwrap());
            }
        }
    }
    (ids, machine.attempt())
}

#[test]
fn a_day_of_outages_loses_and_repeats_nothing() {
    let day = Duration::from_secs(86_400);
    for seed in 0..5 {
        // An outage of 1 to 17 minutes every 20 minutes.
        let mut random = fastrand_like(seed);
        let mut changes = Vec::new();
        let mut time = Duration::ZERO;
        while time < day {
            time += Duration::from_millis(60_000 + random() % 180_000);
            changes.push(time);
            time += Duration::from_millis(60_000 + random() % 960_000);
            changes.push(time);
        }
        let outages = changes.len() as u64 / 2;
        let server = Server { changes };
        let (ids, attempts) = follow(seed, &server, day);
        assert!(ids.len() > 5_000, "{}", ids.len());
        for (expected, id) in (1..).zip(&ids) {
            assert_eq!(*id, expected);
        }
        // The longest delay is a minute, so a minute of outage costs little more than an attempt.
        assert!(
            attempts < outages * 40,
            "{attempts} attempts, {outages} outages"
        );
    }
}

/// After an outage of 10 s at most 6 % of 1,000 clients come back in any 100 ms.
#[test]
fn a_herd_comes_back_spread_out() {
    for (retry, silent) in [
        (None, false),
        (Some(100), false),
        (Some(3000), false),
        (None, true),
    ] {
        for seed in 0..10 {
            let outage = (Duration::from_secs(60), Duration::from_secs(70));
            let mut returns: Vec<_> = (0..1000)
                .map(|client| return_after(outage, seed * 1000 + client, retry, silent))
                .collect();
            returns.sort_unstable();
            let window = Duration::from_millis(100);
            let most = (0..returns.len())
                .map(|first| {
                    let end = returns[first] + window;
                    returns.partition_point(|time| *time < end) - first
                })
                .max()
                .unwrap();
            assert!(
                most <= 60,
                "{most} of 1,000 in 100 ms, retry {retry:?}, seed {seed}"
            );
        }
    }
}

/// Returns when a client that was connected before the outage is connected again.
///
/// While the server is down it refuses connections, or accepts none at all.
fn return_after(
    outage: (Duration, Duration),
    seed: u64,
    retry: Option<u64>,
    silent: bool,
) -> Duration {
    let source = EventSource::get("http://a/").unwrap();
    let mut machine = Machine::new(source, seed);
    let mut now = Duration::ZERO;
    machine.step(now);
    machine.connected(now);
    machine.sent(now, machine.unsent().len());
    machine.receive(now, HEAD);
    let retry = retry.map(|millis| format!("retry: {millis}\n"));
    machine.receive(
        now,
        format!("{}data\n\n", retry.unwrap_or_default()).as_bytes(),
    );
    now = outage.0;
    machine.end(now);
    loop {
        match machine.step(now) {
            Step::Wait { until } => now = until,
            Step::Connect { .. } if now >= outage.1 => return now,
            Step::Connect { deadline } if silent => now = deadline,
            Step::Connect { .. } => {
                machine.fail(now, io::ErrorKind::ConnectionRefused.into());
            }
            step => panic!("{step:?}"),
        }
        while machine.next_item().is_some() {}
    }
}

fn fastrand_like(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}
