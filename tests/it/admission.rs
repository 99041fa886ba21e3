//! Who may call: address, then token; the first app that has both wins.

use std::net::SocketAddr;

use crate::support::{Builder, Gateway, Line, TASKLIST, Upstream, get, post};

const TWO_APPS: &str = "
credentials: {one: {apikey: one, apisecret: s}, two: {apikey: two, apisecret: s}}
apps:
  - {name: first, networks: [127.0.0.2, 127.0.1.0/24], credential: one}
  - {name: second, networks: [127.0.0.0/8], credential: two}
";

/// Which app a request from `address` was taken for, told by the credential that signed it.
async fn app_of(gateway: &Gateway, upstream: &Upstream, address: &str) -> String {
    let answer = gateway.ask(post(TASKLIST, "{}").from(address)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    upstream.seen().last().unwrap().signature()[0].to_owned()
}

#[tokio::test]
async fn the_first_app_that_has_the_address_wins() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).with(TWO_APPS).start();
    for (address, app) in [("127.0.0.2", "one"), ("127.0.1.200", "one"), ("127.0.2.1", "two")] {
        assert_eq!(app_of(&gateway, &upstream, address).await, app, "{address}");
    }
}

#[tokio::test]
async fn an_address_that_no_app_has_is_refused_whatever_it_asks_for() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).crm("networks: [127.0.0.2, 10.0.0.0/8], token: t").start();
    for ask in [post(TASKLIST, "{}"), get("/nowhere"), get(TASKLIST).token("t"), get("/a/../b")] {
        let message = gateway.ask(ask.from("127.0.0.1")).await.refused(403, -40301, "not_allowed");
        assert!(message.contains("127.0.0.1"), "{message}");
    }
    assert!(upstream.seen().is_empty());
    gateway.counts(r#"xinyao_requests_total{app="none",endpoint="none",status="403",outcome="rejected_not_allowed"}"#, 4.0).await;
}

#[tokio::test]
async fn a_token_is_wanted_where_one_is_configured() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).crm("token: the-token").start();
    for wrong in ["", "Bearer", "Bearer other", "Bearer the-token2", "Basic the-token", "the-token"] {
        let ask = match wrong {
            "" => post(TASKLIST, "{}"),
            wrong => post(TASKLIST, "{}").header("authorization", wrong),
        };
        let answer = gateway.ask(ask).await;
        let message = answer.refused(401, -40101, "bad_token");
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{answer:?}");
        assert!(!message.contains("the-token"), "{message}");
    }
    assert!(upstream.seen().is_empty());
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let answer =
            gateway.ask(post(TASKLIST, "{}").header("authorization", format!("{scheme} the-token"))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert!(upstream.seen().iter().all(|seen| !seen.head.contains("the-token")));
}

#[tokio::test]
async fn apps_at_one_address_are_told_apart_by_their_tokens() {
    let upstream = Upstream::start();
    let apps = "
credentials: {a: {apikey: a, apisecret: s}, b: {apikey: b, apisecret: s}, c: {apikey: c, apisecret: s}}
apps:
  - {name: a, networks: [127.0.0.1], token: ta, credential: a}
  - {name: b, networks: [127.0.0.0/8], token: tb, credential: b}
  - {name: c, networks: [0.0.0.0/0], credential: c}
";
    let gateway = Gateway::to(&upstream).with(apps).start();
    for (token, app) in [("ta", "a"), ("tb", "b"), ("other", "c")] {
        assert_eq!(gateway.ask(post(TASKLIST, "{}").token(token)).await.status, 200);
        assert_eq!(upstream.seen().last().unwrap().signature()[0], app);
    }
}

#[tokio::test]
async fn ipv6_addresses_are_told_apart_by_their_networks() {
    let upstream = Upstream::start();
    let apps = "apps: [{name: six, networks: [\"::1\"]}]\nlisten: {proxy: \"[::1]:0\"}";
    let gateway = Gateway::to(&upstream).with(apps).start();
    assert_eq!(gateway.post(TASKLIST, "{}").await.status, 200);
    let other = "apps: [{name: six, networks: [\"fd00::/8\", 127.0.0.1]}]\nlisten: {proxy: \"[::1]:0\"}";
    let gateway = Gateway::to(&upstream).with(other).start();
    gateway.post(TASKLIST, "{}").await.refused(403, -40301, "not_allowed");
}

#[tokio::test]
async fn an_ipv4_client_of_a_dual_stack_listener_has_its_ipv4_address() {
    let upstream = Upstream::start();
    let gateway =
        Gateway::to(&upstream).with("listen: {proxy: \"[::]:0\"}").crm("networks: [127.0.0.5]").start();
    let address: SocketAddr = ([127, 0, 0, 1], gateway.proxy.port()).into();
    assert_eq!(post(TASKLIST, "{}").from("127.0.0.5").send(address).await.status, 200);
    post(TASKLIST, "{}").from("127.0.0.6").send(address).await.refused(403, -40301, "not_allowed");
}

