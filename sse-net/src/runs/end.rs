//! How runs end, and why one cannot be started or followed.

use std::{error, fmt};

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
    /// Nobody followed the run for [that time](crate::RunsConfig::stop_unfollowed).
    Unfollowed,
    /// The runtime or the process ended during the run. After the process, a later one found the
    /// run in its journal.
    Interrupted,
}

/// Why a run was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// There are [`max_running`](crate::RunsConfig::max_running) runs.
    TooManyRunning {
        /// The maximum.
        max: usize,
    },
    /// There are [`max_runs`](crate::RunsConfig::max_runs), with those that have ended.
    TooManyKept {
        /// The maximum.
        max: usize,
    },
    /// There are [`max_per_prefix`](crate::RunsConfig::max_per_prefix) runs whose keys begin alike.
    TooManyOfPrefix {
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
    /// The hub has no room for another topic.
    Hub(TooManyTopics),
    /// The hub has an engine, which does not support runs.
    NotOverEngine,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyRunning { max } => write!(
                f,
                "{max} runs are going on, the most that is allowed; try again later, or raise \
                 `max_running`"
            ),
            Self::TooManyKept { max } => write!(
                f,
                "{max} runs are going on or kept, the most that is allowed; try again later, \
                 or raise `max_runs`"
            ),
            Self::TooManyOfPrefix { max } => write!(
                f,
                "{max} runs of this prefix are going on, the most that is allowed; wait for one \
                 to end, or raise `max_per_prefix`"
            ),
            Self::KeyTooLong { len, max } => write!(
                f,
                "the key of the run has {len} bytes, and {max} are allowed; use a hash of it, or \
                 raise `max_key`"
            ),
            Self::NotOverEngine => f.write_str(
                "the hub of the runs has an engine, which does not support runs; give them a hub \
                 without an engine",
            ),
            Self::Hub(full) => full.fmt(f),
        }
    }
}

impl error::Error for StartError {}

impl From<TooManyTopics> for StartError {
    fn from(full: TooManyTopics) -> Self {
        Self::Hub(full)
    }
}

impl From<StartError> for Rejection {
    /// Returns 429 for a limit of the key's prefix, 400 for a long key, and 503 otherwise.
    fn from(error: StartError) -> Self {
        match error {
            StartError::TooManyOfPrefix { .. } => {
                Self::new(429, "too many runs are going on; wait for one to end")
            }
            StartError::KeyTooLong { .. } => Self::new(400, "the key of the run is too long"),
            _ => Self::UNAVAILABLE.because("too many runs are going on; try again later"),
        }
    }
}

/// Why there is no run of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunGone {
    /// The run has ended, and is not kept any more.
    Expired,
    /// There was no such run, or it is not remembered.
    Unknown,
}

impl fmt::Display for RunGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "the run has ended, and its events are not kept any more",
            Self::Unknown => "there is no run of this key",
        })
    }
}

impl error::Error for RunGone {}

impl From<RunGone> for Rejection {
    /// Returns 410 for a run that has expired, and 404 for an unknown one.
    fn from(gone: RunGone) -> Self {
        let status = match gone {
            RunGone::Expired => 410,
            RunGone::Unknown => 404,
        };
        Self::new(status, gone.to_string())
    }
}
