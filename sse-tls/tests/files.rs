//! What PEM files may hold, and what becomes of it when they change.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, create_dir, rename};
use std::path::Path;
use std::time::{Duration, SystemTime};

use common::{
    Authority, Client, Dir, Identity, Net, begin, config, follow, publish, published, read,
};
use rcgen::date_time_ymd;
use rustls::pki_types::CertificateDer;
use sse_core::Retention;
use sse_net::Topic;
use sse_tls::{PemFiles, TlsConfig};
use tokio::sync::mpsc;

#[test]
fn what_is_wrong_with_a_file_is_told() {
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
        (files(&certificate, &empty), &empty, "is empty"),
        (
            files(&large, &key),
            &large,
            "is larger than 1 MiB; is it the right file?",
        ),
        (
            files(&text, &key),
            &text,
            "has no certificate in it, which would begin with -----BEGIN CERTIFICATE-----",
        ),
        (
            files(&key, &key),
            &key,
            "has no certificate in it, which would begin with -----BEGIN CERTIFICATE-----",
        ),
        (
            files(&cut, &key),
            &cut,
            "ends within a section, as if it were cut",
        ),
        (
            files(&no_base64, &key),
            &no_base64,
            "has a section that is not in PEM's form",
        ),
        (
            files(&no_der, &key),
            &no_der,
            "has a certificate that is damaged, or none of X.509 version 3",
        ),
        (
            files(&certificate, &certificate),
            &certificate,
            "has no private key in it, which would begin with -----BEGIN PRIVATE KEY-----",
        ),
        (
            files(&certificate, &no_key),
            &no_key,
            "has a private key that is damaged, or of a kind other than RSA from 2048 bits, \
             ECDSA with P-256 or P-384, and Ed25519",
        ),
        (
            files(&certificate, &encrypted),
            &encrypted,
            "has an encrypted private key; decrypt it with openssl pkey -in FILE -out PLAIN",
        ),
        (
            files(&certificate, &traditional),
            &traditional,
            "has an encrypted private key; decrypt it with openssl pkey -in FILE -out PLAIN",
        ),
        (
            files(&certificate, &other_key),
            &other_key,
            "has another private key than that of the first certificate in {certificate}",
        ),
        (
            files(&certificate, &key).certificate(&certificate, &other_key),
            &other_key,
            "has another private key than that of the first certificate in {certificate}",
        ),
        (
            clients(&missing),
            &missing,
            "can't be read: No such file or directory (os error 2)",
        ),
        (
            clients(&text),
            &text,
            "has no certificate in it, which would begin with -----BEGIN CERTIFICATE-----",
        ),
        (
            clients(&no_der),
            &no_der,
            "has a certificate that is damaged, or none of X.509 version 3",
        ),
    ] {
        let error = files.load().unwrap_err();
        assert_eq!(error.file(), file);
        let certificate = certificate.display().to_string();
        let sentence = sentence.replace("{certificate}", &certificate);
        assert_eq!(error.to_string(), format!("{} {sentence}", file.display()));
    }
}

/// RFC 7468, 2: what precedes a section is not part of it. Editors on Windows put it there.
#[test]
fn a_byte_order_mark_hides_nothing() {
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
    // One within the text is not its beginning.
    let within = dir.write("within", format!("# mine\n\u{feff}{}", authority.pem()));
    let files = PemFiles::new(&certificate, &key).require_client_certificates(within);
    assert!(files.load().is_err());
}

/// One that panics does not end the watch.
#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_after_a_panic_of_who_is_told() {
    let (authority, dir) = (Authority::new(), Dir::new());
    let tls = dir
        .files(&authority.certify(&["localhost"]))
        .load()
        .unwrap();
    let (told, mut notices) = mpsc::unbounded_channel();
    let watching = tls.watch(Duration::from_secs(1), move |notice| {
        told.send(notice.to_string()).unwrap();
        panic!("the program fails");
    });
    let _watching = tokio::spawn(watching);
    for _ in 0..2 {
        dir.files(&authority.certify(&["localhost"]));
        let notice = notices.recv().await.unwrap();
        assert_eq!(notice, "the certificates have been replaced");
    }
}

#[test]
fn a_certificate_out_of_its_time_is_a_warning() {
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
            Some("expired on 2001-04-05; clients refuse it"),
        ),
        (
            "new",
            at(8000, 9000),
            Some("is not valid before 8000-02-03; is this machine's clock right?"),
        ),
    ] {
        let (certificate, key) = dir.identity(name, &identity);
        let tls = PemFiles::new(&certificate, key).load().unwrap();
        let told = Vec::from_iter(tls.warnings().iter().map(ToString::to_string));
        let file = certificate.display();
        let expected = sentence.map(|sentence| format!("the certificate in {file} {sentence}"));
        assert_eq!(told, Vec::from_iter(expected), "{name}");
        let has_expired = tls.not_after().unwrap() < SystemTime::now();
        assert_eq!(has_expired, name == "old");
    }
}

