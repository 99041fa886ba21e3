//! A PostgreSQL of a test's own, from the packages of the system; it ends with the test.

#![allow(dead_code, reason = "unit tests use another part of it than tests/it")]

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that listens on an address of the loopback network.
#[derive(Debug)]
pub struct Postgres {
    folder: tempfile::TempDir,
    server: Option<Child>,
    address: String,
    port: u16,
}

impl Postgres {
    /// One on 127.0.0.1.
    pub fn start() -> Self {
        Self::start_on("127.0.0.1")
    }

    /// One on `address`.
    pub fn start_on(address: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        own(folder.path());
        let data = folder.path().join("data");
        run(Command::new("cp").arg("-a").args([template(), data]));
        let port = TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
        let mut one = Self { folder, server: None, address: address.to_owned(), port };
        one.resume();
        one
    }

    /// Where it is found: `postgresql://…`.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// Where a database of it is found.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgresql://gateway@{}:{}/{database}", self.address, self.port)
    }

    /// Where it listens.
    pub fn address(&self) -> std::net::SocketAddr {
        (self.address.parse::<std::net::IpAddr>().unwrap(), self.port).into()
    }

    /// Stops it in its tracks, with all its children; [`wake`](Self::wake) has them go on.
    pub fn freeze(&self) {
        self.to_all("STOP");
    }

    /// Has it go on.
    pub fn wake(&self) {
        self.to_all("CONT");
    }

    fn to_all(&self, name: &str) {
        // The server first: it then makes no more of them.
        signal(self.pid(), name);
        for child in children(self.pid()) {
            signal(child, name);
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().unwrap().id()
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        let mut server = self.server.take().unwrap();
        // SIGQUIT: it ends its children too, and recovers when it starts again.
        signal(server.id(), "QUIT");
        server.wait().unwrap();
    }

    /// Starts it again, with what it had on disk.
    pub fn resume(&mut self) {
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let mut command = as_postgres("postgres");
        command.arg("-D").arg(self.folder.path().join("data")).arg("-p").arg(self.port.to_string());
        command.args(["-h", &self.address, "-k", ""]);
        for setting in ["fsync=on", "max_connections=200", "shared_buffers=64MB", "logging_collector=off"] {
            command.args(["-c", setting]);
        }
        self.server = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let until = Instant::now() + Duration::from_secs(30);
        while !self.answers() {
            assert!(Instant::now() < until, "PostgreSQL does not answer: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The answer of `psql` to one statement.
    pub fn sql(&self, statement: &str) -> String {
        let mut command = as_postgres("psql");
        command.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", &self.url(), "-c", statement]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Writes the gateways' schema into a folder, as docs/cluster.md says.
    pub fn dump(&self) -> PathBuf {
        let folder = self.folder.path().join("dump");
        let mut dump = as_postgres("pg_dump");
        dump.args(["--format=directory", "--jobs=2", "--schema=xinyao_gateway", "--file"]).arg(&folder);
        run(dump.arg(self.url()));
        folder
    }

    /// Puts what was dumped in the place of what is there.
    pub fn restore(&self, folder: &Path) {
        self.sql("DROP SCHEMA IF EXISTS xinyao_gateway CASCADE");
        let mut restore = as_postgres("pg_restore");
        restore.args(["--exit-on-error", "--jobs=2", "--dbname", &self.url()]).arg(folder);
        run(&mut restore);
    }

    fn answers(&self) -> bool {
        let mut ready = as_postgres("pg_isready");
        ready.args(["-q", "-h", &self.address, "-p", &self.port.to_string()]);
        ready.status().unwrap().success()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // They may have been made to stand still.
            for child in children(server.id()) {
                signal(child, "CONT");
            }
            signal(server.id(), "CONT");
            signal(server.id(), "QUIT");
            server.wait().ok();
        }
    }
}

/// A child of the server may have ended meanwhile.
fn signal(pid: u32, name: &str) {
    let mut kill = Command::new("kill");
    kill.arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status().unwrap();
}

fn children(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// An empty cluster, made once for all tests: `initdb` takes a second.
fn template() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("postgres-template-{}", nix::unistd::geteuid()));
    let lock = std::fs::File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let ready = folder.join("ready");
    if !ready.exists() {
        std::fs::remove_dir_all(&folder).ok();
        std::fs::create_dir_all(&folder).unwrap();
        let made = tempfile::tempdir().unwrap();
        own(made.path());
        let data = made.path().join("data");
        let mut command = as_postgres("initdb");
        command.arg("-D").arg(&data).args(["-U", "gateway", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]);
        run(&mut command);
        run(Command::new("cp").arg("-a").arg(&data).arg(folder.join("data")));
        std::fs::write(ready, "").unwrap();
    }
    folder.join("data")
}

/// Of the newest version that is installed; as root it does not run, so that it then is the user `postgres`.
fn as_postgres(program: &str) -> Command {
    let versions = std::fs::read_dir("/usr/lib/postgresql").map(|versions| versions.flatten().collect());
    let mut versions: Vec<PathBuf> =
        versions.unwrap_or_else(|_| Vec::new()).iter().map(std::fs::DirEntry::path).collect();
    versions.sort_by_key(|path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()));
    let path = versions.pop().map_or_else(|| program.into(), |version| version.join("bin").join(program));
    let mut command = Command::new(path);
    if nix::unistd::geteuid().is_root() {
        let user = nix::unistd::User::from_name("postgres").unwrap().expect("no user postgres");
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command.current_dir("/");
    command
}

/// Makes it the user's that the server runs as.
fn own(folder: &Path) {
    if nix::unistd::geteuid().is_root() {
        let user = nix::unistd::User::from_name("postgres").unwrap().expect("no user postgres");
        std::os::unix::fs::chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
