//! Deadlines and delays.

use std::time::{Duration, SystemTime};

use sse_core::client::{EventSource, Machine, Step};

use crate::harness::In::{After, Bytes, End, Refused};
use crate::harness::{OK, World};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn feed() -> EventSource {
    EventSource::get("http://a/").unwrap()
}

#[test]
fn each_deadline_passes_by_itself() {
    let wait = |secs_: u64| After(secs(secs_));
    let rest = "HTTP/1.1 404 X\r\n\r\nslow";
    for (source, inputs, expected) in [
        (
            feed().silence(secs(5)),
            &[OK, wait(4), Bytes(":\n"), wait(4), Bytes("d"), wait(5)][..],
            "closed: nothing was received within 5s; raise silence if that is too short",
        ),
        (
            feed().progress(secs(5)),
            &[
                OK,
                wait(2),
                Bytes("data\n\n"),
                wait(3),
                Bytes(":\n"),
                wait(2),
            ],
            "closed: no event was received within 5s; raise progress if that is too short",
        ),
        (
            feed().head_timeout(secs(5)),
            &[Bytes("HTTP/1.1 200"), wait(5)],
            "closed: no response head was received within 5s; raise head_timeout if that is too short",
        ),
        (
            feed().total(secs(5)),
            &[OK, wait(3), End, OK, wait(5)],
            "error: the stream did not end within 5s; raise total if that is too short",
        ),
        (
            EventSource::post("http://a/").unwrap().silence(secs(5)),
            &[OK, wait(5)],
            "error: nothing was received within 5s; raise silence if that is too short",
        ),
        (
            feed().head_timeout(secs(5)),
            &[Bytes(rest), wait(5)],
            "error: the server responded with 404: slow",
        ),
        (
            feed().head_timeout(secs(5)),
            &[Bytes(rest), wait(4), Bytes("er"), wait(1)],
            "error: the server responded with 404: slower",
        ),
    ] {
        let got = crate::harness::run(source, inputs);
        assert_eq!(got.last().unwrap(), expected);
    }
}

/// What the server sends meanwhile waits in the system, and nobody has looked for it yet.
#[test]
fn no_deadline_counts_the_time_that_the_application_takes_for_an_item() {
    let call = || EventSource::post("http://a/").unwrap().ends_at_data("end");
    for (source, error) in [
        (
            call().silence(secs(5)),
            "nothing was received within 5s; raise silence if that is too short",
        ),
        (
            call().progress(secs(5)),
            "no event was received within 5s; raise progress if that is too short",
        ),
    ] {
        let mut world = World::new(source);
        for text in ["data: a\n\n", "data: b\n\n"] {
            if !world.machine.is_open() {
                world.feed(OK);
            }
            world.feed(Bytes(text));
            world.now += secs(60);
            assert_eq!(
                world.machine.step(world.now),
                Step::Exchange {
                    deadline: world.now + secs(5)
                }
            );
        }
        world.feed(After(secs(5)));
        let error = format!("the stream ended before its last event, after 2 events: {error}");
        let result = world.machine.take_result().unwrap_err();
        assert_eq!(result.to_string(), error);
    }
}

/// It need not have a complete event.
#[test]
fn no_deadline_counts_the_time_that_the_application_takes_for_content() {
    let mut world = World::new(feed().silence(secs(5)).with_content());
    world.feed(OK);
    world.feed(After(secs(1)));
    world.feed(Bytes("data: a"));
    world.now += secs(60);
    let deadline = world.now + secs(5);
    assert_eq!(world.machine.step(world.now), Step::Exchange { deadline });
}

#[test]
fn a_connection_has_to_open_in_time() {
    let mut world = World::new(feed().connect_timeout(secs(5)));
    let Step::Connect { deadline } = world.machine.step(world.now) else {
        panic!("not the time to connect");
    };
    assert_eq!(deadline, world.now + secs(5));
    world.feed(After(secs(5)));
    assert_eq!(
        world.log,
        ["closed: no connection was opened within 5s; raise connect_timeout if that is too short"]
    );
}

