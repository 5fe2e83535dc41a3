//! File operations of a journal, with errors that name the operation and the path.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::{error, fmt};

/// An open file or directory, with its path for errors.
#[derive(Debug)]
pub(crate) struct Handle {
    file: File,
    path: PathBuf,
}

impl Handle {
    /// Creates a file that must not exist.
    pub(crate) fn create(path: PathBuf) -> Result<Self, FileError> {
        let file = attempt("create", &path, || File::create_new(&path))?;
        Ok(Self { file, path })
    }

    /// Opens a file, truncates it to `len` bytes, and appends from there.
    pub(crate) fn open(path: PathBuf, len: u64) -> Result<Self, FileError> {
        let file = attempt("open", &path, || OpenOptions::new().write(true).open(&path))?;
        let mut handle = Self { file, path };
        handle.truncate(len)?;
        attempt("open", &handle.path, || handle.file.seek(SeekFrom::End(0)))?;
        Ok(handle)
    }

    /// Opens a directory, to be synced after files are created or deleted.
    pub(crate) fn directory(path: PathBuf) -> Result<Self, FileError> {
        let file = attempt("open", &path, || File::open(&path))?;
        Ok(Self { file, path })
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), FileError> {
        attempt("write", &self.path, || {
            #[cfg(test)]
            if let Err(error) = super::faults::inject("tear", &self.path) {
                (&self.file).write_all(&bytes[..bytes.len() / 2])?;
                return Err(error);
            }
            (&self.file).write_all(bytes)
        })
    }

    /// Truncates the file to `len` bytes.
    pub(crate) fn truncate(&self, len: u64) -> Result<(), FileError> {
        attempt("truncate", &self.path, || self.file.set_len(len))
    }

    /// Forces written data to the disk. Directories are skipped on systems that cannot sync them.
    pub(crate) fn sync(&self) -> Result<(), FileError> {
        attempt("sync", &self.path, || match self.file.sync_data() {
            Err(_) if cfg!(not(unix)) && self.file.metadata()?.is_dir() => Ok(()),
            synced => synced,
        })
    }
}

/// Reads a whole file into `out`.
pub(crate) fn read(path: &Path, out: &mut Vec<u8>) -> Result<(), FileError> {
    attempt("read", path, || {
        out.clear();
        File::open(path)?.read_to_end(out)?;
        Ok(())
    })
}

/// Deletes a file. Succeeds if it does not exist.
pub(crate) fn delete(path: &Path) -> Result<(), FileError> {
    attempt("delete", path, || match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        deleted => deleted,
    })
}

/// A failed operation on a file of a journal.
#[derive(Debug)]
pub struct FileError {
    action: &'static str,
    path: PathBuf,
    error: io::Error,
}

impl FileError {
    /// Returns the path of the file or directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the error of the operating system.
    #[must_use]
    pub const fn io_error(&self) -> &io::Error {
        &self.error
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            action,
            path,
            error,
        } = self;
        write!(f, "can't {action} {}: {error}", path.display())
    }
}

impl error::Error for FileError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Returns a function for `map_err` that adds the operation and the path.
pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |error| FileError {
        action,
        path,
        error,
    }
}

/// Performs a file operation, unless a test injects a failure.
fn attempt<T>(
    action: &'static str,
    path: &Path,
    act: impl FnOnce() -> io::Result<T>,
) -> Result<T, FileError> {
    #[cfg(test)]
    super::faults::inject(action, path).map_err(failed(action, path))?;
    act().map_err(failed(action, path))
}
