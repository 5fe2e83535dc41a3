//! Recordings: event streams with the times of their events.
//!
//! ```text
//! Recorder ──> Cutter or Encoded (whole events only) ──> TimedWriter (time lines) ──> writer
//! reader ──> Replayer (time lines) ──> Item ──> Recorded
//! ```

mod cutter;
mod encoded;
mod item;
mod left_out;
mod pace;
mod recorder;
mod replayer;
mod tee;
mod time;
mod timed_writer;

pub use item::Recorded;
pub use pace::Pace;
pub use recorder::Recorder;
pub use replayer::Replayer;
pub use tee::Tee;
