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

/// A server that answers everything with success.
pub struct Http2Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    accepted: Arc<Mutex<usize>>,
    serving: JoinHandle<()>,
}

impl Http2Upstream {
    /// Starts it; `acceptor` says what it offers.
    pub async fn start(acceptor: Acceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, accepted) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::<Mutex<usize>>::default());
        let (kept, count) = (Arc::clone(&asked), Arc::clone(&accepted));
        let serving = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, kept, count) = (acceptor.clone(), Arc::clone(&kept), Arc::clone(&count));
                open.spawn(async move {
                    let Ok(stream) = acceptor.0.accept(stream).await else { return };
                    *count.lock().unwrap() += 1;
                    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let service = service_fn(move |request| answer(request, Arc::clone(&kept)));
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
        Self { address, asked, accepted, serving }
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

impl Drop for Http2Upstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(
    request: Request<Incoming>,
    kept: Arc<Mutex<Vec<Asked>>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    kept.lock().unwrap().push(Asked { version: head.version, uri: head.uri, headers: head.headers, body });
    Ok(Response::new(Full::from(OK)))
}
