//! Measures time and memory of opening a journal of 1 GiB, compared with reading its files.
//! `restore DIR` sets the directory of the files.

use std::error::Error;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sse_core::{Event, EventId, Retention};
use sse_net::{Journal, SyncPolicy, Topic};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1).map(PathBuf::from);
    let dir = dir
        .unwrap_or_else(std::env::temp_dir)
        .join("sse-net-restore-bench");
    println!("| bar | beside reading | beside reading into memory that stays | |");
    println!("| --- | --- | --- | --- |");
    for (name, size, has_own_ids) in [
        ("100-byte events", 70, false),
        ("4 KiB events", 4000, false),
        ("100-byte events with publishers' IDs", 76, true),
    ] {
        let _ = fs::remove_dir_all(&dir);
        let journal = Journal::new(&dir).sync(SyncPolicy::Never);
        publish(&journal, size, has_own_ids)?;
        let all = Retention::events(usize::MAX).bytes(usize::MAX);
        for (what, retention) in [("1,000", Retention::events(1000)), ("all", all)] {
            let row = Row::measure(&dir, retention)?;
            row.print(&format!("{name}, {what} restored"), what != "all");
        }
    }
    fs::remove_dir_all(&dir)?;
    Ok(())
}

const SIZE: u64 = 1 << 30;

const ROUNDS: usize = 5;

/// Fills a journal. The topic retains everything, else old segments would be compacted.
fn publish(journal: &Journal, size: usize, has_own_ids: bool) -> Result<(), Box<dyn Error>> {
    let data = "x".repeat(size);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let topic = Topic::open(Retention::events(usize::MAX).bytes(usize::MAX), journal)?;
    let mut id = 10_000_000_u64;
    while topic
        .journal_state()
        .is_some_and(|state| state.bytes < SIZE)
    {
        let events: Vec<_> = (0..(1 << 20) / (size + 60))
            .map(|_| {
                id += 1;
                let event = Event::new().data(&data);
                match has_own_ids {
                    true => event.id(EventId::from(id)),
                    false => event,
                }
            })
            .collect();
        runtime.block_on(topic.publish_all(&events)?.stored())?;
    }
    Ok(())
}

/// The medians of several rounds.
struct Row {
    opening: Duration,
    reading: Duration,
    reading_to_stay: Duration,
    /// The memory of the open topic in bytes, and the peak while opening it.
    memory: u64,
    peak: u64,
}

impl Row {
    fn measure(dir: &Path, retention: Retention) -> io::Result<Self> {
        let mut times = [const { Vec::new() }; 3];
        let (mut memory, mut peak) = (0, 0);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            read_once(dir)?;
            times[0].push(start.elapsed());

            let start = Instant::now();
            let kept = read_to_stay(dir)?;
            times[1].push(start.elapsed());
            drop(kept);

            // Opening compacts, so it gets other names of the same files.
            let links = dir.with_extension("links");
            let _ = fs::remove_dir_all(&links);
            fs::create_dir(&links)?;
            for entry in fs::read_dir(dir)? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "sse") {
                    fs::hard_link(&path, links.join(path.file_name().unwrap_or_default()))?;
                }
            }
            File::open(&links)?.sync_all()?;
            let journal = Journal::new(&links).sync(SyncPolicy::Never);
            fs::write("/proc/self/clear_refs", "5")?; // Resets the peak.
            let before = status("VmRSS:")?;
            let start = Instant::now();
            let topic = Topic::open(retention, &journal).map_err(io::Error::other)?;
            times[2].push(start.elapsed());
            memory = memory.max(status("VmRSS:")?.saturating_sub(before));
            peak = peak.max(status("VmHWM:")?.saturating_sub(before));
            drop(topic);
            std::thread::sleep(Duration::from_millis(500)); // It is closed by its threads.
            let _ = fs::remove_dir_all(&links);
        }
        let [reading, reading_to_stay, opening] = times.map(|mut times| {
            times.sort();
            times[times.len() / 2]
        });
        Ok(Self {
            opening,
            reading,
            reading_to_stay,
            memory,
            peak,
        })
    }

    fn print(&self, name: &str, has_bar: bool) {
        let ratio = |floor: Duration| self.opening.as_secs_f64() / floor.as_secs_f64();
        let verdict = match ratio(self.reading) {
            _ if !has_bar => "",
            ..0.3 => "ok",
            _ => "**missed**",
        };
        println!(
            "| open: {name} | {:.2} × ({:.0?} and {:.0?}) | {:.2} × ({:.0?}) | {verdict} |",
            ratio(self.reading),
            self.opening,
            self.reading,
            ratio(self.reading_to_stay),
            self.reading_to_stay,
        );
        println!(
            "| open: {name}: memory | {} MiB, at its peak {} MiB | | |",
            self.memory >> 20,
            self.peak >> 20,
        );
    }
}

/// Reads all files through one small buffer.
fn read_once(dir: &Path) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    for entry in fs::read_dir(dir)? {
        let mut file = File::open(entry?.path())?;
        while file.read(&mut buffer)? > 0 {
            black_box(&mut buffer);
        }
    }
    Ok(())
}

/// Reads all files into one new buffer.
fn read_to_stay(dir: &Path) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    kept.reserve_exact(usize::try_from(SIZE + (SIZE >> 3)).unwrap_or_default());
    for entry in fs::read_dir(dir)? {
        File::open(entry?.path())?.read_to_end(&mut kept)?;
    }
    Ok(black_box(kept))
}

/// Returns a number of bytes from the status of this process.
fn status(name: &str) -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: Option<u64> = kib.and_then(|kib| kib.parse().ok());
    Ok(kib.unwrap_or_default() << 10)
}
