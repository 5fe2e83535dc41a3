//! Sentinel: asking for the primary, and noticing that it is another one.
//!
//! All Sentinels are asked at once, and the answer of the latest configuration counts. So one that
//! has missed a failover leads no node back to the old primary.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, Value, pipe};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::address::{Primary, server};
use super::error::EngineError;
use super::link::Broken;
use super::message::{bytes, text};
use super::shared::EngineShared;

/// The Sentinels of a primary.
#[derive(Clone)]
pub(super) struct Sentinels {
    all: Vec<ConnectionInfo>,
    /// The name of the primary.
    name: String,
    /// The settings for the primary; the address is that of a Sentinel.
    settings: ConnectionInfo,
}

impl Sentinels {
    /// Parses `user:password@host:port,host:port/name/database`.
    pub(super) fn parse(scheme: &str, rest: &str) -> Result<Self, EngineError> {
        let missing = || EngineError::Url("it does not name the primary".to_owned());
        let (authority, path) = rest.split_once('/').ok_or_else(missing)?;
        let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
        let (name, database) = path.split_once('/').unwrap_or((path, ""));
        if name.is_empty() {
            return Err(missing());
        }
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let hosts: Vec<_> = hosts.split(',').map(with_port).collect();
        let login = if login.is_empty() {
            ""
        } else {
            &format!("{login}@")
        };
        let all = hosts
            .iter()
            .map(|host| server(&format!("{scheme}://{host}/{query}")));
        Ok(Self {
            all: all.collect::<Result<_, _>>()?,
            name: name.to_owned(),
            settings: server(&format!("{scheme}://{login}{}/{database}{query}", hosts[0]))?,
        })
    }

    /// Sets the user and the password for the Sentinels themselves.
    pub(super) fn set_login(&mut self, user: &str, password: &str) {
        for info in &mut self.all {
            let mut settings = info.redis_settings().clone().set_password(password);
            if !user.is_empty() {
                settings = settings.set_username(user);
            }
            *info = info.clone().set_redis_settings(settings);
        }
    }

    /// Asks all Sentinels for the primary.
    pub(super) async fn find(&self) -> Result<Primary, Broken> {
        let mut asking = JoinSet::new();
        for info in &self.all {
            let (info, name) = (info.clone(), self.name.clone());
            asking.spawn(async move {
                let asked = async {
                    let mut connection = connect(info, None).await?;
                    ask(&mut connection, &name).await
                };
                timeout(TIMEOUT, asked).await
            });
        }
        let (mut found, mut reason) = (None, "no Sentinel answers".to_owned());
        while let Some(asked) = asking.join_next().await {
            match asked {
                Ok(Ok(Ok(answer))) => found = found.max(Some(answer)),
                Ok(Ok(Err(Broken(why)))) => reason = why,
                Ok(Err(_)) | Err(_) => {} // It has not answered in time.
            }
        }
        let found = found.ok_or(Broken(reason))?;
        Ok(Primary {
            info: self
                .settings
                .clone()
                .set_addr(found.addr(self.settings.addr())),
            epoch: found.epoch,
        })
    }

    /// Breaks the link to a server that is not the primary any more, until the hub is dropped.
    ///
    /// An old primary that lives keeps its connections for some time, and takes events that are
    /// lost.
    pub(super) async fn watch(self, shared: Arc<EngineShared>) {
        let watching = async {
            for index in (0..self.all.len()).cycle() {
                let _broken = self.watch_with(&shared, index).await;
                sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = watching => {}
            () = shared.closing() => {}
        }
    }

    async fn watch_with(&self, shared: &EngineShared, index: usize) -> Result<(), Broken> {
        let moved = Arc::new(Notify::new());
        let mut connection = connect(self.all[index].clone(), Some(Arc::clone(&moved))).await?;
        connection.subscribe("+switch-master").await?;
        loop {
            let answer = timeout(TIMEOUT, ask(&mut connection, &self.name)).await;
            let answer = answer.map_err(|_| Broken("Sentinel does not answer".to_owned()))??;
            let link = shared.link.borrow().clone();
            if let Some(link) = link
                && link.primary.epoch < answer.epoch
                && *link.primary.info.addr() != answer.addr(link.primary.info.addr())
            {
                shared.report_broken(link.number, "Sentinel has another primary");
            }
            tokio::select! {
                () = moved.notified() => {}
                () = sleep(CHECK) => {}
            }
        }
    }
}

/// The answer of a Sentinel. Later configurations are greater.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Answer {
    epoch: u64,
    host: String,
    port: u16,
}

impl Answer {
    /// Returns the address, with TLS if another one has it.
    fn addr(&self, like: &ConnectionAddr) -> ConnectionAddr {
        let (host, port) = (self.host.clone(), self.port);
        match like.clone() {
            ConnectionAddr::TcpTls {
                insecure,
                tls_params,
                ..
            } => ConnectionAddr::TcpTls {
                host,
                port,
                insecure,
                tls_params,
            },
            _ => ConnectionAddr::Tcp(host, port),
        }
    }
}

