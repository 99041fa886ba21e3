//! What the room can be told.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::Networks;

/// One HTTP listener that others call.
#[derive(Debug, Clone)]
pub struct ListenSettings {
    /// Where it listens.
    pub address: SocketAddr,
    /// Peers whose `X-Forwarded-For`, `Forwarded` and PROXY header are believed.
    pub trusted_proxies: Networks,
    /// Whether trusted peers begin each connection with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// From a connection's first byte, or the end of the last answer, to the end of a request's head.
    pub header_timeout: Duration,
    /// Most header fields of a request.
    pub max_headers: usize,
    /// Largest head of a request, bytes.
    pub max_header_bytes: usize,
    /// TLS, where it is spoken.
    pub tls: Option<TlsSettings>,
}

/// TLS on a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// The server's certificate and its issuers', in PEM.
    pub certificate_file: PathBuf,
    /// Its key, in PEM.
    pub key_file: PathBuf,
    /// Who signs clients' certificates; none: they are not asked for one.
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients have to show one.
    pub client_certificate: ClientCertificate,
}

/// Whether clients have to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Who has none is refused.
    Required,
    /// Who shows one must show a good one.
    Optional,
}

/// How connections to the upstream are made.
#[derive(Debug, Clone)]
pub struct EgressSettings {
    /// Which local addresses connections leave from.
    pub source_ips: SourceIps,
    /// The addresses registered in the SaaS's whitelist (§2.2), at most five.
    pub allowed_ips: Vec<IpAddr>,
    /// A proxy that connections go through.
    pub proxy: Option<EgressProxy>,
    /// To a connection that is ready for a request, TLS included.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Whether HTTP/2 may be spoken.
    pub http2: Http2,
    /// A bundle of further certificate authorities.
    pub ca_file: Option<PathBuf>,
}

/// Which local addresses connections leave from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceIps {
    /// Whatever the kernel chooses.
    None,
    /// Those of this host's addresses that are in `allowed_ips`.
    Auto,
    /// These, in turn.
    List(Vec<IpAddr>),
}

/// A proxy on the way to the upstream.
#[derive(Clone)]
pub struct EgressProxy {
    /// How it is spoken to.
    pub kind: EgressProxyKind,
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User and password, where it wants them.
    pub login: Option<(String, SecretString)>,
}

/// How an egress proxy is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EgressProxyKind {
    /// `CONNECT` (RFC 9110 §9.3.6).
    Connect,
    /// SOCKS 5 (RFC 1928).
    Socks5,
}

impl EgressProxy {
    fn parts(&self) -> (EgressProxyKind, &str, u16, Option<(&str, &str)>) {
        let login = self.login.as_ref().map(|(user, password)| (user.as_str(), password.expose_secret()));
        (self.kind, &self.host, self.port, login)
    }
}

impl PartialEq for EgressProxy {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl fmt::Debug for EgressProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}:{}", self.kind, self.host, self.port)
    }
}

/// Whether HTTP/2 may be spoken to the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http2 {
    /// When the upstream chooses it by ALPN.
    Auto,
    /// HTTP/1.1 only.
    Never,
}

/// Scheme, host and port of a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// Port, the scheme's own when none was written.
    pub port: u16,
}

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Origin {
    /// As the `Host` header names it: the port is left out when it is the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}
