//! A server with a service for tests, and clients that write what no client library would.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::net::listen::{Drain, DrainTrigger, Live, Peer, Rejected, bind, serve};
use crate::net::{ListenSettings, Networks};

/// No test waits for longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn settings() -> ListenSettings {
    ListenSettings {
        address: "127.0.0.1:0".parse().unwrap(),
        trusted_proxies: Networks::default(),
        proxy_protocol: false,
        header_timeout: Duration::from_secs(5),
        max_headers: 20,
        max_header_bytes: 12 << 10,
        tls: None,
    }
}

/// What the service tells and is told.
#[derive(Default)]
pub(super) struct Signals {
    /// A request for /hang has come.
    pub(super) came: Notify,
    /// It is answered.
    pub(super) release: Notify,
    /// It was given up before that.
    pub(super) dropped: Notify,
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) signals: Arc<Signals>,
    pub(super) trigger: DrainTrigger,
    pub(super) ended: JoinHandle<()>,
}

impl Server {
    pub(super) fn start(settings: ListenSettings) -> Self {
        let listener = bind(settings.address, true).unwrap();
        let address = listener.local_addr().unwrap();
        let signals = Arc::<Signals>::default();
        let (trigger, drain) = Drain::new();
        let told = Arc::clone(&signals);
        let ended = tokio::spawn(async move {
            let make = |peer| {
                let signals = Arc::clone(&told);
                service_fn(move |request| answer(peer, Arc::clone(&signals), request))
            };
            serve(listener, Live::new(settings), rejection, make, drain).await;
        });
        Self { address, signals, trigger, ended }
    }

    pub(super) async fn client(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Sends `bytes` on a connection of their own, and reads until the server closes it.
    pub(super) async fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut client = self.client().await;
        client.send(bytes).await;
        client.rest().await
    }
}

pub(super) struct Client(pub(super) TcpStream);

impl Client {
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        timeout(PATIENCE, self.0.write_all(bytes.as_ref())).await.unwrap().unwrap();
    }

    /// All that comes until the server closes the connection, which it must not do by a reset.
    pub(super) async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        timeout(PATIENCE, self.0.read_to_end(&mut bytes)).await.expect("the server closes").unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// All that comes up to and with `end`.
    pub(super) async fn until(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end.as_bytes()) {
            bytes.push(timeout(PATIENCE, self.0.read_u8()).await.expect(end).unwrap());
        }
        String::from_utf8(bytes).unwrap()
    }
}

fn rejection(rejected: Rejected, _: Peer) -> Response<Bytes> {
    let status = match rejected {
        Rejected::HeadTooSlow => StatusCode::REQUEST_TIMEOUT,
        Rejected::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Rejected::TargetTooLong => StatusCode::URI_TOO_LONG,
        Rejected::Malformed => StatusCode::BAD_REQUEST,
    };
    let body = Bytes::from(format!("<{rejected:?}>"));
    Response::builder().status(status).body(body).unwrap()
}

async fn answer(
    peer: Peer,
    signals: Arc<Signals>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.uri().path() {
        "/peer" => format!("<{} {} {}>", peer.socket.ip(), peer.address, peer.trusted).into(),
        "/ignore" => "<ignored>".into(),
        "/hang" => {
            let mut unanswered = Unanswered(Some(Arc::clone(&signals)));
            signals.came.notify_one();
            signals.release.notified().await;
            unanswered.0 = None;
            "<released>".into()
        }
        _ => match request.into_body().collect().await {
            Ok(body) => [b"<".as_slice(), &body.to_bytes(), b">"].concat().into(),
            Err(_) => "<bad body>".into(),
        },
    };
    Ok(Response::new(Full::new(body)))
}

struct Unanswered(Option<Arc<Signals>>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(signals) = &self.0 {
            signals.dropped.notify_one();
        }
    }
}
