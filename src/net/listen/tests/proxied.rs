//! The PROXY protocol.

use std::time::Duration;

use ppp::v2;
use proptest::prelude::*;

use super::support::{Server, settings};
use crate::net::ListenSettings;
use crate::net::listen::proxy_header::{Header, HeaderError, parse};

const ASK: &str = "GET /peer HTTP/1.0\r\n\r\n";

fn behind_balancers(trusted: &[&str]) -> Server {
    Server::start(ListenSettings {
        trusted_proxies: trusted.iter().map(|network| network.parse().unwrap()).collect(),
        proxy_protocol: true,
        header_timeout: Duration::from_millis(300),
        ..settings()
    })
}

fn version_2(command: v2::Command, source: ([u8; 4], u16)) -> Vec<u8> {
    let addresses = v2::IPv4::new(source.0, [192, 0, 2, 1], source.1, 443);
    v2::Builder::with_addresses(v2::Version::Two | command, v2::Protocol::Stream, addresses).build().unwrap()
}

#[tokio::test]
async fn the_header_names_the_peer() {
    let server = behind_balancers(&["127.0.0.0/8", "10.0.0.0/8"]);
    let version_1 = |line: &str| format!("PROXY {line}\r\n").into_bytes();
    for (header, peer) in [
        (version_1("TCP4 1.2.3.4 192.0.2.1 56 443"), "<127.0.0.1 1.2.3.4 false>"),
        (version_1("TCP4 10.1.1.1 192.0.2.1 56 443"), "<127.0.0.1 10.1.1.1 true>"),
        (version_1("TCP6 2001:db8::1 ::1 56 443"), "<127.0.0.1 2001:db8::1 false>"),
        (version_1("TCP6 ::ffff:1.2.3.4 ::1 56 443"), "<127.0.0.1 1.2.3.4 false>"),
        (version_1("UNKNOWN"), "<127.0.0.1 127.0.0.1 true>"),
        (version_1("UNKNOWN what ever"), "<127.0.0.1 127.0.0.1 true>"),
        (version_2(v2::Command::Proxy, ([1, 2, 3, 4], 56)), "<127.0.0.1 1.2.3.4 false>"),
        (version_2(v2::Command::Local, ([1, 2, 3, 4], 56)), "<127.0.0.1 127.0.0.1 true>"),
    ] {
        let answer = server.exchange([header.as_slice(), ASK.as_bytes()].concat()).await;
        assert!(answer.ends_with(peer), "{header:?}: {answer}");
        let mut client = server.client().await;
        for byte in header.iter().chain(ASK.as_bytes()) {
            client.send([*byte]).await;
            tokio::task::yield_now().await;
        }
        let answer = client.rest().await;
        assert!(answer.ends_with(peer), "{header:?} in pieces: {answer}");
    }
}

#[tokio::test]
async fn a_trusted_peer_without_header_is_not_served() {
    let server = behind_balancers(&["127.0.0.0/8"]);
    for bytes in [ASK, "PROXY TCP4", "PROXY TCP9 a b c d\r\n", ""] {
        let mut client = server.client().await;
        client.send(bytes).await;
        let mut answer = Vec::new();
        // With bytes unread it may be a reset.
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut client.0, &mut answer).await;
        assert!(answer.is_empty(), "{bytes:?}");
    }
}

#[tokio::test]
async fn a_stranger_is_served_without_header() {
    let server = behind_balancers(&["10.0.0.0/8"]);
    assert!(server.exchange(ASK).await.ends_with("<127.0.0.1 127.0.0.1 false>"));
    let header = version_2(v2::Command::Proxy, ([10, 1, 1, 1], 56));
    assert!(server.exchange([header.as_slice(), ASK.as_bytes()].concat()).await.ends_with("<Malformed>"));
}

#[test]
fn headers_are_bounded() {
    let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 100]].concat();
    assert_eq!(parse(&long), Err(HeaderError::TooLong));
    let mut long = version_2(v2::Command::Proxy, ([1, 2, 3, 4], 56));
    long[14..16].copy_from_slice(&4096u16.to_be_bytes());
    assert_eq!(parse(&long), Ok(None));
    long[14..16].copy_from_slice(&4097u16.to_be_bytes());
    assert_eq!(parse(&long), Err(HeaderError::TooLong));
    for bytes in ["GET / HTTP/1.1\r\n", "\r\n\r\nGET", "proxy TCP4 "] {
        assert_eq!(parse(bytes.as_bytes()), Err(HeaderError::Absent), "{bytes}");
    }
    assert_eq!(parse(b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n"), Err(HeaderError::Malformed));
}

proptest! {
    #[test]
    fn a_header_is_read_at_its_end_and_not_before(source: ([u8; 4], u16), behind: Vec<u8>) {
        let text = format!("PROXY TCP4 {} 192.0.2.1 {} 443\r\n", std::net::Ipv4Addr::from(source.0), source.1);
        for header in [text.into_bytes(), version_2(v2::Command::Proxy, source)] {
            for end in 0..header.len() {
                prop_assert_eq!(parse(&header[..end]), Ok(None));
            }
            let whole = [header.as_slice(), &behind].concat();
            prop_assert_eq!(parse(&whole), Ok(Some((Header::Source(source.into()), header.len()))));
        }
    }

    #[test]
    fn nothing_panics(version_2: bool, bytes: Vec<u8>) {
        let prefix: &[u8] = if version_2 { v2::PROTOCOL_PREFIX } else { b"PROXY " };
        let _ = (parse(&bytes), parse(&[prefix, &bytes].concat()));
    }
}
