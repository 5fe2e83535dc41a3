//! The demo with `--record` and `--journal`.

use std::collections::HashSet;
use std::fs;

use sse_core::testing::Comparison;
use sse_core::{MessageEvent, Recorded};

use crate::common::{Server, events};
use crate::{DEMO, Dir, RECORD, REPLAY, ids, run, seen, signal, start, text};

#[test]
#[cfg(unix)]
fn a_killed_recording_of_the_demo_over_a_unix_socket_can_be_continued() {
    let dir = Dir::new();
    let socket = dir.file("socket");
    let own = dir.file("own");
    let args = ["--every", "0.02", "--unix", &socket, "--record", &own];
    let mut demo = Server::start(DEMO, &args);
    let url = format!("unix:{socket}:/sse");

    let mut recorder = start(RECORD, &[&url, &dir.file("a")]);
    dir.wait_for("a", 5);
    recorder.kill().unwrap();
    recorder.wait().unwrap();
    // A crash may cut the last event.
    let crashed = dir.read("a");
    fs::write(dir.file("a"), &crashed[..crashed.len() - 3]).unwrap();

    let recorder = start(RECORD, &[&url, &dir.file("a"), "--continue"]);
    dir.wait_for("a", 20);
    signal(&recorder, "INT");
    let output = recorder.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    demo.signal("INT");
    assert_eq!(demo.wait(), (Some(0), "stopped\n".to_owned()));

    // Every event is there once and in order, as in the demo's own recording.
    let (recorded, own) = (dir.items("a"), dir.items("own"));
    assert!(recorded.is_sorted_by_key(Recorded::at));
    let [recorded, own] = [recorded, own].map(|items| ids(&items));
    assert!(recorded.len() >= 20);
    let first = own.iter().position(|id| *id == recorded[0]).unwrap();
    assert_eq!(recorded, own[first..][..recorded.len()]);
    let note = "the recording ended here; the server is asked to resume after event ";
    assert!(text(&dir.read("a")).contains(note));
}

#[test]
#[cfg(unix)]
fn a_client_resumes_after_the_demo_with_a_journal_is_killed_and_restarted() {
    let dir = Dir::new();
    let journal = dir.file("journal");
    let args = ["--every", "0.01", "--journal", &journal];
    let demo = Server::start(DEMO, &args);
    let addr = demo.addr.to_string();

    let output = run(DEMO, &["--listen", "127.0.0.1:0", "--journal", &journal]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        format!(
            "the journal in {journal} is in use; end the process that has it open, or choose \
             another folder\n"
        )
    );

    let id = |event: MessageEvent<'_>| {
        assert_eq!(event.event(), "message", "{}", event.data());
        event.last_event_id().to_owned()
    };
    let mut ids = Vec::from_iter(events(demo.get("/sse", "")).take(20).map(id));
    drop(demo); // `drop` kills the process.

    let demo = Server::start_at(&addr, DEMO, &args);
    let last = format!("Last-Event-ID: {}\r\n", ids[ids.len() - 1]);
    ids.extend(events(demo.get("/sse", &last)).take(20).map(id));
    drop(demo);

    // The client has seen a part of the journal, with nothing missing and nothing twice.
    let mut segments = Vec::from_iter(fs::read_dir(&journal).unwrap().map(|e| e.unwrap().path()));
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "sse"));
    segments.sort();
    let kept: Vec<u8> = segments
        .iter()
        .flat_map(|path| fs::read(path).unwrap())
        .collect();
    // After a restart, the journal writes again what may not have been synced.
    let mut kept = seen(&kept);
    let mut known = HashSet::new();
    kept.retain(|id| known.insert(id.clone()));
    let first = kept.iter().position(|id| *id == ids[0]).unwrap();
    assert_eq!(ids, kept[first..][..ids.len()]);
}

#[test]
#[cfg(unix)]
fn a_recording_by_the_demo_replays_completely_after_a_signal() {
    let dir = Dir::new();
    let file = dir.file("a");
    let mut demo = Server::start(DEMO, &["--every", "0.01", "--record", &file]);
    dir.wait_for("a", 10);
    let url = format!("http://{}/sse", demo.addr);
    let output = run(RECORD, &[&url, &file, "--continue"]);
    assert_eq!(
        text(&output.stderr),
        format!("another process records to {file:?}; end it, or record to another file\n")
    );
    demo.signal("INT");
    assert_eq!(demo.wait(), (Some(0), "stopped\n".to_owned()));

    let output = run(REPLAY, &[&file, "--max"]);
    assert!(output.status.success(), "{output:?}");
    Comparison::new().assert_same(&dir.read("a")[..], &output.stdout[..]);
    assert!(seen(&output.stdout).len() >= 10 && dir.read("a").ends_with(b"\n\n"));
    let output = run(DEMO, &["--listen", "127.0.0.1:0", "--record", &file]);
    assert_eq!(
        text(&output.stderr),
        format!("{file:?} exists; record to another file\n")
    );
}
