//! A disk in memory whose operations fail, and which loses power.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;

use crate::journal::disk::{Disk, FileError, Lock, Output, failed};

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub(super) struct MemoryDisk(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    files: Vec<File>,
    names: BTreeMap<PathBuf, usize>,
    /// The names as they are after a power failure, unless some of `changes` have been written.
    synced_names: BTreeMap<PathBuf, usize>,
    changes: Vec<Change>,
    /// The folders but the root, and whether each is synced into its parent.
    dirs: BTreeMap<PathBuf, bool>,
    locks: HashSet<u64>,
    /// Rises when the folder is removed: its locks are those of another folder.
    folder: u64,
    faults: Vec<Fault>,
    /// An operation that does not return.
    stalled: Option<&'static str>,
    /// How often each operation was called.
    pub(super) calls: BTreeMap<&'static str, usize>,
    longest_write: usize,
}

#[derive(Default, Clone)]
struct File {
    bytes: Vec<u8>,
    /// What has not been synced, or not successfully.
    unsynced: Vec<Range<usize>>,
    /// What a failed sync has dropped: later ones do not write it.
    dropped: Vec<Range<usize>>,
}

enum Change {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf),
}

/// An operation that fails.
pub(super) struct Fault {
    /// The name of a function of [`Disk`] or [`Output`]; "tear" is a write of which half succeeds.
    pub(super) action: &'static str,
    /// A part of the path.
    pub(super) path: &'static str,
    /// How many calls succeed before.
    pub(super) after: usize,
    pub(super) times: usize,
    pub(super) error: i32,
}

/// A panic instead of an error.
pub(super) const PANIC: i32 = -1;
pub(super) const EIO: i32 = 5;
pub(super) const EMFILE: i32 = 24;
pub(super) const ENOSPC: i32 = 28;
pub(super) const EROFS: i32 = 30;