/// A request of any size is sent as long as the server takes it.
#[test]
fn the_head_is_due_after_the_request() {
    let source = EventSource::post("http://a/").unwrap().body(vec![0; 1000]);
    let mut machine = Machine::new(source.head_timeout(secs(5)), 1);
    machine.step(secs(0));
    machine.connected(secs(0));
    for time in 1..100 {
        machine.sent(secs(4 * time), 1);
        assert!(matches!(
            machine.step(secs(4 * time + 4)),
            Step::Exchange { .. }
        ));
    }
    assert_eq!(machine.step(secs(401)), Step::Over);
}

/// Returns the time between the last failure and the next attempt.
fn delay(world: &mut World) -> Duration {
    match world.machine.step(world.now) {
        Step::Wait { until } => until - world.now,
        step => panic!("{step:?}"),
    }
}

#[test]
fn delays_double_and_start_again_after_progress() {
    let in_range = |delay: Duration, secs: u64| {
        let nominal = Duration::from_secs(secs);
        assert!(delay > nominal / 2 && delay <= nominal, "{delay:?} {secs}");
    };
    let mut world = World::new(feed().reconnection_time(secs(1)));
    for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
        world.feed(Refused);
        in_range(delay(&mut world), expected);
    }
    // A mere 200 is no progress.
    world.feed(OK);
    world.feed(End);
    in_range(delay(&mut world), 60);
    // Nor are comments.
    world.feed(OK);
    world.feed(Bytes(":\n\n"));
    world.feed(End);
    in_range(delay(&mut world), 60);
    // An event is, and the server's time replaces the default.
    world.feed(OK);
    world.feed(Bytes("retry: 3000\ndata\n\n"));
    world.feed(End);
    in_range(delay(&mut world), 3);
    world.feed(Refused);
    in_range(delay(&mut world), 6);
    // So is a minute.
    world.feed(OK);
    world.feed(After(secs(60)));
    world.feed(End);
    in_range(delay(&mut world), 3);
}

#[test]
fn the_servers_times_are_bounded() {
    let mut world = World::new(feed());
    world.feed(OK);
    world.feed(Bytes("data\n\nretry: 0\n"));
    world.feed(End);
    assert!(delay(&mut world) > Duration::from_millis(50));
    world.feed(OK);
    world.feed(Bytes("data\n\nretry: 86400000\n"));
    world.feed(End);
    assert!(delay(&mut world) <= secs(60));
    for (header, least, most) in [
        ("Retry-After: 7", 7.0, 7.7),
        ("Retry-After: 0", 0.1, 0.11),
        ("Retry-After: 99999999999999999999", 86_400.0, 95_040.0),
        (
            "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:49:47 GMT",
            10.0,
            11.0,
        ),
        ("Retry-After: Sun, 06 Nov 1994 08:49:47 GMT", 1.5, 3.0),
        ("Retry-After: soon", 1.5, 3.0),
    ] {
        let mut world = World::new(feed());
        let answer = format!("HTTP/1.1 503 X\r\n{header}\r\n\r\n");
        world.feed(Bytes(&answer));
        let delay = delay(&mut world).as_secs_f64();
        assert!((least..=most).contains(&delay), "{header}: {delay}");
    }
    // Without `Date`, the system's clock is used.
    let mut world = World::new(feed());
    world.machine = world
        .machine
        .with_epoch(SystemTime::UNIX_EPOCH + secs(784_111_776));
    world.feed(Bytes(
        "HTTP/1.1 503 X\r\nRetry-After: Sun, 06 Nov 1994 08:49:47 GMT\r\n\r\n",
    ));
    let delay = delay(&mut world).as_secs_f64();
    assert!((10.0..=11.0).contains(&delay), "{delay}");
}
