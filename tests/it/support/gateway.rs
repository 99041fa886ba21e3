//! A gateway in this process.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Once};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use xinyao_gateway::store::Store;
use xinyao_gateway::{app, config};

use super::{Answer, Ask, DEADLINE, Line, Sandbox, Upstream, get, post, within};

/// What a test changes of the configuration that all begin with: one app, `crm`, that may call from
/// anywhere on this host.
pub struct Builder {
    file: Value,
    environment: BTreeMap<String, String>,
    store: Option<Arc<dyn Store>>,
}

impl Builder {
    fn new(upstream: &str) -> Self {
        let file = json!({
            "listen": { "proxy": "127.0.0.1:0", "callbacks": "127.0.0.1:0", "admin": "127.0.0.1:0" },
            "upstream": { "base_url": upstream, "recordings_url": upstream },
            "credentials": { "default": { "apikey": "key", "apisecret": "secret" } },
            "apps": [{ "name": "crm", "networks": ["127.0.0.0/8", "::1"] }],
            "callbacks": { "key": "0123456789abcdef0123456789abcdef" },
        });
        Self { file, environment: BTreeMap::new(), store: None }
    }

    /// Puts these sections in; lists take the place of those that were there.
    pub fn with(mut self, yaml: impl AsRef<str>) -> Self {
        merge(&mut self.file, config(yaml.as_ref()));
        self
    }

    /// Puts these keys, as in `token: t, max_in_flight: 1`, into the app `crm`.
    pub fn crm(mut self, yaml: impl AsRef<str>) -> Self {
        merge(&mut self.file["apps"][0], config(&format!("{{{}}}", yaml.as_ref())));
        self
    }

    /// Keeps callbacks in this store, instead of one on disk.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// The file's text.
    pub fn text(&self) -> String {
        format!("{:#}", self.file)
    }

    /// Starts it.
    #[track_caller]
    pub fn start(self) -> Gateway {
        self.try_start().unwrap_or_else(|error| panic!("the gateway did not start: {error}"))
    }

    /// Starts it, or says why it can't run on this host.
    pub fn try_start(mut self) -> Result<Gateway, String> {
        super::log::capture();
        watch_for_panics();
        let folder = tempfile::tempdir().unwrap();
        let store = json!({ "store": { "path": folder.path().join("gateway.db") } });
        let named = self.file["store"]["path"].is_string();
        if !named {
            merge(&mut self.file, store);
        }
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, self.text()).unwrap();
        let source = config::Source::new(&file, self.environment);
        let loaded = source.load().unwrap_or_else(|faults| panic!("{faults}"));
        let (started, starting) = std::sync::mpsc::channel();
        let (end, ending) = oneshot::channel();
        let given = app::Given { store: self.store, source: Some(source), ..app::Given::default() };
        let thread = std::thread::spawn(move || run(loaded.config, given, &started, ending));
        let [proxy, callbacks, admin] =
            starting.recv_timeout(DEADLINE).expect("it starts or says why not")?;
        let written = self.file;
        Ok(Gateway { proxy, callbacks, admin, end: Some(end), thread: Some(thread), folder, written })
    }
}

enum End {
    /// Drained, as on SIGTERM.
    Stop,
    /// Cut off.
    Drop,
}

type Started = Result<[SocketAddr; 3], String>;

