//! What handshakes go by, replaced while the server runs.

use std::fmt;
use std::hash::RandomState;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::pki_types::UnixTime;
use rustls::server::ProducesTickets;
use tokio::time::{MissedTickBehavior, interval};

use crate::pem::{PemError, PemFiles, Print};
use crate::validity::{Validity, Warning};

/// What handshakes go by. Cheap to clone; all clones are the same.
///
/// One that was [loaded from files](PemFiles::load) follows them, on demand by
/// [`reload`](Self::reload) or by itself with [`watch`](Self::watch): as a whole, from one
/// handshake to the next. Connections that are up go on.
#[derive(Clone)]
pub struct TlsConfig(Arc<Shared>);

struct Shared {
    current: Mutex<Current>,
    source: Option<Mutex<Source>>,
}

/// What is in use.
#[derive(Clone)]
struct Current {
    config: Arc<ServerConfig>,
    validities: Arc<[Validity]>,
    /// Why the files, as they were last seen, are not.
    problem: Option<PemError>,
}

/// Where it has come from.
struct Source {
    files: PemFiles,
    hasher: RandomState,
    /// That of the contents in use.
    print: Print,
    ticketer: Arc<dyn ProducesTickets>,
}

impl TlsConfig {
    pub(crate) fn load(files: PemFiles) -> Result<Self, PemError> {
        let hasher = RandomState::new();
        let contents = files.read()?;
        let ticketer = ticketer();
        let (config, validities) = files.configure(&contents, Arc::clone(&ticketer))?;
        let source = Source {
            print: contents.print(&hasher),
            files,
            hasher,
            ticketer,
        };
        Ok(Self::new(config.into(), validities, Some(source)))
    }

    fn new(config: Arc<ServerConfig>, validities: Vec<Validity>, source: Option<Source>) -> Self {
        Self(Arc::new(Shared {
            current: Mutex::new(Current {
                config,
                validities: validities.into(),
                problem: None,
            }),
            source: source.map(Mutex::new),
        }))
    }

    /// What a handshake that begins now goes by.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.lock().config)
    }

    /// Reads the files again, and uses them from the next handshake on: whether they have
    /// changed. It reads while the thread waits.
    ///
    /// What a file is called counts, not what it was: a symlink that points elsewhere, in its
    /// name or on the way to it, is followed anew.
    ///
    /// # Errors
    ///
    /// As [`PemFiles::load`]; what is in use stays so.
    pub fn reload(&self) -> Result<bool, PemError> {
        let Some(source) = &self.0.source else {
            return Ok(false);
        };
        let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
        let read = source.read();
        let mut current = self.lock();
        current.problem = read.as_ref().err().cloned();
        let Some((config, validities)) = read? else {
            return Ok(false);
        };
        current.config = config;
        current.validities = validities;
        Ok(true)
    }

    /// [Reloads](Self::reload) at an interval, for ever, and tells what comes of it: spawn it.
    /// It reads some KB each time, on a thread for what blocks; 10 s do well.
    ///
    /// A problem is told once, and only when it was found twice in a row: files that are
    /// replaced one by one don't fit each other in between. A [`Warning`] is told when it
    /// begins to hold; one that held from the start is not. A panic of `tell` does not end it.
    ///
    /// # Panics
    ///
    /// On an interval of zero, and outside a Tokio runtime.
    pub async fn watch(self, every: Duration, mut tell: impl FnMut(Notice) + Send) {
        // One that panics is called again all the same: what it is told is worth it.
        let mut tell = |notice| drop(catch_unwind(AssertUnwindSafe(|| tell(notice))));
        let mut warnings = self.warnings();
        let (mut found, mut told) = (None, None);
        let mut interval = interval(every);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval.tick().await;
        loop {
            interval.tick().await;
            let config = self.clone();
            let Ok(reloaded) = tokio::task::spawn_blocking(move || config.reload()).await else {
                return; // The runtime is about to end.
            };
            match reloaded {
                Ok(is_changed) => {
                    if is_changed {
                        tell(Notice::Replaced);
                    }
                    (found, told) = (None, None);
                }
                Err(error) => {
                    let sentence = Some(error.to_string());
                    if sentence == found && sentence != told {
                        tell(Notice::Kept(error));
                        told.clone_from(&sentence);
                    }
                    found = sentence;
                }
            }
            let now = self.warnings();
            for warning in now.iter().filter(|warning| !warnings.contains(warning)) {
                tell(Notice::Warning(warning.clone()));
            }
            warnings = now;
        }
    }

    /// Why the files, as they were last seen, are not in use; none if they are.
    #[must_use]
    pub fn problem(&self) -> Option<PemError> {
        self.lock().problem.clone()
    }

    /// What is wrong, just now, with certificates that are in use all the same.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let validities = Arc::clone(&self.lock().validities);
        let now = UnixTime::now();
        let warnings = validities.iter().map(|validity| validity.warning(now));
        warnings.flatten().collect()
    }

    /// When the first of the certificates in use expires, for whoever watches over that; none
    /// if they are not from files.
    #[must_use]
    pub fn not_after(&self) -> Option<SystemTime> {
        let validities = Arc::clone(&self.lock().validities);
        validities.iter().map(Validity::not_after).min()
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        let current = self.0.current.lock();
        current.unwrap_or_else(PoisonError::into_inner)
    }
}

/// A configuration of one's own, which stays as it is. It should have `http/1.1` among its ALPN
/// protocols and not `h2`, so that a client that speaks nothing else is told so.
impl From<Arc<ServerConfig>> for TlsConfig {
    fn from(config: Arc<ServerConfig>) -> Self {
        Self::new(config, Vec::new(), None)
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig").finish_non_exhaustive()
    }
}

type Read = (Arc<ServerConfig>, Arc<[Validity]>);

impl Source {
    /// What the files amount to, if they have changed.
    fn read(&mut self) -> Result<Option<Read>, PemError> {
        let contents = self.files.read()?;
        let print = contents.print(&self.hasher);
        if print == self.print {
            return Ok(None);
        }
        // A client whose authority is gone must not come back by a ticket.
        let ticketer = match print.client_ca == self.print.client_ca {
            true => Arc::clone(&self.ticketer),
            false => ticketer(),
        };
        let (config, validities) = self.files.configure(&contents, Arc::clone(&ticketer))?;
        (self.print, self.ticketer) = (print, ticketer);
        Ok(Some((config.into(), validities.into())))
    }
}

fn ticketer() -> Arc<dyn ProducesTickets> {
    Ticketer::new().expect("the system has random numbers")
}

/// What comes of [watching](TlsConfig::watch) files.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Notice {
    /// The files have changed, and what they hold now is in use.
    Replaced,
    /// The files have changed, and can't be used: what was in use stays so.
    Kept(PemError),
    /// What is in use is, as of now, not as it should be.
    Warning(Warning),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replaced => f.write_str("the certificates have been replaced"),
            Self::Kept(error) => write!(f, "the certificates stay as they were: {error}"),
            Self::Warning(warning) => warning.fmt(f),
        }
    }
}
