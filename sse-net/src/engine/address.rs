//! Where the primary is: at an address, or where Sentinel says.

use std::fmt;

use redis::io::tcp::TcpSettings;
use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

use super::error::EngineError;
use super::link::Broken;
use super::sentinel::Sentinels;

/// How to find the primary.
#[derive(Clone)]
pub(super) enum Address {
    Server(ConnectionInfo),
    Sentinels(Sentinels),
}

/// A server that should be the primary.
pub(super) struct Primary {
    pub(super) info: ConnectionInfo,
    /// The number of the configuration that Sentinel has; later ones are greater.
    pub(super) epoch: u64,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, EngineError> {
        for (prefix, scheme) in [
            ("redis+sentinel://", "redis"),
            ("rediss+sentinel://", "rediss"),
        ] {
            if let Some(rest) = url.strip_prefix(prefix) {
                return Sentinels::parse(scheme, rest).map(Self::Sentinels);
            }
        }
        server(url).map(Self::Server)
    }

    /// Returns the address of the primary, which Sentinel is asked for.
    pub(super) async fn find(&self) -> Result<Primary, Broken> {
        match self {
            Self::Server(info) => Ok(Primary {
                info: info.clone(),
                epoch: 0,
            }),
            Self::Sentinels(sentinels) => sentinels.find().await,
        }
    }
}

/// Parses the URL of a server.
pub(super) fn server(url: &str) -> Result<ConnectionInfo, EngineError> {
    let info = url
        .into_connection_info()
        .map_err(|error| EngineError::Url(error.to_string()))?;
    // Notifications and replies share a connection.
    let settings = info.redis_settings().clone();
    let settings = settings.set_protocol(ProtocolVersion::RESP3);
    // A user needs a permission for that, and a server before 7.2 does not know it.
    let settings = settings.set_skip_set_lib_name();
    let tcp = TcpSettings::default().set_nodelay(true);
    Ok(info.set_redis_settings(settings).set_tcp_settings(tcp))
}

impl fmt::Display for Address {
    /// Leaves out passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(info) => info.addr().fmt(f),
            Self::Sentinels(sentinels) => sentinels.fmt(f),
        }
    }
}
