//! The messages of the program for a wrong command line.

#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::process::Command;

#[test]
fn a_wrong_command_line_is_reported_in_a_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let in_use = format!(
        "{taken} is in use; end the other program, or choose another address with --listen\n"
    );
    for (args, status, sentence) in [
        (
            &["--port", "1"][..],
            2,
            "there is no option \"--port\"; see --help\n",
        ),
        (&["--listen"], 2, "--listen takes an address; see --help\n"),
        (&["--journal"], 2, "--journal takes a folder; see --help\n"),
        (&["--listen", &taken], 1, &in_use),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_mcp")).args(args).output();
        let output = output.unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            sentence,
            "{args:?}"
        );
        assert_eq!(output.status.code(), Some(status), "{args:?}");
    }
}
