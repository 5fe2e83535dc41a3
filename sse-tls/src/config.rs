//! The configuration of handshakes.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::ServerConfig;

#[cfg(feature = "ring")]
use crate::files::{Source, Status};

/// The configuration of handshakes, replaceable while the server runs.
///
/// It is made from an `Arc<rustls::ServerConfig>`, or with the feature `ring` from
/// [files](crate::PemFiles::load), which can be reloaded. A clone costs one reference count, and
/// all clones share one configuration.
#[derive(Clone)]
pub struct TlsConfig(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    current: Mutex<Current>,
    /// The files, unless the configuration is the application's own.
    #[cfg(feature = "ring")]
    pub(crate) source: Option<Mutex<Source>>,
}

/// The configuration in use.
pub(crate) struct Current {
    pub(crate) config: Arc<ServerConfig>,
    #[cfg(feature = "ring")]
    pub(crate) status: Status,
}

impl TlsConfig {
    /// Returns the configuration for a handshake that starts now.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.lock().config)
    }

    #[cfg(feature = "ring")]
    pub(crate) fn with_source(config: Arc<ServerConfig>, status: Status, source: Source) -> Self {
        Self(Arc::new(Shared {
            current: Mutex::new(Current { config, status }),
            source: Some(Mutex::new(source)),
        }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Current> {
        let current = self.0.current.lock();
        current.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wraps a configuration of the application, which is never replaced.
///
/// Its ALPN protocols should contain `http/1.1` and not `h2`, so that a client that offers only
/// HTTP/2 is refused in the handshake.
impl From<Arc<ServerConfig>> for TlsConfig {
    fn from(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(Shared {
            current: Mutex::new(Current {
                config,
                #[cfg(feature = "ring")]
                status: Status::default(),
            }),
            #[cfg(feature = "ring")]
            source: None,
        }))
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig").finish_non_exhaustive()
    }
}
