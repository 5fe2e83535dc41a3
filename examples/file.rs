//! Where `record` writes: a regular file that no other process records to.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::time::Duration;

use sse_core::{Decoder, Replayer};

/// A new recording.
pub(crate) fn create(path: &str) -> io::Result<File> {
    refuse_device(path)?;
    let file = File::create_new(path)?;
    lock(&file)?;
    Ok(file)
}

/// A recording that is gone on with: cut off after its last whole event, how long it is, and
/// where it left off.
pub(crate) fn reopen(path: &str) -> io::Result<(File, Duration, Decoder)> {
    refuse_device(path)?;
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    lock(&file)?;
    let mut start = Vec::new();
    (&file).take(START.len() as u64).read_to_end(&mut start)?;
    if !START.starts_with(&start) {
        let sentence = "it does not begin like a recording; give another file";
        return Err(io::Error::new(io::ErrorKind::InvalidData, sentence));
    }
    file.rewind()?;
    let mut replayer = Replayer::new(BufReader::new(&file));
    let mut before = Duration::ZERO;
    while let Some(recorded) = replayer.read()? {
        before = recorded.at();
    }
    let whole = replayer.whole();
    let (_, mut decoder) = replayer.into_parts();
    decoder.restart();
    file.set_len(whole)?;
    file.seek(SeekFrom::End(0))?;
    Ok((file, before, decoder))
}

/// Pipes and devices can't be cut off where a recording ends, and some never end.
fn refuse_device(path: &str) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            let sentence = "it is not a regular file; give another one";
            Err(io::Error::new(io::ErrorKind::InvalidInput, sentence))
        }
        _ => Ok(()),
    }
}

/// Keeps other recorders away until this process ends.
fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        // Where the file system has no locks, it is recorded without.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// How each recording begins: with a time.
const START: &[u8] = b":T+";
