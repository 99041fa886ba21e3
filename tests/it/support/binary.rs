//! The real binary, as a process.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Builder, DEADLINE};

/// A gateway that runs as a process, until it is dropped.
pub struct Binary {
    /// Its proxy listener.
    pub proxy: SocketAddr,
    /// Its callbacks listener.
    pub callbacks: SocketAddr,
    /// Its admin listener.
    pub admin: SocketAddr,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    folder: Arc<tempfile::TempDir>,
}

impl Binary {
    /// The binary, to be given arguments.
    pub fn command() -> Command {
        Command::new(env!("CARGO_BIN_EXE_xinyao-gateway"))
    }

    /// Runs the configuration of `builder`; ready when this returns.
    pub fn run(builder: Builder) -> Self {
        Self::run_as(builder, "exec \"$0\" \"$@\"")
    }

    /// Runs it by this shell script, which gets program and arguments.
    pub fn run_as(builder: Builder, script: &str) -> Self {
        Self::start(Self::folder(builder), script)
    }

    fn folder(builder: Builder) -> Arc<tempfile::TempDir> {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let store = folder.path().join("gateway.db");
        let builder = builder.with(format!("store: {{path: {}}}", store.display()));
        std::fs::write(folder.path().join("config.yaml"), builder.text()).unwrap();
        folder
    }

    /// Kills it as it stands, and runs it again on the same files.
    pub fn kill_and_run_again(mut self) -> Self {
        drop(self.child.kill());
        drop(self.child.wait());
        Self::start(Arc::clone(&self.folder), "exec \"$0\" \"$@\"")
    }

    /// Runs the configuration of `builder` as systemd does with sockets that it keeps, for apps and for the SaaS.
    pub fn activated(builder: Builder, sockets: &[TcpListener; 2]) -> Self {
        let folder = Self::folder(builder);
        Self::spawn(folder, ACTIVATION, sockets.each_ref().map(given)).ready()
    }

    /// Runs it again, with these sockets.
    pub fn activated_again(&self, sockets: &[TcpListener; 2]) -> Self {
        Self::spawn(Arc::clone(&self.folder), ACTIVATION, sockets.each_ref().map(given)).ready()
    }

    /// Runs another process on the same files, while this one runs.
    pub fn successor(&self) -> Starting {
        Self::spawn(Arc::clone(&self.folder), "exec \"$0\" \"$@\"", [Stdio::null(), Stdio::null()])
    }

    /// Runs the `config.yaml` of this folder with this environment; ready when this returns.
    pub fn run_in(folder: &Arc<tempfile::TempDir>, environment: &[(&str, String)]) -> Self {
        let set =
            environment.iter().fold(String::new(), |set, (name, value)| set + &format!("{name}='{value}' "));
        Self::start(Arc::clone(folder), &format!("export {set}; exec \"$0\" \"$@\""))
    }

    fn start(folder: Arc<tempfile::TempDir>, script: &str) -> Self {
        Self::spawn(folder, script, [Stdio::null(), Stdio::null()]).ready()
    }

    fn spawn(folder: Arc<tempfile::TempDir>, script: &str, [stdin, stdout]: [Stdio; 2]) -> Starting {
        let file = folder.path().join("config.yaml");
        let mut child = Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_xinyao-gateway"), "--config"])
            .arg(&file)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let (found, addresses) = std::sync::mpsc::channel();
        let (kept, stderr) = (Arc::clone(&lines), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some(ready) = addresses_of(&line) {
                    let _ = found.send(ready);
                }
                kept.lock().unwrap().push(line);
            }
        });
        Starting { child, lines, addresses, folder }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its configuration file.
    pub fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("config.yaml")
    }

    /// Sends it a signal: `TERM`, `INT`, `KILL`, …
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it does not end: {:#?}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// What it has logged.
    pub fn log(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Resident memory now, in bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

/// Standard input and output become what systemd gives: descriptors from 3 on, and who they are for.
const ACTIVATION: &str = "exec 3<&0 4<&1 </dev/null >/dev/null
export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=proxy:callbacks
exec \"$0\" \"$@\"";

fn given(socket: &TcpListener) -> Stdio {
    OwnedFd::from(socket.try_clone().unwrap()).into()
}

/// A gateway that is being started as a process.
pub struct Starting {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    addresses: Receiver<[SocketAddr; 3]>,
    folder: Arc<tempfile::TempDir>,
}

impl Starting {
    /// Waits until it has logged this.
    pub async fn says(&self, what: &str) {
        super::eventually(async || self.lines.lock().unwrap().iter().any(|line| line.contains(what))).await;
    }

    /// Waits until it is ready.
    pub fn ready(self) -> Binary {
        let Self { child, lines, addresses, folder } = self;
        let [proxy, callbacks, admin] = addresses
            .recv_timeout(DEADLINE)
            .unwrap_or_else(|_| panic!("it is never ready: {:#?}", lines.lock().unwrap()));
        Binary { proxy, callbacks, admin, child, lines, folder }
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if !std::thread::panicking() {
            let panics: Vec<String> =
                self.log().into_iter().filter(|line| line.contains("panicked")).collect();
            assert!(panics.is_empty(), "{panics:?}");
        }
    }
}

/// Proxy, callbacks and admin listener, of the line that says that it is ready, in either format.
fn addresses_of(line: &str) -> Option<[SocketAddr; 3]> {
    let words = || line.split([' ', '"', ',', '=', '{', '}']).filter(|word| !matches!(*word, "" | ":"));
    let value = |name: &str| words().skip_while(|word| *word != name).nth(1)?.parse().ok();
    Some([value("proxy")?, value("callbacks")?, value("admin")?])
}
