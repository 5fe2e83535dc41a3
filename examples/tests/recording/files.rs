//! The file of a recording.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::thread;

use sse_core::Decoded;

use crate::common::response;
use crate::{Dir, HEAD, OVER, RECORD, ids, recording, run, serve, signal, start, text};

#[test]
fn only_one_process_records_to_a_file() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let dir = Dir::new();
    let file = dir.file("a");
    for continues in [false, true] {
        let args = [&*url, &file, "--continue"];
        let first = start(RECORD, &args[..2 + usize::from(continues)]);
        let (mut conn, _) = listener.accept().unwrap();
        response(&conn);
        conn.write_all(format!("{HEAD}\r\ndata: a\n\n").as_bytes())
            .unwrap();
        dir.wait_for("a", 1 + usize::from(continues));

        let before = dir.read("a");
        let second = run(RECORD, &args);
        assert_eq!(second.status.code(), Some(1));
        assert_eq!(
            text(&second.stderr),
            format!("another process records to {file:?}; end it, or record to another file\n")
        );
        assert_eq!(dir.read("a"), before);
        #[cfg(unix)]
        signal(&first, "TERM");
        let first = first.wait_with_output().unwrap();
        assert!(first.status.success(), "{first:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn devices_and_directories_are_refused() {
    let dir = Dir::new();
    let pipe = dir.pipe("pipe");
    for path in ["/dev/full", "/dev/null", "/dev/zero", &pipe, "/tmp"] {
        for args in [
            &["http://127.0.0.1:9/", path][..],
            &["http://a/", path, "--continue"],
        ] {
            let output = run(RECORD, args);
            assert_eq!(output.status.code(), Some(1));
            assert_eq!(
                text(&output.stderr),
                format!("can't open {path:?}: it is not a regular file; choose another file\n")
            );
        }
    }
}

/// The limit on file sizes of a process stands in for a full disk.
#[test]
#[cfg(unix)]
fn a_full_disk_ends_a_recording_that_can_be_continued() {
    let dir = Dir::new();
    let file = dir.file("a");
    let events = |ids: std::ops::Range<u64>| {
        let event = |id| format!("id: {id}\ndata: {}\n\n", "x".repeat(90));
        ids.map(event).collect::<String>()
    };
    let (url, server) = serve(vec![format!("{HEAD}\r\n{}", events(0..100))]);
    // `ulimit -f` counts blocks of 512 or 1,024 bytes, depending on the shell.
    let limited = r#"trap '' XFSZ; ulimit -f 4; exec "$@""#;
    let output = run("sh", &["-c", limited, "sh", RECORD, "--once", &url, &file]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        text(&output.stderr),
        format!("can't record to {file:?}: File too large (os error 27)\n")
    );
    server.join().unwrap();
    let kept = ids(&dir.items("a"));
    let kept_count = kept.len() as u64;
    assert!((10..50).contains(&kept_count), "{kept:?}");

    let (url, server) = serve(vec![format!("{HEAD}\r\n{}", events(kept_count..100))]);
    let output = run(RECORD, &["--once", "--continue", &url, &file]);
    assert!(output.status.success(), "{output:?}");
    let last = format!("\r\nLast-Event-ID: {}\r\n", kept_count - 1);
    assert!(server.join().unwrap()[0].contains(&last));
    let all = Vec::from_iter((0..100).map(|id| id.to_string()));
    assert_eq!(ids(&dir.items("a")), all);
}

#[test]
#[cfg(unix)]
fn a_killed_recorder_leaves_whole_events() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let dir = Dir::new();
    let mut recorder = start(RECORD, &[&url, &dir.file("a")]);
    let (mut conn, _) = listener.accept().unwrap();
    response(&conn);
    conn.write_all(format!("{HEAD}\r\n").as_bytes()).unwrap();
    let flood = thread::spawn(move || {
        for id in 0_u64.. {
            let event = format!("id: {id}\ndata: {}\n\n", "x".repeat(1000));
            if conn.write_all(event.as_bytes()).is_err() {
                break;
            }
        }
    });
    dir.wait_for("a", 100);
    recorder.kill().unwrap();
    recorder.wait().unwrap();
    flood.join().unwrap();
    for (number, item) in dir.items("a").iter().enumerate() {
        let Decoded::Event(event) = item.decoded() else {
            panic!("{item:?}");
        };
        assert_eq!(event.last_event_id(), number.to_string());
        assert_eq!(event.data().len(), 1000);
    }
}

/// A crash may cut the first event, or even its time.
#[test]
fn a_recording_cut_by_a_crash_can_be_continued() {
    let whole = recording();
    for len in [0, 1, 2, 3, 9, whole.len() - 1] {
        let dir = Dir::new();
        fs::write(dir.file("a"), &whole[..len]).unwrap();
        let (url, server) = serve(vec![format!("{HEAD}\r\nid: x\ndata: a\n\n")]);
        let output = run(RECORD, &[&url, &dir.file("a"), "--continue", "--once"]);
        assert!(output.status.success(), "{output:?}");
        server.join().unwrap();
        assert_eq!(ids(&dir.items("a")).last().unwrap(), "x");
    }
}

/// A server may send an ID before its first event, as this library's does.
#[test]
fn an_id_without_an_event_is_kept_until_the_server_is_back() {
    let dir = Dir::new();
    let file = dir.file("a");
    let block = ":T+0.500000000\nretry: 100\nid: 7\n\n";
    fs::write(&file, block).unwrap();
    let output = run(RECORD, &["--continue", "http://127.0.0.1:9/", &file]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&dir.read("a")).starts_with(block));

    let (url, server) = serve(vec![OVER.to_owned()]);
    let output = run(RECORD, &["--continue", &url, &file]);
    assert!(output.status.success(), "{output:?}");
    let request = &server.join().unwrap()[0];
    assert!(request.contains("\r\nLast-Event-ID: 7\r\n"), "{request}");
}
