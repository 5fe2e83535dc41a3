//! What the programs share: how they read their command line, what they say, and how they end.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{env, fmt};

/// Runs a program to its exit status: 0, or 1 when it fails, or 2 when it was asked
/// wrongly.
pub fn run(usage: &str, program: impl FnOnce(Args) -> Result<(), Ending>) -> ExitCode {
    match program(Args::new()) {
        Ok(()) | Err(Ending::Unread) => ExitCode::SUCCESS,
        Err(Ending::Help) => {
            say(usage);
            ExitCode::SUCCESS
        }
        Err(Ending::Usage(sentence)) => {
            complain(format_args!("{sentence}; see --help"));
            ExitCode::from(2)
        }
        Err(Ending::Failure(sentence)) => {
            complain(sentence);
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to standard output at once. Whether anyone reads it does not matter.
pub fn say(line: impl fmt::Display) {
    let mut stdout = io::stdout();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Writes a line to standard error. Whether anyone reads it does not matter.
pub fn complain(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Listens at an address; `:8080` means that port on all of them.
///
/// # Errors
///
/// The last one of `bind`.
pub fn bind<L>(listen: &str, bind: impl Fn(&str) -> io::Result<L>) -> io::Result<L> {
    match listen.strip_prefix(':') {
        // IPv6 sockets take IPv4 as well, but not every system has IPv6.
        Some(port) => bind(&format!("[::]:{port}")).or_else(|_| bind(&format!("0.0.0.0:{port}"))),
        None => bind(listen),
    }
}

/// The host and port of a URL for this address, which names this machine if the address stands
/// for all of them.
#[must_use]
pub fn url_host(address: SocketAddr) -> String {
    match address.ip().is_unspecified() {
        true => format!("localhost:{}", address.port()),
        false => address.to_string(),
    }
}

/// A line on standard error that says how far the work is, if that is a terminal. It goes away
/// when this is dropped.
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

/// Ctrl-C and, where there is such a thing, SIGTERM. From when this is made on, none is missed.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes the place of what the system does on these signals.
    ///
    /// # Errors
    ///
    /// What the system says that does not tell of signals.
    #[cfg(unix)]
    pub fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Takes the place of what the system does on these signals.
    ///
    /// # Errors
    ///
    /// None here.
    #[cfg(not(unix))]
    pub fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next one.
    #[cfg(unix)]
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Waits for the next one.
    #[cfg(not(unix))]
    pub async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

/// The arguments of this program: options, some of which take a value.
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

    /// The name of the next option, such as `--count`.
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

    /// The value of the last option, which has to be `what`.
    ///
    /// # Errors
    ///
    /// [`Ending::Usage`] where there is none or another.
    pub fn value<T: FromStr>(&mut self, what: &str) -> Result<T, Ending> {
        let text = self.text();
        let value = text.as_deref().and_then(|text| text.parse().ok());
        value.ok_or_else(|| {
            let found = text.map_or_else(String::new, |text| format!(", not {text:?}"));
            Ending::Usage(format!("{} takes {what}{found}", self.option))
        })
    }

    /// The value of the last option, which has to be seconds above zero, such as `0.5`.
    ///
    /// # Errors
    ///
    /// [`Ending::Usage`] where there is none or another.
    pub fn seconds(&mut self) -> Result<Duration, Ending> {
        let Seconds(time) = self.value("a number of seconds above 0")?;
        Ok(time)
    }

    /// The last option is none of this program's.
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
        match time.is_zero() {
            true => Err(()),
            false => Ok(Self(time)),
        }
    }
}

/// Why a program ends before its work is done.
#[derive(Debug)]
pub enum Ending {
    /// It was only asked what it does.
    Help,
    /// The command line is wrong.
    Usage(String),
    /// The work failed.
    Failure(String),
    /// Nobody reads standard output any more.
    Unread,
}

impl Ending {
    /// Standard input failed.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
    pub fn stdin(error: io::Error) -> Self {
        Self::Failure(format!("standard input can't be read: {error}"))
    }

    /// Standard output failed.
    #[must_use]
    pub fn stdout(error: impl Into<io::Error>) -> Self {
        let error = error.into();
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::Failure(format!("standard output can't be written: {error}")),
        }
    }
}
