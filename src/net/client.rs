//! A bounded HTTP/1.1 client for internal services: subscribers and responders.
//!
//! Redirects are not followed, nothing is sent twice (a kept connection that turns out closed before anything
//! was written to it is replaced), and no more of an answer is read than the caller asks for. Deadlines are the caller's: every
//! future here may be dropped, and the connection goes with it.

mod pool;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;

use self::pool::{Kept, Pool};
use super::connect::{ConnectError, Connector, EgressError};
use super::{EgressSettings, Http2, Networks, Origin, Scheme, SourceIps};

/// To a connection to one address of a host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends requests over kept connections; clones share them.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    connector: Connector,
    pool: Pool,
    /// Where it may connect to; none: anywhere.
    within: Option<Networks>,
}

/// Why there is no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL names no server.
    #[error("not an http:// or https:// URL with a host")]
    Url,
    /// The host's name has no address.
    #[error("cannot resolve {0}")]
    Resolve(String, #[source] std::io::Error),
    /// No address of the host lets itself be connected to.
    #[error("no connection")]
    Connect(#[source] ConnectError),
    /// The host has an address that may not be connected to.
    #[error("{0} is outside the networks that may be connected to")]
    Outside(IpAddr),
    /// The exchange broke off.
    #[error("the exchange broke off")]
    Exchange(#[source] hyper::Error),
}

impl ClientError {
    /// Whether the server can have seen nothing of the request.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Url | Self::Resolve(..) | Self::Connect(_) | Self::Outside(_) => true,
            Self::Exchange(_) => false,
        }
    }
}

impl Client {
    /// A client with the system's certificate authorities.
    ///
    /// # Errors
    /// They can't be read.
    pub fn new() -> Result<Self, EgressError> {
        Self::of(None)
    }

    /// One that connects to addresses within `networks` only, whatever names and numbers lead to them.
    ///
    /// # Errors
    /// The system's certificate authorities can't be read.
    pub fn within(networks: Networks) -> Result<Self, EgressError> {
        Self::of(Some(networks))
    }

    /// Whether they share their connections.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn of(within: Option<Networks>) -> Result<Self, EgressError> {
        let connector = Connector::new(&EgressSettings {
            source_ips: SourceIps::None,
            allowed_ips: Vec::new(),
            proxy: None,
            connect_timeout: CONNECT_TIMEOUT,
            idle_timeout: pool::IDLE,
            http2: Http2::Never,
            ca_file: None,
        })?;
        Ok(Self(Arc::new(Inner { connector, pool: Pool::default(), within })))
    }

    /// Sends a request to where its absolute URI says. Ready when the answer's head is there.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Reply, ClientError> {
        let origin = origin(request.uri()).ok_or(ClientError::Url)?;
        if let Some(kept) = self.0.pool.take(&origin) {
            match self.exchange(kept, &origin, &request).await {
                // The server had closed it just then, which says nothing about the server.
                Err(unsent) if unsent.message().is_some() => {}
                exchanged => return exchanged.map_err(broke_off),
            }
        }
        let fresh = self.connect(&origin).await?;
        self.exchange(fresh, &origin, &request).await.map_err(broke_off)
    }

    async fn exchange(
        &self,
        mut connection: Kept,
        origin: &Origin,
        request: &Request<Bytes>,
    ) -> Result<Reply, TrySendError<Request<Full<Bytes>>>> {
        let sending = connection.sender.try_send_request(on_the_wire(origin, request));
        let (head, body) = sending.await?.into_parts();
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            begun: BytesMut::new(),
            body: Some(body),
            connection: Some(connection),
            origin: origin.clone(),
            client: self.clone(),
        })
    }

    async fn connect(&self, origin: &Origin) -> Result<Kept, ClientError> {
        let unresolved = |error| ClientError::Resolve(origin.host.clone(), error);
        let addresses = tokio::net::lookup_host((origin.host.as_str(), origin.port)).await;
        let mut last = unresolved(std::io::ErrorKind::NotFound.into());
        for address in addresses.map_err(unresolved)? {
            // Here, with the very address that is connected to: a name may stand for another by now.
            let outside =
                |networks: &Networks| !networks.contains(address.ip()) || address.ip().is_unspecified();
            if self.0.within.as_ref().is_some_and(outside) {
                last = ClientError::Outside(address.ip());
                continue;
            }
            match self.0.connector.connect(origin, address, None).await {
                Ok(connected) => {
                    let io = TokioIo::new(connected.stream);
                    let (sender, driving) = http1::handshake(io).await.map_err(ClientError::Exchange)?;
                    // It ends with an error when either side has had enough, which whoever waits for an
                    // answer is told.
                    let task = tokio::spawn(async move { drop(driving.await) });
                    return Ok(Kept::new(sender, task.abort_handle()));
                }
                Err(error) => last = ClientError::Connect(error),
            }
        }
        Err(last)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

fn broke_off<T>(error: TrySendError<T>) -> ClientError {
    ClientError::Exchange(error.into_error())
}

/// Where an absolute URI leads.
fn origin(uri: &Uri) -> Option<Origin> {
    let (scheme, port) = match uri.scheme_str()? {
        "http" => (Scheme::Http, 80),
        "https" => (Scheme::Https, 443),
        _ => return None,
    };
    let host = uri.host()?.trim_matches(['[', ']']).to_owned();
    Some(Origin { scheme, host, port: uri.port_u16().unwrap_or(port) })
}

/// In origin form, with `Host` first (RFC 9112 §3.2).
fn on_the_wire(origin: &Origin, request: &Request<Bytes>) -> Request<Full<Bytes>> {
    let mut wire = Request::new(Full::new(request.body().clone()));
    *wire.method_mut() = request.method().clone();
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    *wire.uri_mut() = target.parse().unwrap_or_default();
    if let Ok(host) = HeaderValue::try_from(origin.authority()) {
        wire.headers_mut().insert(HOST, host);
    }
    wire.headers_mut().extend(request.headers().clone());
    wire
}

/// An answer, of which the head is there.
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    begun: BytesMut,
    body: Option<Incoming>,
    connection: Option<Kept>,
    origin: Origin,
    client: Client,
}

impl Reply {
    /// Reads the body, at most `most` bytes of it; what was read is [`begun`](Self::begun). `true` when
    /// that is all of it. Given up halfway, this may be called again.
    ///
    /// # Errors
    /// It broke off.
    pub async fn read(&mut self, most: usize) -> Result<bool, ClientError> {
        while let Some(body) = &mut self.body {
            if self.begun.len() > most {
                return Ok(false);
            }
            match body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame.map_err(ClientError::Exchange)?.into_data() {
                        self.begun.extend_from_slice(&data[..data.len().min(most + 1 - self.begun.len())]);
                    }
                }
                None => self.ended(),
            }
        }
        Ok(true)
    }

    /// What has been read of the body.
    pub fn begun(&self) -> &[u8] {
        &self.begun
    }

    /// The connection can serve another request.
    fn ended(&mut self) {
        self.body = None;
        if let Some(connection) = self.connection.take() {
            self.client.0.pool.keep(&self.origin, connection);
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("status", &self.status)
            .field("begun", &self.begun.len())
            .finish_non_exhaustive()
    }
}
