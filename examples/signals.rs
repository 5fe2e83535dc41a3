//! The signals that end a program.

use std::io;

use crate::systemd;

/// Waits for Ctrl-C and, on Unix, SIGTERM. Signals are caught from `new` on.
///
/// Meanwhile, the watchdog of the service manager gets its notices, if there is one.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// Replaces the default action of these signals.
    ///
    /// # Errors
    ///
    /// The handlers cannot be installed.
    #[cfg(unix)]
    pub fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Does nothing: on this system, Ctrl-C is caught by `next`.
    ///
    /// # Errors
    ///
    /// None.
    #[cfg(not(unix))]
    pub fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next signal, and reports that the program stops.
    pub async fn next(&mut self) {
        tokio::select! {
            () = self.signal() => systemd::notify_stopping(),
            () = feed_watchdog() => {}
        }
    }

    #[cfg(unix)]
    async fn signal(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    async fn signal(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Reports that the program is alive for as long as its runtime has time for that.
async fn feed_watchdog() {
    while let Some(interval) = systemd::notify_alive() {
        tokio::time::sleep(interval).await;
    }
    std::future::pending::<()>().await;
}
