//! Helpers shared by the fuzz targets.

mod answer;
mod conn;
mod item;

pub use answer::{Answer, now};
pub use conn::{Conn, Steps};
pub use item::{Item, decode, event, with_line_feeds};
