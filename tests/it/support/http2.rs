//! A server that speaks HTTP/2 where the client lets it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::tls::Acceptor;
use super::upstream::OK;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// In which version.
    pub version: Version,
    /// With `:authority`, over HTTP/2.
    pub uri: Uri,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// A server that answers everything with success, but for what has `hang` in its query: that, never.
pub struct Http2Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    accepted: Arc<Mutex<usize>>,
    given_up: Arc<Mutex<usize>>,
    serving: JoinHandle<()>,
}

impl Http2Upstream {
    /// Starts it; `acceptor` says what it offers.
    pub async fn start(acceptor: Acceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, accepted) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::<Mutex<usize>>::default());
        let given_up = Arc::<Mutex<usize>>::default();
        let (kept, count, lost) = (Arc::clone(&asked), Arc::clone(&accepted), Arc::clone(&given_up));
        let serving = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, kept, count, lost) =
                    (acceptor.clone(), Arc::clone(&kept), Arc::clone(&count), Arc::clone(&lost));
                open.spawn(async move {
                    let Ok(stream) = acceptor.0.accept(stream).await else { return };
                    *count.lock().unwrap() += 1;
                    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let service = service_fn(move |request| {
                        answer(
                            request,
                            Arc::clone(&kept),
                            GivenUp { count: Arc::clone(&lost), answered: false },
                        )
                    });
                    let io = TokioIo::new(stream);
                    let _ = if h2 {
                        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                            .serve_connection(io, service)
                            .await
                    } else {
                        hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
                    };
                });
            }
        });
        Self { address, asked, accepted, given_up, serving }
    }

    /// The requests that came.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How many connections were made.
    pub fn accepted(&self) -> usize {
        *self.accepted.lock().unwrap()
    }
}

impl Http2Upstream {
    /// How many requests were given up by who sent them.
    pub fn given_up(&self) -> usize {
        *self.given_up.lock().unwrap()
    }
}

/// Counts, when it is dropped before it was answered.
struct GivenUp {
    count: Arc<Mutex<usize>>,
    answered: bool,
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        *self.count.lock().unwrap() += usize::from(!self.answered);
    }
}

impl Drop for Http2Upstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(
    request: Request<Incoming>,
    kept: Arc<Mutex<Vec<Asked>>>,
    mut given_up: GivenUp,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let hangs = head.uri.query().is_some_and(|query| query.contains("hang"));
    kept.lock().unwrap().push(Asked { version: head.version, uri: head.uri, headers: head.headers, body });
    if hangs {
        std::future::pending::<()>().await;
    }
    given_up.answered = true;
    Ok(Response::new(Full::from(OK)))
}