/// The certificate that a new client is shown.
async fn shown(net: &Net, authority: &Authority) -> CertificateDer<'static> {
    let client = Client::new(authority).config();
    let session = net.session(&client).await;
    session.get_ref().1.peer_certificates().unwrap()[0].clone()
}

fn put(dir: &Dir, name: &str, text: &str) {
    let new = dir.write("new", text);
    rename(new, dir.path(name)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn files_that_have_changed_are_used_from_the_next_handshake_on() {
    let (authority, dir) = (Authority::new(), Dir::new());
    let [first, second] = [(); 2].map(|()| authority.certify(&["localhost"]));
    let tls = dir.files(&first).load().unwrap();
    let topic = Topic::new(Retention::default());
    let (_server, net) = common::serve(config(), tls.clone(), follow(&topic));
    let client = Client::new(&authority).config();
    let mut session = net.get("/", &client).await;
    begin(&mut session).await;
    assert!(!tls.reload().unwrap(), "nothing has changed");

    put(&dir, "server.pem", &second.certificate);
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.contains("another private key"), "{error}");
    assert_eq!(tls.problem().unwrap().to_string(), error);
    assert_eq!(shown(&net, &authority).await, first.der());

    put(&dir, "server.key", &second.key);
    assert!(tls.reload().unwrap());
    assert!(tls.problem().is_none());
    assert_eq!(shown(&net, &authority).await, second.der());

    fs::remove_file(dir.path("server.key")).unwrap();
    assert!(tls.reload().is_err());
    assert_eq!(shown(&net, &authority).await, second.der());

    // What was up is still so, and an old session is resumed.
    publish(&topic, 1..2);
    assert_eq!(read(&mut session).await, published(1..2));
    let again = net.get("/", &client).await;
    let kind = again.get_ref().1.handshake_kind();
    assert_eq!(kind, Some(rustls::HandshakeKind::Resumed));
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_authority_is_gone_does_not_come_back_by_a_ticket() {
    let (clients, others) = (Authority::new(), Authority::new());
    let world = common::World::with(|dir, files| {
        files.require_client_certificates(dir.write("clients.pem", clients.pem()))
    });
    let topic = Topic::new(Retention::default());
    let (_server, net) = world.serve(follow(&topic));
    let client = Client {
        identity: Some(clients.certify(&["client.test"])),
        ..Client::new(&world.authority)
    };
    let client = client.config();
    for _ in 0..2 {
        begin(&mut net.get("/", &client).await).await;
    }
    put(&world.dir, "clients.pem", &others.pem());
    assert!(world.tls.reload().unwrap());
    let mut session = net.get("/", &client).await;
    let (_, end) = common::read_to_end(&mut session).await;
    let error = end.unwrap_err().to_string();
    assert_eq!(error, "received fatal alert: UnknownCA");
}

/// Files as Kubernetes mounts them: each is a link through a directory that is one itself, and
/// is swapped for another.
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
    async fn a_swapped_link_is_seen_while_nobody_asks() {
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
                "the certificates stay as they were: {} has another private key than that of \
                 the first certificate in {}",
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
            format!("the certificate in {certificate} expired on 2000-01-01; clients refuse it")
        );
    }

    /// Notices come from a thread that reads files, so this is on the real clock.
    fn watch(tls: &TlsConfig) -> mpsc::UnboundedReceiver<String> {
        let (tell, notices) = mpsc::unbounded_channel();
        tokio::spawn(tls.clone().watch(Duration::from_millis(5), move |notice| {
            let _ = tell.send(notice.to_string());
        }));
        notices
    }
}

#[tokio::test(start_paused = true)]
async fn five_hundred_streams_outlive_their_certificate() {
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
            put(&dir, "server.pem", &second.certificate);
            put(&dir, "server.key", &second.key);
            assert!(tls.reload().unwrap());
        }
        common::settle().await;
    }
    assert_eq!(shown(&net, &authority).await, second.der());
    topic.finish(None).unwrap();
    for reader in readers {
        let text = reader.await.unwrap().expect("a whole stream");
        assert!(text.starts_with(&published(0..200)), "{text}");
    }
    common::settle().await;
    assert_eq!(server.stats().connections, 0);
}