/// On a thread and a runtime of its own, so that it goes on whatever the test's thread does.
fn run(
    config: config::Config,
    given: app::Given,
    started: &std::sync::mpsc::Sender<Started>,
    end: oneshot::Receiver<End>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match app::Gateway::start_with(config, given).await {
            Err(error) => started.send(Err(format!("{error:#}"))).unwrap(),
            Ok(gateway) => {
                let callbacks = gateway.callbacks_address;
                started.send(Ok([gateway.proxy_address, callbacks, gateway.admin_address])).unwrap();
                match end.await {
                    Ok(End::Stop) => gateway.stop().await,
                    Ok(End::Drop) | Err(_) => drop(gateway),
                }
            }
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
}

/// A gateway that serves, until it is dropped.
pub struct Gateway {
    /// Its proxy listener.
    pub proxy: SocketAddr,
    /// Its callbacks listener.
    pub callbacks: SocketAddr,
    /// Its admin listener.
    pub admin: SocketAddr,
    end: Option<oneshot::Sender<End>>,
    thread: Option<JoinHandle<()>>,
    folder: tempfile::TempDir,
    written: Value,
}

impl Gateway {
    /// One whose SaaS is `sandbox`.
    pub fn before(sandbox: &Sandbox) -> Builder {
        Builder::new(&format!("http://{}", sandbox.address))
    }

    /// One whose SaaS is `upstream`.
    pub fn to(upstream: &Upstream) -> Builder {
        Builder::new(&upstream.url())
    }

    /// One whose SaaS is at `url`.
    pub fn at(url: &str) -> Builder {
        Builder::new(url)
    }

    /// Sends a request to the proxy on a connection of its own.
    pub async fn ask(&self, ask: Ask) -> Answer {
        ask.send(self.proxy).await
    }

    /// Posts `body`, as JSON.
    pub async fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.ask(post(path, body)).await
    }

    /// A connection to the proxy.
    pub async fn line(&self) -> Line {
        Line::to(self.proxy).await
    }

    /// A connection to the proxy from this local address.
    pub async fn line_from(&self, address: &str) -> Line {
        Line::between(address, self.proxy).await
    }

    /// Pushes `body` as the SaaS does, to the callback URL of `crm`.
    pub async fn push(&self, body: impl AsRef<[u8]>) -> Answer {
        self.call_back(post(&callback(None), body)).await
    }

    /// Sends a request to the callbacks listener.
    pub async fn call_back(&self, ask: Ask) -> Answer {
        ask.send(self.callbacks).await
    }

    /// Sends `bytes` on a connection of its own, and reads one answer.
    pub async fn raw(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut line = self.line().await;
        line.send(bytes).await;
        line.answer().await
    }

    /// Asks the operators' listener.
    pub async fn operate(&self, path: &str) -> Answer {
        get(path).send(self.admin).await
    }

    /// Its configuration file.
    pub fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("config.yaml")
    }

    /// Puts these sections into its file; lists take the place of those that were there.
    pub fn rewrite(&mut self, yaml: impl AsRef<str>) {
        merge(&mut self.written, config(yaml.as_ref()));
        std::fs::write(self.file(), format!("{:#}", self.written)).unwrap();
    }

    /// Has the file taken up.
    pub async fn reload(&self) -> Answer {
        post("/api/v1/reload", "").send(self.admin).await
    }

    /// Puts these sections into its file, and has it taken up.
    #[track_caller]
    pub fn change(&mut self, yaml: impl AsRef<str>) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        self.rewrite(yaml);
        async move {
            let answer = self.reload().await;
            assert_eq!(answer.status, 200, "{}, at {caller}", answer.text());
        }
    }

    /// How things stand.
    pub async fn status(&self) -> Value {
        self.operate("/api/v1/status").await.json()
    }

    /// What is counted.
    pub async fn metrics(&self) -> Metrics {
        Metrics(self.operate("/metrics").await.text())
    }

    /// Waits until the line of `/metrics` that begins so says `value`.
    pub async fn counts(&self, line: &str, value: f64) {
        let until = std::time::Instant::now() + DEADLINE;
        loop {
            let metrics = self.metrics().await;
            match metrics.value(line) {
                Some(found) if (found - value).abs() < 1e-9 => return,
                found => assert!(
                    std::time::Instant::now() < until,
                    "{line} is {found:?}, not {value}:\n{}",
                    metrics.0
                ),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Begins to stop it, as on SIGTERM; over when it has stopped.
    pub fn stop(&mut self) -> impl Future<Output = ()> + use<> {
        self.end(End::Stop);
        let thread = self.thread.take();
        async move {
            let joined = tokio::task::spawn_blocking(|| thread.map(JoinHandle::join));
            within(joined).await.unwrap().transpose().expect("it ends without a panic");
        }
    }

    fn end(&mut self, how: End) {
        // It may have ended by itself.
        let _ = self.end.take().map(|end| end.send(how));
    }

    /// Whether the operators' listener answers; asked from a thread that may block.
    fn is_alive(&self) -> bool {
        let asked = || -> std::io::Result<bool> {
            let mut stream = std::net::TcpStream::connect_timeout(&self.admin, DEADLINE)?;
            stream.set_read_timeout(Some(DEADLINE))?;
            stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: g\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer.starts_with("HTTP/1.1 200"))
        };
        asked().unwrap_or(false)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let failing = std::thread::panicking();
        let Some(thread) = self.thread.take() else { return };
        let alive = failing || self.is_alive();
        self.end(End::Drop);
        let ended = thread.join();
        if failing {
            return;
        }
        assert!(alive, "the gateway no longer answers /healthz");
        assert!(ended.is_ok(), "the gateway's thread panicked");
        let panics = PANICS.lock().unwrap();
        assert!(panics.is_empty(), "the gateway panicked: {panics:?}");
    }
}

/// Panics of the proxy's threads, which tokio would keep to itself.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name().is_some_and(|name| name.starts_with("proxy-") || name == "hub") {
                PANICS.lock().unwrap().push(panic.to_string());
            }
            usual(panic);
        }));
    });
}

/// What is counted, as text.
pub struct Metrics(pub String);

impl Metrics {
    /// The value of the line that is `name` and its labels.
    pub fn value(&self, line: &str) -> Option<f64> {
        let found =
            self.0.lines().find(|l| l.strip_prefix(line).is_some_and(|rest| rest.starts_with(' ')))?;
        found.rsplit(' ').next()?.parse().ok()
    }

    /// The sum of the lines that begin so.
    pub fn sum(&self, start: &str) -> f64 {
        let values = self.0.lines().filter(|line| line.starts_with(start));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

/// The path of the callback URL of `crm` under the key that all gateways have here:
/// printf %s crm | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef | cut -c-32
pub fn callback(label: Option<&str>) -> String {
    let label = label.map_or_else(String::new, |label| format!("/{label}"));
    format!("/callbacks/crm/{TOKEN}{label}")
}

/// The secret part of it.
pub const TOKEN: &str = "1d688e2844b70f3c27399218b0cad03e";

/// YAML as a value.
#[track_caller]
pub fn config(yaml: &str) -> Value {
    serde_yaml::from_str(yaml).unwrap_or_else(|error| panic!("{error}: {yaml}"))
}

/// Puts `more` into `into`, keys within keys.
pub fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}
