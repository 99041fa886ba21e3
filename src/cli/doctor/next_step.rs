//! What to do about what keeps the gateway from the SaaS.

use std::io::ErrorKind;

use crate::net::connect::{ConnectError, Stage};

/// The name of what the key has does not resolve.
pub(super) fn for_name(key: &'static str) -> &'static str {
    match key {
        "egress.proxy" => "check the proxy's name in egress.proxy, and the name servers of /etc/resolv.conf",
        "upstream.recordings_url" => {
            "check the name in upstream.recordings_url, and the name servers of /etc/resolv.conf"
        }
        _ => "check the name in upstream.base_url, and the name servers of /etc/resolv.conf",
    }
}

/// There is no connection. What TLS and proxies say has its own way out in it.
pub(super) fn for_connection(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::Timeout { stage: Stage::Tcp, .. } => {
            "a firewall drops it, or there is no route: try `curl -v` to the same address from this host"
        }
        ConnectError::Timeout { stage: Stage::Proxy, .. } => {
            "the egress proxy does not answer: may this host use it, and can it reach the SaaS?"
        }
        ConnectError::Timeout { stage: Stage::Tls, .. } => {
            "something in between lets connections begin and nothing through: a firewall that looks into TLS?"
        }
        ConnectError::Tcp(error) if error.kind() == ErrorKind::ConnectionRefused => {
            "nobody listens there, or a firewall refuses: check host and port of the URL"
        }
        ConnectError::Tcp(_) => "check this host's routes and firewall (`ip route get ADDRESS`)",
        ConnectError::Proxy { .. } => "check egress.proxy: scheme, host, port, user, and what it allows",
        ConnectError::Tls { .. } => {
            "what answers is not the SaaS as this host knows it: see the reason above"
        }
        ConnectError::Family { .. } => "give egress.source_ips an address of the same family",
    }
}
