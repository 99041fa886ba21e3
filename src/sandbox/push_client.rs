//! The client that pushes: one connection a push, in the clear.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Connection, request and answer together.
const DEADLINE: Duration = Duration::from_secs(10);
/// Largest answer.
const MAX_ANSWER: usize = 64 << 10;

/// Why a push got no answer that counts.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The sandbox pushes in the clear only.
    #[error("not an http:// URL with a host (the sandbox does not push over https)")]
    Url,
    /// The other side can't be reached.
    #[error("can't connect")]
    Connect(#[source] std::io::Error),
    /// The exchange broke off.
    #[error("the exchange broke off")]
    Http(#[from] hyper::Error),
    /// The answer broke off, or is larger than 64 KiB.
    #[error("the answer broke off, or is larger than 64 KiB")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No whole answer within ten seconds.
    #[error("no whole answer within 10 s")]
    Timeout,
    /// An answer other than 200, where one was needed.
    #[error("answered with {0}")]
    Status(StatusCode),
    /// No JSON of §9.4.
    #[error("the answer is no JSON with code, msg and prompt")]
    Answer,
}

/// An answer that came whole.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// Posts JSON to `url`.
pub(super) async fn post(url: &str, body: Bytes) -> Result<Answered, PushError> {
    tokio::time::timeout(DEADLINE, exchange(url, body)).await.unwrap_or(Err(PushError::Timeout))
}

async fn exchange(url: &str, body: Bytes) -> Result<Answered, PushError> {
    let url: Uri = url.parse().map_err(|_| PushError::Url)?;
    let (Some("http"), Some(authority)) = (url.scheme_str(), url.authority()) else {
        return Err(PushError::Url);
    };
    let host = authority.host().trim_matches(['[', ']']);
    let address = (host, authority.port_u16().unwrap_or(80));
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    // The authority may hold a login, which has no place in `Host` (RFC 9110 §4.2.4).
    let (_, host) = authority.as_str().rsplit_once('@').unwrap_or(("", authority.as_str()));
    let request = Request::post(target)
        .header(HOST, host)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|_| PushError::Url)?;

    let stream = TcpStream::connect(address).await.map_err(PushError::Connect)?;
    stream.set_nodelay(true).map_err(PushError::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answered = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(PushError::Body)?.to_bytes();
        Ok(Answered { status: head.status, body })
    };
    // Driven here and not by a task of its own, so that the deadline ends both.
    let mut answered = std::pin::pin!(answered);
    tokio::select! {
        biased;
        answered = &mut answered => answered,
        over = connection => {
            over?;
            // It ended well, so what was read of the answer is all of it.
            answered.await
        }
    }
}
