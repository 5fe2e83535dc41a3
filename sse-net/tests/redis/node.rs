//! A node in this process: a hub and a server that follows its topics.

use std::sync::{Arc, OnceLock};

use sse_core::LogId;
use sse_net::testing::RawClient;
use sse_net::{
    Answer, Config, Engine, Event, Hub, HubConfig, Rejection, Request, Retention, ServerHandle,
    StreamToken, Topic, Transport,
};
use tokio::io::{DuplexStream, duplex};

use crate::common::{Net, config, serve};
use crate::proxy::Proxy;
use crate::server::Redis;

/// Follows the topics that are named in the path: `/a,b`. A token may follow: `/a,b?token=…`.
pub(crate) fn follow(hub: &Hub, request: Request) -> Answer {
    let names = request.path()[1..].to_owned();
    let topics: Result<Vec<_>, _> = names.split(',').map(|name| hub.topic(name)).collect();
    let token = request.query_value("token");
    let token = token.and_then(|token| StreamToken::parse(&token));
    match (topics, token) {
        (Ok(topics), Some(token)) => request.with_token(token).follow_all(&topics),
        (Ok(topics), None) => request.follow_all(&topics),
        (Err(_), _) => request.reject(Rejection::UNAVAILABLE),
    }
}

pub(crate) struct Node {
    pub(crate) hub: Hub,
    pub(crate) net: Net,
    _server: ServerHandle,
    /// A keyed topic, which stays one while it is held.
    pub(crate) keyed: OnceLock<Topic>,
}

impl Node {
    pub(crate) async fn connect(url: &str) -> Self {
        let retention = HubConfig::from(Retention::events(100_000));
        Self::with(url, retention, config()).await
    }

    pub(crate) async fn with(url: &str, hub: HubConfig, config: Config) -> Self {
        let engine = Engine::redis(url).unwrap();
        let hub = Hub::connect(hub, engine).await.unwrap();
        let followed = hub.clone();
        let (server, net) = serve(config, move |request: Request| {
            std::future::ready(follow(&followed, request))
        });
        Self {
            hub,
            net,
            _server: server,
            keyed: OnceLock::new(),
        }
    }

    /// Returns a client of this node.
    pub(crate) fn client(&self) -> RawClient<DuplexStream> {
        let (ours, theirs) = duplex(1 << 20);
        self.net.accept(Transport::new(theirs));
        RawClient::new(ours)
    }

    /// Returns a client that follows the topics in the path.
    pub(crate) async fn follow(&self, path: &str) -> RawClient<DuplexStream> {
        let mut client = self.client();
        client.get(path).await.unwrap();
        client
    }

    /// Returns a client that follows the topics in the path after an event.
    pub(crate) async fn resume(&self, path: &str, last_event_id: &str) -> RawClient<DuplexStream> {
        let mut client = self.client();
        client.resume(path, last_event_id).await.unwrap();
        client
    }

    /// Publishes an event, and waits until it is stored.
    pub(crate) async fn publish(&self, topic: &str, data: &str) -> LogId {
        let topic = self.hub.topic(topic).unwrap();
        let published = topic.publish(&Event::new().data(data)).unwrap();
        assert_eq!(published.id(), None);
        published.stored().await.unwrap()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.hub.engine_snapshot().unwrap().is_ready
    }
}

/// Returns a server with the functions, and a node that reaches it through a proxy.
pub(crate) async fn behind_proxy() -> (Arc<Redis>, Proxy, Node) {
    let redis = Redis::start(&[]);
    redis.load_functions();
    let proxy = Proxy::to(redis.port).await;
    let node = Node::connect(&proxy.url()).await;
    (Arc::new(redis), proxy, node)
}