async fn connect(
    info: ConnectionInfo,
    pushed: Option<Arc<Notify>>,
) -> Result<MultiplexedConnection, Broken> {
    let mut config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(TIMEOUT))
        .set_response_timeout(Some(TIMEOUT));
    if let Some(pushed) = pushed {
        config = config.set_push_sender(move |_| {
            pushed.notify_one();
            Ok::<(), ()>(())
        });
    }
    let client = Client::open(info)?;
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    Ok(connection.await?)
}

/// Asks for the address of a primary and the number of the configuration.
async fn ask(connection: &mut MultiplexedConnection, name: &str) -> Result<Answer, Broken> {
    // During a failover, only the first command has the new address.
    let mut asked = pipe();
    asked
        .cmd("SENTINEL")
        .arg("GET-MASTER-ADDR-BY-NAME")
        .arg(name);
    asked.cmd("SENTINEL").arg("MASTER").arg(name);
    let replies = connection.send_packed_commands(&asked, 0, 2).await?;
    answer(&replies).ok_or_else(|| Broken(format!("Sentinel knows no primary {name:?}")))
}

fn answer(replies: &[Value]) -> Option<Answer> {
    let [Value::Array(addr), master] = replies else {
        return None;
    };
    let [host, port] = &addr[..] else {
        return None;
    };
    let epoch = match master {
        Value::Map(fields) => fields
            .iter()
            .find(|(name, _)| bytes(name) == Some(b"config-epoch"))
            .and_then(|(_, value)| text(value)),
        _ => None,
    };
    Some(Answer {
        epoch: epoch?.parse().ok()?,
        host: text(host)?,
        port: text(port)?.parse().ok()?,
    })
}

/// Returns a host with its port, by default Sentinel's.
fn with_port(host: &str) -> String {
    match host.rfind(':') > host.rfind(']') {
        true => host.to_owned(),
        false => format!("{host}:26379"),
    }
}

impl fmt::Display for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (by Sentinel at ", self.name)?;
        for (index, info) in self.all.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", info.addr())?;
        }
        f.write_str(")")
    }
}

/// How long a Sentinel may take to answer.
const TIMEOUT: Duration = Duration::from_millis(500);

/// The time between two questions for the primary.
const CHECK: Duration = Duration::from_secs(2);

/// How long to wait before another Sentinel is watched.
const PAUSE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::address::Address;

    #[test]
    fn a_url_names_sentinels_and_a_primary() {
        for (url, shown) in [
            ("redis+sentinel://a/m", "m (by Sentinel at a:26379)"),
            (
                "redis+sentinel://u:p@a:1,b:2,[::1]/main/3",
                "main (by Sentinel at a:1, b:2, ::1:26379)",
            ),
            (
                "rediss+sentinel://a,b:2/m",
                "m (by Sentinel at a:26379, b:2)",
            ),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!(address.to_string(), shown);
        }
        let Ok(Address::Sentinels(sentinels)) =
            Address::parse("rediss+sentinel://u:p%40@a:1,b:2/main/3")
        else {
            panic!("Sentinels are meant");
        };
        let settings = sentinels.settings.redis_settings();
        assert_eq!(
            (settings.username(), settings.password(), settings.db()),
            (Some("u"), Some("p@"), 3)
        );
        assert_eq!(sentinels.all[1].redis_settings().password(), None);
        for url in [
            "redis+sentinel://a",
            "redis+sentinel://a/",
            "redis+sentinel://a//3",
            "redis+sentinel://a:x/m",
            "redis+sentinel:///m",
        ] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
        let error = Address::parse("redis+sentinel://a").err().unwrap();
        assert_eq!(
            error.to_string(),
            "the URL of the engine is not one of a Redis server: it does not name the primary; \
             write it as redis://host:6379 or redis+sentinel://host:26379/name"
        );
    }

    #[test]
    fn the_answer_of_the_latest_configuration_counts() {
        let bulk = |text: &str| Value::BulkString(text.into());
        let replies = |port: &str, epoch: &str| {
            let fields = vec![
                (bulk("name"), bulk("m")),
                (bulk("config-epoch"), bulk(epoch)),
            ];
            [
                Value::Array(vec![bulk("127.0.0.1"), bulk(port)]),
                Value::Map(fields),
            ]
        };
        let old = answer(&replies("9", "9")).unwrap();
        let new = answer(&replies("7", "10")).unwrap();
        assert!(old < new);
        assert_eq!(
            new.addr(&ConnectionAddr::Tcp("a".into(), 1)).to_string(),
            "127.0.0.1:7"
        );
        assert_eq!(answer(&[Value::Nil, Value::Nil]), None);
        assert_eq!(answer(&replies("x", "1")), None);
        assert_eq!(answer(&replies("1", "x")), None);
    }
}
