//! Measures keyed topics: publishing beside an ordinary topic, and a joiner beside writing the
//! same bytes. Prints a table.

use std::error::Error;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use sse_core::{Event, Retention};
use sse_net::{Hub, Start, Topic, TopicConfig};

const KEYS: usize = 10_000;
const ROUNDS: usize = 31;
const PUBLISHED: usize = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    println!("| bar | measured | target | |\n| --- | --- | --- | --- |");
    for len in [20, 100, 1000] {
        measure(len)?;
    }
    Ok(())
}

fn measure(len: usize) -> Result<(), Box<dyn Error>> {
    let hub = Hub::new(TopicConfig::from(Retention::events(KEYS)));
    let [ordinary, keyed] = [hub.topic("ordinary")?, hub.keyed_topic("keyed")?];
    let keys = Vec::from_iter((0..KEYS).map(|key| format!("key-{key:05}")));
    let data = "x".repeat(len);
    let event = Event::new().data(&data);
    for key in &keys {
        keyed.publish_for(key, &event)?;
    }
    let mut key = random_keys();
    for _ in 0..10 * KEYS {
        keyed.publish_for(&keys[key()], &event)?;
    }

    // A publisher has just made the key, and does not wait for memory to read it.
    let (mut key, mut other) = (random_keys(), random_keys());
    let (ratio, [by_key, plain]) = medians([
        &mut || {
            for _ in 0..PUBLISHED {
                let key = text(key());
                let key = black_box(str::from_utf8(&key)).unwrap_or_default();
                black_box(keyed.publish_for(key, &event)).expect("there is room");
            }
        },
        &mut || {
            for _ in 0..PUBLISHED {
                let key = text(other());
                let _ = black_box(str::from_utf8(&key));
                black_box(ordinary.publish(&event)).expect("it is not finished");
            }
        },
    ]);
    let of = |time: Duration| time.as_nanos() / PUBLISHED as u128;
    row(
        &format!("{len} bytes of data: publish, {KEYS} keys"),
        &format!("{ratio:.2} × ({} ns of {} ns)", of(by_key), of(plain)),
        "≤ 2 ×",
        ratio <= 2.0,
    );

    let mut socket = drained_socket()?;
    let mut other = socket.try_clone()?;
    let mut wire = Vec::new();
    read(&keyed, &mut wire)?;
    let (ratio, [joins, writes]) = medians([
        &mut || {
            black_box(read(&keyed, &mut socket)).expect("the socket is read");
        },
        &mut || {
            for chunk in wire.chunks(64 << 10) {
                other.write_all(chunk).expect("the socket is read");
            }
        },
    ]);
    row(
        &format!("{len} bytes of data: a joiner"),
        &format!("{ratio:.2} × ({joins:.1?} of {writes:.1?})"),
        "≤ 1.5 ×",
        ratio <= 1.5,
    );
    Ok(())
}

/// Writes what a joiner gets, and returns its bytes.
fn read(topic: &Topic, writer: &mut impl Write) -> io::Result<usize> {
    let mut subscription = topic.subscribe(Start::Live);
    let cx = &mut Context::from_waker(Waker::noop());
    let mut len = 0;
    while let Poll::Ready(read) = subscription.poll_bytes(cx) {
        let bytes = read.map_err(io::Error::other)?.unwrap_or_default();
        writer.write_all(&bytes)?;
        len += bytes.len();
    }
    Ok(len)
}

/// Measures both in turn, and returns the median of the rounds' ratios, which other load on the
/// machine hardly moves, and the medians of the times.
fn medians(mut runs: [&mut dyn FnMut(); 2]) -> (f64, [Duration; 2]) {
    let rounds = Vec::from_iter((0..ROUNDS).map(|_| {
        runs.each_mut().map(|run| {
            let began = Instant::now();
            run();
            began.elapsed()
        })
    }));
    let mut ratios = Vec::from_iter(
        rounds
            .iter()
            .map(|[one, other]| one.div_duration_f64(*other)),
    );
    ratios.sort_by(f64::total_cmp);
    let median = |index: usize| {
        let mut times = Vec::from_iter(rounds.iter().map(|times| times[index]));
        times.sort();
        times[ROUNDS / 2]
    };
    (ratios[ROUNDS / 2], [median(0), median(1)])
}

/// Returns the text of a key.
fn text(key: usize) -> [u8; 9] {
    let mut text = *b"key-00000";
    let mut rest = key;
    for digit in text[4..].iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    text
}

fn random_keys() -> impl FnMut() -> usize {
    let mut random = 1_u64;
    move || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) as usize % KEYS
    }
}

/// A socket whose peer reads all that comes.
fn drained_socket() -> io::Result<TcpStream> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let socket = TcpStream::connect(listener.local_addr()?)?;
    let (mut peer, _) = listener.accept()?;
    thread::spawn(move || {
        let mut buffer = vec![0; 256 << 10];
        while peer.read(&mut buffer).is_ok_and(|read| read > 0) {}
    });
    Ok(socket)
}

fn row(what: &str, measured: &str, target: &str, is_met: bool) {
    let verdict = if is_met { "ok" } else { "**missed**" };
    println!("| {what} | {measured} | {target} | {verdict} |");
}
