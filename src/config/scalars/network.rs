//! Addresses and networks.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use serde_json::{Value as Json, json};

use super::pattern;
use crate::config::read::{Bad, Scalar};

/// Where a listener listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) struct Address(pub(in crate::config) SocketAddr);

impl Default for Address {
    fn default() -> Self {
        Self(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0))
    }
}

impl Scalar for Address {
    const NAME: &'static str = "an address with a port";

    fn parse(text: &str) -> Result<Self, Bad> {
        let help = "write an address and a port: 0.0.0.0:8080, 127.0.0.1:9090 or [::]:8080";
        text.parse().map(Self).map_err(|_| Bad::new("is no address with a port", help))
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": pattern(r".+:\d{1,5}")})
    }
}

impl Scalar for IpAddr {
    const NAME: &'static str = "an IP address";

    fn parse(text: &str) -> Result<Self, Bad> {
        let help = "write an IPv4 or IPv6 address: 203.0.113.7 or 2001:db8::7";
        text.parse().map_err(|_| Bad::new("is no IP address", help))
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": pattern(r"[0-9.]+|[0-9a-fA-F:.]+")})
    }
}

impl Scalar for IpNet {
    const NAME: &'static str = "a network";

    fn parse(text: &str) -> Result<Self, Bad> {
        let help = "write a CIDR or an address: 10.20.0.0/16, 10.20.0.5, \"fd00::/8\"";
        let address = || text.parse::<IpAddr>().map(Self::from);
        text.parse().or_else(|_| address()).map_err(|_| Bad::new("is no network", help))
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": pattern(r"[0-9a-fA-F:.]+(/\d{1,3})?")})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_a_cidr_or_an_address() {
        for (text, network) in [
            ("10.20.0.0/16", "10.20.0.0/16"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(<IpNet as Scalar>::parse(text), Ok(network.parse().unwrap()), "{text}");
        }
        for text in ["", "10.20.0.0/33", "10.20", "10.20.0.0/", "localhost", "fd00::/129"] {
            assert!(<IpNet as Scalar>::parse(text).is_err(), "{text}");
        }
    }
}
