//! What every program does with `--help`, a wrong command line and an address that it cannot have.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has failed, in a helper too"
)]

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

/// A program with its operands, and whether it listens at `--listen`.
type Program = (&'static str, &'static str, &'static [&'static str], bool);

macro_rules! program {
    ($name:literal, $operands:expr, $listens:expr) => {
        (
            $name,
            env!(concat!("CARGO_BIN_EXE_", $name)),
            $operands,
            $listens,
        )
    };
}

const PROGRAMS: &[Program] = &[
    program!("chat", &[], true),
    program!("conformance", &[], false),
    program!("contract", &[], true),
    program!("cookbook", &["state"], true),
    // Without the scripts that npm installs, they do not get as far as listening.
    program!("datastar", &[], false),
    program!("decode", &[], false),
    program!("demo", &[], true),
    program!("encode", &[], false),
    program!("fanout", &[], false),
    program!("gateway", &[], true),
    program!("htmx", &[], false),
    program!("inside_axum", &[], true),
    program!("inside_hyper", &[], true),
    program!("low_level", &[], true),
    program!("record", &[], false),
    program!("replay", &[], false),
    program!("tail", &[], false),
    program!("tls", &[CERTIFICATE, KEY], true),
    program!("tls_blocking", &[CERTIFICATE, KEY], true),
];

const CERTIFICATE: &str = "{certificate}";
const KEY: &str = "{key}";

#[test]
fn every_program_is_in_the_table() {
    let manifest = include_str!("../Cargo.toml");
    let names = manifest.split("[[bin]]\nname = \"").skip(1);
    let mut names: Vec<_> = names.filter_map(|rest| rest.split('"').next()).collect();
    names.sort_unstable();
    let table: Vec<_> = PROGRAMS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names, table);
}

#[test]
fn help_is_printed_to_standard_output() {
    for (name, path, ..) in PROGRAMS {
        let output = run(path, &["--help"]);
        let (status, stdout, stderr) = texts(&output);
        assert_eq!((status, &*stderr), (Some(0), ""), "{name}");
        assert!(stdout.starts_with(&format!("Usage: {name} ")), "{stdout}");
        assert!(stdout.contains("\n  --help "), "{stdout}");
        for line in stdout.lines() {
            assert!(
                line.chars().count() <= 100 && line.trim_end() == line,
                "{line:?}"
            );
        }
    }
}

#[test]
fn an_unknown_option_is_an_error_that_names_it() {
    for (name, path, ..) in PROGRAMS {
        let output = run(path, &["--colour"]);
        let expected = "there is no option \"--colour\"; see --help\n";
        assert_eq!(
            texts(&output),
            (Some(2), String::new(), expected.to_owned()),
            "{name}"
        );
    }
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (name, program, operands, _) in PROGRAMS.iter().filter(|program| program.3) {
        let operands = operands.iter().map(|operand| match *operand {
            CERTIFICATE => path("cert.pem"),
            KEY => path("key.pem"),
            other => other.to_owned(),
        });
        let mut args = vec!["--listen".to_owned(), address.clone()];
        args.extend(operands);
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let expected = format!(
            "{address} is in use; end the other program, or choose another address with --listen\n"
        );
        let output = run(program, &args);
        assert_eq!(texts(&output), (Some(1), String::new(), expected), "{name}");
    }
}

fn run(program: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).output().unwrap()
}

fn texts(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output.status.code(), stdout, stderr)
}
