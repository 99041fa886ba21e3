//! Source IPs: whose they are, and that connections leave from them.

use std::error::Error;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn from(source_ips: SourceIps, allowed: &[&str]) -> Result<Connector, EgressError> {
    let allowed_ips = allowed.iter().map(|text| ip(text)).collect();
    Connector::new(&EgressSettings { source_ips, allowed_ips, ..settings() })
}

#[tokio::test]
async fn the_peer_sees_the_source_ip() {
    let (listener, address) = listen().await;
    let connector = from(SourceIps::List(vec![ip("127.0.0.2"), ip("127.0.0.3")]), &[]).unwrap();
    assert_eq!(connector.sources(), [Some(ip("127.0.0.2")), Some(ip("127.0.0.3"))]);
    for source in connector.sources() {
        let origin = origin(Scheme::Http, "api.test", address.port());
        let made = connector.connect(&origin, address, *source).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(Some(peer.ip()), *source);
        assert_eq!(made.stream.tcp().local_addr().unwrap(), peer);
        assert_eq!(made.protocol, Protocol::Http1);
    }
}

#[test]
fn a_source_ip_that_this_host_lacks_is_named_with_the_way_out() {
    let error = from(SourceIps::List(vec![ip("127.0.0.2"), ip("203.0.113.1")]), &[]).err().unwrap();
    assert_eq!(
        error.to_string(),
        "source IP 203.0.113.1 is not an address of this host; add it to an interface, \
         or take it out of egress.source_ips"
    );
    assert!(error.source().is_some());
}

#[test]
fn the_unspecified_address_is_no_source_ip() {
    for any in ["0.0.0.0", "::"] {
        let error = from(SourceIps::List(vec![ip(any)]), &[]).err().unwrap();
        assert!(matches!(error, EgressError::NotHere { .. }), "{error}");
    }
}

#[test]
fn auto_takes_those_of_the_allowed_that_are_here() {
    let connector = from(SourceIps::Auto, &["203.0.113.1", "127.0.0.3", "203.0.113.2", "127.0.0.2"]).unwrap();
    assert_eq!(connector.sources(), [Some(ip("127.0.0.3")), Some(ip("127.0.0.2"))]);
}

#[test]
fn auto_fails_with_the_names_of_all_that_it_tried() {
    let error = from(SourceIps::Auto, &["203.0.113.1", "2001:db8::1"]).err().unwrap().to_string();
    assert!(error.contains("egress.allowed_ips (203.0.113.1, 2001:db8::1)"), "{error}");
    let error = from(SourceIps::Auto, &[]).err().unwrap().to_string();
    assert!(error.contains("egress.allowed_ips (it is empty)"), "{error}");
}

#[test]
fn without_source_ips_the_kernel_chooses() {
    assert_eq!(from(SourceIps::None, &["203.0.113.1"]).unwrap().sources(), [None]);
}

#[tokio::test]
async fn families_are_not_mixed() {
    let connector = from(SourceIps::None, &[]).unwrap();
    let origin = origin(Scheme::Http, "api.test", 80);
    let v6 = "[::1]:80".parse().unwrap();
    let error = connector.connect(&origin, v6, Some(ip("127.0.0.2"))).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "[::1]:80 cannot be reached from source IP 127.0.0.2: one is IPv4, the other IPv6"
    );
    assert!(compatible(None, v6) && compatible(Some(ip("::2")), v6) && !compatible(Some(ip("::2")), v4()));
}

fn v4() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 80).into()
}
