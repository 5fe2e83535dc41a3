//! Errors and odd replies of a server.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use sse_net::{Engine, EngineError, Event, Hub, HubConfig};
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::node::Node;
use crate::proxy::Proxy;
use crate::server::Redis;

/// The end of the name of the function that publishes.
const PUBLISH: &[u8] = b"_publish\r\n";

#[tokio::test]
#[ignore = "needs redis-server"]
async fn events_wait_for_a_server_that_cannot_store_them_now() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::to(redis.port).await;
    let node = Node::connect(&proxy.url()).await;
    let mut client = node.follow("/news").await;
    let codes = [
        "READONLY",
        "LOADING",
        "MASTERDOWN",
        "MOVED",
        "NOREPLICAS",
        "BUSY",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "ASK",
    ];
    for code in codes {
        node.publish("news", "before").await;
        proxy.answer(PUBLISH, &format!("+PONG\r\n-{code} the reason\r\n"));
        node.publish("news", code).await;
        for data in ["before", code] {
            assert_eq!(client.event().await.unwrap().data(), data);
        }
    }
    assert_eq!(
        redis.call::<usize>(&["XLEN", "sse:{hub}:topic:news"]),
        2 * codes.len()
    );
    let snapshot = node.hub.engine_snapshot().unwrap();
    assert_eq!((snapshot.failed, snapshot.connects), (0, 5));
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn an_error_says_whether_the_event_may_be_stored() {
    let redis = Arc::new(Redis::start(&[]));
    let proxy = Proxy::to(redis.port).await;
    let node = Node::connect(&proxy.url()).await;
    let news = node.hub.topic("news").unwrap();
    let refused = |code: &str| EngineError::Refused(format!("{code} the reason"));
    let failed = |reason: &str| EngineError::Failed(reason.to_owned());
    for (reply, expected) in [
        ("-OOM the reason\r\n", refused("OOM")),
        ("-NOPERM the reason\r\n", refused("NOPERM")),
        ("-MISCONF the reason\r\n", refused("MISCONF")),
        ("-WRONGTYPE the reason\r\n", failed("WRONGTYPE the reason")),
        ("-ERR the reason\r\n", failed("ERR the reason")),
        ("_\r\n", failed("an unknown reply")),
        ("$-1\r\n", failed("an unknown reply")),
        (":5\r\n", failed("an unknown reply")),
        ("*0\r\n", failed("an unknown reply")),
        ("$3\r\n5-x\r\n", failed("an unknown reply")),
        ("+99999999999999999999-1\r\n", failed("an unknown reply")),
    ] {
        node.publish("news", "before").await;
        proxy.answer(PUBLISH, &format!("+PONG\r\n{reply}"));
        let published = news.publish(&Event::new().data("hey")).unwrap();
        let error = published.stored().await.unwrap_err();
        let source = error.source().unwrap().downcast_ref();
        assert_eq!(source, Some(&expected), "{reply:?}");
        let may_be_stored = matches!(expected, EngineError::Failed(_));
        assert_eq!(error.may_be_stored(), may_be_stored, "{reply:?}");
    }
    let snapshot = node.hub.engine_snapshot().unwrap();
    assert_eq!((snapshot.failed, snapshot.connects), (11, 1));
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn an_old_server_is_an_error() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::to(redis.port).await;
    let info = "redis_version:6.2.14\r\nrun_id:5\r\nrole:master\r\n";
    let info = format!("${}\r\n{info}\r\n", info.len());
    for (command, reply, reason) in [
        (b"INFO".as_slice(), &*info, "it is Redis 6.2.14"),
        (
            b"HELLO",
            "-ERR unknown command `HELLO`\r\n",
            "it is older than Redis 6",
        ),
    ] {
        proxy.answer(command, reply);
        let error = refused(&proxy.url()).await;
        let reason = format!("{reason}, and 7.0 or later is needed");
        assert!(error.contains(&reason), "{error}");
    }
}

/// Starts a program that sends the same to everybody, or nothing, and returns its port.
async fn program(sends: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            let _ = connection.write_all(sends).await;
            connections.push(connection);
        }
    });
    port
}

/// Returns why a hub cannot be connected.
pub(crate) async fn refused(url: &str) -> String {
    let engine = Engine::redis(url).unwrap();
    let connecting = Hub::connect(HubConfig::default(), engine);
    let connected = timeout(Duration::from_secs(20), connecting).await;
    connected
        .expect("it does not hang")
        .unwrap_err()
        .to_string()
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_program_that_is_not_a_redis_server_is_an_error() {
    for sends in [
        b"".as_slice(),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"*2147483647\r\n",
        b"%9223372036854775807\r\n",
        b"$9223372036854775807\r\n",
        b"*-5\r\n",
        b":99999999999999999999999\r\n",
        b">1\r\n+message\r\n",
        b"*1\r\n".repeat(10_000).leak(),
        &[0xff; 100_000],
    ] {
        let shown = String::from_utf8_lossy(&sends[..sends.len().min(40)]).into_owned();
        let port = program(sends).await;
        let error = refused(&format!("redis://127.0.0.1:{port}")).await;
        let begin = format!("the engine at 127.0.0.1:{port} cannot be used: ");
        assert!(
            error.starts_with(&begin) && error.lines().count() == 1,
            "{shown:?}: {error}"
        );
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_replica_and_two_servers_behind_one_address_are_errors() {
    let [one, two] = [Redis::start(&[]), Redis::start(&[])];
    let replica = Redis::replica_of(&one);
    let error = refused(&replica.url()).await;
    assert!(error.contains("the server is a replica"), "{error}");
    // As a balancer that sends each connection to another server.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for port in [one.port, two.port].into_iter().cycle() {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    let error = refused(&format!("redis://127.0.0.1:{port}")).await;
    assert!(
        error.contains("two connections reached two servers"),
        "{error}"
    );
}
