//! PEM files: valid and invalid contents, reloads, and expiry.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, create_dir, rename};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use common::{
    Authority, Client, Dir, Identity, Net, TLS12, TLS13, begin, config, follow, publish, published,
    read,
};
use rcgen::date_time_ymd;
use rustls::pki_types::CertificateDer;
use sse_core::Retention;
use sse_net::Topic;
use sse_tls::{Notice, PemFiles, TlsConfig};
use tokio::sync::mpsc;
use tokio::time::sleep;

#[test]
fn an_unusable_file_is_an_error_with_its_reason() {
    let (authority, dir) = (Authority::new(), Dir::new());
    let good = authority.certify(&["localhost"]);
    let (certificate, key) = dir.identity("good", &good);
    let (_, other_key) = dir.identity("other", &authority.certify(&["localhost"]));
    let missing = dir.path("missing");
    let empty = dir.write("empty", "");
    let text = dir.write("text", "Hello.\n");
    let large = dir.write("large", vec![b' '; (1 << 20) + 1]);
    let cut = dir.write("cut", &good.certificate[..200]);
    let no_base64 = dir.write(
        "no-base64",
        "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n",
    );
    let no_der = dir.write(
        "no-der",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let no_key = dir.write(
        "no-key",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    let encrypted = dir.write(
        "encrypted",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let traditional = dir.write(
        "traditional",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n\
         -----END RSA PRIVATE KEY-----\n",
    );

    let files = |certificate: &Path, key: &Path| PemFiles::new(certificate, key);
    let clients = |ca: &Path| files(&certificate, &key).require_client_certificates(ca);
    for (files, file, sentence) in [
        (
            files(&missing, &key),
            &missing,
            "can't be read: No such file or directory (os error 2)",
        ),
        (
            files(&certificate, &empty),
            &empty,
            "is empty; is it the right file?",
        ),
        (
            files(&large, &key),
            &large,
            "is larger than 1 MiB; is it the right file?",
        ),
        (
            files(&text, &key),
            &text,
            "contains no certificate, which begins with -----BEGIN CERTIFICATE-----",
        ),
        (
            files(&key, &key),
            &key,
            "contains no certificate, which begins with -----BEGIN CERTIFICATE-----",
        ),
        (
            files(&cut, &key),
            &cut,
            "ends in the middle of a PEM section; copy the whole file",
        ),
        (
            files(&no_base64, &key),
            &no_base64,
            "contains a section that is not valid PEM; copy the whole file",
        ),
        (
            files(&no_der, &key),
            &no_der,
            "contains a certificate that is damaged or not X.509 version 3",
        ),
        (
            files(&certificate, &certificate),
            &certificate,
            "contains no private key, which begins with -----BEGIN PRIVATE KEY-----",
        ),
        (
            files(&certificate, &no_key),
            &no_key,
            "contains a private key that is damaged or not supported; use RSA from 2048 bits, \
             ECDSA with P-256 or P-384, or Ed25519",
        ),
        (
            files(&certificate, &encrypted),
            &encrypted,
            "contains an encrypted private key; decrypt it with openssl pkey -in FILE -out PLAIN",
        ),
        (
            files(&certificate, &traditional),
            &traditional,
            "contains an encrypted private key; decrypt it with openssl pkey -in FILE -out PLAIN",
        ),
        (
            files(&certificate, &other_key),
            &other_key,
            "contains a private key that does not match the first certificate in {certificate}; \
             use the key that the certificate was issued for",
        ),
        (
            files(&certificate, &key).certificate(&certificate, &other_key),
            &other_key,
            "contains a private key that does not match the first certificate in {certificate}; \
             use the key that the certificate was issued for",
        ),
        (
            clients(&missing),
            &missing,
            "can't be read: No such file or directory (os error 2)",
        ),
        (
            clients(&text),
            &text,
            "contains no certificate, which begins with -----BEGIN CERTIFICATE-----",
        ),
        (
            clients(&no_der),
            &no_der,
            "contains a certificate that is damaged or not X.509 version 3",
        ),
    ] {
        let error = files.load().unwrap_err();
        assert_eq!(error.file(), file);
        let certificate = certificate.display().to_string();
        let sentence = sentence.replace("{certificate}", &certificate);
        assert_eq!(error.to_string(), format!("{} {sentence}", file.display()));
    }
}

#[test]
#[cfg(unix)]
fn a_file_that_is_not_a_regular_one_is_refused_without_waiting_for_it() {
    let (authority, dir) = (Authority::new(), Dir::new());
    let (certificate, key) = dir.identity("good", &authority.certify(&["localhost"]));
    let pipe = dir.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let folder = dir.path("folder");
    create_dir(&folder).unwrap();
    for file in [pipe, folder, PathBuf::from("/dev/zero")] {
        for files in [
            PemFiles::new(&file, &key),
            PemFiles::new(&certificate, &file),
            PemFiles::new(&certificate, &key).require_client_certificates(&file),
        ] {
            let (loaded, load) = std::sync::mpsc::channel();
            thread::spawn(move || loaded.send(files.load().map(drop)));
            let error = load.recv_timeout(Duration::from_secs(30)).unwrap();
            let sentence = "is not a regular file, such as a pipe; copy its text into a file";
            let sentence = format!("{} {sentence}", file.display());
            assert_eq!(error.unwrap_err().to_string(), sentence);
        }
    }
}

/// Some editors on Windows write a byte order mark; RFC 7468, section 2, ignores text before a
/// section.
#[test]
fn a_byte_order_mark_does_not_hide_the_first_section() {
    let (authority, dir) = (Authority::new(), Dir::new());
    let identity = authority.certify(&["localhost"]);
    let marked = |name: &str, text: &str| dir.write(name, format!("\u{feff}{text}"));
    let chain = identity.certificate.clone() + &authority.pem();
    let certificate = marked("chain", &chain);
    let key = marked("key", &identity.key);
    let ca = marked("ca", &authority.pem());
    let both = marked("both", &(chain + &identity.key));
    for files in [
        PemFiles::new(&certificate, &key),
        PemFiles::new(&certificate, &key).require_client_certificates(&ca),
        PemFiles::new(&both, &both),
    ] {
        files.load().unwrap();
    }
    // A byte order mark inside the text is not skipped.
    let within = dir.write("within", format!("# mine\n\u{feff}{}", authority.pem()));
    let files = PemFiles::new(&certificate, &key).require_client_certificates(within);
    assert!(files.load().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_watch_continues_after_a_panic_of_the_callback() {
    let (authority, dir) = (Authority::new(), Dir::new());
    let tls = dir
        .files(&authority.certify(&["localhost"]))
        .load()
        .unwrap();
    let (sender, mut notices) = mpsc::unbounded_channel();
    let watching = tls.watch(Duration::from_secs(1), move |notice| {
        sender.send(notice.to_string()).unwrap();
        panic!("a bug in the callback");
    });
    let _watching = tokio::spawn(watching);
    for _ in 0..2 {
        dir.files(&authority.certify(&["localhost"]));
        let notice = notices.recv().await.unwrap();
        assert_eq!(notice, "the certificates have been replaced");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_reports_a_warning_once() {
    let (authority, dir) = (Authority::new(), Dir::new());
    let tls = dir.files(&authority.certify(&["localhost"])).load();
    let (sender, mut notices) = mpsc::unbounded_channel();
    let watching = tls.unwrap().watch(Duration::from_secs(1), move |notice| {
        sender.send(notice).unwrap();
    });
    let _watching = tokio::spawn(watching);
    let old = authority.certify_with(&["localhost"], |params| {
        params.not_after = date_time_ymd(2000, 1, 1);
    });
    dir.identity("server", &old);
    while !matches!(notices.recv().await.unwrap(), Notice::Warning(_)) {}
    sleep(Duration::from_secs(10)).await;
    assert!(notices.is_empty(), "it is reported again");
}

#[test]
fn a_certificate_outside_its_validity_is_a_warning() {
    let (authority, dir) = (Authority::new(), Dir::new());
    let at = |from, until| {
        authority.certify_with(&["localhost"], |params| {
            params.not_before = date_time_ymd(from, 2, 3);
            params.not_after = date_time_ymd(until, 4, 5);
        })
    };
    for (name, identity, sentence) in [
        ("good", at(2000, 9000), None),
        (
            "old",
            at(2000, 2001),
            Some("expired on 2001-04-05; clients refuse it until it is renewed"),
        ),
        (
            "new",
            at(8000, 9000),
            Some("is not valid before 8000-02-03; check the clock of this machine"),
        ),
    ] {
        let (certificate, key) = dir.identity(name, &identity);
        let tls = PemFiles::new(&certificate, key).load().unwrap();
        let warnings = Vec::from_iter(tls.warnings().iter().map(ToString::to_string));
        let file = certificate.display();
        let expected = sentence.map(|sentence| format!("the certificate in {file} {sentence}"));
        assert_eq!(warnings, Vec::from_iter(expected), "{name}");
        let has_expired = tls.not_after().unwrap() < SystemTime::now();
        assert_eq!(has_expired, name == "old");
    }
}

#[test]
fn the_first_expiry_of_several_certificates_is_returned() {
    let (authority, dir) = (Authority::new(), Dir::new());
    let [(early, early_key), (late, late_key)] = [2050, 2060].map(|year| {
        let identity = authority.certify_with(&["localhost"], |params| {
            params.not_after = date_time_ymd(year, 1, 1);
        });
        dir.identity(&year.to_string(), &identity)
    });
    let not_after = |files: PemFiles| files.load().unwrap().not_after();
    let alone = not_after(PemFiles::new(&early, &early_key));
    for files in [
        PemFiles::new(&early, &early_key).certificate(&late, &late_key),
        PemFiles::new(&late, &late_key).certificate(&early, &early_key),
    ] {
        assert_eq!(not_after(files), alone);
    }
}

/// Returns the certificate that a new client receives.
async fn received_certificate(net: &Net, authority: &Authority) -> CertificateDer<'static> {
    let client = Client::new(authority).config();
    let session = net.session(&client).await;
    session.get_ref().1.peer_certificates().unwrap()[0].clone()
}

/// Replaces a file atomically.
fn replace(dir: &Dir, name: &str, text: &str) {
    let new = dir.write("new", text);
    rename(new, dir.path(name)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn changed_files_are_used_from_the_next_handshake_on() {
    let (authority, dir) = (Authority::new(), Dir::new());
    let [first, second] = [(); 2].map(|()| authority.certify(&["localhost"]));
    let tls = dir.files(&first).load().unwrap();
    let topic = Topic::new(Retention::default());
    let (_server, net) = common::serve(config(), tls.clone(), follow(&topic));
    let client = Client::new(&authority).config();
    let mut session = net.get("/", &client).await;
    begin(&mut session).await;
    assert!(!tls.reload().unwrap(), "nothing has changed");

    replace(&dir, "server.pem", &second.certificate);
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.contains("does not match"), "{error}");
    assert_eq!(tls.reload_error().unwrap().to_string(), error);
    assert_eq!(received_certificate(&net, &authority).await, first.der());

    replace(&dir, "server.key", &second.key);
    assert!(tls.reload().unwrap());
    assert!(!tls.reload().unwrap(), "nothing has changed since");
    assert!(tls.reload_error().is_none());
    assert_eq!(received_certificate(&net, &authority).await, second.der());

    fs::remove_file(dir.path("server.key")).unwrap();
    assert!(tls.reload().is_err());
    assert_eq!(received_certificate(&net, &authority).await, second.der());

    // The open stream continues, and an old session can be resumed.
    publish(&topic, 1..2);
    assert_eq!(read(&mut session).await, published(1..2));
    let again = net.get("/", &client).await;
    let kind = again.get_ref().1.handshake_kind();
    assert_eq!(kind, Some(rustls::HandshakeKind::Resumed));
}

/// A resumed session would not be: neither after the certificate has expired, nor when its authority
/// is removed.
#[tokio::test(start_paused = true)]
async fn a_client_certificate_is_verified_in_each_handshake() {
    let (clients, others) = (Authority::new(), Authority::new());
    let world = common::World::with(|dir, files| {
        files.require_client_certificates(dir.write("clients.pem", clients.pem()))
    });
    let topic = Topic::new(Retention::default());
    let (_server, net) = world.serve(follow(&topic));
    let client = |versions| Client {
        versions,
        identity: Some(clients.certify(&["client.test"])),
        ..Client::new(&world.authority)
    };
    for versions in [TLS12, TLS13] {
        let client = client(versions).config();
        for _ in 0..2 {
            let mut session = net.get("/", &client).await;
            begin(&mut session).await;
            let kind = session.get_ref().1.handshake_kind();
            assert_ne!(kind, Some(rustls::HandshakeKind::Resumed));
        }
    }
    let client = client(TLS13).config();
    begin(&mut net.get("/", &client).await).await;
    replace(&world.dir, "clients.pem", &others.pem());
    assert!(world.tls.reload().unwrap());
    let mut session = net.get("/", &client).await;
    let (_, end) = common::read_to_end(&mut session).await;
    let error = end.unwrap_err().to_string();
    assert_eq!(error, "received fatal alert: UnknownCA");
}

/// Files as Kubernetes mounts them: symlinks through a directory that is itself a symlink, which
/// is replaced.
#[cfg(unix)]
mod mounted {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mount(dir: &Dir, version: &str, identity: &Identity) {
        create_dir(dir.path(version)).unwrap();
        dir.identity(&format!("{version}/server"), identity);
        symlink(version, dir.path("new")).unwrap();
        rename(dir.path("new"), dir.path("..data")).unwrap();
    }

    #[tokio::test]
    async fn a_replaced_symlink_is_followed_by_the_watch() {
        let (authority, dir) = (Authority::new(), Dir::new());
        let [first, second, third] = [(); 3].map(|()| authority.certify(&["localhost"]));
        mount(&dir, "1", &first);
        for name in ["server.pem", "server.key"] {
            symlink(format!("..data/{name}"), dir.path(name)).unwrap();
        }
        let files = PemFiles::new(dir.path("server.pem"), dir.path("server.key"));
        let tls = files.load().unwrap();
        let mut notices = watch(&tls);

        mount(&dir, "2", &second);
        let notice = notices.recv().await.unwrap();
        assert_eq!(notice, "the certificates have been replaced");

        mount(
            &dir,
            "3",
            &Identity {
                key: second.key,
                ..third
            },
        );
        let notice = notices.recv().await.unwrap();
        let key = dir.path("server.key");
        let certificate = dir.path("server.pem");
        assert_eq!(
            notice,
            format!(
                "the old certificates remain in use: {} contains a private key that does not \
                 match the first certificate in {}; use the key that the certificate was issued for",
                key.display(),
                certificate.display()
            )
        );

        let old = authority.certify_with(&["localhost"], |params| {
            params.not_after = date_time_ymd(2000, 1, 1);
        });
        mount(&dir, "4", &old);
        let notice = notices.recv().await.unwrap();
        assert_eq!(notice, "the certificates have been replaced");
        let notice = notices.recv().await.unwrap();
        let certificate = certificate.display();
        assert_eq!(
            notice,
            format!(
                "the certificate in {certificate} expired on 2000-01-01; clients refuse it until it is renewed"
            )
        );
    }

    /// The files are read on a blocking thread, so this runs on the real clock.
    fn watch(tls: &TlsConfig) -> mpsc::UnboundedReceiver<String> {
        let (sender, notices) = mpsc::unbounded_channel();
        tokio::spawn(tls.clone().watch(Duration::from_millis(5), move |notice| {
            let _ = sender.send(notice.to_string());
        }));
        notices
    }
}

#[tokio::test(start_paused = true)]
async fn five_hundred_streams_continue_after_their_certificate_is_replaced() {
    const STREAMS: usize = 500;
    let (authority, dir) = (Authority::new(), Dir::new());
    let [first, second] = [(); 2].map(|()| authority.certify(&["localhost"]));
    let tls = dir.files(&first).load().unwrap();
    let topic = Topic::new(Retention::default());
    let (server, net) = common::serve(config(), tls.clone(), follow(&topic));
    let client = Client::new(&authority).config();
    let mut sessions = Vec::new();
    for _ in 0..STREAMS {
        let mut session = net.get("/", &client).await;
        assert_eq!(begin(&mut session).await, "");
        sessions.push(session);
    }
    let readers = Vec::from_iter(sessions.into_iter().map(|mut session| {
        tokio::spawn(async move {
            let (text, end) = common::read_to_end(&mut session).await;
            end.map(|()| text)
        })
    }));
    for round in 0..20 {
        publish(&topic, round * 10..round * 10 + 10);
        if round == 10 {
            replace(&dir, "server.pem", &second.certificate);
            replace(&dir, "server.key", &second.key);
            assert!(tls.reload().unwrap());
        }
        common::settle().await;
    }
    assert_eq!(received_certificate(&net, &authority).await, second.der());
    topic.finish(None).unwrap();
    for reader in readers {
        let text = reader.await.unwrap().expect("a complete stream");
        assert!(text.starts_with(&published(0..200)), "{text}");
    }
    common::settle().await;
    assert_eq!(server.stats().connections, 0);
}