/// Trusts 127.0.0.9 to speak for others; `crm` is at 10.1.2.3.
fn behind_a_proxy(upstream: &Upstream) -> Builder {
    Gateway::to(upstream)
        .with("trusted_proxies: [127.0.0.9, 10.9.0.0/16]")
        .crm("networks: [10.1.2.3, \"2001:db8::7\"]")
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_about_its_client() {
    let upstream = Upstream::start();
    let gateway = behind_a_proxy(&upstream).start();
    for (name, value) in [
        ("x-forwarded-for", "10.1.2.3"),
        ("x-forwarded-for", "6.6.6.6, 10.1.2.3"),
        ("x-forwarded-for", "10.1.2.3, 10.9.1.1"),
        ("x-forwarded-for", "2001:db8::7"),
        ("forwarded", "for=10.1.2.3"),
        ("forwarded", "for=6.6.6.6, For=\"10.1.2.3:4711\";proto=http"),
        ("forwarded", "for=\"[2001:db8::7]:1\""),
    ] {
        let answer = gateway.ask(post(TASKLIST, "{}").header(name, value).from("127.0.0.9")).await;
        assert_eq!(answer.status, 200, "{name}: {value}: {answer:?}");
    }
    for (name, value) in [
        ("x-forwarded-for", "10.1.2.3, 6.6.6.6"),
        ("x-forwarded-for", "10.1.2.3, nonsense"),
        ("forwarded", "for=10.1.2.3, for=unknown"),
        ("x-real-ip", "10.1.2.3"),
    ] {
        let answer = gateway.ask(post(TASKLIST, "{}").header(name, value).from("127.0.0.9")).await;
        answer.refused(403, -40301, "not_allowed");
    }
}

#[tokio::test]
async fn nobody_else_is_believed_about_a_client() {
    let upstream = Upstream::start();
    let gateway = behind_a_proxy(&upstream).start();
    for name in ["x-forwarded-for", "forwarded"] {
        let value = if name == "forwarded" { "for=10.1.2.3" } else { "10.1.2.3" };
        let answer = gateway.ask(post(TASKLIST, "{}").header(name, value).from("127.0.0.8")).await;
        let message = answer.refused(403, -40301, "not_allowed");
        assert!(message.contains("127.0.0.8"), "{message}");
    }
}

async fn introduced_as(gateway: &Gateway, header: &[u8], from: &str) -> Line {
    let mut line = gateway.line_from(from).await;
    line.send([header, &post(TASKLIST, "{}").to_bytes()].concat()).await;
    line
}

#[tokio::test]
async fn a_proxy_header_of_a_trusted_proxy_names_the_client() {
    let upstream = Upstream::start();
    let gateway = behind_a_proxy(&upstream).with("proxy_protocol: true").start();
    let v1 = b"PROXY TCP4 10.1.2.3 127.0.0.1 40000 80\r\n".to_vec();
    let v2 = version_2(0x11, &[10, 1, 2, 3, 127, 0, 0, 1, 0x9c, 0x40, 0, 80]);
    let v1_six = b"PROXY TCP6 2001:db8::7 ::1 40000 80\r\n".to_vec();
    for header in [v1, v2, v1_six] {
        let answer = introduced_as(&gateway, &header, "127.0.0.9").await.answer().await;
        assert_eq!(answer.status, 200, "{header:?}: {answer:?}");
    }
    let other = introduced_as(&gateway, b"PROXY TCP4 10.1.2.4 127.0.0.1 40000 80\r\n", "127.0.0.9")
        .await
        .answer()
        .await;
    assert!(other.refused(403, -40301, "not_allowed").contains("10.1.2.4"));
    // A health check of the proxy's own (LOCAL) is the proxy's.
    let local = introduced_as(&gateway, &version_2(0x00, &[]), "127.0.0.9").await.answer().await;
    assert!(local.refused(403, -40301, "not_allowed").contains("127.0.0.9"));
}

#[tokio::test]
async fn a_proxy_header_of_anybody_else_is_no_request() {
    let upstream = Upstream::start();
    let gateway = behind_a_proxy(&upstream).with("proxy_protocol: true").start();
    let mut line = introduced_as(&gateway, b"PROXY TCP4 10.1.2.3 127.0.0.1 40000 80\r\n", "127.0.0.8").await;
    assert_eq!(line.answer().await.status, 400);
    assert!(upstream.seen().is_empty());
    // And a trusted proxy that owes one is not heard without.
    introduced_as(&gateway, b"", "127.0.0.9").await.closed().await;
}

#[tokio::test]
async fn a_proxy_header_may_come_in_pieces() {
    let upstream = Upstream::start();
    let gateway = behind_a_proxy(&upstream).with("proxy_protocol: true").start();
    let mut line = gateway.line_from("127.0.0.9").await;
    let header = version_2(0x11, &[10, 1, 2, 3, 127, 0, 0, 1, 0x9c, 0x40, 0, 80]);
    for byte in header.chunks(5) {
        line.send(byte).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(post(TASKLIST, "{}").send_on(&mut line).await.status, 200);
}

/// A header of the binary version: PROXY over TCP4 with these addresses, or LOCAL.
fn version_2(family: u8, addresses: &[u8]) -> Vec<u8> {
    let command = if addresses.is_empty() { 0x20 } else { 0x21 };
    let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, addresses].concat()
}
