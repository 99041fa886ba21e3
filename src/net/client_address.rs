//! Whose request it is, where trusted proxies stand between.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};

use super::Networks;
use super::listen::Peer;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of the client whose request came by `peer` with `headers`.
///
/// A trusted peer is asked for whom it speaks: from the right, where the nearest proxy wrote, its
/// `X-Forwarded-For`, or where it sends none its `Forwarded` (RFC 7239), is followed past the proxies that are
/// `trusted` too, to the first address that is not. What cannot be read ends the way, at the last good address.
///
/// When both fields are there and lead to different addresses, one of them is of a proxy, and the other may be
/// of the client, let by unread; nothing tells which. Either could then be chosen by the client, and the
/// proxy's own address may be one that an app is told by. So the address is the unspecified one (`0.0.0.0`,
/// `::`), which is nobody's.
pub fn client_address(peer: &Peer, headers: &HeaderMap, trusted: &Networks) -> IpAddr {
    if !peer.trusted {
        return peer.address;
    }
    let elements = from_the_right(headers, &X_FORWARDED_FOR).map(plain);
    let by_plain = headers.contains_key(&X_FORWARDED_FOR).then(|| follow(peer, elements, trusted));
    let elements = from_the_right(headers, &FORWARDED).map(forwarded_for);
    let by_forwarded = headers.contains_key(&FORWARDED).then(|| follow(peer, elements, trusted));
    match (by_plain, by_forwarded) {
        (None, None) => peer.address,
        (Some(address), None) | (None, Some(address)) => address,
        (Some(plain), Some(forwarded)) if plain == forwarded => plain,
        (Some(_), Some(_)) => match peer.address {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        },
    }
}

/// Goes from `peer`, which is trusted, along `hops` to the first address that is not.
fn follow(peer: &Peer, hops: impl Iterator<Item = Option<IpAddr>>, trusted: &Networks) -> IpAddr {
    let mut last = peer.address;
    for hop in hops {
        let Some(address) = hop else { break };
        last = address.to_canonical();
        if !trusted.contains(last) {
            break;
        }
    }
    last
}

/// The elements of all lines of a list field, the last first.
fn from_the_right<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().rev().flat_map(BackwardList::new)
}

/// The elements of one line, the last first. A comma in a quoted string (RFC 9110 §5.6.4) divides nothing.
struct BackwardList<'a> {
    /// What is left; `None` after the first element.
    rest: Option<&'a str>,
}

impl<'a> BackwardList<'a> {
    fn new(line: &'a HeaderValue) -> Self {
        // What is no text is no address either: the empty element ends the way.
        Self { rest: Some(line.to_str().unwrap_or_default()) }
    }
}

impl<'a> Iterator for BackwardList<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest.take()?;
        // No address, port or name of a node needs a quote or a backslash in its quotes, so that quotes may be
        // counted: inside, the number of those to the right is odd.
        let mut quoted = false;
        let comma = rest.bytes().rposition(|byte| {
            quoted ^= byte == b'"';
            byte == b',' && !quoted
        });
        let Some(comma) = comma else { return Some(rest.trim()) };
        self.rest = Some(&rest[..comma]);
        Some(rest[comma + 1..].trim())
    }
}

/// An element of `X-Forwarded-For`. Some proxies add a port.
fn plain(element: &str) -> Option<IpAddr> {
    element
        .parse::<IpAddr>()
        .ok()
        .or_else(|| element.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(|| element.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6))
}

/// The `for` of an element of `Forwarded`: an address, or `None` when it is hidden (`unknown`, `_name`),
/// missing, there twice or malformed.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut nodes = element
        .split(';')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    let (_, node) = nodes.next()?;
    if nodes.next().is_some() {
        return None;
    }
    let node = node.trim();
    node_address(node.strip_prefix('"').and_then(|node| node.strip_suffix('"')).unwrap_or(node))
}

/// A node (RFC 7239 §6): an IPv4 address, or an IPv6 address in brackets, and maybe a port, which may be
/// hidden as well (`_name`).
fn node_address(node: &str) -> Option<IpAddr> {
    if let Some(node) = node.strip_prefix('[') {
        let (address, port) = node.split_once(']')?;
        is_port_or_nothing(port).then(|| address.parse::<Ipv6Addr>().ok().map(IpAddr::V6))?
    } else {
        let (address, port) = node.split_at(node.find(':').unwrap_or(node.len()));
        is_port_or_nothing(port).then(|| address.parse::<Ipv4Addr>().ok().map(IpAddr::V4))?
    }
}

fn is_port_or_nothing(port: &str) -> bool {
    let Some(port) = port.strip_prefix(':') else { return port.is_empty() };
    port.parse::<u16>().is_ok()
        || port.strip_prefix('_').is_some_and(|name| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        })
}
