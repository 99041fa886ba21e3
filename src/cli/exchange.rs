//! One HTTP/1.1 exchange on a connection of its own, within a deadline.

use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::net::connect::{Connector, Stream};
use crate::net::{EgressSettings, Http2, Origin, Scheme, SourceIps};

/// Connection, request and answer together.
const DEADLINE: Duration = Duration::from_secs(30);
/// Largest answer: an event's body may have 16 MiB.
const MAX_ANSWER: usize = 64 << 20;

/// An answer that came whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("cannot connect to {0}")]
    Connect(Origin, #[source] anyhow::Error),
    #[error("{0} broke the exchange off")]
    Broken(Origin, #[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("{0} did not answer within {DEADLINE:?}")]
    Silent(Origin),
}

/// Sends `request`, whose URI is a path, to `origin`.
pub(super) async fn exchange(origin: &Origin, request: Request<Bytes>) -> Result<Answer, Trouble> {
    let exchanging = async {
        let stream = connect(origin).await.map_err(|error| Trouble::Connect(origin.clone(), error))?;
        converse(origin, stream, request).await.map_err(|error| Trouble::Broken(origin.clone(), error))
    };
    tokio::time::timeout(DEADLINE, exchanging).await.unwrap_or(Err(Trouble::Silent(origin.clone())))
}

async fn connect(origin: &Origin) -> anyhow::Result<Stream> {
    let addresses = tokio::net::lookup_host((origin.host.as_str(), origin.port)).await?;
    let connector = match origin.scheme {
        Scheme::Http => None,
        Scheme::Https => Some(Connector::new(&directly())?),
    };
    let mut failure = anyhow::anyhow!("the name has no address");
    for address in addresses {
        let connected = match &connector {
            None => tokio::net::TcpStream::connect(address).await.map(Stream::Plain).map_err(Into::into),
            Some(connector) => {
                let connected = connector.connect(origin, address, None).await;
                connected.map(|connected| connected.stream).map_err(Into::into)
            }
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Over no proxy, from whatever address.
fn directly() -> EgressSettings {
    EgressSettings {
        source_ips: SourceIps::None,
        allowed_ips: Vec::new(),
        proxy: None,
        connect_timeout: DEADLINE,
        idle_timeout: DEADLINE,
        http2: Http2::Never,
        ca_file: None,
    }
}

async fn converse(
    origin: &Origin,
    stream: Stream,
    request: Request<Bytes>,
) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let mut request = request.map(Full::new);
    request.headers_mut().insert(HOST, HeaderValue::from_str(&origin.authority())?);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends when the sender is dropped.
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
    Ok(Answer { status: head.status, body })
}
