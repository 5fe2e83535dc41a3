//! The file operations of a journal.

use std::any::Any;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{error, fmt};

/// The file operations of a journal. Tests inject failures here.
pub(super) trait Disk: Send + Sync {
    /// Creates a folder and those above it, and syncs each new one into its parent.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Locks a folder until the returned value is dropped.
    ///
    /// An error of the kind `WouldBlock` means that it is locked already.
    fn lock(&self, dir: &Path) -> io::Result<Box<dyn Any + Send>>;

    /// Returns the files in a folder, each with its length.
    fn list(&self, dir: &Path) -> io::Result<Vec<(PathBuf, u64)>>;

    /// Reads a whole file into `out`, replacing its content.
    fn read(&self, path: &Path, out: &mut Vec<u8>) -> io::Result<()>;

    /// Creates a file for writing. It must not exist.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn Output>>;

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Deletes a file. Succeeds if it does not exist.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Forces the names of created, renamed and deleted files to the disk.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// A file that is written to.
pub(super) trait Output: Send + Sync {
    fn write(&self, bytes: &[u8]) -> io::Result<()>;

    /// Forces written data to the disk.
    fn sync(&self) -> io::Result<()>;
}

/// The files of the operating system.
pub(super) struct Files;

impl Disk for Files {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let parent = dir.parent().filter(|parent| *parent != Path::new(""));
        let parent = parent.unwrap_or(Path::new("."));
        self.create_dir(parent)?;
        match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !dir.is_dir() => {
                Err(error)
            }
            _ => self.sync_dir(parent),
        }
    }

    /// Locks a file in the folder and, where that is possible, the folder itself, so that
    /// deleting the file unlocks nothing.
    fn lock(&self, dir: &Path) -> io::Result<Box<dyn Any + Send>> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false);
        let file = file.open(dir.join("lock"))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => {}
        }
        let folder = File::open(dir).ok();
        match folder.as_ref().map(File::try_lock) {
            Some(Err(TryLockError::WouldBlock)) => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(Box::new((file, folder))),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => files.push((path, metadata.len())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    fn read(&self, path: &Path, out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        File::open(path)?.read_to_end(out)?;
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn Output>> {
        let mut options = OpenOptions::new();
        Ok(Arc::new(options.append(true).create_new(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // Not every system can open or sync a folder.
        match File::open(dir).and_then(|folder| folder.sync_all()) {
            Err(_) if cfg!(not(unix)) => Ok(()),
            synced => synced,
        }
    }
}

impl Output for File {
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
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
pub(super) fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |error| FileError {
        action,
        path: path.to_owned(),
        error: Arc::new(error),
    }
}
