//! The file operations of a journal.

use std::any::Any;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{error, fmt};

/// The file operations of a journal. Tests inject failures here.
pub(super) trait Disk: Send + Sync {
    fn is_dir(&self, dir: &Path) -> bool;

    /// Creates a folder in one that exists. Succeeds if it exists.
    fn create_dir(&self, dir: &Path) -> Result<(), FileError>;

    /// Deletes an empty folder.
    fn remove_dir(&self, dir: &Path) -> Result<(), FileError>;

    /// Creates a folder and those above it, and syncs each new one into its parent.
    fn create_dirs(&self, dir: &Path) -> Result<(), FileError> {
        if self.is_dir(dir) {
            return Ok(());
        }
        let parent = dir.parent().filter(|parent| *parent != Path::new(""));
        let parent = parent.unwrap_or(Path::new("."));
        self.create_dirs(parent)?;
        self.create_dir(dir)?;
        self.sync_dir(parent).inspect_err(|_| {
            let _ = self.remove_dir(dir); // Otherwise the next attempt would not sync it.
        })
    }

    /// Locks a folder until the returned value is dropped.
    ///
    /// An error of the kind `WouldBlock` means that it is locked already.
    fn lock(&self, dir: &Path) -> Result<Lock, FileError>;

    /// Returns the files in a folder, each with its length.
    fn list(&self, dir: &Path) -> Result<Vec<(PathBuf, u64)>, FileError>;

    /// Reads up to `max` bytes of a file, which have to fit the memory.
    fn read(&self, path: &Path, max: u64) -> Result<Vec<u8>, FileError>;

    /// Creates a file for writing. It must not exist.
    fn create(&self, path: &Path) -> Result<Arc<dyn Output>, FileError>;

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError>;

    /// Deletes a file. Succeeds if it does not exist.
    fn remove(&self, path: &Path) -> Result<(), FileError>;

    /// Forces the names of created, renamed and deleted files to the disk.
    fn sync_dir(&self, dir: &Path) -> Result<(), FileError>;
}

/// A lock on a folder.
pub(super) type Lock = Arc<dyn Any + Send + Sync>;

/// A file that is written to.
pub(super) trait Output: Send + Sync {
    fn write(&self, bytes: &[u8]) -> Result<(), FileError>;

    /// Forces written data to the disk.
    fn sync(&self) -> Result<(), FileError>;
}

/// The files of the operating system.
pub(super) struct Files;

impl Disk for Files {
    fn is_dir(&self, dir: &Path) -> bool {
        dir.is_dir()
    }

    fn create_dir(&self, dir: &Path) -> Result<(), FileError> {
        match fs::create_dir(dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
            created => created.map_err(failed("create", dir)),
        }
    }

    fn remove_dir(&self, dir: &Path) -> Result<(), FileError> {
        fs::remove_dir(dir).map_err(failed("delete", dir))
    }

    /// Locks a file in the folder and, where that is possible, the folder itself, so that
    /// deleting the file unlocks nothing.
    fn lock(&self, dir: &Path) -> Result<Lock, FileError> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false);
        let file = file.open(dir.join("lock")).map_err(failed("lock", dir))?;
        let locked = file.try_lock().map_err(io::Error::from);
        locked.map_err(failed("lock", dir))?;
        let folder = File::open(dir).ok();
        match folder.as_ref().map(File::try_lock) {
            Some(Err(TryLockError::WouldBlock)) => {
                Err(failed("lock", dir)(ErrorKind::WouldBlock.into()))
            }
            _ => Ok(Arc::new((file, folder))),
        }
    }

    fn list(&self, dir: &Path) -> Result<Vec<(PathBuf, u64)>, FileError> {
        let list = || {
            let mut files = Vec::new();
            for entry in fs::read_dir(dir)? {
                let path = entry?.path();
                match fs::metadata(&path) {
                    Ok(metadata) if metadata.is_file() => files.push((path, metadata.len())),
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            Ok(files)
        };
        list().map_err(failed("read", dir))
    }

    fn read(&self, path: &Path, max: u64) -> Result<Vec<u8>, FileError> {
        let mut bytes = Vec::with_capacity(max.try_into().unwrap_or(0));
        let read = File::open(path).and_then(|file| file.take(max).read_to_end(&mut bytes));
        read.map(|_| bytes).map_err(failed("read", path))
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn Output>, FileError> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create_new(true).open(path);
        let file = file.map_err(failed("create", path))?;
        Ok(Arc::new((file, path.to_owned())))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        fs::rename(from, to).map_err(failed("rename", from))
    }

    fn remove(&self, path: &Path) -> Result<(), FileError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(failed("delete", path)),
        }
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), FileError> {
        // Not every system can open or sync a folder.
        match File::open(dir).and_then(|folder| folder.sync_all()) {
            Err(_) if cfg!(not(unix)) => Ok(()),
            synced => synced.map_err(failed("sync", dir)),
        }
    }
}

impl Output for (File, PathBuf) {
    fn write(&self, bytes: &[u8]) -> Result<(), FileError> {
        let (mut file, path) = (&self.0, &self.1);
        file.write_all(bytes).map_err(failed("write", path))
    }

    fn sync(&self) -> Result<(), FileError> {
        self.0.sync_data().map_err(failed("sync", &self.1))
    }
}

/// A failed operation on a file of a journal.
#[derive(Debug, Clone)]
pub struct FileError {
    action: &'static str,
    path: PathBuf,
    error: Arc<io::Error>,
}

impl FileError {
    /// Returns the path of the file or folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the error of the operating system.
    #[must_use]
    pub fn io_error(&self) -> &io::Error {
        &self.error
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (action, path) = (self.action, self.path.display());
        write!(f, "can't {action} {path}: {}", self.error)
    }
}

impl error::Error for FileError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Returns the error of an operation whose thread has panicked.
pub(super) fn panicked(action: &'static str, dir: &Path) -> FileError {
    failed(action, dir)(io::Error::other("its thread panicked"))
}

/// Returns a function for `map_err` that adds the operation and the path.
pub(super) fn failed(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> FileError + use<> {
    let path = path.to_owned();
    move |error| FileError {
        action,
        path,
        error: Arc::new(error),
    }
}
