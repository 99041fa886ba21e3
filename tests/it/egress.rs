//! How requests leave: source IPs, egress proxies, TLS, HTTP/2.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Version;

use crate::support::{
    Act, Authority, EgressProxy, Gateway, Http2Upstream, OUTNUM, TASKLIST, Upstream, bytes, eventually,
    logged, ok, post,
};

#[tokio::test]
async fn source_ips_are_used_in_turn() {
    let upstream =
        Upstream::scripted(|_| Act::Last(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_vec()));
    let egress =
        "egress: {allowed_ips: [127.0.0.21, 127.0.0.22, 127.0.0.23], source_ips: [127.0.0.21, 127.0.0.22]}";
    let gateway = Gateway::to(&upstream).with(egress).start();
    let mut line = gateway.line().await;
    for _ in 0..6 {
        post(OUTNUM, "{}").send_on(&mut line).await;
    }
    let from =
        |address: &str| upstream.seen().iter().filter(|seen| seen.peer.ip().to_string() == address).count();
    assert_eq!((from("127.0.0.21"), from("127.0.0.22")), (3, 3));
    let status = gateway.status().await;
    assert_eq!(status["egress"]["source_ips"][1]["address"], "127.0.0.22", "{status}");
    assert_eq!(status["egress"]["allowed_ips"][2], "127.0.0.23", "{status}");
}

#[tokio::test]
async fn auto_takes_this_hosts_addresses_that_are_allowed() {
    let upstream = Upstream::start();
    let egress = "egress: {allowed_ips: [127.0.0.1, 203.0.113.9], source_ips: auto}";
    let gateway = Gateway::to(&upstream).with(egress).start();
    assert_eq!(gateway.post(OUTNUM, "{}").await.status, 200);
    let status = gateway.status().await;
    assert_eq!(status["egress"]["source_ips"].as_array().unwrap().len(), 1, "{status}");
    assert_eq!(upstream.only().peer.ip().to_string(), "127.0.0.1");
}

fn namespaces() -> std::process::Command {
    let mut unshare = std::process::Command::new("unshare");
    unshare.arg(if nix::unistd::geteuid().is_root() { "-n" } else { "-rn" });
    unshare
}

/// What `doctor` says on a host that has `address` alone, and the configuration that all such hosts have.
fn on_a_host_with(address: &str, upstream: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let egress = "egress: {allowed_ips: [127.0.1.1, 127.0.1.2, 127.0.1.3], source_ips: auto}";
    let text = Gateway::at(upstream).with("upstream: {connect_timeout: 10s}").with(egress).text();
    std::fs::write(folder.path().join("config.yaml"), text).unwrap();
    let script = format!(
        "ip link set lo up && ip address flush dev lo && ip address add {address}/32 dev lo && exec \"$0\" doctor"
    );
    let mut host = namespaces();
    host.args(["sh", "-c", &script, env!("CARGO_BIN_EXE_xinyao-gateway")]).current_dir(folder.path());
    String::from_utf8(host.output().unwrap().stdout).unwrap()
}

#[test]
fn each_host_takes_its_own_of_the_one_list() {
    // A container may be refused networks of its own.
    if !namespaces().arg("true").status().is_ok_and(|status| status.success()) {
        return println!("not tested: this host makes no network namespaces");
    }
    for own in ["127.0.1.1", "127.0.1.2", "127.0.1.3"] {
        let said = on_a_host_with(own, &format!("http://{own}:1"));
        let from: Vec<_> = said.lines().filter_map(|line| line.split_once(" from ")).collect();
        assert!(!from.is_empty(), "{said}");
        assert!(from.iter().all(|(_, rest)| rest.starts_with(&format!("{own}:"))), "{said}");
    }
}

