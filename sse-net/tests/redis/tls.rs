//! Encrypted connections to a server, and to Sentinel.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::faults::TOPICS;
use crate::process::Process;
use crate::replies::refused;
use crate::server::{Redis, free_port, wait_for};

/// Creates the files of an authority and of a certificate for the address of the tests.
fn create_certificates(dir: &Path) {
    let script = "
        key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
        openssl req -x509 $key -days 30 -subj /CN=authority -keyout ca.key -out ca.pem
        openssl req $key -subj /CN=redis -keyout redis.key -out redis.csr
        echo subjectAltName=IP:127.0.0.1 > extensions
        openssl x509 -req -in redis.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
            -extfile extensions -out redis.pem";
    let output = Command::new("sh")
        .args(["-ec", script])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
#[ignore = "needs redis-server"]
fn connections_to_servers_and_sentinels_are_encrypted() {
    let dir = TempDir::new().unwrap();
    create_certificates(dir.path());
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (authority, certificate, key) = (path("ca.pem"), path("redis.pem"), path("redis.key"));
    let ports = [free_port(), free_port()];
    let [server, sentinel] = ports.map(|port| port.to_string());
    let options = |port| {
        [
            "--tls-port",
            port,
            "--tls-cert-file",
            &*certificate,
            "--tls-key-file",
            &*key,
            "--tls-ca-cert-file",
            &*authority,
            "--tls-auth-clients",
            "no",
            "--tls-replication",
            "yes",
        ]
    };
    let redis = Redis::start(&options(&server));
    let _sentinel = Redis::sentinel(ports[0], 1, &options(&sentinel));
    for url in [
        format!("rediss://127.0.0.1:{server}"),
        format!("rediss+sentinel://127.0.0.1:{sentinel}/main"),
    ] {
        let node = Process::start_with(&url, true, Some(authority.as_ref()));
        let stored = || redis.call::<usize>(&["XLEN", &format!("sse:{{hub}}:topic:{}", TOPICS[0])]);
        wait_for(|| stored() > 0);
        drop(node);
        redis.call::<()>(&["FLUSHALL"]);
    }
    // The wrong port, or the wrong scheme.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for url in [
        format!("redis://127.0.0.1:{server}"),
        format!("rediss://127.0.0.1:{}", redis.port),
    ] {
        let error = runtime.block_on(refused(&url));
        assert!(error.contains("TLS"), "{error}");
    }
}
