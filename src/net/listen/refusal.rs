//! How the guard tells the service's wrapper that a request was refused: in place of the refused head it gives
//! hyper one of its own making, and hyper asks the service about it when its turn has come.
//!
//! What marks it is its method, CONNECT, which the guard lets no client send.

use http::{Method, Request};

use super::Rejected;

const fn port(rejected: Rejected) -> u16 {
    match rejected {
        Rejected::HeadTooSlow => 1,
        Rejected::HeadTooLarge => 2,
        Rejected::TargetTooLong => 3,
        Rejected::Malformed => 4,
    }
}

/// The head that stands for a refused one.
pub(super) fn head(rejected: Rejected) -> &'static [u8] {
    match rejected {
        Rejected::HeadTooSlow => b"CONNECT refused:1 HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n",
        Rejected::HeadTooLarge => b"CONNECT refused:2 HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n",
        Rejected::TargetTooLong => b"CONNECT refused:3 HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n",
        Rejected::Malformed => b"CONNECT refused:4 HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n",
    }
}

/// Why the request that `request` stands for was refused, if it does.
pub(super) fn rejected<B>(request: &Request<B>) -> Option<Rejected> {
    if request.method() != Method::CONNECT {
        return None;
    }
    let told = request.uri().port_u16();
    let causes = [Rejected::HeadTooSlow, Rejected::HeadTooLarge, Rejected::TargetTooLong];
    Some(causes.into_iter().find(|cause| told == Some(port(*cause))).unwrap_or(Rejected::Malformed))
}
