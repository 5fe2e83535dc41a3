//! Configurations that follow their files.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::pki_types::UnixTime;
use rustls::server::ProducesTickets;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::validity::{Validity, Warning};
use super::{PemError, PemFiles};
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
    /// The hash of the contents in use.
    hash: u64,
    ticketer: Arc<dyn ProducesTickets>,
}

impl Source {
    pub(super) fn load(files: PemFiles) -> Result<TlsConfig, PemError> {
        let hasher = RandomState::new();
        let contents = files.read()?;
        let ticketer = Ticketer::new().expect("the system provides random numbers");
        let (config, validities) = files.configure(&contents, Arc::clone(&ticketer))?;
        let source = Self {
            hash: hasher.hash_one(&contents),
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
        let hash = self.hasher.hash_one(&contents);
        if hash == self.hash {
            return Ok(None);
        }
        let ticketer = Arc::clone(&self.ticketer);
        let (config, validities) = self.files.configure(&contents, ticketer)?;
        self.hash = hash;
        Ok(Some((config.into(), validities.into())))
    }
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
    /// starts to apply, but not if it applied at the call of `watch`. A panic of `notify` or of a
    /// reload is caught, and the next reload happens as usual.
    ///
    /// # Panics
    ///
    /// If the interval is zero, or outside a Tokio runtime.
    pub async fn watch(self, every: Duration, notify: impl FnMut(Notice) + Send) {
        let config = self.clone();
        self.watch_by(move || config.reload(), every, notify).await;
    }

    /// Watches by calls of `reload` on a blocking thread.
    async fn watch_by(
        self,
        reload: impl FnOnce() -> Result<bool, PemError> + Clone + Send + 'static,
        every: Duration,
        mut notify: impl FnMut(Notice) + Send,
    ) {
        let mut notify = |notice| drop(catch_unwind(AssertUnwindSafe(|| notify(notice))));
        let mut warnings = self.warnings();
        let (mut previous, mut reported) = (None, None);
        let mut interval = interval(every);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval.tick().await;
        loop {
            interval.tick().await;
            let reloaded = match spawn_blocking(reload.clone()).await {
                Ok(reloaded) => reloaded,
                // The panic hook has reported it.
                Err(error) if error.is_panic() => continue,
                Err(_) => return, // The runtime is shutting down.
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
    ///
    /// Their issuers do not count. `None` for a configuration that is not from files.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::path::Path;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustls::crypto::ring;
    use rustls::server::ResolvesServerCertUsingSni;
    use tokio::sync::mpsc;

    use super::super::error::Fault;
    use super::*;

    /// Returns a configuration that no reload of these tests changes.
    fn tls() -> TlsConfig {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        TlsConfig::from(Arc::new(config))
    }

    /// An error that lasts for one reload is that of files that are being replaced one by one.
    #[tokio::test(start_paused = true)]
    async fn a_watch_reports_an_error_once_when_two_reloads_fail_with_it() {
        let results = [
            Err("one"),
            Ok(false),
            Err("one"),
            Err("two"),
            Err("two"),
            Err("two"),
            Ok(false),
            Err("two"),
            Err("two"),
            Ok(true),
        ];
        let results = Arc::new(Mutex::new(results.into_iter()));
        let reload = move || {
            let result = results.lock().unwrap().next().unwrap_or(Ok(false));
            result.map_err(|file| PemError::new(Path::new(file), Fault::Empty))
        };
        let (sender, mut notices) = mpsc::unbounded_channel();
        let notify = move |notice: Notice| sender.send(notice.to_string()).unwrap();
        let _watching = tokio::spawn(tls().watch_by(reload, Duration::from_secs(1), notify));
        let in_use = "the old certificates remain in use: two is empty; is it the right file?";
        for expected in [in_use, in_use, "the certificates have been replaced"] {
            assert_eq!(notices.recv().await.unwrap(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_continues_after_a_panic_of_a_reload() {
        let reloads = Arc::new(AtomicU32::new(0));
        let reload = move || {
            let count = reloads.fetch_add(1, Ordering::Relaxed);
            assert!(count > 0, "a bug in a reload");
            Ok(true)
        };
        let (sender, mut notices) = mpsc::unbounded_channel();
        let notify = move |notice: Notice| sender.send(notice.to_string()).unwrap();
        let _watching = tokio::spawn(tls().watch_by(reload, Duration::from_secs(1), notify));
        let notice = notices.recv().await.unwrap();
        assert_eq!(notice, "the certificates have been replaced");
    }
}
