//! The gateway, as a process.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A gateway that runs until it is dropped.
pub struct Gateway {
    /// Its callbacks listener.
    pub callbacks: SocketAddr,
    admin: SocketAddr,
    child: Child,
    folder: TempDir,
}

impl Gateway {
    /// Starts it with this in its file besides what every gateway here has.
    pub fn start(more: &str) -> Self {
        let disk = std::env::var_os("HUB_BENCH_DIR")
            .map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
        let folder = TempDir::new_in(disk).unwrap();
        let [proxy, callbacks, admin] = [(); 3].map(|()| free_address());
        let text = format!(
            "listen: {{proxy: \"{proxy}\", callbacks: \"{callbacks}\", admin: \"{admin}\"}}\n\
             upstream: {{base_url: \"http://127.0.0.1:9\"}}\n\
             credentials: {{default: {{apikey: key, apisecret: secret}}}}\n\
             apps: [{{name: crm, networks: [127.0.0.0/8]}}]\n\
             callbacks: {{key: 0123456789abcdef0123456789abcdef}}\n\
             store: {{path: {}}}\n\
             log: {{access: false, level: error}}\n{more}\n",
            folder.path().join("gateway.db").display()
        );
        std::fs::write(folder.path().join("config.yaml"), text).unwrap();
        let child = run(folder.path());
        let gateway = Self { callbacks, admin, child, folder };
        gateway.ready();
        gateway
    }

    /// Where it keeps what it keeps.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends it by `signal` and starts it again; from the start to its being ready.
    pub fn restart(&mut self, signal: &str) -> Duration {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
        self.child.wait().unwrap();
        let begun = Instant::now();
        self.child = run(self.folder.path());
        self.ready();
        begun.elapsed()
    }

    /// The last listener that it opens is the one for operators.
    fn ready(&self) {
        let until = Instant::now() + Duration::from_secs(30);
        while [self.callbacks, self.admin].iter().any(|address| !serves(*address)) {
            assert!(Instant::now() < until, "it is never ready");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn run(folder: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_xinyao-gateway"))
        .arg("--config")
        .arg(folder.join("config.yaml"))
        .spawn()
        .unwrap()
}

/// Whether it answers there, whatever it is: a bound address alone accepts before anybody serves.
fn serves(address: SocketAddr) -> bool {
    use std::io::{Read, Write};
    let answered = TcpStream::connect(address).and_then(|mut line| {
        line.set_read_timeout(Some(Duration::from_millis(500)))?;
        line.write_all(b"GET /readyz HTTP/1.1\r\nhost: g\r\nconnection: close\r\n\r\n")?;
        line.read(&mut [0; 16])
    });
    answered.is_ok_and(|count| count > 0)
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
