//! Configurations that follow their files.

use std::fmt;
use std::hash::RandomState;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::pki_types::UnixTime;
use rustls::server::ProducesTickets;
use tokio::time::{MissedTickBehavior, interval};

use super::validity::{Validity, Warning};
use super::{Fingerprint, PemError, PemFiles};
use crate::config::TlsConfig;

/// What is known about the certificates in use.
#[derive(Default)]
pub(crate) struct Status {
    validities: Arc<[Validity]>,
    /// Why the last reload failed.
    error: Option<PemError>,
}

/// A new configuration, and the validity of its certificates.
type Reloaded = (Arc<ServerConfig>, Arc<[Validity]>);

/// The files of a configuration.
pub(crate) struct Source {
    files: PemFiles,
    hasher: RandomState,
    /// The fingerprint of the contents in use.
    fingerprint: Fingerprint,
    ticketer: Arc<dyn ProducesTickets>,
}

impl Source {
    pub(super) fn load(files: PemFiles) -> Result<TlsConfig, PemError> {
        let hasher = RandomState::new();
        let contents = files.read()?;
        let ticketer = ticketer();
        let (config, validities) = files.configure(&contents, Arc::clone(&ticketer))?;
        let source = Self {
            fingerprint: contents.fingerprint(&hasher),
            files,
            hasher,
            ticketer,
        };
        let status = Status {
            validities: validities.into(),
            error: None,
        };
        Ok(TlsConfig::with_source(config.into(), status, source))
    }

    /// Reads the files, and returns a new configuration if they have changed.
    fn reload(&mut self) -> Result<Option<Reloaded>, PemError> {
        let contents = self.files.read()?;
        let fingerprint = contents.fingerprint(&self.hasher);
        if fingerprint == self.fingerprint {
            return Ok(None);
        }
        // A ticket would resume a session without the client's certificate being verified again,
        // so new authorities need new keys for tickets.
        let ticketer = if fingerprint.client_ca == self.fingerprint.client_ca {
            Arc::clone(&self.ticketer)
        } else {
            ticketer()
        };
        let (config, validities) = self.files.configure(&contents, Arc::clone(&ticketer))?;
        (self.fingerprint, self.ticketer) = (fingerprint, ticketer);
        Ok(Some((config.into(), validities.into())))
    }
}

fn ticketer() -> Arc<dyn ProducesTickets> {
    Ticketer::new().expect("the system provides random numbers")
}

/// Configurations from files; for any other, nothing is ever reloaded or reported.
impl TlsConfig {
    /// Reads the files again. Returns whether they had changed.
    ///
    /// Changed files are used from the next handshake on. The paths are resolved again, so that a
    /// replaced symlink is followed. Blocks the thread while it reads.
    ///
    /// # Errors
    ///
    /// Those of [`PemFiles::load`]. The old configuration then remains in use.
    pub fn reload(&self) -> Result<bool, PemError> {
        let Some(source) = &self.0.source else {
            return Ok(false);
        };
        let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
        let reloaded = source.reload();
        let mut current = self.lock();
        current.status.error = reloaded.as_ref().err().cloned();
        let Some((config, validities)) = reloaded? else {
            return Ok(false);
        };
        current.config = config;
        current.status.validities = validities;
        Ok(true)
    }

    /// [Reloads](Self::reload) at an interval, forever, and calls `notify` with the results.
    ///
    /// Spawn it as a task. An interval of 10 s suits most programs; each reload reads some KB on
    /// a blocking thread.
    ///
    /// An error is reported once, and only when two reloads in a row fail with it: files that are
    /// replaced one by one do not match each other in between. A [`Warning`] is reported when it
    /// starts to apply, but not if it applied at the call of `watch`. A panic of `notify` is
    /// caught.
    ///
    /// # Panics
    ///
    /// If the interval is zero, or outside a Tokio runtime.
    pub async fn watch(self, every: Duration, mut notify: impl FnMut(Notice) + Send) {
        let mut notify = |notice| drop(catch_unwind(AssertUnwindSafe(|| notify(notice))));
        let mut warnings = self.warnings();
        let (mut previous, mut reported) = (None, None);
        let mut interval = interval(every);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval.tick().await;
        loop {
            interval.tick().await;
            let config = self.clone();
            let Ok(reloaded) = tokio::task::spawn_blocking(move || config.reload()).await else {
                return; // The runtime is shutting down.
            };
            match reloaded {
                Ok(is_changed) => {
                    if is_changed {
                        notify(Notice::Reloaded);
                    }
                    (previous, reported) = (None, None);
                }
                Err(error) => {
                    let sentence = Some(error.to_string());
                    if sentence == previous && sentence != reported {
                        notify(Notice::ReloadFailed(error));
                        reported.clone_from(&sentence);
                    }
                    previous = sentence;
                }
            }
            let now = self.warnings();
            for warning in now.iter().filter(|warning| !warnings.contains(warning)) {
                notify(Notice::Warning(warning.clone()));
            }
            warnings = now;
        }
    }

    /// Returns the error of the last reload, or `None` if it succeeded.
    #[must_use]
    pub fn reload_error(&self) -> Option<PemError> {
        self.lock().status.error.clone()
    }

    /// Returns warnings about the certificates in use, as of now.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let validities = Arc::clone(&self.lock().status.validities);
        let now = UnixTime::now();
        let warnings = validities.iter().map(|validity| validity.warning(now));
        warnings.flatten().collect()
    }

    /// Returns when the first of the certificates in use expires, for monitoring.
    #[must_use]
    pub fn not_after(&self) -> Option<SystemTime> {
        let validities = Arc::clone(&self.lock().status.validities);
        validities.iter().map(Validity::not_after).min()
    }
}

/// A report of [`TlsConfig::watch`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Notice {
    /// The files have changed, and the new certificates are in use.
    Reloaded,
    /// The files have changed but are invalid; the old certificates remain in use.
    ReloadFailed(PemError),
    /// A certificate in use has expired or is not valid yet.
    Warning(Warning),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reloaded => f.write_str("the certificates have been replaced"),
            Self::ReloadFailed(error) => write!(f, "the old certificates remain in use: {error}"),
            Self::Warning(warning) => warning.fmt(f),
        }
    }
}
