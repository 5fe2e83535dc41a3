//! The blocks of the documents that are parts of a program, compiled here.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use sse_net::{Config, Engine, Hub, HubConfig, Server, Tcp};
use sse_tls::{PemFiles, TlsListener};

/// What is compiled of the documents: this file, and the part for axum.
const COMPILED: [&str; 2] = [include_str!("axum.rs"), include_str!("documents.rs")];

#[test]
fn every_block_of_the_documents_compiles() {
    let without_blanks = |text: &str| text.split_whitespace().collect::<String>();
    let compiled = without_blanks(&COMPILED.concat()).replace("pub(super)", "");
    for (document, count) in [
        (include_str!("../../README.md"), 1),
        (include_str!("../../DEPLOYMENT.md"), 4),
    ] {
        let blocks = Vec::from_iter(document.split("```rust,ignore\n").skip(1));
        assert_eq!(blocks.len(), count);
        for block in blocks {
            let (block, _) = block.split_once("```").unwrap();
            assert!(compiled.contains(&without_blanks(block)), "{block}");
        }
    }
}

/// The blocks, with the line breaks that they have in the document.
#[rustfmt::skip]
mod deployment {
    use super::*;

    #[expect(dead_code, reason = "it is only compiled")]
    async fn listen_with_tls(config: Config) -> Result<Server, Box<dyn std::error::Error>> {
        let live = Path::new("/etc/letsencrypt/live/example.org");
        let tls = PemFiles::new(live.join("fullchain.pem"), live.join("privkey.pem"))
            .allow_client_certificates("/etc/app/clients-ca.pem") // or require_…; default: none
            .load()?; // an error names the file and what is wrong with it
        tokio::spawn(tls.clone().watch(Duration::from_secs(10), |notice| eprintln!("{notice}")));
        let server = Server::new(config)
            .listen(TlsListener::new(Tcp::default().bind("[::]:443")?, tls));
        Ok(server)
    }

    #[expect(dead_code, reason = "it is only compiled")]
    async fn connect_to_redis() -> Result<Hub, Box<dyn std::error::Error>> {
        let engine = Engine::redis("rediss://user:password@redis.example.org:6379")?.hub("shop")?;
        let hub = Hub::connect(HubConfig::default(), engine).await?;
        Ok(hub)
    }

    #[test]
    fn the_url_of_sentinel_is_valid() -> Result<(), sse_net::EngineError> {
        let _engine =
        Engine::redis("redis+sentinel://:password@10.0.0.1:26379,10.0.0.2:26379,10.0.0.3:26379/mymaster")?;
        Ok(())
    }

    #[cfg(target_os = "linux")]
    #[expect(dead_code, reason = "it is only compiled")]
    fn take_a_socket_of_systemd() -> std::io::Result<(tokio::net::TcpListener, Option<String>)> {
        use listenfd::ListenFd;
        use sd_notify::NotifyState;

        let mut passed = ListenFd::from_env(); // before any thread is started
        let names = std::env::var("LISTEN_FDNAMES"); // "https:local", in the order of the sockets
        let socket = passed.take_tcp_listener(0)?.expect("a socket");
        let listener = Tcp::default().adopt(socket)?; // in place of bind
        sd_notify::notify(&[NotifyState::Ready])?;
        Ok((listener, names.ok()))
    }
}
