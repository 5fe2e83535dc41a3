//! Code shared by the measuring programs.

pub mod load;
