//! The client's machine: its cases, a day of outages, and random programs against a model.

mod cases;
mod deadlines;
mod harness;
mod model;
mod outages;
mod requests;
