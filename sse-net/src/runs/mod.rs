//! Runs: work that outlives the request that started it.
//!
//! A run is a topic of a hub, a task and an entry in a registry. The task does the work and
//! publishes into the topic. Clients follow the topic, which retains every event until the run
//! expires.
//!
//! ```text
//!            the work ends, fails, panics,       `keep` later               `remember` later
//!   running ── is stopped or interrupted ──> kept ───────────> expired: 410 ───────────────> 404
//!      │                                       │
//!      └────────── followed from any ID ───────┘
//! ```
//!
//! In a hub with an engine, a run belongs to the node that started it, for as long as that renews
//! a lease. The engine refuses events of a node that does not hold it.

mod config;
mod end;
mod handle;
mod lease;
mod registry;
mod run;
mod state;
mod task;

pub use config::RunsConfig;
pub use end::{RunEnd, RunNotFound, RunsRefused, StartError};
pub use handle::Runs;
pub use run::Run;
pub use state::RunsSnapshot;
