//! Event streams with the times of their events, in files that any reader of streams reads.

mod cutter;
mod recorder;
mod replayer;

pub use recorder::{Recorder, Tee};
pub use replayer::{Pace, Recorded, Replayer};
