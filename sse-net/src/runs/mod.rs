//! Runs: work that outlives the request that began it.
//!
//! A run is a topic of a hub, a task, and a place in a registry, nothing more. The task does the
//! work and publishes into the topic; clients follow the topic, which keeps every event until
//! the run is forgotten.
//!
//! ```text
//!             the work ends, fails, panics,        `keep` later            `remember` later
//!   running ── is stopped, or is abandoned ──> ended ───────────> gone: 410 ─────────────> 404
//!      │                                         │
//!      └─────────── followed from any ID ────────┘
//! ```

mod config;
mod end;
mod registry;
mod run;
mod state;

pub use config::RunsConfig;
pub use end::{RunEnd, RunGone, StartError};
pub use registry::Runs;
pub use run::Run;
pub use state::RunsSnapshot;
