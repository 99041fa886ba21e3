//! `doctor` finds what is amiss, and says of each thing what it is and what to do.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::AsyncWriteExt;

use crate::support::{Act, Binary, Gateway, Postgres, Redis, Upstream, answer, nobody};

/// What `doctor` says of the configuration that gateways have here with this changed: whether all is well, and
/// the findings that are not, each with its next step.
async fn doctor(upstream: &str, yaml: &str) -> (bool, Vec<(String, String)>) {
    let folder = tempfile::tempdir().unwrap();
    let text = Gateway::at(upstream).with("upstream: {connect_timeout: 10s}").with(yaml).text();
    std::fs::write(folder.path().join("config.yaml"), text).unwrap();
    let run = move || Binary::command().arg("doctor").current_dir(folder.path()).output().unwrap();
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let mut failures = Vec::new();
    let mut lines = said.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(what) = line.strip_prefix("FAIL  ") {
            let next = lines.next_if(|next| next.starts_with("      ")).unwrap_or_default();
            assert!(!next.is_empty(), "no next step for {what}");
            failures.push((what.to_owned(), next.trim().to_owned()));
        }
    }
    (output.status.success(), failures)
}

/// `doctor` fails, with a finding in which these words occur, and a next step with those.
async fn finds(upstream: &str, yaml: &str, cause: &str, step: &str) {
    let (well, failures) = doctor(upstream, yaml).await;
    let found = failures.iter().any(|(what, next)| what.contains(cause) && next.contains(step));
    assert!(!well && found, "not {cause:?} and {step:?}, but {failures:#?}");
}

/// An answer with a `Date` that is so many seconds old.
fn dated(age_s: u64) -> Act {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let then =
        jiff::Timestamp::try_from(UNIX_EPOCH + now.saturating_sub(Duration::from_secs(age_s))).unwrap();
    let date = then.strftime("%a, %d %b %Y %H:%M:%S GMT");
    answer("200 OK", &format!("date: {date}\r\n"), "")
}

#[tokio::test]
async fn a_host_that_can_do_the_work_is_well() {
    let upstream = Upstream::scripted(|_| dated(0));
    let (well, failures) = doctor(&upstream.url(), "{}").await;
    assert!(well && failures.is_empty(), "{failures:#?}");
}

#[tokio::test]
async fn a_name_that_does_not_resolve() {
    let (cause, step) = ("DNS (upstream.base_url)", "check the name in upstream.base_url");
    finds("http://saas.invalid", "{}", cause, step).await;
}

#[tokio::test]
async fn a_port_that_nobody_listens_on() {
    finds(&format!("http://{}", nobody()), "{}", "cannot connect", "nobody listens there").await;
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await.unwrap();
        }
    });
    finds(&url, "{}", "should the URL begin with http://", "is not the SaaS").await;
}

#[tokio::test]
async fn a_server_that_says_nothing() {
    let upstream = Upstream::start();
    let url = format!("https://{}", upstream.address);
    let impatient = "upstream: {connect_timeout: 200ms}";
    finds(&url, impatient, "still waiting for the TLS handshake", "a firewall").await;
}

#[tokio::test]
async fn a_server_that_does_not_speak_http() {
    let upstream = Upstream::scripted(|_| Act::Last(b"SSH-2.0-x\r\n".to_vec()));
    finds(&upstream.url(), "{}", "clock (", "check the URL").await;
}

#[tokio::test]
async fn an_egress_proxy_that_is_none() {
    let upstream = Upstream::scripted(|_| answer("403 Forbidden", "", ""));
    let proxy = format!("egress: {{proxy: \"http://{}\"}}", upstream.address);
    finds("https://198.51.100.1", &proxy, "it must allow CONNECT", "check egress.proxy").await;
}

#[tokio::test]
async fn a_clock_that_is_off() {
    let upstream = Upstream::scripted(|_| dated(400));
    finds(&upstream.url(), "{}", "clock: 4", "NTP").await;
}

#[tokio::test]
async fn a_source_ip_that_is_elsewhere() {
    let egress = "egress: {allowed_ips: [198.51.100.7], source_ips: [198.51.100.7]}";
    finds("http://127.0.0.1:9", egress, "198.51.100.7 is not an address of this host", "ip address").await;
}

#[tokio::test]
async fn a_callback_address_that_nobody_knows() {
    let upstream = Upstream::scripted(|_| dated(0));
    let callbacks = "callbacks: {public_url: \"https://callbacks.invalid\"}";
    finds(&upstream.url(), callbacks, "callbacks.invalid", "public DNS").await;
}

#[tokio::test]
async fn a_store_that_cannot_be() {
    let upstream = Upstream::scripted(|_| dated(0));
    finds(&upstream.url(), "store: {path: .}", "is a folder", "add a name").await;
    let (cause, step) = ("cannot write to", "a part of store.path is a file");
    finds(&upstream.url(), "store: {path: config.yaml/gateway.db}", cause, step).await;
}

#[tokio::test]
async fn the_store_that_replicas_share_is_looked_at() {
    let postgres = Postgres::start();
    let at = |url: &str| format!("store: {{postgres: \"{url}\"}}");
    let (_, failures) = doctor("http://127.0.0.1:9", &at(&postgres.url())).await;
    assert!(!failures.iter().any(|(what, _)| what.contains("postgres")), "{failures:#?}");
    finds("http://127.0.0.1:9", &at(&postgres.url_of("nowhere")), "(3D000)", "CREATE DATABASE").await;
    finds("http://127.0.0.1:9", &at("postgresql://u@127.0.0.1:9/d"), "store.postgres", "is it up").await;
}

#[tokio::test]
async fn a_redis_that_cannot_be_asked() {
    let at = |url: &str| format!("limits: {{shared: {{url: \"{url}\", timeout: 2s}}}}");
    let redis = Redis::with("hush-hush");
    let (_, failures) = doctor("http://127.0.0.1:9", &at(&redis.url())).await;
    assert!(!failures.iter().any(|(what, _)| what.contains("limits.shared")), "{failures:#?}");
    let wrong = redis.url().replace("hush-hush", "open-sesame");
    finds("http://127.0.0.1:9", &at(&wrong), "authentication failed", "user and password").await;
    finds("http://127.0.0.1:9", &at("redis://127.0.0.1:9"), "limits.shared", "is it up").await;
}
