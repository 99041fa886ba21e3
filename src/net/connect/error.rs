//! What goes wrong before a connection is ready, and the way out.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio_rustls::rustls;

use super::tls::hint;

/// Why connections cannot be made as the settings say.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// A source IP that this host lacks.
    #[error(
        "source IP {address} is not an address of this host; add it to an interface, \
         or take it out of egress.source_ips"
    )]
    NotHere {
        /// The address.
        address: IpAddr,
        /// What binding to it said.
        source: io::Error,
    },
    /// None of the whitelisted addresses is this host's.
    #[error(
        "egress.source_ips is auto, but this host has none of the addresses of egress.allowed_ips ({}); \
         add one to an interface, or set egress.source_ips to none or to a list",
        Listed(allowed)
    )]
    NoneHere {
        /// All that were tried.
        allowed: Vec<IpAddr>,
    },
    /// A file of authorities cannot be read as PEM.
    #[error("cannot read {key} {path}; it must be a file of PEM certificates")]
    CaFile {
        /// Where the configuration names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is the matter.
        source: rustls::pki_types::pem::Error,
    },
    /// `ca_file` holds something that cannot be a certificate authority.
    #[error("certificate {number} of {key} {path} cannot serve as an authority")]
    CaCertificate {
        /// Where the configuration names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Which certificate in it, from 1.
        number: usize,
        /// What is the matter.
        source: rustls::Error,
    },
    /// `ca_file` holds no certificate.
    #[error("{key} {path} has no PEM certificate in it; leave the key out to use the system's")]
    CaFileEmpty {
        /// Where the configuration names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
}

struct Listed<'a>(&'a [IpAddr]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("it is empty");
        }
        for (i, address) in self.0.iter().enumerate() {
            write!(f, "{}{address}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// How far a connection had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reaching the address.
    Tcp,
    /// Having the egress proxy connect.
    Proxy,
    /// The TLS handshake.
    Tls,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP connection",
            Self::Proxy => "egress proxy's answer",
            Self::Tls => "TLS handshake",
        })
    }
}

/// Why a connection was not made. `Display` tells all of it, the innermost reason and the way out too:
/// what people see of it is a line in an answer, and there is no `source` to follow.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The connect timeout passed.
    #[error("no connection within {within:?}: still waiting for the {stage}")]
    Timeout {
        /// What it was waiting for.
        stage: Stage,
        /// The connect timeout.
        within: Duration,
    },
    /// The address cannot be reached.
    #[error("cannot connect: {0}")]
    Tcp(io::Error),
    /// The egress proxy did not connect.
    #[error("egress proxy {proxy}: {reason}")]
    Proxy {
        /// Its host and port.
        proxy: String,
        /// Why.
        reason: ProxyFailure,
    },
    /// The TLS handshake failed.
    #[error("TLS with {host}: {reason}{}", hint(reason))]
    Tls {
        /// Who was asked for.
        host: String,
        /// Why; it carries a [`rustls::Error`] unless the connection itself broke.
        reason: io::Error,
    },
    /// An IPv4 source IP and an IPv6 address, or the reverse; nothing was dialled.
    #[error("{address} cannot be reached from source IP {source_ip}: one is IPv4, the other IPv6")]
    Family {
        /// The source IP.
        source_ip: IpAddr,
        /// The address.
        address: SocketAddr,
    },
}

impl ConnectError {
    /// Whether any byte of a request could have been sent: never, so another try is always safe.
    pub const fn request_sent(&self) -> bool {
        match self {
            Self::Timeout { .. }
            | Self::Tcp(_)
            | Self::Proxy { .. }
            | Self::Tls { .. }
            | Self::Family { .. } => false,
        }
    }
}

/// Why an egress proxy did not connect.
#[derive(Debug, thiserror::Error)]
pub enum ProxyFailure {
    /// The connection to it broke.
    #[error("the connection broke off: {0}")]
    Io(io::Error),
    /// It answered `CONNECT` with something other than 2xx.
    #[error("it answered CONNECT with status {status}{}", status_hint(*status))]
    Status {
        /// The status.
        status: u16,
    },
    /// What came is not the head of an HTTP answer.
    #[error("it does not speak HTTP; should egress.proxy be a socks5:// one?")]
    NotHttp,
    /// The head of its answer is too long.
    #[error("the head of its answer is over {limit} bytes")]
    HeadTooLong {
        /// The most that is read.
        limit: usize,
    },
    /// What came is not SOCKS 5.
    #[error("it does not speak SOCKS 5; should egress.proxy be an http:// one?")]
    NotSocks,
    /// It wants another way to log in than it was offered.
    #[error(
        "it accepts none of the ways to log in that it was offered; check the user and the password of egress.proxy, and whether it wants any"
    )]
    NoMethod,
    /// It refused the login.
    #[error("it refused the user or the password of egress.proxy")]
    Login,
    /// It could not or would not connect.
    #[error("{}", reply_in_words(*code))]
    Reply {
        /// REP of RFC 1928 §6.
        code: u8,
    },
    /// A name or a login that SOCKS 5 has no room for.
    #[error("the {what} is empty or over 255 bytes, which SOCKS 5 cannot carry")]
    Unfit {
        /// Which.
        what: &'static str,
    },
}

impl From<io::Error> for ProxyFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn status_hint(status: u16) -> &'static str {
    match status {
        401 | 407 => "; check the user and the password of egress.proxy",
        403 | 405 => "; it must allow CONNECT to this host and port",
        502..=504 => "; it could not reach the host",
        _ => "",
    }
}

fn reply_in_words(code: u8) -> String {
    let words = match code {
        1 => "general failure",
        2 => "its rules do not allow this connection",
        3 => "network unreachable from there",
        4 => "host unreachable from there, or its name unknown",
        5 => "connection refused by the host",
        6 => "TTL expired on the way",
        7 => "it does not know the command CONNECT",
        8 => "it does not know this type of address",
        other => return format!("unknown reply {other}"),
    };
    words.to_owned()
}
