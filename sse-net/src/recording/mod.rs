//! Recordings: topics and streams recorded, and recordings played in real time.

mod player;
mod record;
mod tee;

pub use player::Player;
pub use tee::Tee;
