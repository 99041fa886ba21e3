//! Connections to an origin: from a chosen local address, through an egress proxy if there is one,
//! under TLS if the origin wants it.
//!
//! It is one connection at a time that is made here. Which address to try next, how long to stay away
//! from a bad one, and how many connections to keep are the caller's to decide.

mod error;
mod http_proxy;
mod roots;
mod sessions;
mod socks;
mod source;
mod tcp;
mod tls;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;

pub use self::error::{ConnectError, EgressError, ProxyFailure, Stage};
use self::roots::CaFile;
pub use self::source::compatible;
use super::{EgressProxy, EgressProxyKind, EgressSettings, Http2, Origin, Scheme, stream};

/// A connection's bytes.
pub type Stream = stream::Stream<TlsStream<TcpStream>>;

/// Makes connections as the settings say; clones share all of it.
#[derive(Clone)]
pub struct Connector(Arc<Inner>);

struct Inner {
    sources: Vec<Option<IpAddr>>,
    proxy: Option<EgressProxy>,
    timeout: Duration,
    http2: Http2,
    /// Digest of the CA file.
    ca: Option<Digest>,
    tls: TlsConnector,
}

/// SHA-256.
type Digest = [u8; 32];

/// A connection that is ready for a request.
#[derive(Debug)]
pub struct Connected {
    /// The connection.
    pub stream: Stream,
    /// What is to be spoken on it.
    pub protocol: Protocol,
}

/// What another protocol than HTTP is secured with: it believes the certificate authorities that [`Connector`] does.
///
/// `key` is where the configuration names `ca_file`.
///
/// # Errors
/// `ca_file` can't be read.
pub fn client_tls(key: &'static str, ca_file: Option<&Path>) -> Result<ClientConfig, EgressError> {
    let ca_file = ca_file.map(|path| CaFile { key, path });
    let bundle = ca_file.map(CaFile::read).transpose()?;
    tls::config(roots::load(ca_file.zip(bundle.as_deref()))?)
}

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, chosen by the server in ALPN.
    Http2,
}

impl Connector {
    /// Loads the certificate authorities (the system's, or Mozilla's where it has none, and those of
    /// `ca_file`) and settles the source IPs, each of which must be an address of this host.
    ///
    /// # Errors
    /// One is not, or the authorities can't be read.
    pub fn new(settings: &EgressSettings) -> Result<Connector, EgressError> {
        Self::make(settings, None)
    }

    /// One for other settings. Where it believes the same authorities, those are not loaded again.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn changed(&self, settings: &EgressSettings) -> Result<Connector, EgressError> {
        Self::make(settings, Some(self))
    }

    fn make(settings: &EgressSettings, earlier: Option<&Self>) -> Result<Connector, EgressError> {
        let (ca_file, http2) = (settings.ca_file.as_deref(), settings.http2);
        let ca_file = ca_file.map(|path| CaFile { key: "upstream.ca_file", path });
        let bundle = ca_file.map(CaFile::read).transpose()?;
        let ca = bundle.as_deref().map(|bytes| Sha256::digest(bytes).into());
        let known = earlier.filter(|known| (known.0.ca, known.0.http2) == (ca, http2));
        let tls = match known {
            Some(known) => known.0.tls.clone(),
            None => tls::connector(roots::load(ca_file.zip(bundle.as_deref()))?, http2)?,
        };
        Ok(Connector(Arc::new(Inner {
            sources: source::settle(&settings.source_ips, &settings.allowed_ips)?,
            proxy: settings.proxy.clone(),
            timeout: settings.connect_timeout,
            http2,
            ca,
            tls,
        })))
    }

    /// Whether connections of `other`'s are as good as its own: they leave from the same addresses, by the same
    /// proxy, and believe the same authorities.
    pub fn is_like(&self, other: &Self) -> bool {
        let (one, other) = (&*self.0, &*other.0);
        (&one.sources, &one.proxy, one.http2, one.ca) == (&other.sources, &other.proxy, other.http2, other.ca)
    }

    /// The local addresses to connect from. Never empty; `[None]` leaves the choice to the kernel.
    pub fn sources(&self) -> &[Option<IpAddr>] {
        &self.0.sources
    }

    /// What must be resolved to reach `origin`: its own host and port, or the egress proxy's.
    pub fn dial(&self, origin: &Origin) -> (String, u16) {
        match &self.0.proxy {
            Some(proxy) => (proxy.host.clone(), proxy.port),
            None => (origin.host.clone(), origin.port),
        }
    }

    /// Makes one connection to `origin`, within the connect timeout in all.
    ///
    /// `address` is one of those that [`dial`](Self::dial) resolved to; `source` one of
    /// [`sources`](Self::sources), and [`compatible`] with it.
    ///
    /// # Errors
    /// What failed, and at which stage.
    pub async fn connect(
        &self,
        origin: &Origin,
        address: SocketAddr,
        source: Option<IpAddr>,
    ) -> Result<Connected, ConnectError> {
        if let Some(source) = source.filter(|_| !compatible(source, address)) {
            return Err(ConnectError::Family { source_ip: source, address });
        }
        let mut stage = Stage::Tcp;
        let within = self.0.timeout;
        let opening = self.open(origin, address, source, &mut stage);
        match tokio::time::timeout(within, opening).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ConnectError::Timeout { stage, within }),
        }
    }

    async fn open(
        &self,
        origin: &Origin,
        address: SocketAddr,
        source: Option<IpAddr>,
        stage: &mut Stage,
    ) -> Result<Connected, ConnectError> {
        let mut tcp = tcp::connect(address, source).await.map_err(ConnectError::Tcp)?;
        if let Some(proxy) = &self.0.proxy {
            *stage = Stage::Proxy;
            tunnel(&mut tcp, proxy, origin).await.map_err(|reason| ConnectError::Proxy {
                proxy: format!("{}:{}", proxy.host, proxy.port),
                reason,
            })?;
        }
        match origin.scheme {
            Scheme::Http => Ok(Connected { stream: Stream::Plain(tcp), protocol: Protocol::Http1 }),
            Scheme::Https => {
                *stage = Stage::Tls;
                tls::handshake(&self.0.tls, tcp, &origin.host).await
            }
        }
    }
}

/// Has the proxy connect to `origin`, whatever its scheme: a tunnel leaves requests as they are.
async fn tunnel(tcp: &mut TcpStream, proxy: &EgressProxy, origin: &Origin) -> Result<(), ProxyFailure> {
    let login = proxy.login.as_ref();
    match proxy.kind {
        EgressProxyKind::Connect => http_proxy::tunnel(tcp, &origin.host, origin.port, login).await,
        EgressProxyKind::Socks5 => socks::tunnel(tcp, &origin.host, origin.port, login).await,
    }
}
