//! `demo` as a service of systemd: sockets that are passed, and notices.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has failed, in a helper too"
)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);

struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the demo with two sockets, as descriptors 3 and 4.
fn start(command: &mut Command, tcp: TcpListener, unix: UnixListener) -> Service {
    let script = "LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 4<&2 </dev/null 2>/dev/null";
    let child = command
        .args(["-c", script, env!("CARGO_BIN_EXE_demo")])
        .args(["--every", "0.1"])
        .envs([("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "http:local")])
        .stdin(OwnedFd::from(tcp))
        .stderr(OwnedFd::from(unix))
        .stdout(Stdio::null())
        .spawn();
    Service(child.unwrap())
}

/// Requests the feed, and reads until its first event.
fn first_event(mut conn: impl Read + Write) {
    conn.write_all(b"GET /sse HTTP/1.1\r\nHost: demo\r\n\r\n")
        .unwrap();
    let (mut text, mut bytes) = (String::new(), [0; 1024]);
    while !text.contains("\ndata: {") {
        let count = conn.read(&mut bytes).unwrap();
        assert_ne!(count, 0, "{text}");
        text += &String::from_utf8_lossy(&bytes[..count]);
    }
}

#[test]
fn sockets_by_name_are_served_and_systemd_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let [local, notices] = ["local", "notices"].map(|name| dir.path().join(name));
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let unix = UnixListener::bind(&local).unwrap();
    let told = UnixDatagram::bind(&notices).unwrap();
    told.set_read_timeout(Some(TIMEOUT)).unwrap();
    let notice = || {
        let mut bytes = [0; 64];
        let count = told.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };

    let mut command = Command::new("sh");
    command.env("NOTIFY_SOCKET", &notices);
    command.env("WATCHDOG_USEC", "200000");
    let mut service = start(&mut command, tcp, unix);
    assert_eq!(notice().trim_end(), "READY=1");
    for _ in 0..3 {
        assert_eq!(notice().trim_end(), "WATCHDOG=1");
    }
    first_event(std::net::TcpStream::connect(address).unwrap());
    first_event(UnixStream::connect(&local).unwrap());

    let pid = service.0.id().to_string();
    let kill = Command::new("kill").args(["-s", "TERM", &pid]).status();
    assert!(kill.unwrap().success());
    while notice().trim_end() != "STOPPING=1" {}
    assert_eq!(service.0.wait().unwrap().code(), Some(0));
}
