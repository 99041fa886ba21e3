//! The server's side of sockets: bind, accept and survive, answer over HTTP/1.1, drain.
//!
//! A connection's way: [`serve`] accepts it (`accept`), takes its PROXY header off where one is due
//! ([`proxy_header`]) and TLS on it (`tls`), and gives it to hyper (`connection`). Between hyper and the socket stands the guard
//! (`guard`): it lets a request's head by only once the head is whole, inside the limits and unambiguous
//! (`head`), and knows from it where the body ends (`body`), so that each of a connection's heads is looked
//! at. What it refuses it replaces with a request of its own making, which the service's wrapper answers
//! (`refusal`); so refusals keep their place among pipelined answers, and are never mistaken for an answer
//! of the service. The guard also keeps the time (`patience`). When hyper is done, what the client is still
//! sending is read away for a moment, so that it gets to read its answer (`linger`).

mod accept;
mod answer;
mod bind;
mod body;
mod connection;
mod drain;
mod early;
mod guard;
pub mod head;
mod linger;
mod live;
mod patience;
pub mod proxy_header;
mod refusal;
#[cfg(test)]
mod tests;
mod tls;

use std::net::{IpAddr, SocketAddr};

pub use accept::{Listening, serve};
pub use bind::bind;
pub use connection::LAST_CALL;
pub use drain::{Drain, DrainTrigger, Sockets};
pub use live::Live;
pub use tls::{Tls, TlsError};

use super::Networks;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Who connected.
    pub socket: SocketAddr,
    /// The address of who connected, an IPv4-mapped one as the IPv4 address that it is; of a connection
    /// that a trusted peer passes on with a PROXY header, the source that the header names.
    pub address: IpAddr,
    /// Whether the `X-Forwarded-For` and `Forwarded` of its requests are believed: who connected is in
    /// `trusted_proxies`, and so is the source that its PROXY header names, if it sent one.
    pub trusted: bool,
}

impl Peer {
    fn connected(socket: SocketAddr, trusted: &Networks) -> Self {
        let address = socket.ip().to_canonical();
        Self { socket, address, trusted: trusted.contains(address) }
    }

    fn passed_on(self, source: SocketAddr, trusted: &Networks) -> Self {
        let address = source.ip().to_canonical();
        Self { address, trusted: self.trusted && trusted.contains(address), ..self }
    }
}

/// Why a request did not get to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// Its head was begun, and not finished within `header_timeout`: 408.
    HeadTooSlow,
    /// Its head is over `max_headers` or `max_header_bytes`: 431.
    HeadTooLarge,
    /// Its request line is over `max_header_bytes`, or its target over 8 KiB: 414.
    TargetTooLong,
    /// It is not HTTP/1.1 or HTTP/1.0, or can be read in more than one way: 400.
    Malformed,
}
