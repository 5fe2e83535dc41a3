//! A client of a topic with a journal, whose connections are cut at random bytes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sse_core::Retention;
use sse_net::{
    Config, Connect, Event, EventSource, Item, Journal, Routes, Server, Start, Tcp, Topic,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::time::timeout;

const CUTS: u64 = 1000;

/// Every event arrives once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_cuts_lose_and_repeat_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::new(dir.path().join("journal"));
    let topic = Topic::open(Retention::events(100_000), &journal).unwrap();
    let tcp = Tcp::default().bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let routes = Routes::new().topic_from("/", &topic, Start::Earliest);
    let _server = Server::new(Config::default().shards(1))
        .listen(tcp)
        .serve(routes);

    let cuts = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&cuts);
    let connector = move |_| {
        let (ours, theirs) = duplex(1 << 16);
        let cuts = Arc::clone(&counted);
        async move {
            let socket = TcpStream::connect(address).await?;
            tokio::spawn(cut(socket, theirs, cuts));
            Ok(ours)
        }
    };
    let millis = Duration::from_millis;
    let source = EventSource::get("http://localhost/").unwrap();
    let source = source
        .reconnection_time(millis(1))
        .min_delay(millis(1))
        .max_delay(millis(2));
    let mut client = source.connect_with(connector);

    let publishing = topic.clone();
    let publisher = tokio::spawn(async move {
        let mut published = 0_usize;
        while cuts.load(Ordering::Relaxed) < CUTS {
            published += 1;
            let data = format!("{published}\n{}", "x".repeat(published % 200));
            publishing.publish(&Event::new().data(data)).unwrap();
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        publishing.finish(None).unwrap();
        published
    });
    let mut received = 0_usize;
    let following = async {
        while let Some(item) = client.next_item().await.unwrap() {
            if let Item::Event(event) = item {
                received += 1;
                let number = event.data().lines().next().unwrap();
                assert_eq!(number, received.to_string());
            }
        }
    };
    timeout(Duration::from_secs(120), following).await.unwrap();
    assert_eq!(received, publisher.await.unwrap());
}

/// Forwards in both directions, and cuts the client off after a random number of bytes.
async fn cut(socket: TcpStream, client: DuplexStream, cuts: Arc<AtomicU64>) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = socket.into_split();
    let is_over = cuts.load(Ordering::Relaxed) >= CUTS;
    let mut left = if is_over {
        usize::MAX
    } else {
        fastrand::usize(1..1500)
    };
    let request = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
        std::future::pending::<()>().await;
    };
    let response = async {
        let mut buffer = vec![0; 4096];
        while left > 0 {
            let len = match from_server.read(&mut buffer).await {
                Ok(len @ 1..) => len.min(left),
                _ => return,
            };
            left -= len;
            if to_client.write_all(&buffer[..len]).await.is_err() {
                return;
            }
        }
        cuts.fetch_add(1, Ordering::Relaxed);
    };
    tokio::select! {
        () = request => {}
        () = response => {}
    }
}
