//! HTTP proxies, also for the tests of `examples`.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

/// A proxy, which ends with this value.
pub(crate) struct HttpProxy {
    child: Child,
    pub(crate) port: u16,
}

impl HttpProxy {
    /// Starts nginx with these directives of its `http` block and of the `server` block in it.
    pub(crate) fn nginx(dir: &Path, http: &str, directives: &str) -> Self {
        Self::start(|port| {
            let config = format!(
                "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error warn;
                 events {{ worker_connections 64; }}
                 http {{
                     access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
                     fastcgi_temp_path {dir}/a; uwsgi_temp_path {dir}/b; scgi_temp_path {dir}/c;
                     {http}
                     server {{ listen 127.0.0.1:{port}; {directives} }}
                 }}",
                dir = dir.display()
            );
            let path = dir.join(format!("nginx-{port}.conf"));
            fs::write(&path, config).unwrap();
            let mut command = Command::new("nginx");
            command.arg("-p").arg(dir).arg("-c").arg(path);
            command
        })
    }

    /// Starts the program that `command` returns for a port, and waits until it listens there.
    pub(crate) fn start(command: impl FnOnce(u16) -> Command) -> Self {
        let any = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = any.local_addr().unwrap().port();
        drop(any);
        let child = command(port).spawn().unwrap();
        let proxy = Self { child, port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let waited = began.elapsed();
            assert!(
                waited < Duration::from_secs(10),
                "the proxy does not listen"
            );
            thread::sleep(Duration::from_millis(10));
        }
        proxy
    }
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