#[tokio::test]
async fn a_source_ip_that_this_host_lacks_is_named_at_the_start() {
    let upstream = Upstream::start();
    let egress = "egress: {allowed_ips: [127.0.0.1, 203.0.113.9], source_ips: [127.0.0.1, 203.0.113.9]}";
    let error = Gateway::to(&upstream).with(egress).try_start().err().expect("it does not start");
    assert!(error.contains("203.0.113.9"), "{error}");
    let none = "egress: {allowed_ips: [203.0.113.9], source_ips: auto}";
    let error = Gateway::to(&upstream).with(none).try_start().err().expect("it does not start");
    assert!(error.contains("203.0.113.9"), "{error}");
}

/// A server with TLS that hangs up on whoever comes from 127.0.0.31, for as long as it is told to.
struct Picky {
    url: String,
    picky: std::sync::Arc<AtomicBool>,
    serving: tokio::task::JoinHandle<()>,
}

impl Picky {
    async fn start(authority: &Authority) -> Self {
        let acceptor = authority.acceptor("127.0.0.1", &[]);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let picky = std::sync::Arc::new(AtomicBool::new(true));
        let told = std::sync::Arc::clone(&picky);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                if told.load(Ordering::Relaxed) && peer.ip().to_string() == "127.0.0.31" {
                    continue;
                }
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Some(mut line) = acceptor.accept(stream).await else { return };
                    if line.request().await.is_ok() {
                        line.send(
                            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\n{\"code\":0}",
                        )
                        .await;
                    }
                });
            }
        });
        Self { url, picky, serving }
    }
}

impl Drop for Picky {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tokio::test]
async fn a_source_ip_that_fails_is_made_up_for_by_another_and_set_aside() {
    let authority = Authority::new();
    let upstream = Picky::start(&authority).await;
    let file = format!(
        "upstream: {{ca_file: {}}}\negress: {{allowed_ips: [127.0.0.31, 127.0.0.32], source_ips: [127.0.0.31, 127.0.0.32]}}",
        authority.file()
    );
    let gateway = Gateway::at(&upstream.url).with(file).start();
    for _ in 0..10 {
        assert_eq!(gateway.post(OUTNUM, "{}").await.status, 200);
    }
    let aside = async || gateway.status().await["egress"]["source_ips"][0]["set_aside"] == true;
    eventually(aside).await;
    assert_eq!(gateway.status().await["egress"]["source_ips"][1]["set_aside"], false);
    assert!(!logged(&["127.0.0.31", "set aside"]).is_empty());
    // It is probed, and taken back once it works.
    upstream.picky.store(false, Ordering::Relaxed);
    eventually(async || {
        assert_eq!(gateway.post(OUTNUM, "{}").await.status, 200);
        gateway.status().await["egress"]["source_ips"][0]["set_aside"] == false
    })
    .await;
}

