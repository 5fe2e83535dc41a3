//! Failures that the tests inject into file operations.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Operations that fail the next `times` times.
pub(super) struct Fault {
    pub(super) dir: PathBuf,
    pub(super) action: &'static str,
    /// Whether the operation is on the directory itself.
    pub(super) is_dir: bool,
    pub(super) times: u32,
}

static FAULTS: Mutex<Vec<Fault>> = Mutex::new(Vec::new());

/// Adds a fault.
pub(super) fn add(fault: Fault) {
    FAULTS.lock().unwrap().push(fault);
}

/// Removes the faults of a directory.
pub(super) fn clear(dir: &Path) {
    FAULTS.lock().unwrap().retain(|fault| fault.dir != dir);
}

/// Returns an error if a fault matches. The action "tear" is a write of which half succeeds.
pub(super) fn inject(action: &str, path: &Path) -> io::Result<()> {
    let mut faults = FAULTS.lock().unwrap();
    let fault = faults.iter_mut().find(|fault| {
        let is_in_dir = path.starts_with(&fault.dir) && (path == fault.dir) == fault.is_dir;
        is_in_dir && fault.action == action && fault.times > 0
    });
    fault.map_or(Ok(()), |fault| {
        fault.times -= 1;
        Err(io::Error::from_raw_os_error(5))
    })
}
