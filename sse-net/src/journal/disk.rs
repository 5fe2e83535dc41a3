//! What is done with the files of a journal, and what is said when the system does not do it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::{error, fmt};

/// An open file, or a directory, that knows its path.
#[derive(Debug)]
pub(crate) struct Handle {
    file: File,
    path: PathBuf,
}

impl Handle {
    /// Creates a file, which must not be there yet.
    pub(crate) fn create(path: PathBuf) -> Result<Self, FileError> {
        let file = attempt("create", &path, || File::create_new(&path))?;
        Ok(Self { file, path })
    }

    /// Opens a file to go on after `len` bytes of it.
    pub(crate) fn open(path: PathBuf, len: u64) -> Result<Self, FileError> {
        let file = attempt("open", &path, || OpenOptions::new().write(true).open(&path))?;
        let mut handle = Self { file, path };
        handle.cut(len)?;
        attempt("open", &handle.path, || handle.file.seek(SeekFrom::End(0)))?;
        Ok(handle)
    }

    /// A directory, to be synced where files come and go.
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

    /// Cuts off what comes after `len` bytes.
    pub(crate) fn cut(&self, len: u64) -> Result<(), FileError> {
        attempt("cut", &self.path, || self.file.set_len(len))
    }

    /// Forces to the disk what has been written, where a system has that.
    pub(crate) fn sync(&self) -> Result<(), FileError> {
        attempt("sync", &self.path, || match self.file.sync_data() {
            Err(_) if cfg!(not(unix)) && self.file.metadata()?.is_dir() => Ok(()),
            synced => synced,
        })
    }
}

pub(crate) fn read(path: &Path, out: &mut Vec<u8>) -> Result<(), FileError> {
    attempt("read", path, || {
        out.clear();
        File::open(path)?.read_to_end(out)?;
        Ok(())
    })
}

/// Deletes a file, if it is there.
pub(crate) fn delete(path: &Path) -> Result<(), FileError> {
    attempt("delete", path, || match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        deleted => deleted,
    })
}

/// Something could not be done with a file of a journal.
#[derive(Debug)]
pub struct FileError {
    action: &'static str,
    path: PathBuf,
    error: io::Error,
}

impl FileError {
    /// The file or the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the system says.
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

/// To be used with `map_err`.
pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |error| FileError {
        action,
        path,
        error,
    }
}

/// Does something with a file, unless a test lets that fail.
fn attempt<T>(
    action: &'static str,
    path: &Path,
    act: impl FnOnce() -> io::Result<T>,
) -> Result<T, FileError> {
    #[cfg(test)]
    super::faults::inject(action, path).map_err(failed(action, path))?;
    act().map_err(failed(action, path))
}
