//! How runs end, and the errors of starting and finding one.

use std::{error, fmt, io};

use sse_core::Rejection;

use crate::topic::TooManyTopics;

/// How a run ended.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum RunEnd<'a> {
    /// The work resolved to `Ok`.
    Completed,
    /// The work resolved to this error.
    Failed(&'a (dyn error::Error + Send + Sync)),
    /// The work panicked.
    Panicked,
    /// The run was [stopped](crate::Runs::stop).
    Stopped,
    /// The run had no subscriber for [`stop_unfollowed`](crate::RunsConfig::stop_unfollowed).
    Unfollowed,
    /// The runtime or the process ended during the run. In the second case, a later process found
    /// the run in its journal, or another node found that its lease had run out.
    Interrupted,
}

/// Why a run was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// [`max_running`](crate::RunsConfig::max_running) runs are running.
    TooManyRunning {
        /// The maximum.
        max: usize,
    },
    /// [`max_runs`](crate::RunsConfig::max_runs) runs are running or kept.
    TooManyKept {
        /// The maximum.
        max: usize,
    },
    /// [`max_running_per_prefix`](crate::RunsConfig::max_running_per_prefix) runs with this prefix
    /// are running.
    TooManyRunningOfPrefix {
        /// The maximum.
        max: usize,
    },
    /// [`max_runs_per_prefix`](crate::RunsConfig::max_runs_per_prefix) runs with this prefix are
    /// running or kept.
    TooManyKeptOfPrefix {
        /// The maximum.
        max: usize,
    },
    /// The key is longer than [`max_key`](crate::RunsConfig::max_key).
    KeyTooLong {
        /// The length of the key in bytes.
        len: usize,
        /// The maximum in bytes.
        max: usize,
    },
    /// The hub has its maximum number of topics.
    Hub(TooManyTopics),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyRunning { max } => write!(
                f,
                "the maximum of {max} running runs is reached; try again later, or raise \
                 `max_running`"
            ),
            Self::TooManyKept { max } => write!(
                f,
                "the maximum of {max} running and kept runs is reached; try again later, or \
                 raise `max_runs`"
            ),
            Self::TooManyRunningOfPrefix { max } => write!(
                f,
                "the maximum of {max} running runs with this prefix is reached; wait for one to \
                 end, or raise `max_running_per_prefix`"
            ),
            Self::TooManyKeptOfPrefix { max } => write!(
                f,
                "the maximum of {max} running and kept runs with this prefix is reached; try again \
                 later, or raise `max_runs_per_prefix`"
            ),
            Self::KeyTooLong { len, max } => write!(
                f,
                "the key of the run has {len} bytes, and {max} are allowed; use a hash of it, or \
                 raise `max_key`"
            ),
            Self::Hub(full) => full.fmt(f),
        }
    }
}

impl error::Error for StartError {}

impl From<StartError> for io::Error {
    fn from(error: StartError) -> Self {
        Self::other(error)
    }
}

impl From<TooManyTopics> for StartError {
    fn from(full: TooManyTopics) -> Self {
        Self::Hub(full)
    }
}

impl From<StartError> for Rejection {
    /// Returns 429 for a limit of the key's prefix, 400 for a long key, and 503 otherwise.
    fn from(error: StartError) -> Self {
        match error {
            StartError::TooManyRunningOfPrefix { .. } => {
                Self::new(429, "too many runs are running; wait for one to end")
            }
            StartError::TooManyKeptOfPrefix { .. } => {
                Self::new(429, "too many runs have been started; try again later")
            }
            StartError::KeyTooLong { .. } => Self::new(400, "the key of the run is too long"),
            _ => Self::UNAVAILABLE.because("too many runs are running; try again later"),
        }
    }
}

/// No run of this key is running or kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunNotFound {
    /// The run was kept for [`keep`](crate::RunsConfig::keep) and dropped.
    Expired,
    /// There was no such run, or its key is not remembered any more.
    Unknown,
    /// The hub has no room for the topic of another node's run.
    Hub(TooManyTopics),
    /// The engine refuses to look for runs of other nodes.
    Refused(RunsRefused),
}

impl fmt::Display for RunNotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired => f.write_str("the run has ended and its events have expired"),
            Self::Unknown => f.write_str("there is no run of this key"),
            Self::Hub(full) => full.fmt(f),
            Self::Refused(refused) => refused.fmt(f),
        }
    }
}

impl error::Error for RunNotFound {}

impl From<RunNotFound> for io::Error {
    fn from(error: RunNotFound) -> Self {
        Self::other(error)
    }
}

impl From<RunNotFound> for Rejection {
    /// Returns 410 for a run that has expired, 404 for an unknown one, and 503 otherwise.
    fn from(error: RunNotFound) -> Self {
        let status = match error {
            RunNotFound::Expired => 410,
            RunNotFound::Unknown => 404,
            RunNotFound::Hub(_) | RunNotFound::Refused(_) => return Self::UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

/// The engine refuses to find or to stop a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunsRefused {
    key: Box<str>,
    reason: String,
}

impl RunsRefused {
    pub(super) fn new(key: &str, reason: String) -> Self {
        let key = key.into();
        Self { key, reason }
    }
}

impl fmt::Display for RunsRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, reason } = self;
        write!(
            f,
            "the engine refuses to look for the run {key:?}: {reason}; give the node's user the \
             documented permissions, or delete the key of the run if another program has written it"
        )
    }
}

impl error::Error for RunsRefused {}

impl From<RunsRefused> for io::Error {
    fn from(error: RunsRefused) -> Self {
        Self::other(error)
    }
}
