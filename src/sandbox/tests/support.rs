//! A running sandbox, a client of it, and a receiver of its pushes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::sandbox::{Handle, Settings, bind};
use crate::xinyao::{Credential, Endpoint};

pub(super) const ANY: &str = "127.0.0.1:0";

pub(super) fn credential() -> Credential {
    Credential { apikey: "key".into(), apisecret: "secret".into() }
}

pub(super) fn settings() -> Settings {
    Settings { seed: Some(1), speed: 1000.0, ..Settings::new(ANY.parse().unwrap(), credential()) }
}

/// A sandbox that runs until it is stopped.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) handle: Handle,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

pub(super) async fn start(settings: Settings) -> Running {
    let sandbox = bind(settings).await.unwrap();
    let (address, handle) = (sandbox.local_addr(), sandbox.handle());
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(sandbox.run(async { drop(stopped.await) }));
    Running { address, handle, stop, running }
}

#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answered {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn code(&self) -> i64 {
        self.json()["code"].as_i64().unwrap()
    }
}

impl Running {
    pub(super) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.running.await.unwrap();
    }

    /// Sends `request` as it is, on a connection of its own.
    pub(super) async fn raw(&self, request: Request<Full<Bytes>>) -> hyper::Result<Answered> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answered { status: head.status, headers: head.headers, body })
    }

    /// Sends `body` to `path`, signed for a time this many seconds from now.
    pub(super) async fn post_at(&self, path: &str, body: &Value, offset: i64) -> hyper::Result<Answered> {
        let request = Request::post(path)
            .header("authorization", authorization(&credential(), offset))
            .header("content-type", "application/json");
        self.raw(request.body(body.to_string().into()).unwrap()).await
    }

    pub(super) async fn try_post(&self, endpoint: Endpoint, body: &Value) -> hyper::Result<Answered> {
        self.post_at(endpoint.spec().path, body, 0).await
    }

    pub(super) async fn post(&self, endpoint: Endpoint, body: &Value) -> Answered {
        self.try_post(endpoint, body).await.unwrap()
    }

    pub(super) async fn get(&self, path: &str, range: Option<&str>) -> Answered {
        let mut request = Request::get(path).header("authorization", authorization(&credential(), 0));
        if let Some(range) = range {
            request = request.header("range", range);
        }
        self.raw(request.body(Full::default()).unwrap()).await.unwrap()
    }

    /// Creates a task like the document's, with `more` put in; its id.
    pub(super) async fn task(&self, more: Value) -> String {
        let mut task: Value = serde_json::from_str(Endpoint::AddTask.spec().example).unwrap();
        task["app_id"] = "app".into();
        task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.post(Endpoint::AddTask, &task).await.json();
        assert_eq!(answer["code"], 0, "{answer}");
        answer["result"]["task_id"].as_str().unwrap().to_owned()
    }

    /// Uploads `file` for `task_id`.
    pub(super) async fn upload(&self, task_id: &str, suffix: &str, file: &str) -> Answered {
        let count = file.lines().count().to_string();
        let mut form = String::new();
        for (name, value) in [
            ("app_id", "app"),
            ("task_id", task_id),
            ("call_count", &count),
            ("file_suffix", suffix),
            ("disnum_group_id", "1"),
            ("call_sn_name", "批次"),
        ] {
            form += &format!("--B\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        }
        form += "--B\r\ncontent-disposition: form-data; name=\"file\"; filename=\"号码.csv\"\r\n\r\n";
        form += file;
        form += "\r\n--B--\r\n";
        let request = Request::post(Endpoint::Outnum.spec().path)
            .header("authorization", authorization(&credential(), 0))
            .header("content-type", "multipart/form-data; boundary=B");
        self.raw(request.body(form.into()).unwrap()).await.unwrap()
    }
}

pub(super) fn authorization(credential: &Credential, offset: i64) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    credential.authorization(now.saturating_add_signed(offset))
}

/// A file of `count` numbers.
pub(super) fn numbers(count: usize) -> String {
    (0..count).fold("phone,name\n".to_owned(), |file, n| file + &format!("138{n:08},客户{n}\n"))
}

/// Takes pushes, and answers each `n`th one, from 0, as `answer` says.
pub(super) struct Receiver {
    pub(super) url: String,
    taken: Arc<Mutex<Vec<Value>>>,
    running: JoinHandle<()>,
}

impl Receiver {
    pub(super) async fn start(answer: fn(usize) -> (u16, Value)) -> Self {
        let listener = TcpListener::bind(ANY).await.unwrap();
        let url = format!("http://{}/team", listener.local_addr().unwrap());
        let taken = Arc::new(Mutex::new(Vec::new()));
        let running = tokio::spawn(receive(listener, Arc::clone(&taken), answer));
        Self { url, taken, running }
    }

    /// Everything that came, in order.
    pub(super) fn taken(&self) -> Vec<Value> {
        self.taken.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn receive(listener: TcpListener, taken: Arc<Mutex<Vec<Value>>>, answer: fn(usize) -> (u16, Value)) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let taken = Arc::clone(&taken);
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let taken = Arc::clone(&taken);
            async move {
                assert_eq!(request.headers()["content-type"], "application/json");
                let body = request.into_body().collect().await?.to_bytes();
                let mut taken = taken.lock().unwrap();
                taken.push(serde_json::from_slice(&body).unwrap());
                let (status, answer) = answer(taken.len() - 1);
                let answer = Response::builder().status(status).body(Full::<Bytes>::from(answer.to_string()));
                Ok::<_, hyper::Error>(answer.unwrap())
            }
        });
        let serve =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(serve);
    }
}

pub(super) fn good(_: usize) -> (u16, Value) {
    (200, json!({ "code": 0, "msg": "success" }))
}