impl MemoryDisk {
    pub(super) fn fail(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Lets an operation wait until it is `None`.
    pub(super) fn stall(&self, action: Option<&'static str>) {
        self.lock().stalled = action;
        self.0.1.notify_all();
    }

    pub(super) fn repair(&self) {
        self.lock().faults.clear();
    }

    /// Lets every lock go, as when a process is killed.
    pub(super) fn kill(&self) {
        self.lock().locks.clear();
    }

    /// Returns the disk as it may be after a power failure.
    ///
    /// Any part of what has not been synced may be missing, in blocks of 512 bytes, and any of
    /// the names that have been created, renamed and deleted since the folder was synced.
    pub(super) fn lose_power(&self, rng: &mut Rng) -> Self {
        let state = self.lock();
        let mut names = state.synced_names.clone();
        let chance = rng.f64();
        for change in state.changes.iter().filter(|_| rng.f64() < chance) {
            change.apply(&mut names);
        }
        let files = state
            .files
            .iter()
            .map(|file| file.lose_power(rng))
            .collect();
        let state = State {
            files,
            synced_names: names.clone(),
            names,
            dirs: state
                .dirs
                .iter()
                .filter(|(_, is_synced)| **is_synced || rng.bool())
                .map(|(dir, _)| (dir.clone(), true))
                .collect(),
            ..State::default()
        };
        Self(Arc::new((Mutex::new(state), Condvar::new())))
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.lock().names.keys().cloned().collect()
    }

    pub(super) fn read_file(&self, path: &Path) -> Vec<u8> {
        let state = self.lock();
        state.files[state.names[path]].bytes.clone()
    }

    /// Replaces the content of a file, or creates one.
    pub(super) fn write_file(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.lock();
        let dir = path.parent().unwrap().to_owned();
        state.dirs.insert(dir, true);
        let index = state.files.len();
        state.files.push(File {
            bytes,
            ..File::default()
        });
        state.names.insert(path.to_owned(), index);
        state.synced_names.insert(path.to_owned(), index);
    }

    pub(super) fn remove_file(&self, path: &Path) {
        let mut state = self.lock();
        state.names.remove(path);
        state.synced_names.remove(path);
    }

    pub(super) fn remove_folder(&self) {
        let mut state = self.lock();
        state.names.clear();
        state.synced_names.clear();
        state.dirs.clear();
        state.folder += 1;
    }

    /// Returns whether a folder survives a power failure.
    pub(super) fn has_synced_dir(&self, dir: &str) -> bool {
        self.lock()
            .dirs
            .get(Path::new(dir))
            .is_some_and(|is_synced| *is_synced)
    }

    pub(super) fn calls(&self, action: &str) -> usize {
        self.lock().calls.get(action).copied().unwrap_or_default()
    }

    /// Returns the most bytes of a write.
    pub(super) fn longest_write(&self) -> usize {
        self.lock().longest_write
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let locked = self.0.0.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and fails if a fault matches.
    fn call(&self, action: &'static str, path: &Path) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        *state.calls.entry(action).or_default() += 1;
        while state.stalled == Some(action) {
            state = self.0.1.wait(state).unwrap();
        }
        state.inject(action, path)?;
        let dir = match action {
            "lock" | "list" | "sync_dir" => Some(path),
            _ => path.parent(),
        };
        let is_root = |dir: &Path| dir.parent().is_none();
        let is_there = dir.is_none_or(|dir| is_root(dir) || state.dirs.contains_key(dir));
        if !is_there && action != "write" && action != "sync" {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(state)
    }
}

impl State {
    fn inject(&mut self, action: &str, path: &Path) -> io::Result<()> {
        let path = path.display().to_string();
        let mut faults = self.faults.iter_mut();
        let fault = faults
            .find(|fault| fault.action == action && path.contains(fault.path) && fault.times > 0);
        match fault {
            Some(fault) if fault.after > 0 => {
                fault.after -= 1;
                Ok(())
            }
            Some(fault) => {
                fault.times -= 1;
                assert_ne!(fault.error, PANIC, "an operation panics");
                Err(io::Error::from_raw_os_error(fault.error))
            }
            None => Ok(()),
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Create(path, file) => _ = names.insert(path.clone(), *file),
            Self::Rename(from, to, file) => {
                if names.get(from) == Some(file) {
                    names.remove(from);
                }
                names.insert(to.clone(), *file);
            }
            Self::Remove(path) => _ = names.remove(path),
        }
    }
}

impl File {
    fn lose_power(&self, rng: &mut Rng) -> Self {
        let mut bytes = self.bytes.clone();
        let chance = rng.f64();
        let mut len = bytes.len();
        for range in self.dropped.iter().chain(&self.unsynced) {
            for start in range.clone().step_by(512) {
                let end = (start + 512).min(range.end);
                if rng.f64() < chance {
                    bytes[start..end].fill(0);
                }
            }
        }
        // The length may not have been written, either.
        for range in self.dropped.iter().chain(&self.unsynced).rev() {
            if range.end == len && rng.bool() {
                len = rng.usize(range.start..=range.end);
            }
        }
        bytes.truncate(len);
        Self {
            bytes,
            ..Self::default()
        }
    }
}

impl Disk for MemoryDisk {
    fn is_dir(&self, dir: &Path) -> bool {
        dir.parent().is_none() || self.lock().dirs.contains_key(dir)
    }

    fn create_dir(&self, dir: &Path) -> Result<(), FileError> {
        let mut state = self
            .call("create_dir", dir)
            .map_err(failed("create", dir))?;
        state.dirs.insert(dir.to_owned(), false);
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> Result<(), FileError> {
        let mut state = self
            .call("remove_dir", dir)
            .map_err(failed("delete", dir))?;
        state.dirs.remove(dir);
        Ok(())
    }

    fn lock(&self, dir: &Path) -> Result<Lock, FileError> {
        struct Lock(MemoryDisk, u64);
        impl Drop for Lock {
            fn drop(&mut self) {
                self.0.lock().locks.remove(&self.1);
            }
        }
        let mut state = self.call("lock", dir).map_err(failed("lock", dir))?;
        let folder = state.folder;
        match state.locks.insert(folder) {
            true => Ok(Arc::new(Lock(self.clone(), folder))),
            false => Err(failed("lock", dir)(io::ErrorKind::WouldBlock.into())),
        }
    }

    fn list(&self, dir: &Path) -> Result<Vec<(PathBuf, u64)>, FileError> {
        let state = self.call("list", dir).map_err(failed("read", dir))?;
        let names = state.names.iter();
        let files = names.map(|(path, file)| (path.clone(), state.files[*file].bytes.len() as u64));
        Ok(files.collect())
    }

    fn read(&self, path: &Path, max: u64) -> Result<Vec<u8>, FileError> {
        let state = self.call("read", path).map_err(failed("read", path))?;
        let file = state.names.get(path).ok_or(io::ErrorKind::NotFound.into());
        let bytes = &state.files[*file.map_err(failed("read", path))?].bytes;
        let len = bytes.len().min(max.try_into().unwrap_or(usize::MAX));
        Ok(bytes[..len].to_vec())
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn Output>, FileError> {
        let mut state = self.call("create", path).map_err(failed("create", path))?;
        if state.names.contains_key(path) {
            return Err(failed("create", path)(io::ErrorKind::AlreadyExists.into()));
        }
        let file = state.files.len();
        state.files.push(File::default());
        state.change(Change::Create(path.to_owned(), file));
        Ok(Arc::new(OpenFile {
            disk: self.clone(),
            path: path.to_owned(),
            file,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        let mut state = self.call("rename", from).map_err(failed("rename", from))?;
        let file = state.names[from];
        state.change(Change::Rename(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), FileError> {
        let mut state = self.call("remove", path).map_err(failed("delete", path))?;
        if state.names.contains_key(path) {
            state.change(Change::Remove(path.to_owned()));
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), FileError> {
        let mut state = self.call("sync_dir", dir).map_err(failed("sync", dir))?;
        let mut has_dirs = false;
        for (_, is_synced) in state
            .dirs
            .iter_mut()
            .filter(|(path, _)| path.parent() == Some(dir))
        {
            (*is_synced, has_dirs) = (true, true);
        }
        if !has_dirs {
            state.changes.clear(); // All files are in the innermost folder.
            state.synced_names = state.names.clone();
        }
        Ok(())
    }
}

struct OpenFile {
    disk: MemoryDisk,
    path: PathBuf,
    file: usize,
}

impl Output for OpenFile {
    fn write(&self, bytes: &[u8]) -> Result<(), FileError> {
        let torn = self.disk.lock().inject("tear", &self.path);
        let bytes = if torn.is_ok() {
            bytes
        } else {
            &bytes[..bytes.len() / 2]
        };
        let state = self.disk.call("write", &self.path);
        let mut state = state.map_err(failed("write", &self.path))?;
        state.longest_write = state.longest_write.max(bytes.len());
        let file = &mut state.files[self.file];
        let start = file.bytes.len();
        file.bytes.extend_from_slice(bytes);
        file.unsynced.push(start..start + bytes.len());
        torn.map_err(failed("write", &self.path))
    }

    fn sync(&self) -> Result<(), FileError> {
        let synced = self.disk.call("sync", &self.path).map(drop);
        let file = &mut self.disk.lock().files[self.file];
        let written = std::mem::take(&mut file.unsynced);
        if synced.is_err() {
            file.dropped.extend(written);
        }
        synced.map_err(failed("sync", &self.path))
    }
}
