//! A Redis of a test's own.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A redis-server on a free port, in a folder for a moment; killed when it is dropped.
pub struct Redis {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    folder: tempfile::TempDir,
    password: &'static str,
    certificate: Option<[String; 2]>,
}

impl Redis {
    /// Ready when this returns.
    pub fn start() -> Self {
        Self::with("")
    }

    /// One that wants this password, unless it is empty.
    pub fn with(password: &'static str) -> Self {
        Self::run(password, None)
    }

    /// One that speaks TLS alone, with the certificate and the key of these files.
    pub fn secured(certificate: String, key: String) -> Self {
        Self::run("", Some([certificate, key]))
    }

    fn run(password: &'static str, certificate: Option<[String; 2]>) -> Self {
        let address = TcpListener::bind("127.0.0.9:0").unwrap().local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let child = spawn(address, &folder, password, certificate.as_ref());
        Self { address, child, folder, password, certificate }
    }

    /// Its URL, with the password.
    pub fn url(&self) -> String {
        let login = if self.password.is_empty() { String::new() } else { format!(":{}@", self.password) };
        let scheme = if self.certificate.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://{login}{}", self.address)
    }

    /// What the gateway is told of it, where a machine that does much else must not matter.
    pub fn limits(&self) -> String {
        format!("limits: {{shared: {{url: \"{}\", timeout: 2s}}}}", self.url())
    }

    /// Stops it in its tracks; `resume` has it go on.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Has it go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Kills it.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Runs it again where it was, with nothing in it.
    pub fn run_again(&mut self) {
        self.kill();
        self.child = spawn(self.address, &self.folder, self.password, self.certificate.as_ref());
    }

    /// What `redis-cli` says to these words.
    pub fn cli(&self, words: &str) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-h", &self.address.ip().to_string(), "-p", &self.address.port().to_string()]);
        if !self.password.is_empty() {
            command.args(["--no-auth-warning", "-a", self.password]);
        }
        let output = command.args(words.split(' ')).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

fn spawn(
    address: SocketAddr,
    folder: &tempfile::TempDir,
    password: &str,
    certificate: Option<&[String; 2]>,
) -> Child {
    let mut command = Command::new("redis-server");
    let port = address.port().to_string();
    command.args(["--bind", &address.ip().to_string()]);
    match certificate {
        Some([certificate, key]) => {
            command.args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"]);
            command.args(["--tls-cert-file", certificate, "--tls-key-file", key]);
            command.args(["--tls-ca-cert-file", certificate]);
        }
        None => _ = command.args(["--port", &port]),
    }
    command.args(["--save", "", "--appendonly", "no", "--requirepass", password]);
    let child = command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.expect("redis-server is installed: apt-get install redis-server");
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < until, "redis-server does not listen on {address}");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
