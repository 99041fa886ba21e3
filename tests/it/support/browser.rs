//! A real browser, driven over WebDriver as a user would use it: by what controls are called, and what can be read.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser takes its time to start where many tests run.
const PATIENCE: Duration = Duration::from_mins(1);
/// So often a driver is started that finds no port.
const TRIES: usize = 20;
/// Name of an element's id in answers (WebDriver §12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// What all scripts can use: the part of the page that can be reached, what controls are called, what is read.
const HELPERS: &str = r#"
    const scope = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document;
    const clean = (text) => (text ?? "").replace(/\s+/g, " ").trim();
    const label = (e) => e.labels?.[0] && (e.type === "radio" || e.type === "checkbox" ? e.labels[0].textContent : e.labels[0].querySelector("span")?.textContent);
    const name = (e) => clean(e.getAttribute("aria-label") || label(e) || e.textContent);
    const controls = () => [...scope.querySelectorAll("button, a[href], input, select, summary, [tabindex='0']")].filter((e) => e.checkVisibility());
    const called = (wanted) => controls().find((e) => name(e) === wanted) ?? controls().find((e) => name(e).startsWith(wanted));
"#;

/// A browser with one tab. It ends when it is dropped.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    // Its profile.
    _home: TempDir,
}

impl Browser {
    /// Starts it, and opens the page at `url`.
    pub async fn at(url: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (driver, port) = start(&home);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut browser = Self { driver, address, session: String::new(), _home: home };
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--lang=en-US"];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let session = browser.ask("POST", "/session", Some(wanted)).await;
        browser.session = session["sessionId"].as_str().unwrap().to_owned();
        browser.resize(1280).await;
        browser.go(url).await;
        browser
    }

    /// Opens a page.
    pub async fn go(&self, url: &str) {
        self.command("POST", "/url", Some(json!({ "url": url }))).await;
    }

    /// Loads the page again.
    pub async fn reload(&self) {
        self.command("POST", "/refresh", Some(json!({}))).await;
    }

