//! A full disk.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use sse_core::{Event, Retention};
use sse_net::{Start, SyncPolicy, Topic};

use crate::harness::{Dir, retained_bytes};
use crate::{ids, store, without_backlog};

#[test]
fn a_full_disk_is_reported_and_retained_events_are_stored_later() {
    for (policy, retention, is_stored_later) in [
        (SyncPolicy::Never, 1000, true),
        (SyncPolicy::Interval(Duration::ZERO), 1000, true),
        (SyncPolicy::EveryEvent, 1000, true),
        (SyncPolicy::Never, 3, false),
        (SyncPolicy::EveryEvent, 3, false),
    ] {
        let dir = Dir::new();
        fs::create_dir_all(&dir.path).unwrap();
        let Some(_disk) = Disk::mount(&dir.path) else {
            eprintln!("skipped: mounting a file system is not permitted");
            return;
        };
        let wait_for_notice = |text: &str| {
            let deadline = Instant::now() + Duration::from_secs(10);
            while !dir
                .notices
                .lock()
                .unwrap()
                .iter()
                .any(|notice| notice.contains(text))
            {
                assert!(Instant::now() < deadline, "{text:?} is not reported");
                thread::sleep(Duration::from_millis(1));
            }
        };
        let journal = dir.journal().sync(policy);
        let topic = Topic::open(without_backlog(retention), &journal).unwrap();
        store(&topic, 0..1);

        let ballast = dir.path.join("ballast");
        let _ = fs::write(&ballast, vec![0; 1 << 20]); // Fills the disk.
        let mut subscription = topic.subscribe(Start::Live);
        let data = "x".repeat(5000);
        for id in 1..10_u32 {
            let published = topic.publish(&Event::new().id(id).data(&data)).unwrap();
            assert_eq!(published.is_stored(), policy != SyncPolicy::EveryEvent);
        }
        wait_for_notice(
            "No space left on device (os error 28); events are delivered but not stored until",
        );
        let state = topic.journal_state().unwrap();
        assert!(!state.is_keeping && state.unwritten > 9 * 5000, "{state:?}");
        assert!(!topic.flush());
        let published = topic.publish(&Event::new().id(10).data("")).unwrap();
        assert_eq!(published.is_stored(), policy != SyncPolicy::EveryEvent);
        let mut delivered = Vec::new();
        let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
        while subscription.poll_read(cx, &mut delivered).is_ready() {}
        assert_eq!(ids(&delivered).last().unwrap(), "10", "delivery continues");

        fs::remove_file(&ballast).unwrap();
        wait_for_notice("events are stored again");
        assert!(topic.flush() && topic.journal_state().unwrap().is_keeping);
        topic.publish(&Event::new().id(11)).unwrap();
        assert!(topic.flush());
        let id_before = ids(&retained_bytes(&topic));
        drop((topic, subscription));
        let notices = dir.notices();
        assert_eq!(
            notices.len(),
            if is_stored_later { 2 } else { 3 },
            "{notices:?}"
        );
        let missed = "bytes of events were evicted before they could be stored";
        assert_eq!(
            notices.iter().any(|notice| notice.contains(missed)),
            !is_stored_later
        );

        let topic = Topic::open(Retention::events(1000), &journal).unwrap();
        let ids = ids(&retained_bytes(&topic));
        if is_stored_later {
            assert_eq!(ids, id_before, "once and in order");
        } else {
            assert!(ids.len() < 8 && ids.ends_with(&["10".into(), "11".into()]));
        }
        assert!(dir.notices().is_empty());
    }
}

/// A mounted file system of 512 KiB. Dropping it unmounts it.
struct Disk(PathBuf);

impl Disk {
    fn mount(dir: &Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"])
            .arg(dir)
            .stderr(Stdio::null())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Self(dir.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