#[tokio::test]
async fn an_address_that_refuses_is_made_up_for_by_another() {
    // `localhost` may be two addresses, of which the server has one.
    let upstream = Upstream::start();
    let gateway = Gateway::at(&format!("http://localhost:{}", upstream.address.port())).start();
    for _ in 0..8 {
        let answer = gateway.post(OUTNUM, "{}").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(upstream.seen()[0].header("host"), format!("localhost:{}", upstream.address.port()));
}

#[tokio::test]
async fn requests_go_through_an_http_proxy() {
    let (upstream, proxy) = (Upstream::start(), EgressProxy::connect().await);
    let egress = format!(
        "egress: {{proxy: \"http://user:pass@{}\", allowed_ips: [127.0.0.41], source_ips: [127.0.0.41]}}",
        proxy.address
    );
    let gateway = Gateway::to(&upstream).with(egress).start();
    assert_eq!(gateway.post(OUTNUM, "{}").await.status, 200);
    // "user:pass"; and the source IP is bound on the way to the proxy.
    let expected = format!("{} for Basic dXNlcjpwYXNz from 127.0.0.41", upstream.address);
    assert_eq!(proxy.asked(), [expected]);
    assert!(!upstream.only().headers.contains_key("proxy-authorization"));
    assert_eq!(upstream.only().target, OUTNUM);
}

#[tokio::test]
async fn requests_go_through_a_socks_proxy() {
    let (upstream, proxy) = (Upstream::start(), EgressProxy::socks().await);
    let base = format!("http://localhost:{}", upstream.address.port());
    let egress = format!("egress: {{proxy: \"socks5://user:pass@{}\"}}", proxy.address);
    let gateway = Gateway::at(&base).with(egress).start();
    assert_eq!(gateway.post(OUTNUM, "{}").await.status, 200);
    // The name is the proxy's to resolve.
    assert_eq!(
        proxy.asked(),
        [format!("localhost:{} for user:pass from 127.0.0.1", upstream.address.port())]
    );
}

#[tokio::test]
async fn tls_goes_through_the_proxy_to_the_upstream() {
    let authority = Authority::new();
    let upstream = Upstream::secure(authority.acceptor("127.0.0.1", &[]), |_| ok());
    let proxy = EgressProxy::connect().await;
    let file = format!(
        "upstream: {{ca_file: {}}}\negress: {{proxy: \"http://{}\"}}",
        authority.file(),
        proxy.address
    );
    let gateway = Gateway::to(&upstream).with(file).start();
    assert_eq!(gateway.post(OUTNUM, "{}").await.status, 200);
    assert_eq!((proxy.asked().len(), upstream.seen().len()), (1, 1));
}

#[tokio::test]
async fn an_egress_proxy_that_refuses_is_an_unreachable_upstream() {
    let upstream = Upstream::start();
    // A server that is no proxy answers CONNECT with what it has.
    let refusing =
        Upstream::scripted(|_| Act::Last(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n".to_vec()));
    let egress = format!("egress: {{proxy: \"http://{}\"}}", refusing.address);
    let gateway = Gateway::to(&upstream).with(egress).start();
    let message = gateway.post(OUTNUM, "{}").await.refused(502, -50201, "upstream_unreachable");
    assert!(message.contains("407"), "{message}");
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn an_upstream_with_tls_is_known_by_the_ca_file() {
    let authority = Authority::new();
    let upstream = Upstream::secure(authority.acceptor("127.0.0.1", &["http/1.1"]), |_| ok());
    let known = format!("upstream: {{ca_file: {}}}", authority.file());
    let gateway = Gateway::to(&upstream).with(&known).start();
    assert_eq!(gateway.post(OUTNUM, bytes(300_000)).await.status, 200);
    assert_eq!(upstream.only().body, bytes(300_000));
    let stranger = Gateway::to(&upstream).start();
    let message = stranger.post(OUTNUM, "{}").await.refused(502, -50201, "upstream_unreachable");
    assert!(message.to_lowercase().contains("certificate"), "{message}");
    let misnamed = Upstream::secure(authority.acceptor("other.example", &[]), |_| ok());
    let gateway = Gateway::to(&misnamed).with(&known).start();
    gateway.post(OUTNUM, "{}").await.refused(502, -50201, "upstream_unreachable");
    assert_eq!((upstream.seen().len(), misnamed.seen().len()), (1, 0));
}

#[tokio::test]
async fn an_upstream_that_never_shakes_hands_is_unreachable_after_connect_timeout() {
    let silent = Upstream::by_hand();
    let url = format!("https://{}", silent.address);
    let gateway = Gateway::at(&url).with("upstream: {connect_timeout: 200ms}").start();
    let message = gateway.post(OUTNUM, "{}").await.refused(502, -50201, "upstream_unreachable");
    assert!(message.contains("TLS"), "{message}");
}

#[tokio::test]
async fn an_upstream_may_have_an_ipv6_address() {
    let upstream = Upstream::at("[::1]:0");
    let gateway = Gateway::to(&upstream).start();
    assert_eq!(gateway.post(OUTNUM, "{}").await.status, 200);
    assert_eq!(upstream.only().header("host"), upstream.address.to_string());
}

#[tokio::test]
async fn http_2_is_spoken_where_the_upstream_chooses_it() {
    let authority = Authority::new();
    let upstream = Http2Upstream::start(authority.acceptor("127.0.0.1", &["h2", "http/1.1"])).await;
    let known = format!("upstream: {{ca_file: {}}}", authority.file());
    let gateway = Gateway::at(&format!("https://{}", upstream.address)).with(&known).start();
    let mut line = gateway.line().await;
    for size in [2, 500_000] {
        let ask = post(TASKLIST, bytes(size)).header("connection", "x-private").header("x-private", "1");
        let answer = ask.send_on(&mut line).await;
        assert_eq!((answer.status, answer.code()), (200, 0));
    }
    let asked = upstream.asked();
    assert_eq!((asked.len(), upstream.accepted()), (2, 1));
    for (asked, size) in asked.iter().zip([2, 500_000]) {
        assert_eq!((asked.version, &asked.body[..]), (Version::HTTP_2, &bytes(size)[..]));
        assert_eq!(asked.uri.authority().unwrap().as_str(), upstream.address.to_string());
        assert!(!asked.headers.contains_key("x-private") && !asked.headers.contains_key("host"));
        assert!(asked.headers["authorization"].to_str().unwrap().starts_with("key:"));
    }
}

#[tokio::test]
async fn over_http_2_requests_are_given_up_one_by_one() {
    let authority = Authority::new();
    let upstream = Http2Upstream::start(authority.acceptor("127.0.0.1", &["h2"])).await;
    let file = format!("upstream: {{ca_file: {}, response_timeout: 500ms}}", authority.file());
    let gateway = Gateway::at(&format!("https://{}", upstream.address)).with(file).start();
    let hanging = format!("{OUTNUM}?hang");
    gateway.post(&hanging, "{}").await.refused(504, -50401, "upstream_timeout");
    eventually(async || upstream.given_up() == 1).await;
    let mut line = gateway.line().await;
    line.send(post(&hanging, "{}").to_bytes()).await;
    eventually(async || upstream.asked().len() == 2).await;
    drop(line);
    eventually(async || upstream.given_up() == 2).await;
    // Neither took the connection along.
    assert_eq!(gateway.post(OUTNUM, "{}").await.status, 200);
    let threads = std::thread::available_parallelism().unwrap().get();
    assert!(upstream.accepted() <= threads, "{} connections", upstream.accepted());
    gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 0.0).await;
}

#[tokio::test]
async fn http_2_may_be_forbidden() {
    let authority = Authority::new();
    let upstream = Http2Upstream::start(authority.acceptor("127.0.0.1", &["h2", "http/1.1"])).await;
    let never = format!("upstream: {{ca_file: {}, http2: never}}", authority.file());
    let gateway = Gateway::at(&format!("https://{}", upstream.address)).with(never).start();
    assert_eq!(gateway.post(TASKLIST, "{}").await.status, 200);
    assert_eq!(upstream.asked()[0].version, Version::HTTP_11);
}

#[tokio::test]
async fn unused_connections_are_let_go() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).with("upstream: {idle_timeout: 100ms}").start();
    gateway.post(TASKLIST, "{}").await;
    gateway.counts(r#"xinyao_upstream_connections{source_ip="any",state="idle"}"#, 0.0).await;
    assert_eq!(upstream.accepted(), 1);
}

#[tokio::test]
async fn connections_are_shared_by_requests() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).start();
    for _ in 0..50 {
        assert_eq!(gateway.post(TASKLIST, "{}").await.status, 200);
    }
    // A worker thread has its own.
    let threads = std::thread::available_parallelism().unwrap().get();
    assert!(upstream.accepted() <= threads, "{} connections", upstream.accepted());
    let peers: BTreeSet<u16> = upstream.seen().iter().map(|seen| seen.peer.port()).collect();
    assert_eq!(peers.len(), upstream.accepted());
}
