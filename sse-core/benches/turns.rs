//! Engines that take turns, so that whatever else the machine does slows all of them.
//!
//! A machine that is shared, or that changes its clock rate, may be twice as fast a second later. So
//! each engine runs for a millisecond in each of many rounds, and the result is the median of
//! the rounds' ratios. Times are medians too, and say less.

use std::time::{Duration, Instant};

/// The table of results, printed row by row.
pub struct Report {
    /// Cases whose names contain this text are measured.
    filter: String,
}

impl Report {
    pub fn new(filter: String) -> Self {
        println!("| case | ours | floor | ours / floor | best peer | peer / ours |");
        println!("| --- | ---: | ---: | ---: | ---: | ---: |");
        Self { filter }
    }

    /// Begins a case of `units` events or heads each time that an engine runs.
    pub fn case<'a>(&self, name: &str, units: usize) -> Option<Case<'a>> {
        name.contains(&self.filter).then(|| Case {
            name: name.to_owned(),
            units,
            engines: Vec::new(),
        })
    }
}

/// The same work by several engines.
pub struct Case<'a> {
    name: String,
    units: usize,
    engines: Vec<Engine<'a>>,
}

struct Engine<'a> {
    name: &'static str,
    run: Box<dyn FnMut() + 'a>,
    /// How often it runs in a turn.
    runs: u32,
    /// The nanoseconds of a unit in each round.
    nanos: Vec<f64>,
}

impl<'a> Case<'a> {
    /// Adds `ours`, a floor (`floor: …`) or a peer.
    pub fn engine(&mut self, name: &'static str, run: impl FnMut() + 'a) {
        self.engines.push(Engine {
            name,
            run: Box::new(run),
            runs: 1,
            nanos: Vec::new(),
        });
    }

    /// Runs the engines in turn, and prints the row.
    pub fn measure(mut self) {
        for engine in &mut self.engines {
            while engine.turn() < TURN {
                engine.runs *= 2;
            }
        }
        let count = self.engines.len();
        for round in 0..ROUNDS {
            for place in 0..count {
                // Each begins as often as the others.
                let engine = &mut self.engines[(round + place) % count];
                let time = engine.turn().as_secs_f64() * 1e9;
                let units = f64::from(engine.runs) * self.units as f64;
                engine.nanos.push(time / units);
            }
        }
        println!("{}", self.row());
    }

    fn row(&self) -> String {
        let fastest = |is: fn(&str) -> bool| {
            let engines = self.engines.iter().filter(|engine| is(engine.name));
            engines.min_by(|a, b| a.time().total_cmp(&b.time()))
        };
        let ours = fastest(|name| name == OURS);
        let floor = fastest(|name| name.starts_with(FLOOR));
        let peer = fastest(|name| name != OURS && !name.starts_with(FLOOR));
        let ratio = |a: Option<&Engine<'_>>, b: Option<&Engine<'_>>| match (a, b) {
            (Some(a), Some(b)) => {
                let ratios = a.nanos.iter().zip(&b.nanos).map(|(a, b)| a / b);
                format!("{:.2}", median(ratios.collect()))
            }
            _ => String::new(),
        };
        let named = |engine: Option<&Engine<'_>>| engine.map_or_else(String::new, Engine::named);
        let cells = [
            self.name.clone(),
            ours.map_or_else(String::new, |ours| nanos(ours.time())),
            named(floor),
            ratio(ours, floor),
            named(peer),
            ratio(peer, ours),
        ];
        format!("| {} |", cells.join(" | "))
    }
}

impl Engine<'_> {
    /// Runs once so that caches and predictors know the engine again, then some times.
    fn turn(&mut self) -> Duration {
        (self.run)();
        let began = Instant::now();
        for _ in 0..self.runs {
            (self.run)();
        }
        began.elapsed()
    }

    fn time(&self) -> f64 {
        median(self.nanos.clone())
    }

    fn named(&self) -> String {
        format!(
            "{} {}",
            self.name.trim_start_matches(FLOOR),
            nanos(self.time())
        )
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn nanos(nanos: f64) -> String {
    match nanos {
        nanos if nanos < 100.0 => format!("{nanos:.1} ns"),
        nanos if nanos < 10_000.0 => format!("{nanos:.0} ns"),
        nanos => format!("{:.1} µs", nanos / 1_000.0),
    }
}

const OURS: &str = "ours";
const FLOOR: &str = "floor: ";

/// How many times each engine has its turn.
const ROUNDS: usize = 101;

/// How long a turn lasts at least.
const TURN: Duration = Duration::from_millis(1);