    /// Makes it so many pixels wide.
    pub async fn resize(&self, width: u32) {
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false }),
        )
        .await;
    }

    /// Has the system prefer light or dark.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Clicks on what is called so; waits until it is there and can be clicked.
    pub async fn click(&self, name: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let element = self.control(name).await;
            let path = format!("{}/element/{element}/click", self.path());
            match self.try_ask("POST", &path, Some(json!({}))).await {
                Ok(_) => return,
                // It was drawn anew, or something lay on it.
                Err(error) => assert!(Instant::now() < until, "{name:?} can't be clicked: {error}"),
            }
        }
    }

    /// Types into the field that is labelled so, in place of what was there.
    pub async fn fill(&self, label: &str, text: &str) {
        let element = self.control(label).await;
        self.command("POST", &format!("/element/{element}/clear"), Some(json!({}))).await;
        self.command("POST", &format!("/element/{element}/value"), Some(json!({ "text": text }))).await;
    }

    /// Chooses an option of the list that is labelled so.
    pub async fn choose(&self, label: &str, option: &str) {
        self.control(label).await;
        let script = "const list = called(arguments[0]); list.value = [...list.options].find((o) => clean(o.textContent) === arguments[1]).value; list.dispatchEvent(new Event('change'));";
        self.run(script, json!([label, option])).await;
    }

    /// Presses a key where the focus is: a character, or `Tab`, `Enter`, `Escape`, `ArrowLeft`.
    pub async fn press(&self, key: &str) {
        let key = match key {
            "Tab" => "\u{e004}",
            "Enter" => "\u{e007}",
            "Escape" => "\u{e00c}",
            "ArrowLeft" => "\u{e012}",
            other => other,
        };
        let actions = json!([{ "type": "key", "id": "keys", "actions": [{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }] }]);
        self.command("POST", "/actions", Some(json!({ "actions": actions }))).await;
    }

    /// Waits until this can be read on the page, or in the dialog that is open.
    pub async fn reads(&self, text: &str) {
        self.holds("return clean((scope.body ?? scope).innerText).includes(arguments[0])", json!([text]))
            .await;
    }

    /// Waits until it can't be read (any more).
    pub async fn does_not_read(&self, text: &str) {
        self.holds("return !clean((scope.body ?? scope).innerText).includes(arguments[0])", json!([text]))
            .await;
    }

    /// Waits until the script says yes.
    pub async fn holds(&self, script: &str, arguments: Value) {
        let until = Instant::now() + PATIENCE;
        while self.run(script, arguments.clone()).await != Value::Bool(true) {
            if Instant::now() > until {
                let page = self.run("return clean(document.body.innerText)", json!([])).await;
                panic!(
                    "{script} of {arguments} does not come true; the page: {page}\n{:?}",
                    self.complaints().await
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs a script that can use [`HELPERS`]; what it returns.
    pub async fn run(&self, script: &str, arguments: Value) -> Value {
        let script = format!("{HELPERS}{script}");
        self.command("POST", "/execute/sync", Some(json!({ "script": script, "args": arguments }))).await
    }

    /// What the page complained of since this was last asked: errors of scripts, and what its policy forbade.
    /// Answers that are errors are told here too, and are no complaint.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.command("POST", "/se/log", Some(json!({ "type": "browser" }))).await;
        let entries = entries.as_array().unwrap().iter().filter(|entry| entry["source"] != "network");
        entries.map(|entry| entry["message"].to_string()).collect()
    }

    /// The addresses that were asked for since this was last asked.
    pub async fn requests(&self) -> Vec<String> {
        let entries = self.command("POST", "/se/log", Some(json!({ "type": "performance" }))).await;
        let messages = entries.as_array().unwrap().iter().filter_map(|entry| entry["message"].as_str());
        let messages = messages.map(|text| serde_json::from_str::<Value>(text).unwrap()["message"].clone());
        let sent = messages.filter(|message| message["method"] == "Network.requestWillBeSent");
        sent.map(|message| message["params"]["request"]["url"].as_str().unwrap().to_owned()).collect()
    }

    /// A picture of what is in view, as PNG.
    pub async fn picture(&self) -> Vec<u8> {
        self.devtools("Emulation.setScrollbarsHidden", json!({ "hidden": true })).await;
        let picture = self.command("GET", "/screenshot", None).await;
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, picture.as_str().unwrap()).unwrap()
    }

    /// Waits for the control of that name; its id.
    async fn control(&self, name: &str) -> String {
        self.holds("return Boolean(called(arguments[0]))", json!([name])).await;
        let element = self.run("return called(arguments[0])", json!([name])).await;
        element[ELEMENT].as_str().unwrap_or_else(|| panic!("{name:?} is gone: {element}")).to_owned()
    }

    async fn devtools(&self, command: &str, parameters: Value) {
        self.command("POST", "/goog/cdp/execute", Some(json!({ "cmd": command, "params": parameters })))
            .await;
    }

    fn path(&self) -> String {
        format!("/session/{}", self.session)
    }

    async fn command(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        self.ask(method, &format!("{}{path}", self.path()), body).await
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        self.try_ask(method, path, body).await.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    async fn try_ask(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, Value> {
        let (address, text) = (self.address, request(method, path, body));
        let asking = tokio::task::spawn_blocking(move || exchange(address, &text));
        let mut answer: Value =
            asking.await.unwrap().unwrap_or_else(|error| panic!("no answer of the driver: {error}"));
        let value = answer["value"].take();
        if value["error"].is_string() { Err(value) } else { Ok(value) }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser, and has to be there for it.
        if !self.session.is_empty() {
            drop(exchange(self.address, &request("DELETE", &self.path(), None)));
        }
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}

fn start(home: &TempDir) -> (Child, u16) {
    // It takes a port for IPv4 and the same for IPv6, which may be another's: then it ends.
    let started = (0..TRIES).find_map(|_| try_start(home));
    started.expect("chromedriver says where it listens")
}

fn try_start(home: &TempDir) -> Option<(Child, u16)> {
    let mut command = Command::new("chromedriver");
    command.args(["--port=0"]).env("TMPDIR", home.path()).env("HOME", home.path());
    let started = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut driver = started.expect("chromedriver is there: apt-get install chromium chromium-driver");
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
    let port = |line: String| {
        line.rsplit_once("started successfully on port ")?.1.trim_end_matches('.').parse().ok()
    };
    let Some(port) = lines.find_map(port) else {
        drop(driver.kill());
        drop(driver.wait());
        return None;
    };
    // What it says later must go somewhere, or it would stand still.
    std::thread::spawn(move || lines.for_each(drop));
    Some((driver, port))
}

fn request(method: &str, path: &str, body: Option<Value>) -> String {
    let body = body.map_or_else(String::new, |body| body.to_string());
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn exchange(address: SocketAddr, text: &str) -> std::io::Result<Value> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(text.as_bytes())?;
    // The driver keeps the connection, whatever it is told: its answer ends where its length says.
    let mut answer = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        answer.read_line(&mut line)?;
        match line.to_ascii_lowercase().split_once(':') {
            Some(("content-length", value)) => {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
            Some(_) => {}
            None if line.trim().is_empty() => break,
            None => {}
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body)?;
    serde_json::from_slice(&body).map_err(std::io::Error::other)
}
