//! Tables of bars: what is measured beside what it should be.

use std::io;

/// A measurement of a table, by its name, and the rows that it fills.
pub type Bar = (&'static str, fn() -> io::Result<Vec<Row>>);

/// Measures the bars with some names, or all if there is none, and prints a table.
pub fn print(bars: &[Bar], names: &[String]) {
    println!("| bar | measured | target | |\n| --- | --- | --- | --- |");
    for (name, bar) in bars {
        if names.is_empty() || names.iter().any(|given| given == name) {
            let rows = bar().unwrap_or_else(|error| vec![Row::failed("", &error)]);
            for row in rows {
                println!("| {name}: {} |", row.0);
            }
        }
    }
}

/// A row of the table.
#[derive(Debug)]
pub struct Row(String);

impl Row {
    #[must_use]
    pub fn new(what: &str, measured: &str, target: &str, is_met: bool) -> Self {
        let verdict = if is_met { "ok" } else { "**missed**" };
        Self(format!("{what} | {measured} | {target} | {verdict}"))
    }

    #[must_use]
    pub fn failed(what: &str, error: &io::Error) -> Self {
        Self::new(what, &error.to_string(), "", false)
    }
}
