//! Errors in command lines.

use std::fs;

use crate::{Dir, RECORD, REPLAY, run, text};

#[test]
fn wrong_command_lines_are_reported() {
    let dir = Dir::new();
    fs::write(dir.file("a"), "data: a\n\n").unwrap();
    let exists = format!(
        "{:?} exists; remove it, or append to it with --continue",
        dir.file("a")
    );
    let text_file = format!(
        "can't open {:?}: it does not begin like a recording; choose another file",
        dir.file("text")
    );
    let notes = "id: of a car\n\nwhat it needs\n";
    fs::write(dir.file("text"), notes).unwrap();
    let no_ca = format!(
        "{} contains no certificate, which begins with -----BEGIN CERTIFICATE-----",
        dir.file("a")
    );
    for (program, args, status, sentence) in [
        (
            RECORD,
            &["http://a/"][..],
            2,
            "record takes a URL and a file; see --help",
        ),
        (
            RECORD,
            &["ftp://a/", "b"],
            2,
            "\"ftp://a/\" is not a URL like http://…, https://… or unix:/run/app.sock:/path; \
             see --help",
        ),
        (
            RECORD,
            &["--header", "a\r\nb: c", "http://a/", "b"],
            2,
            "--header takes a header like \"X: y\", not \"a\\r\\nb: c\"; see --help",
        ),
        (
            RECORD,
            &["--header", "a b: c", "http://a/", "b"],
            2,
            "--header takes a header like \"X: y\", not \"a b: c\"; see --help",
        ),
        (
            RECORD,
            &["--header", "content-length: 5", "http://a/", "b"],
            2,
            "--header can't set content-length: the program sets it; see --help",
        ),
        (
            RECORD,
            &["--silence", "0", "http://a/", "b"],
            2,
            "--silence takes a number of seconds above 0, not \"0\"; see --help",
        ),
        (RECORD, &["http://a/", &dir.file("a")], 1, &exists),
        (
            RECORD,
            &["http://a/", &dir.file("text"), "--continue"],
            1,
            &text_file,
        ),
        (
            RECORD,
            &["https://a/", "b", "--ca", &dir.file("a")],
            1,
            &no_ca,
        ),
        (REPLAY, &[], 2, "replay takes a file; see --help"),
        (REPLAY, &["a", "b"], 2, "replay takes one file; see --help"),
        (
            REPLAY,
            &["a", "--speed", "0"],
            2,
            "--speed takes a number above 0; see --help",
        ),
        (
            REPLAY,
            &["/nothing"],
            1,
            "can't play \"/nothing\": No such file or directory (os error 2)",
        ),
    ] {
        let output = run(program, args);
        assert_eq!(text(&output.stderr), format!("{sentence}\n"));
        assert_eq!(output.status.code(), Some(status), "{output:?}");
    }
    assert_eq!(text(&dir.read("text")), notes);
}
