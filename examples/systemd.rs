//! Sockets that systemd passes to a program, and the notices that the program sends.
//!
//! Without them, nothing here has an effect.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

/// Listening sockets that were opened before the program started (`LISTEN_FDS`).
#[derive(Debug, Default)]
pub struct Sockets {
    /// Each with its name (`FileDescriptorName=` of the socket unit), or an empty one.
    pub tcp: Vec<(String, TcpListener)>,
    /// Each with its name.
    #[cfg(unix)]
    pub unix: Vec<(String, std::os::unix::net::UnixListener)>,
}

impl Sockets {
    /// Takes the sockets. Call it once, before the program starts threads.
    ///
    /// # Errors
    ///
    /// One of them is not a listening TCP or Unix socket.
    pub fn take() -> io::Result<Self> {
        let mut sockets = Self::default();
        let mut passed = listenfd::ListenFd::from_env();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default().to_owned();
            #[cfg(unix)]
            if let Ok(Some(unix)) = passed.take_unix_listener(index) {
                sockets.unix.push((name, unix));
                continue;
            }
            match passed.take_tcp_listener(index) {
                Ok(Some(tcp)) => sockets.tcp.push((name, tcp)),
                Ok(None) => {}
                Err(error) => {
                    let sentence =
                        format!("the socket {name:?} of LISTEN_FDS can't be used: {error}");
                    return Err(io::Error::new(error.kind(), sentence));
                }
            }
        }
        Ok(sockets)
    }

    /// Returns whether no socket was passed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        #[cfg(unix)]
        if !self.unix.is_empty() {
            return false;
        }
        self.tcp.is_empty()
    }
}

/// Reports that the program serves.
pub(crate) fn notify_ready() {
    notify(Notice::Ready);
}

/// Reports that the program stops.
pub(crate) fn notify_stopping() {
    notify(Notice::Stopping);
}

/// Reports that the program is alive. Returns when it has to be reported again, if at all.
pub(crate) fn notify_alive() -> Option<Duration> {
    let interval = watchdog()?;
    notify(Notice::Watchdog);
    Some(interval / 2)
}

#[derive(Clone, Copy)]
enum Notice {
    Ready,
    Stopping,
    Watchdog,
}

/// A notice that cannot be sent is lost: the program continues without its supervisor.
#[cfg(target_os = "linux")]
fn notify(notice: Notice) {
    use sd_notify::NotifyState;
    let _ = sd_notify::notify(&[match notice {
        Notice::Ready => NotifyState::Ready,
        Notice::Stopping => NotifyState::Stopping,
        Notice::Watchdog => NotifyState::Watchdog,
    }]);
}

#[cfg(not(target_os = "linux"))]
fn notify(_notice: Notice) {}

#[cfg(target_os = "linux")]
fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

#[cfg(not(target_os = "linux"))]
fn watchdog() -> Option<Duration> {
    None
}
