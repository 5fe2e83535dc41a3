//! Prints the medians of the last benchmark run and their ratios as a Markdown table.
//!
//! ```text
//! cargo bench --manifest-path sse-core/benches/Cargo.toml
//! cargo run --manifest-path sse-core/benches/Cargo.toml --bin ratios
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    println!("| case | ours | floor | ours / floor | best peer | peer / ours |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for case in children(&criterion_home())? {
        println!("{}", row(&case)?);
    }
    Ok(())
}

/// The directory in which criterion stores a directory per case, with one per engine.
fn criterion_home() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"))
        .join("criterion")
}

fn row(case: &Path) -> Result<String, Box<dyn Error>> {
    let (mut ours, mut floor, mut peer) = (None, None, None);
    for engine in children(case)? {
        let run = Run::read(&engine.join("new"))?;
        let fastest = match run.engine.as_str() {
            "ours" => &mut ours,
            name if name.starts_with("floor: ") => &mut floor,
            _ => &mut peer,
        };
        if fastest
            .as_ref()
            .is_none_or(|other: &Run| run.nanos < other.nanos)
        {
            *fastest = Some(run);
        }
    }
    let time = |run: &Option<Run>| run.as_ref().map_or_else(String::new, Run::time);
    let named = |run: &Option<Run>| run.as_ref().map_or_else(String::new, Run::named);
    let ratio = |a: &Option<Run>, b: &Option<Run>| match (a, b) {
        (Some(a), Some(b)) => format!("{:.2}", a.nanos / b.nanos),
        _ => String::new(),
    };
    let cells = [
        case.file_name().unwrap_or_default().display().to_string(),
        time(&ours),
        named(&floor),
        ratio(&ours, &floor),
        named(&peer),
        ratio(&peer, &ours),
    ];
    Ok(format!("| {} |", cells.join(" | ")))
}

/// The result of one engine in one case.
struct Run {
    engine: String,
    /// The median time per event or request head.
    nanos: f64,
}

impl Run {
    fn read(directory: &Path) -> Result<Self, Box<dyn Error>> {
        let json = |file| -> Result<Value, Box<dyn Error>> {
            Ok(serde_json::from_slice(&fs::read(directory.join(file))?)?)
        };
        let benchmark = json("benchmark.json")?;
        let estimates = json("estimates.json")?;
        let engine = benchmark["function_id"].as_str().ok_or("no function_id")?;
        let median = estimates["median"]["point_estimate"]
            .as_f64()
            .ok_or("no median")?;
        let elements = benchmark["throughput"]["ElementsAndBytes"]["elements"].as_f64();
        Ok(Self {
            engine: engine.to_owned(),
            nanos: median / elements.unwrap_or(1.0),
        })
    }

    fn time(&self) -> String {
        match self.nanos {
            nanos if nanos < 100.0 => format!("{nanos:.1} ns"),
            nanos if nanos < 10_000.0 => format!("{nanos:.0} ns"),
            nanos => format!("{:.1} µs", nanos / 1_000.0),
        }
    }

    fn named(&self) -> String {
        format!(
            "{} {}",
            self.engine.trim_start_matches("floor: "),
            self.time()
        )
    }
}

fn children(directory: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let entries = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    Ok(paths)
}
