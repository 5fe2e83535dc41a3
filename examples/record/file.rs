//! The file that `record` writes: a regular file, locked against other processes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::time::Duration;

use cli::lock_recording;
use sse_core::{Decoder, Replayer};

/// Creates a new recording.
pub(crate) fn create(path: &str) -> io::Result<File> {
    refuse_device(path)?;
    let file = File::create_new(path)?;
    lock_recording(&file)?;
    Ok(file)
}

/// Opens a recording to continue it, truncated after its last whole event.
///
/// Returns its length in time and a decoder with its last event ID and reconnection time.
pub(crate) fn reopen(path: &str) -> io::Result<(File, Duration, Decoder)> {
    refuse_device(path)?;
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    lock_recording(&file)?;
    let mut start = Vec::new();
    (&file).take(START.len() as u64).read_to_end(&mut start)?;
    if !START.starts_with(&start) {
        let sentence = "it does not begin like a recording; choose another file";
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

/// Refuses pipes and devices: they cannot be truncated, and some never end.
fn refuse_device(path: &str) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            let sentence = "it is not a regular file; choose another file";
            Err(io::Error::new(io::ErrorKind::InvalidInput, sentence))
        }
        _ => Ok(()),
    }
}

/// The first bytes of every recording: a time.
const START: &[u8] = b":T+";
