use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use proptest::prelude::*;

use super::*;

const PEER: &str = "10.0.0.1";

fn trusted() -> Networks {
    ["10.0.0.0/8", "fd00::/8"].iter().map(|network| network.parse().unwrap()).collect()
}

fn peer(trusted: bool) -> Peer {
    Peer { socket: SocketAddr::new(PEER.parse().unwrap(), 5), address: PEER.parse().unwrap(), trusted }
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn told_by(lines: &[(&'static str, &str)]) -> String {
    client_address(&peer(true), &headers(lines), &trusted()).to_string()
}

#[test]
fn x_forwarded_for_is_followed_to_the_first_stranger() {
    for (value, client) in [
        ("1.2.3.4", "1.2.3.4"),
        ("9.9.9.9, 1.2.3.4", "1.2.3.4"),
        ("9.9.9.9, 1.2.3.4, 10.3.3.3,10.4.4.4", "1.2.3.4"),
        ("10.3.3.3, 10.4.4.4", "10.3.3.3"),
        ("1.2.3.4:5678", "1.2.3.4"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("1.2.3.4, fd00::9", "1.2.3.4"),
        ("1.2.3.4, unknown, 10.3.3.3", "10.3.3.3"),
        ("1.2.3.4, , 10.3.3.3", "10.3.3.3"),
        ("1.2.3.4, 010.3.3.3", PEER),
        ("1.2.3.4,", PEER),
        ("", PEER),
        ("\u{e9}", PEER),
        ("\"1.2.3.4, 10.3.3.3\"", PEER),
    ] {
        assert_eq!(told_by(&[("x-forwarded-for", value)]), client, "{value:?}");
    }
}

#[test]
fn forwarded_is_followed_likewise() {
    for (value, client) in [
        ("for=1.2.3.4", "1.2.3.4"),
        ("For=\"1.2.3.4:80\"; proto=http ;by=10.0.0.1", "1.2.3.4"),
        ("proto=https;for=\"[2001:db8::7]:4711\"", "2001:db8::7"),
        ("for=\"[2001:db8::7]\"", "2001:db8::7"),
        ("for=\"1.2.3.4:_port\"", "1.2.3.4"),
        ("for=9.9.9.9, for=1.2.3.4, for=10.3.3.3", "1.2.3.4"),
        ("for=1.2.3.4, for=_hidden, for=10.3.3.3", "10.3.3.3"),
        ("for=1.2.3.4, for=unknown", PEER),
        ("for=1.2.3.4;for=4.3.2.1", PEER),
        ("for=1.2.3.4, by=10.3.3.3", PEER),
        ("for=2001:db8::7", PEER),
        ("for=1.2.3.4:port", PEER),
        ("for=9.9.9.9;ext=\"a, for=8.8.8.8\", for=10.3.3.3", "9.9.9.9"),
        ("1.2.3.4", PEER),
    ] {
        assert_eq!(told_by(&[("forwarded", value)]), client, "{value:?}");
    }
}

#[test]
fn several_lines_are_one_list() {
    assert_eq!(
        told_by(&[("x-forwarded-for", "9.9.9.9, 1.2.3.4"), ("x-forwarded-for", "10.3.3.3")]),
        "1.2.3.4"
    );
}

#[test]
fn two_fields_that_disagree_tell_nobody() {
    let plain = ("x-forwarded-for", "1.2.3.4");
    assert_eq!(told_by(&[plain, ("forwarded", "for=1.2.3.4")]), "1.2.3.4");
    assert_eq!(told_by(&[plain, ("forwarded", "for=4.3.2.1")]), "0.0.0.0");
    assert_eq!(told_by(&[plain, ("forwarded", "nonsense")]), "0.0.0.0");
}

#[test]
fn who_is_not_trusted_is_not_asked() {
    let lines = headers(&[("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=4.3.2.1")]);
    assert_eq!(client_address(&peer(false), &lines, &trusted()).to_string(), PEER);
}

fn list() -> impl Strategy<Value = Vec<IpAddr>> {
    prop::collection::vec(any::<IpAddr>(), 0..4)
}

proptest! {
    /// Whatever a client puts before it, what the trusted proxies saw stands.
    #[test]
    fn a_client_cannot_choose_its_address(forged in "[ -~]{0,60}", seen: u32, hops in prop::collection::vec(0u8.., 0..4)) {
        let seen = IpAddr::from(seen.to_be_bytes());
        prop_assume!(!trusted().contains(seen));
        let mut plain = format!("{forged}, {seen}");
        let mut forwarded = format!("{}, for={seen}", forged.replace('"', ""));
        for hop in hops {
            plain.push_str(&format!(", 10.1.1.{hop}"));
            forwarded.push_str(&format!(",for=10.1.1.{hop}"));
        }
        prop_assert_eq!(told_by(&[("x-forwarded-for", &plain)]), seen.to_string());
        prop_assert_eq!(told_by(&[("forwarded", &forwarded)]), seen.to_string());
    }

    /// Both fields, of the same proxies, tell the same.
    #[test]
    fn the_two_fields_agree(list in list()) {
        prop_assume!(!list.is_empty());
        let plain: Vec<_> = list.iter().map(ToString::to_string).collect();
        let forwarded: Vec<_> = list.iter().map(|address| match address {
            IpAddr::V4(v4) => format!("for={v4}"),
            IpAddr::V6(v6) => format!("For=\"[{v6}]\";proto=http"),
        }).collect();
        let by_plain = told_by(&[("x-forwarded-for", &plain.join(", "))]);
        prop_assert_eq!(&by_plain, &told_by(&[("forwarded", &forwarded.join(","))]));
        prop_assert_eq!(by_plain, told_by(&[("x-forwarded-for", &plain.join(", ")), ("forwarded", &forwarded.join(","))]));
    }

    /// Any bytes at all are told something.
    #[test]
    fn nothing_panics(plain: Vec<u8>, forwarded: Vec<u8>) {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(&plain) {
            headers.append("x-forwarded-for", value);
        }
        if let Ok(value) = HeaderValue::from_bytes(&forwarded) {
            headers.append("forwarded", value);
        }
        client_address(&peer(true), &headers, &trusted());
    }
}
