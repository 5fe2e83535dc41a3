//! Models of the two ends of a pipe.

use std::future::poll_fn;
use std::io::ErrorKind;

use loom::future::block_on;
use loom::thread;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::pipe::{PipeReader, pipe};

/// As many bytes as the pipe holds, so that a second write has to wait.
const FULL: &[u8] = &[b'x'; 16 << 10];

pub(super) fn fill() {
    let (mut writer, reader) = pipe(Vec::new());
    let writing = thread::spawn(move || {
        block_on(async {
            writer.write_all(FULL).await.unwrap();
            writer.write_all(FULL).await.unwrap();
            writer.shutdown().await.unwrap();
        });
    });
    assert_eq!(block_on(read_to_end(&reader)), 2 * FULL.len());
    writing.join().unwrap();
}

pub(super) fn drop_writer() {
    let (mut writer, reader) = pipe(Vec::new());
    let writing = thread::spawn(move || block_on(writer.write_all(b"hey")).unwrap());
    assert_eq!(block_on(read_to_end(&reader)), 3);
    writing.join().unwrap();
}

pub(super) fn drop_reader() {
    let (mut writer, reader) = pipe(Vec::new());
    let reading = thread::spawn(move || drop(reader));
    let written = block_on(async {
        writer.write_all(FULL).await?;
        writer.write_all(FULL).await
    });
    assert_eq!(written.unwrap_err().kind(), ErrorKind::BrokenPipe);
    reading.join().unwrap();
}

pub(super) fn drop_idle_reader() {
    let (mut writer, reader) = pipe(Vec::new());
    let reading = thread::spawn(move || drop(reader));
    let error = block_on(writer.read_u8()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    reading.join().unwrap();
}

/// Reads to the end and returns the number of bytes.
async fn read_to_end(reader: &PipeReader) -> usize {
    let mut len = 0;
    while let Some(bytes) = poll_fn(|cx| reader.poll_take(cx)).await {
        len += bytes.len();
    }
    len
}
