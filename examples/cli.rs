//! Command lines, messages, signals and exit statuses, shared by the programs.

mod client;
mod lines;
mod listen;
mod signals;
mod systemd;

use std::fs::{File, TryLockError};
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{env, fmt};

pub use client::{ClientOptions, connect, not_a_url};
pub use lines::Line;
pub use listen::{bind, cant_listen};
pub use signals::Signals;
pub use systemd::Sockets;

/// Runs a program and returns its exit status.
///
/// The status is 0 on success, 1 on failure, and 2 for a wrong command line. Errors are printed
/// to standard error.
pub fn run(usage: &str, program: impl FnOnce(Args) -> Result<(), Ending>) -> ExitCode {
    match program(Args::new()) {
        Ok(()) | Err(Ending::Unread) => ExitCode::SUCCESS,
        Err(Ending::Help) => {
            print(usage);
            ExitCode::SUCCESS
        }
        Err(Ending::Usage(sentence)) => {
            print_error(format_args!("{sentence}; see --help"));
            ExitCode::from(2)
        }
        Err(Ending::Failure(sentence)) => {
            print_error(sentence);
            ExitCode::FAILURE
        }
    }
}

/// Prints a line to standard output and flushes it. Ignores write errors.
pub fn print(line: impl fmt::Display) {
    let mut stdout = io::stdout();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Prints the line of a program that serves from now on, and reports that it is ready.
pub fn print_serving(line: impl fmt::Display) {
    print(line);
    systemd::notify_ready();
}

/// Prints a line to standard error. Ignores write errors.
pub fn print_error(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Returns the host and port for a URL: `localhost` where the address is unspecified.
#[must_use]
pub fn url_host(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}

/// Locks a recording against other recorders until this process ends.
///
/// # Errors
///
/// [`WouldBlock`](io::ErrorKind::WouldBlock) if another process has locked it, and those of the
/// system.
pub fn lock_recording(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        // A file system without locks is used without one.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Returns text as it is written in HTML.
#[must_use]
pub fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Returns a script that npm has installed for the pages of the examples.
///
/// # Errors
///
/// It cannot be read.
pub fn script(path: &str) -> Result<String, Ending> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/browser/node_modules");
    let path = format!("{folder}/{path}");
    std::fs::read_to_string(&path).map_err(|error| {
        Ending::Failure(format!(
            "{path} can't be read: {error}; run `npm ci` in examples/browser"
        ))
    })
}

/// A progress line on standard error, if that is a terminal. Dropping it erases the line.
#[derive(Debug)]
pub struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

impl Progress {
    /// Shows `line` five times a second.
    #[must_use]
    pub fn new(line: impl Fn() -> String + Send + 'static) -> Self {
        if !io::stderr().is_terminal() {
            return Self(None);
        }
        let (running, ended) = mpsc::channel();
        let showing = thread::spawn(move || {
            while ended.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Timeout) {
                // Without wrapping: what does not fit on the line is cut off.
                let _ = write!(io::stderr(), "\r\x1b[?7l{}\x1b[K\x1b[?7h", line());
            }
            let _ = write!(io::stderr(), "\r\x1b[K");
        });
        Self(Some((running, showing)))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((running, showing)) = self.0.take() {
            drop(running);
            let _ = showing.join();
        }
    }
}

/// The command line: options, some of which take a value.
#[derive(Debug)]
pub struct Args {
    rest: env::ArgsOs,
    option: String,
}

impl Args {
    fn new() -> Self {
        let mut rest = env::args_os();
        rest.next();
        Self {
            rest,
            option: String::new(),
        }
    }

    /// Returns the next option, such as `--count`, or the next operand.
    ///
    /// # Errors
    ///
    /// [`Ending::Help`] for `--help`.
    pub fn option(&mut self) -> Result<Option<String>, Ending> {
        let Some(option) = self.text() else {
            return Ok(None);
        };
        if matches!(&*option, "--help" | "-h") {
            return Err(Ending::Help);
        }
        self.option.clone_from(&option);
        Ok(Some(option))
    }

    /// Returns the value of `--listen`, or `default`, for a program with no other option.
    ///
    /// # Errors
    ///
    /// [`Ending::Help`] for `--help`, [`Ending::Usage`] for any other option.
    pub fn listen_address(self, default: &str) -> Result<String, Ending> {
        let (listen, []) = self.listen_and_operands(default, "no operand")?;
        Ok(listen)
    }

    /// Like [`listen_address`](Self::listen_address), and returns the operands too.
    ///
    /// # Errors
    ///
    /// As there, and [`Ending::Usage`] for another number of operands; `what` says which belong
    /// there.
    pub fn listen_and_operands<const N: usize>(
        mut self,
        default: &str,
        what: &str,
    ) -> Result<(String, [String; N]), Ending> {
        let mut listen = default.to_owned();
        let mut operands = Vec::new();
        while let Some(option) = self.option()? {
            match &*option {
                "--listen" => listen = self.value("an address")?,
                _ if option.starts_with('-') || N == 0 => return Err(self.unknown()),
                _ => operands.push(option),
            }
        }
        let operands = operands
            .try_into()
            .map_err(|_| Ending::Usage(format!("the program takes {what}")))?;
        Ok((listen, operands))
    }

    /// Returns the value of the last option. `what` names its type in the error.
    ///
    /// # Errors
    ///
    /// [`Ending::Usage`] if the value is missing or cannot be parsed.
    pub fn value<T: FromStr>(&mut self, what: &str) -> Result<T, Ending> {
        let text = self.text();
        let value = text.as_deref().and_then(|text| text.parse().ok());
        value.ok_or_else(|| {
            let found = text.map_or_else(String::new, |text| format!(", not {text:?}"));
            Ending::Usage(format!("{} takes {what}{found}", self.option))
        })
    }

    /// Returns the value of the last option as seconds above zero, such as `0.5`.
    ///
    /// # Errors
    ///
    /// [`Ending::Usage`] if the value is missing or not such a number.
    pub fn seconds(&mut self) -> Result<Duration, Ending> {
        let Seconds(time) = self.value("a number of seconds above 0")?;
        Ok(time)
    }

    /// Returns the error for an option that the program does not have.
    #[must_use]
    pub fn unknown(&self) -> Ending {
        Ending::Usage(format!("there is no option {:?}", self.option))
    }

    fn text(&mut self) -> Option<String> {
        Some(self.rest.next()?.to_string_lossy().into_owned())
    }
}

struct Seconds(Duration);

impl FromStr for Seconds {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let time = Duration::try_from_secs_f64(text.parse().map_err(drop)?).map_err(drop)?;
        if time.is_zero() {
            Err(())
        } else {
            Ok(Self(time))
        }
    }
}

/// Why a program ends before its work is done.
#[derive(Debug)]
pub enum Ending {
    /// `--help` was given.
    Help,
    /// The command line is wrong.
    Usage(String),
    /// The work failed.
    Failure(String),
    /// The reader of standard output has closed it.
    Unread,
}

impl Ending {
    /// Returns the error for standard input that cannot be read.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
    pub fn stdin(error: io::Error) -> Self {
        Self::Failure(format!("standard input can't be read: {error}"))
    }

    /// Returns the ending for a failed write to standard output.
    #[must_use]
    pub fn stdout(error: impl Into<io::Error>) -> Self {
        let error = error.into();
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::Failure(format!("standard output can't be written: {error}")),
        }
    }

    /// Returns the ending for an error whose sentence needs no addition.
    #[must_use]
    pub fn failure(error: impl fmt::Display) -> Self {
        Self::Failure(error.to_string())
    }
}
