//! A server process, and its use of CPU, memory and files.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use std::{env, fs};

use rustix::process::{Pid, Signal, kill_process};

/// A server program.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts a program on core 0, or with `--threads` on two cores.
    ///
    /// # Errors
    ///
    /// The program does not start to listen.
    pub fn start(command: &str) -> io::Result<Self> {
        let cores = if command.contains("--threads") {
            "0,1"
        } else {
            "0"
        };
        Self::start_on(cores, command)
    }

    /// Starts a program of this package, or another one, on some cores.
    ///
    /// # Errors
    ///
    /// The program does not start to listen.
    pub fn start_on(cores: &str, command: &str) -> io::Result<Self> {
        let mut words = command.split_whitespace();
        let name = words.next().unwrap_or_default();
        let ours = env::current_exe()?.with_file_name(name);
        let program = if ours.exists() { ours } else { name.into() };
        Self::start_with(|address| {
            let mut command = Command::new("taskset");
            command.args(["-c", cores]).arg(program).args(words);
            command.args(["--port", &address.port().to_string()]);
            Ok(command)
        })
    }

    /// Starts the command for an address.
    ///
    /// # Errors
    ///
    /// The program does not start to listen.
    pub fn start_with(command: impl FnOnce(SocketAddr) -> io::Result<Command>) -> io::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = command(address)?.stdout(Stdio::piped()).spawn()?;
        let server = Self { child, address };
        for _ in 0..300 {
            if TcpStream::connect(address).is_ok() {
                sleep(Duration::from_millis(100));
                return Ok(server);
            }
            sleep(Duration::from_millis(10));
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// # Errors
    ///
    /// The process has ended.
    pub fn cpu(&self) -> io::Result<Cpu> {
        let mut cpu = Cpu::default();
        for process in processes(self.child.id())? {
            cpu = cpu.plus(Cpu::of(process)?);
        }
        Ok(cpu)
    }

    /// Returns the CPU time of all threads in nanoseconds, where [`cpu`](Self::cpu) counts
    /// hundredths of a second.
    ///
    /// # Errors
    ///
    /// The process has ended.
    pub fn time_on_cpu(&self) -> io::Result<Duration> {
        let mut time = Duration::ZERO;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let stat = fs::read_to_string(task?.path().join("schedstat"))?;
            let nanos = stat.split_whitespace().next().map(str::parse);
            let Some(Ok(nanos)) = nanos else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            time += Duration::from_nanos(nanos);
        }
        Ok(time)
    }

    /// # Errors
    ///
    /// The process has ended.
    pub fn memory(&self) -> io::Result<u64> {
        processes(self.child.id())?.into_iter().map(memory).sum()
    }

    /// Returns the number of open file descriptors.
    ///
    /// # Errors
    ///
    /// The process has ended.
    pub fn files(&self) -> io::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// Terminates the process, and returns its output.
    ///
    /// # Errors
    ///
    /// The process has ended before.
    pub fn stop(mut self) -> io::Result<String> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let mut printed = String::new();
        if let Some(stdout) = &mut self.child.stdout {
            stdout.read_to_string(&mut printed)?;
        }
        Ok(printed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The workers of nginx outlive a master that is killed, and keep what they inherit open,
        // such as locks. The master comes first, because it would start other workers.
        for pid in processes(self.child.id()).unwrap_or_default() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

/// Moves this thread, and those that it starts, to some cores.
///
/// # Errors
///
/// There is no `taskset`, or it fails.
pub fn pin(cores: &str) -> io::Result<()> {
    let pinned = Command::new("taskset")
        .args(["-cp", cores, &std::process::id().to_string()])
        .output()?;
    match pinned.status.success() {
        true => Ok(()),
        false => Err(io::Error::other("taskset failed")),
    }
}

/// Returns a process and its children.
fn processes(pid: u32) -> io::Result<Vec<u32>> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let children = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    Ok([pid].into_iter().chain(children).collect())
}

/// Returns the proportional set size of a process in bytes.
///
/// # Errors
///
/// There is no process `pid`.
pub fn memory(pid: u32) -> io::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kibibytes
        .map(|kibibytes: u64| kibibytes << 10)
        .ok_or(io::ErrorKind::InvalidData.into())
}

/// The CPU time used by a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    pub user: Duration,
    pub system: Duration,
}

impl Cpu {
    /// # Errors
    ///
    /// There is no process `pid`.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Fields 14 and 15; field 2 may contain spaces and ends with a parenthesis.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<u64>);
        let mut next = || match ticks.next() {
            Some(Ok(ticks)) => Ok(Duration::from_millis(ticks * 10)),
            _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
        };
        Ok(Self {
            user: next()?,
            system: next()?,
        })
    }

    pub fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user - earlier.user,
            system: self.system - earlier.system,
        }
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            user: self.user + other.user,
            system: self.system + other.system,
        }
    }

    pub fn total(self) -> Duration {
        self.user + self.system
    }
}
