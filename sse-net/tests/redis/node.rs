//! A node in this process: a hub and a server that follows its topics.

use sse_core::LogId;
use sse_net::{
    Answer, Config, Engine, Event, Hub, HubConfig, Rejection, Request, Retention, ServerHandle,
};

use crate::common::{Net, config, serve};

/// Follows the topics that are named in the path: `/a,b`.
pub(crate) fn follow(hub: &Hub, request: Request) -> Answer {
    let names = request.path()[1..].to_owned();
    let topics: Result<Vec<_>, _> = names.split(',').map(|name| hub.topic(name)).collect();
    match topics {
        Ok(topics) => request.follow_all(&topics),
        Err(_) => request.reject(Rejection::UNAVAILABLE),
    }
}

pub(crate) struct Node {
    pub(crate) hub: Hub,
    pub(crate) net: Net,
    _server: ServerHandle,
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
        }
    }

    pub(crate) async fn publish(&self, topic: &str, data: &str) -> LogId {
        let topic = self.hub.topic(topic).unwrap();
        let published = topic.publish(&Event::new().data(data)).unwrap();
        published.stored().await.unwrap()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.hub.engine_snapshot().unwrap().is_ready
    }
}
